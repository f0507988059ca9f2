//! The encoder and the decoder.

use candle_core::{Device, Module, Result, Tensor, D};
use candle_nn::{loss::cross_entropy, Embedding, Linear, VarBuilder};
use recurrent::{core::init, Carry, ForwardContext, Layer, Lstm, LstmConfig, Sequence};

const EDGE: u32 = 0; // the decoder reads it first and writes it last; letters are ASCII codes

fn codes(text: &str) -> Result<Tensor> {
    Tensor::new(text.bytes().map(u32::from).collect::<Vec<_>>(), &Device::Cpu)
}

/// An encoder and a decoder over the same letters.
pub(crate) struct Translator {
    letters: Embedding,
    encoder: Lstm,
    decoder: Lstm,
    readout: Linear,
}

impl Translator {
    pub(crate) fn new(vb: VarBuilder) -> Result<Self> {
        let config = LstmConfig::forget_bias(1.0);
        Ok(Self {
            letters: Embedding::new(init::linear_weight(32, 128, "letters", &vb)?, 32),
            encoder: Lstm::new(32, 96, &config, vb.pp("encoder"))?,
            decoder: Lstm::new(32, 96, &config, vb.pp("decoder"))?,
            readout: init::linear(96, 128, &vb.pp("readout"))?,
        })
    }

    /// The encoder's carry after the last letter of each text; lengths may differ.
    fn read(&self, texts: &[String], context: &ForwardContext) -> Result<Carry> {
        let rows = texts.iter().map(|text| self.letters.forward(&codes(text)?));
        let xs = Sequence::collate(&rows.collect::<Result<Vec<_>>>()?)?;
        Ok(self.encoder.last(&xs, None, context)?.1)
    }

    /// The decoder reads the true letters before each one that it has to write.
    pub(crate) fn loss(
        &self,
        texts: &[String],
        dates: &[String],
        context: &ForwardContext,
    ) -> Result<Tensor> {
        let framed = dates.iter().map(|date| codes(&format!("\0{date}\0")));
        let framed = Tensor::stack(&framed.collect::<Result<Vec<_>>>()?, 0)?; // (batch, time + 1)
        let steps = framed.dim(1)? - 1;
        let xs = self.letters.forward(&framed.narrow(1, 0, steps)?)?; // (batch, time, feature)
        let carry = self.read(texts, context)?;
        let (hs, _) = self.decoder.run(&Sequence::new(xs)?, Some(&carry), context)?;
        let logits = self.readout.forward(&hs.values().flatten_to(1)?)?; // (batch * time, letters)
        cross_entropy(&logits, &framed.narrow(1, 1, steps)?.flatten_all()?)
    }

    /// Writes the likeliest letter at every step, which the next step reads.
    pub(crate) fn write(&self, texts: &[String]) -> Result<Vec<String>> {
        let context = ForwardContext::default();
        let (mut carry, mut last) = (self.read(texts, &context)?, vec![EDGE; texts.len()]);
        let mut written = vec![String::new(); texts.len()];
        for _ in 0..12 {
            let x = self.letters.forward(&Tensor::new(last, &Device::Cpu)?)?.unsqueeze(1)?;
            let (h, after) = self.decoder.last(&Sequence::new(x)?, Some(&carry), &context)?;
            last = self.readout.forward(&h)?.argmax(D::Minus1)?.to_vec1()?;
            written.iter_mut().zip(&last).for_each(|(text, code)| text.push(*code as u8 as char));
            carry = after;
        }
        let until_edge = |text: String| text.chars().take_while(|c| *c as u32 != EDGE).collect();
        Ok(written.into_iter().map(until_edge).collect())
    }
}
