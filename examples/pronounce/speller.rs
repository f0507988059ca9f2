//! The trained network of g2p-en, from letters to phonemes.

use candle_core::{DType, Device, Module, Result, Tensor, D};
use candle_nn::{Embedding, Linear, VarBuilder};
use recurrent::{ForwardContext, Gru, GruConfig, Layer, Sequence};
use std::path::Path;

/// In the order of the read-out. The first four are not phonemes: padding, unknown, start and end.
const PHONEMES: &str = "<pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 \
    AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 \
    IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 \
    V W Y Z ZH";
const START: u32 = 2;
const END: u32 = 3;
const LONGEST: usize = 20; // phonemes of a word, as in the package

/// The number of a letter: 0 is padding, 1 any other character, 2 the end of the word.
fn letter(letter: char) -> u32 {
    if letter.is_ascii_lowercase() {
        letter as u32 - 'a' as u32 + 3
    } else {
        1
    }
}

/// Embeddings and GRUs of 256 units, and a read-out over the phonemes.
pub(crate) struct Speller {
    letters: Embedding,
    phonemes: Embedding,
    encoder: Gru,
    decoder: Gru,
    readout: Linear,
    names: Vec<&'static str>,
}

impl Speller {
    /// The network with the weights of `checkpoint20.npz`.
    ///
    /// # Errors
    /// If the file cannot be read, or a tensor is missing or has another shape.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        // From the file's names to those of torch.nn.GRU, whose gate order and reset it shares.
        let ours = |name: &str| {
            let name = name
                .replace("enc_", "encoder.")
                .replace("dec_", "decoder.")
                .replace("fc_", "readout.");
            let name = name.replace(".w_", ".weight_").replace(".b_", ".bias_");
            match name.strip_suffix("h") {
                Some(_) => format!("{name}_l0"), // weight_ih, bias_hh
                None => name,
            }
        };
        let file = recurrent::weights::read(path)?;
        let tensors =
            file.tensors.into_iter().map(|(name, tensor)| (ours(&name), tensor)).collect();
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let names: Vec<_> = PHONEMES.split_whitespace().collect();
        Ok(Self {
            letters: Embedding::new(vb.get((29, 256), "encoder.emb")?, 256),
            phonemes: Embedding::new(vb.get((names.len(), 256), "decoder.emb")?, 256),
            encoder: Gru::new(256, 256, &GruConfig::default(), vb.pp("encoder"))?,
            decoder: Gru::new(256, 256, &GruConfig::default(), vb.pp("decoder"))?,
            readout: Linear::new(
                vb.get((names.len(), 256), "readout.w")?,
                Some(vb.get(names.len(), "readout.b")?),
            ),
            names,
        })
    }

    /// The phonemes of a word in small letters, at most 20.
    ///
    /// # Errors
    /// Those of candle.
    pub(crate) fn spell(&self, word: &str) -> Result<Vec<&'static str>> {
        let letters: Vec<u32> = word.chars().map(letter).chain([2]).collect();
        let letters = Tensor::new(letters, &Device::Cpu)?.unsqueeze(0)?; // (1, time)
        let xs = Sequence::new(self.letters.forward(&letters)?)?;
        let (_, mut carry) = self.encoder.last(&xs, None, &ForwardContext::default())?;

        let (mut phonemes, mut last) = (Vec::new(), START);
        while phonemes.len() < LONGEST {
            let x = self.phonemes.forward(&Tensor::new(&[[last]], &Device::Cpu)?)?; // (1, 1, 256)
            let (h, after) =
                self.decoder.last(&Sequence::new(x)?, Some(&carry), &ForwardContext::default())?;
            carry = after;
            last = self.readout.forward(&h)?.argmax(D::Minus1)?.to_vec1()?[0];
            if last == END {
                break;
            }
            phonemes.push(self.names[last as usize]);
        }
        Ok(phonemes)
    }
}
