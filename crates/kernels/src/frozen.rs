//! A rule's weights as a snapshot for inference.

use crate::forward::{History, Stepper, Work};
use crate::weights::{values, Sizes, Weights};
use crate::Rule;
use candle::{bail, Device, Result, Tensor};
use recurrent_core::{check_step, Carry, InferenceLayer, Stream, Zoneout};
use std::sync::Arc;

/// A rule with packed weights.
pub(crate) struct FrozenKernel<R> {
    pub(crate) rule: R,
    pub(crate) temporal_residual: Option<f32>,
    pub(crate) zoneout: [Option<Zoneout>; 2],
    pub(crate) weights: Weights<f32>,
    /// The state before the first step, of one example: h, and c or nothing.
    pub(crate) start: [Vec<f32>; 2],
}

impl<R: Rule> FrozenKernel<R> {
    fn stepper(&self) -> Stepper<'_, f32, R> {
        let Self { rule, temporal_residual, zoneout, weights, .. } = self;
        Stepper {
            rule,
            weights,
            temporal_residual: *temporal_residual,
            zoneout: *zoneout,
            mask: &[],
        }
    }
}

impl<R: Rule> InferenceLayer for FrozenKernel<R> {
    fn input_size(&self) -> usize {
        self.weights.sizes.input
    }

    fn output_size(&self) -> usize {
        self.weights.sizes.output
    }

    fn stream(self: Arc<Self>, batch: usize) -> Box<dyn Stream> {
        let [h, c] = self.start.each_ref().map(|start| start.repeat(batch));
        let stepper = self.stepper();
        let (history, work) = (stepper.history(1, batch, &h, &c), stepper.work(batch));
        Box::new(KernelStream { history, work, batch, frozen: self })
    }
}

struct KernelStream<R> {
    history: History<f32>, // one step; the state is that before it
    work: Work<f32>,
    batch: usize,
    frozen: Arc<FrozenKernel<R>>,
}

impl<R: Rule> KernelStream<R> {
    /// Name, size and values of each field of the state.
    fn fields(&mut self) -> impl Iterator<Item = (&'static str, usize, &mut [f32])> {
        let Sizes { hidden, output, .. } = self.frozen.weights.sizes;
        let h = &mut self.history.h[..self.batch * output];
        let c = if R::MEMORY { &mut self.history.c[..self.batch * hidden] } else { &mut [] };
        [("h", output, h), ("c", hidden, c)].into_iter().take(if R::MEMORY { 2 } else { 1 })
    }
}

impl<R: Rule> Stream for KernelStream<R> {
    fn sizes(&self) -> (usize, usize) {
        (self.batch * self.frozen.input_size(), self.batch * self.frozen.output_size())
    }

    fn step(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()> {
        check_step(self.sizes(), xs, ys)?;
        let Sizes { hidden, output, .. } = self.frozen.weights.sizes;
        let (batch, stepper) = (self.batch, self.frozen.stepper());
        stepper.project(xs, batch, &mut self.history.kept);
        let place = |row: usize| Some(row * output..(row + 1) * output);
        stepper.step(0, 0..batch, &mut self.history, 0, &mut self.work, ys, place);
        self.history.turn(1, batch * output, batch * hidden);
        Ok(())
    }

    fn carry(&self) -> Result<Carry> {
        let Sizes { hidden, output, .. } = self.frozen.weights.sizes;
        let field = |values: &[f32], size: usize| {
            Tensor::from_slice(&values[..self.batch * size], (self.batch, size), &Device::Cpu)
        };
        let mut fields = vec![("h", field(&self.history.h, output)?)];
        if R::MEMORY {
            fields.push(("c", field(&self.history.c, hidden)?));
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
