//! A connection over depth, on slices.

use candle_core::Result;
use recurrent_core::{chunk_steps, steps_at_once, Carry, InferenceLayer, Stream};
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
        let steps = steps_at_once(batch);
        let (inner, both) = (vec![0.0; steps * layer.sizes().1], vec![0.0; steps * join.sizes().0]);
        let (input, output) = (self.input_size(), self.output_size());
        Box::new(ResidualStream { layer, join, inner, both, input, output, steps })
    }
}

struct ResidualStream {
    layer: Box<dyn Stream>,
    join: Box<dyn Stream>,
    inner: Vec<f32>, // (steps, batch, output), of the layer inside
    both: Vec<f32>,  // (steps, batch, input + output)
    input: usize,
    output: usize,
    steps: usize, // at most, at once
}

impl Stream for ResidualStream {
    fn sizes(&self) -> (usize, usize) {
        self.layer.sizes()
    }

    fn run(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()> {
        for (xs, ys) in chunk_steps(self.sizes(), self.steps, xs, ys)? {
            let inner = &mut self.inner[..ys.len()];
            self.layer.run(xs, inner)?;
            let both = &mut self.both[..xs.len() + ys.len()];
            let rows = xs.chunks_exact(self.input).zip(inner.chunks_exact(self.output));
            for (both, (x, y)) in both.chunks_exact_mut(self.input + self.output).zip(rows) {
                let (of_x, of_y) = both.split_at_mut(x.len());
                of_x.copy_from_slice(x);
                of_y.copy_from_slice(y);
            }
            self.join.run(both, ys)?;
        }
        Ok(())
    }

    fn carry(&self) -> Result<Carry> {
        self.layer.carry()
    }

    fn set_carry(&mut self, carry: &Carry) -> Result<()> {
        self.layer.set_carry(carry)
    }
}
