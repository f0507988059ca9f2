//! Where do words end in a language that is written without spaces?
//!
//! A bidirectional LSTM of 27 units in each direction reads Thai text and classifies each letter:
//! beginning, inside or end of a word. The weights are those of ICU4X (Unicode-3.0), with its names
//! and shapes; a small program beside the reference data extracts them from the crate
//! icu_segmenter:
//!
//! ```text
//! (cd tests/data/segmenter && cargo run --release -- weights thai.safetensors)
//! cargo run --release --example segment -- tests/data/segmenter/thai.safetensors \
//!     ภาษาไทยไม่มีช่องว่างระหว่างคำ
//! ```
//!
//! Prints, within a second:
//!
//! ```text
//! ภาษา|ไทย|ไม่|มี|ช่องว่าง|ระหว่าง|คำ
//! ```
//!
//! Without text, it splits the lines of the standard input. `tests/data/check_segment.py` compares
//! it with icu_segmenter.

use anyhow::{bail, Result};
use candle_core::{DType, Device, IndexOp, Module, Tensor, D};
use candle_nn::{Embedding, Linear, VarBuilder};
use clap::Parser;
use recurrent::{Direction, LstmConfig, Stack};
use std::collections::HashMap;
use std::io::{stdin, stdout, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Splits Thai text into words, with | between them.
#[derive(Parser)]
struct Options {
    /// The weights, as `tests/data/segmenter` writes them
    weights: PathBuf,
    /// Texts to split [default: the lines of the standard input]
    texts: Vec<String>,
}

struct Segmenter {
    letters: HashMap<char, u32>,
    embedding: Embedding,
    lstm: Stack,
    readout: Linear,
}

impl Segmenter {
    fn load(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = recurrent::weights::read(path)?.tensors;
        let get = |name: &str| match file.get(name) {
            Some(tensor) => Ok(tensor),
            None => bail!("{shown}: expected a tensor {name}, found {:?}", file.keys()),
        };
        // Theirs: (4, hidden, input) with the gates i, f, g, o, and one bias. Ours are those of
        // torch.nn.LSTM: (4 * hidden, input), and two biases.
        let mut weights = HashMap::new();
        for (theirs, ours) in [("fw", "_l0"), ("bw", "_l0_reverse")] {
            let bias = get(&format!("{theirs}_b"))?.flatten_all()?;
            weights.insert(format!("bias_hh{ours}"), bias.zeros_like()?);
            weights.insert(format!("bias_ih{ours}"), bias);
            weights.insert(format!("weight_ih{ours}"), get(&format!("{theirs}_w"))?.flatten_to(1)?);
            weights.insert(format!("weight_hh{ours}"), get(&format!("{theirs}_u"))?.flatten_to(1)?);
        }
        // (letters + 1, input), (2, classes, hidden)
        let (table, readout) = (get("embedding")?, get("time_w")?);
        let (input, hidden) = (table.dim(1)?, readout.dim(2)?);
        let vb = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let readout = Tensor::cat(&[readout.i(0)?, readout.i(1)?], 1)?; // (classes, 2 * hidden)
        let points = get("letters")?.to_vec1::<u32>()?;
        Ok(Self {
            letters: points.into_iter().filter_map(char::from_u32).zip(0..).collect(),
            embedding: Embedding::new(table.clone(), input),
            lstm: Stack::new(
                input,
                hidden,
                1,
                Direction::Bidirectional,
                &LstmConfig::default(),
                vb,
            )?,
            readout: Linear::new(readout, Some(get("time_b")?.clone())),
        })
    }

    /// The words of a text of Thai letters.
    fn split(&self, text: &str) -> Result<Vec<String>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let unknown = self.letters.len() as u32;
        let letters: Vec<_> =
            text.chars().map(|letter| *self.letters.get(&letter).unwrap_or(&unknown)).collect();
        let letters = Tensor::new(letters, &Device::Cpu)?;
        let xs = self.embedding.forward(&letters)?.unsqueeze(0)?; // (1, time, input)
        let scores = self.readout.forward(&self.lstm.forward(&xs)?)?; // (1, time, classes)
                                                                      // begin, inside, end, single
        let classes = scores.argmax(D::Minus1)?.flatten_all()?.to_vec1::<u32>()?;
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

fn main() -> ExitCode {
    sigpipe::reset(); // ends quietly if its output is cut off, as by `head`
    recurrent_cli::program(segment)
}

fn segment(options: Options) -> Result<ExitCode> {
    let segmenter = Segmenter::load(&options.weights)?;
    let mut out = BufWriter::new(stdout().lock());
    for text in &options.texts {
        writeln!(out, "{}", segmenter.split(text)?.join("|"))?;
    }
    if options.texts.is_empty() {
        for line in stdin().lines() {
            writeln!(out, "{}", segmenter.split(&line?)?.join("|"))?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
