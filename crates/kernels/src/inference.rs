//! A snapshot of a kernel's weights for inference.

use crate::forward::{ForwardScratch, Stepper, Tape};
use crate::weights::{values, PackedWeights, Sizes};
use crate::CellKernel;
use candle_core::{bail, Device, Result, Tensor};
use recurrent_core::{check_step, Carry, InferenceLayer, Stream, Zoneout};
use std::sync::Arc;

/// A cell kernel with packed weights.
pub(crate) struct InferenceKernel<K> {
    pub(crate) cell: K,
    pub(crate) temporal_residual: Option<f32>,
    pub(crate) zoneout: [Option<Zoneout>; 2],
    pub(crate) weights: PackedWeights<f32>,
    /// The state before the first step, of one example: h, and c or empty.
    pub(crate) start: [Vec<f32>; 2],
}

impl<K: CellKernel> InferenceKernel<K> {
    fn stepper(&self) -> Stepper<'_, f32, K> {
        let Self { cell, temporal_residual, zoneout, weights, .. } = self;
        Stepper {
            cell,
            weights,
            temporal_residual: *temporal_residual,
            zoneout: *zoneout,
            mask: &[],
        }
    }
}

impl<K: CellKernel> InferenceLayer for InferenceKernel<K> {
    fn input_size(&self) -> usize {
        self.weights.sizes.input
    }

    fn output_size(&self) -> usize {
        self.weights.sizes.output
    }

    fn stream(self: Arc<Self>, batch: usize) -> Box<dyn Stream> {
        let [h, c] = self.start.each_ref().map(|start| start.repeat(batch));
        let stepper = self.stepper();
        let (tape, work) = (stepper.tape(1, batch, &h, &c), stepper.work(batch));
        Box::new(KernelStream { tape, work, batch, kernel: self })
    }
}

struct KernelStream<K> {
    tape: Tape<f32>, // one step; h and c hold the state before it
    work: ForwardScratch<f32>,
    batch: usize,
    kernel: Arc<InferenceKernel<K>>,
}

impl<K: CellKernel> KernelStream<K> {
    /// Name, size and values of each field of the state.
    fn fields(&mut self) -> impl Iterator<Item = (&'static str, usize, &mut [f32])> {
        let Sizes { hidden, output, .. } = self.kernel.weights.sizes;
        let h = &mut self.tape.h[..self.batch * output];
        let c = if K::CELL_STATE { &mut self.tape.c[..self.batch * hidden] } else { &mut [] };
        [("h", output, h), ("c", hidden, c)].into_iter().take(if K::CELL_STATE { 2 } else { 1 })
    }
}

impl<K: CellKernel> Stream for KernelStream<K> {
    fn sizes(&self) -> (usize, usize) {
        (self.batch * self.kernel.input_size(), self.batch * self.kernel.output_size())
    }

    fn step(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()> {
        check_step(self.sizes(), xs, ys)?;
        let Sizes { hidden, output, .. } = self.kernel.weights.sizes;
        let (batch, stepper) = (self.batch, self.kernel.stepper());
        stepper.project(xs, batch, &mut self.tape.saved);
        let range = |row: usize| Some(row * output..(row + 1) * output);
        stepper.step(0, 0..batch, &mut self.tape, 0, &mut self.work, ys, range);
        self.tape.keep_last_state(1, batch * output, batch * hidden);
        Ok(())
    }

    fn carry(&self) -> Result<Carry> {
        let Sizes { hidden, output, .. } = self.kernel.weights.sizes;
        let field = |values: &[f32], size: usize| {
            Tensor::from_slice(&values[..self.batch * size], (self.batch, size), &Device::Cpu)
        };
        let mut fields = vec![("h", field(&self.tape.h, output)?)];
        if K::CELL_STATE {
            fields.push(("c", field(&self.tape.c, hidden)?));
        }
        Ok(Carry::Cell(fields))
    }

    fn set_carry(&mut self, carry: &Carry) -> Result<()> {
        let batch = self.batch;
        for (name, size, state) in self.fields() {
            let field = carry.field(name)?;
            if field.dims() != [batch, size] {
                bail!("stream carry {name}: expected ({batch}, {size}), got {:?}", field.dims())
            }
            state.copy_from_slice(&values::<f32>(&field.contiguous()?)?);
        }
        Ok(())
    }
}
