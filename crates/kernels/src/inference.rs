//! A snapshot of a described cell's weights for inference.

use crate::buffer::Buffer;
use crate::program::{Program, Slot};
use crate::share::Share;
use crate::step::{Batch, Pass};
use crate::team::complete;
use crate::weights::{values_of, Weights};
use candle_core::{bail, Device, Result, Tensor};
use recurrent_core::{check_step, Carry, InferenceLayer, Stream, Zoneout};
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
        let pass = own.forward_pass(1, 1, false);
        let tape = own.tape(&pass, &start);
        Box::new(KernelStream { tape, pass, batch, kernel: self })
    }
}

struct KernelStream {
    tape: Buffer<f32>, // one step, from the state before it
    pass: Pass<f32>,
    batch: usize,
    kernel: Arc<InferenceKernel>,
}

impl Stream for KernelStream {
    fn sizes(&self) -> (usize, usize) {
        (self.batch * self.kernel.input_size(), self.batch * self.kernel.output_size())
    }

    fn step(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()> {
        check_step(self.sizes(), xs, ys)?;
        let Self { tape, pass, kernel, .. } = self;
        let batch = kernel.batch(self.batch);
        let input = pass.layout.address(&kernel.program, Slot::Input).start([0; 2], 0);
        pass.work[input..input + xs.len()].copy_from_slice(xs);
        batch.project(pass, tape, 0, 1);
        complete(batch.step(pass, tape, 0, [0; 2]));
        batch.rewind(&pass.layout, tape, 1);
        ys.copy_from_slice(batch.field(&pass.layout, tape, 0, 0));
        Ok(())
    }

    fn carry(&self) -> Result<Carry> {
        let fields = self.kernel.program.graph.fields.iter().zip(self.kernel.field_names);
        let field = |(index, (&size, name)): (usize, (&usize, &&'static str))| {
            let slot = self.pass.layout.address(&self.kernel.program, Slot::Before(index));
            let own = &self.tape[slot.start([0; 2], 0)..][..self.batch * size];
            Ok((*name, Tensor::from_slice(own, (self.batch, size), &Device::Cpu)?))
        };
        Ok(Carry::Cell(fields.enumerate().map(field).collect::<Result<_>>()?))
    }

    fn set_carry(&mut self, carry: &Carry) -> Result<()> {
        let Self { tape, pass, batch, kernel } = self;
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
