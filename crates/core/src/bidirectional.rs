//! Two layers over the same sequence, one in each direction.

use crate::{layer, Carry, ForwardContext, InferenceLayer, Layer, LayerGraph, Sequence};
use candle_core::{bail, DType, Device, Module, Result, Tensor, D};
use std::sync::Arc;

/// A layer that runs forward and one that runs from each example's end to its beginning, their
/// outputs side by side (Schuster and Paliwal 1997).
///
/// Outputs are `(batch, time, forward + reverse)`. The carry has two entries, forward first. The
/// carry of the reverse direction is its state after an example's first step, so the carry cannot
/// continue a sequence that comes in chunks, and a run refuses it; see [`Carry::into_initial`].
pub struct Bidirectional<F, R> {
    forward: F,
    reverse: R,
}

impl<F: Layer, R: Layer> Bidirectional<F, R> {
    /// The two directions; `reverse` must run in reverse: [`crate::Rnn::reversed`].
    ///
    /// # Errors
    /// If the two do not accept the same number of features, or one is more than one layer deep.
    pub fn new(forward: F, reverse: R) -> Result<Self> {
        let (expected, found) = (forward.input_size(), reverse.input_size());
        if expected != found {
            bail!(
                "bidirectional: expected {expected} input features in both directions, got \
                 {found} in reverse"
            )
        }
        if forward.depth().max(reverse.depth()) != 1 {
            bail!(
                "bidirectional: expected one layer in each direction; stack bidirectional layers \
                 instead"
            )
        }
        Ok(Self { forward, reverse })
    }

    fn parts<'a>(
        &self,
        carry: Option<&'a Carry>,
    ) -> Result<(Option<&'a Carry>, Option<&'a Carry>)> {
        let Some(carry) = carry else { return Ok((None, None)) };
        let parts = carry.layers(2)?;
        Ok((Some(&parts[0]), Some(&parts[1])))
    }
}

impl<F: Layer, R: Layer> Layer for Bidirectional<F, R> {
    fn input_size(&self) -> usize {
        self.forward.input_size()
    }

    fn output_size(&self) -> usize {
        self.forward.output_size() + self.reverse.output_size()
    }

    fn reversed_size(&self) -> usize {
        self.reverse.output_size()
    }

    fn run(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Sequence, Carry)> {
        let (ahead, back) = self.parts(carry)?;
        let (forward, ahead) = self.forward.run(xs, ahead, context)?;
        let (reverse, back) = self.reverse.run(xs, back, &context.reverse())?;
        let ys = Tensor::cat(&[forward.values(), reverse.values()], D::Minus1)?;
        Ok((xs.with_values(ys)?, Carry::Layers(vec![ahead, back])))
    }

    fn last(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Tensor, Carry)> {
        let (ahead, back) = self.parts(carry)?;
        let (forward, ahead) = self.forward.last(xs, ahead, context)?;
        let (reverse, back) = self.reverse.last(xs, back, &context.reverse())?;
        Ok((Tensor::cat(&[forward, reverse], D::Minus1)?, Carry::Layers(vec![ahead, back])))
    }

    fn to_inference(&self) -> Result<Arc<dyn InferenceLayer>> {
        bail!(
            "to_inference: a bidirectional layer needs the whole sequence and cannot run step by \
             step"
        )
    }

    fn graph(&self) -> Result<LayerGraph> {
        match (self.forward.graph()?, self.reverse.graph()?) {
            (LayerGraph::Recurrent(forward), LayerGraph::Recurrent(reverse)) => {
                Ok(LayerGraph::Recurrent([forward, reverse].concat()))
            }
            _ => bail!("graph: expected a cell run over time in each direction, got other layers"),
        }
    }

    fn explain(&self, dtype: DType, device: &Device) -> String {
        layer::explain_parts(&[
            ("forward".to_string(), self.forward.explain(dtype, device)),
            ("reverse".to_string(), self.reverse.explain(dtype, device)),
        ])
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        [self.forward.params(), self.reverse.params()].concat()
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        Ok([self.forward.recurrent_blocks()?, self.reverse.recurrent_blocks()?].concat())
    }
}

impl<F: Layer, R: Layer> Module for Bidirectional<F, R> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        layer::forward(self, xs)
    }
}
