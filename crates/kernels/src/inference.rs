//! A snapshot of a described cell's weights for inference.

use crate::buffer::Buffer;
use crate::program::{Program, Slot};
use crate::share::Share;
use crate::step::{Batch, Pass};
use crate::team::complete;
use crate::weights::{values_of, Weights};
use candle_core::{bail, Device, Result, Tensor};
use recurrent_core::{chunk_steps, steps_at_once, Carry, InferenceLayer, Stream, Zoneout};
use std::sync::Arc;

/// A program with packed weights.
pub(crate) struct InferenceKernel {
    pub(crate) program: Arc<Program>,
    pub(crate) weights: Weights<f32>,
    pub(crate) zoneout: Vec<Option<Zoneout>>,
    /// The state before the first step, of one example.
    pub(crate) start: Vec<Vec<f32>>,
    pub(crate) field_names: &'static [&'static str],
}

impl InferenceKernel {
    fn batch(&self, rows: usize) -> Batch<'_, f32> {
        let Self { program, weights, zoneout, .. } = self;
        let (share, exchange) = (Share::WHOLE, None);
        Batch { program, weights, zoneout, mask: &[], first: 0, rows, share, exchange }
    }
}

impl InferenceLayer for InferenceKernel {
    fn input_size(&self) -> usize {
        self.program.graph.input
    }

    fn output_size(&self) -> usize {
        self.program.graph.fields[0]
    }

    fn stream(self: Arc<Self>, batch: usize) -> Box<dyn Stream> {
        let start: Vec<_> = self.start.iter().map(|start| start.repeat(batch)).collect();
        let own = self.batch(batch);
        let steps = steps_at_once(batch);
        let pass = own.forward_pass(steps, steps, false);
        let tape = own.tape(&pass, &start);
        Box::new(KernelStream { tape, pass, batch, steps, kernel: self })
    }
}

struct KernelStream {
    tape: Buffer<f32>, // from the state before the next step
    pass: Pass<f32>,
    batch: usize,
    steps: usize, // at most, at once
    kernel: Arc<InferenceKernel>,
}

impl Stream for KernelStream {
    fn sizes(&self) -> (usize, usize) {
        (self.batch * self.kernel.input_size(), self.batch * self.kernel.output_size())
    }

    fn run(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()> {
        let sizes = self.sizes();
        let Self { tape, pass, kernel, steps, .. } = self;
        let batch = kernel.batch(self.batch);
        let input = pass.layout.address(Slot::Input).start([0; 2], 0);
        for (xs, ys) in chunk_steps(sizes, *steps, xs, ys)? {
            pass.work[input..input + xs.len()].copy_from_slice(xs);
            let steps = xs.len() / sizes.0;
            batch.project(pass, tape, 0, steps);
            for (step, ys) in ys.chunks_exact_mut(sizes.1).enumerate() {
                complete(batch.step(pass, tape, 0, [step, step]));
                ys.copy_from_slice(batch.field(&pass.layout, tape, 0, step + 1));
            }
            batch.rewind(&pass.layout, tape, steps);
        }
        Ok(())
    }

    fn carry(&self) -> Result<Carry> {
        let fields = self.kernel.program.graph.fields.iter().zip(self.kernel.field_names);
        let field = |(index, (&size, name)): (usize, (&usize, &&'static str))| {
            let slot = self.pass.layout.address(Slot::Before(index));
            let own = &self.tape[slot.start([0; 2], 0)..][..self.batch * size];
            Ok((*name, Tensor::from_slice(own, (self.batch, size), &Device::Cpu)?))
        };
        Ok(Carry::Cell(fields.enumerate().map(field).collect::<Result<_>>()?))
    }

    fn set_carry(&mut self, carry: &Carry) -> Result<()> {
        let Self { tape, pass, batch, kernel, .. } = self;
        let fields = kernel.program.graph.fields.iter().zip(kernel.field_names);
        let checked = fields.map(|(&size, name)| {
            let field = carry.field(name)?;
            if field.dims() != [*batch, size] {
                bail!("stream carry {name}: expected ({batch}, {size}), got {:?}", field.dims())
            }
            values_of::<f32>(&field.contiguous()?)
        });
        for (index, values) in checked.collect::<Result<Vec<_>>>()?.iter().enumerate() {
            let state = kernel.batch(*batch).field(&pass.layout, tape, index, 0);
            state.copy_from_slice(values);
        }
        Ok(())
    }
}
