//! A connection over depth, on slices.

use candle_core::Result;
use recurrent_core::{check_step, Carry, InferenceLayer, Stream};
use std::sync::Arc;

/// A snapshot of a layer with a connection around it.
pub(crate) struct InferenceResidual {
    pub(crate) layer: Arc<dyn InferenceLayer>,
    /// From the input and the output of the layer, side by side, to their sum.
    pub(crate) join: Arc<dyn InferenceLayer>,
}

impl InferenceLayer for InferenceResidual {
    fn input_size(&self) -> usize {
        self.layer.input_size()
    }

    fn output_size(&self) -> usize {
        self.layer.output_size()
    }

    fn stream(self: Arc<Self>, batch: usize) -> Box<dyn Stream> {
        let (layer, join) = (self.layer.clone().stream(batch), self.join.clone().stream(batch));
        let (inner, both) = (vec![0.0; layer.sizes().1], vec![0.0; join.sizes().0]);
        Box::new(ResidualStream { layer, join, inner, both, input: self.input_size() })
    }
}

struct ResidualStream {
    layer: Box<dyn Stream>,
    join: Box<dyn Stream>,
    inner: Vec<f32>, // (batch, output), of the layer inside
    both: Vec<f32>,  // (batch, input + output)
    input: usize,
}

impl Stream for ResidualStream {
    fn sizes(&self) -> (usize, usize) {
        self.layer.sizes()
    }

    fn step(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()> {
        check_step(self.sizes(), xs, ys)?;
        self.layer.step(xs, &mut self.inner)?;
        let examples = xs.len() / self.input;
        let rows = xs.chunks_exact(self.input).zip(self.inner.chunks_exact(ys.len() / examples));
        let width = self.both.len() / examples;
        for (both, (x, y)) in self.both.chunks_exact_mut(width).zip(rows) {
            let (of_x, of_y) = both.split_at_mut(x.len());
            of_x.copy_from_slice(x);
            of_y.copy_from_slice(y);
        }
        self.join.step(&self.both, ys)
    }

    fn carry(&self) -> Result<Carry> {
        self.layer.carry()
    }

    fn set_carry(&mut self, carry: &Carry) -> Result<()> {
        self.layer.set_carry(carry)
    }
}
