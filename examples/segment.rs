//! Where do words end in a language that is written without spaces?
//!
//! A bidirectional LSTM of 27 units in each direction reads Thai text letter by letter and says of each whether it ends a word. The
//! weights are those of ICU4X (Unicode-3.0), in its own names and shapes; a small program beside the reference data takes them
//! out of the crate icu_segmenter:
//!
//! ```text
//! (cd tests/data/segmenter && cargo run --release -- weights thai.safetensors)
//! cargo run --release --example segment -- tests/data/segmenter/thai.safetensors ภาษาไทยไม่มีช่องว่างระหว่างคำ
//! ```
//!
//! Prints, within a second:
//!
//! ```text
//! ภาษา|ไทย|ไม่|มี|ช่องว่าง|ระหว่าง|คำ
//! ```
//!
//! Without text, it splits the lines of the standard input. `tests/data/check_segment.py` compares it with icu_segmenter.

use anyhow::{bail, Result};
use candle::{DType, Device, IndexOp, Module, Tensor, D};
use candle_nn::{Embedding, Linear, VarBuilder};
use recurrent::{Direction, LstmConfig, Stack};
use std::collections::HashMap;
use std::env;
use std::io::{stdin, stdout, BufWriter, Write};

struct Segmenter {
    letters: HashMap<char, u32>,
    embedding: Embedding,
    lstm: Stack,
    readout: Linear,
}

impl Segmenter {
    fn load(path: &str) -> Result<Self> {
        let file = recurrent::weights::read(path)?.tensors;
        let get = |name: &str| match file.get(name) {
            Some(tensor) => Ok(tensor),
            None => bail!("{path}: expected a tensor {name}, found {:?}", file.keys()),
        };
        // Theirs: (4, hidden, input) with the gates i, f, g, o, and one bias. Ours, as torch.nn.LSTM: (4 * hidden, input), and two.
        let mut weights = HashMap::new();
        for (theirs, ours) in [("fw", "_l0"), ("bw", "_l0_reverse")] {
            let bias = get(&format!("{theirs}_b"))?.flatten_all()?;
            weights.insert(format!("bias_hh{ours}"), bias.zeros_like()?);
            weights.insert(format!("bias_ih{ours}"), bias);
            weights.insert(format!("weight_ih{ours}"), get(&format!("{theirs}_w"))?.flatten_to(1)?);
            weights.insert(format!("weight_hh{ours}"), get(&format!("{theirs}_u"))?.flatten_to(1)?);
        }
        let (table, readout) = (get("embedding")?, get("time_w")?); // (letters + 1, input), (2, classes, hidden)
        let (input, hidden) = (table.dim(1)?, readout.dim(2)?);
        let vb = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let readout = Tensor::cat(&[readout.i(0)?, readout.i(1)?], 1)?; // (classes, 2 * hidden)
        let points = get("letters")?.to_vec1::<u32>()?;
        Ok(Self {
            letters: points.into_iter().filter_map(char::from_u32).zip(0..).collect(),
            embedding: Embedding::new(table.clone(), input),
            lstm: Stack::of(
                1,
                Direction::Bidirectional,
                input,
                hidden,
                &LstmConfig::default(),
                vb,
            )?,
            readout: Linear::new(readout, Some(get("time_b")?.clone())),
        })
    }

    /// The words of a text that holds nothing but Thai letters.
    fn split(&self, text: &str) -> Result<Vec<String>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let unknown = self.letters.len() as u32;
        let letters: Vec<_> =
            text.chars().map(|letter| *self.letters.get(&letter).unwrap_or(&unknown)).collect();
        let xs = self.embedding.forward(&Tensor::new(letters, &Device::Cpu)?)?.unsqueeze(0)?; // (1, time, input)
        let scores = self.readout.forward(&self.lstm.forward(&xs)?)?; // (1, time, classes)
        let classes = scores.argmax(D::Minus1)?.flatten_all()?.to_vec1::<u32>()?; // begin, inside, end, single
        let mut words = vec![String::new()];
        for (letter, class) in text.chars().zip(classes) {
            words.last_mut().expect("there is a word").push(letter);
            if class == 2 {
                words.push(String::new());
            }
        }
        words.retain(|word| !word.is_empty());
        Ok(words)
    }
}

fn main() -> Result<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    let Some((path, texts)) = args.split_first() else { bail!("expected the file of the weights") };
    let segmenter = Segmenter::load(path)?;
    let mut out = BufWriter::new(stdout().lock());
    for text in texts {
        writeln!(out, "{}", segmenter.split(text)?.join("|"))?;
    }
    if texts.is_empty() {
        for line in stdin().lines() {
            writeln!(out, "{}", segmenter.split(&line?)?.join("|"))?;
        }
    }
    Ok(out.flush()?)
}
