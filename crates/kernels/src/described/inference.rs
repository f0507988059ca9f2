//! A snapshot of a described cell's weights for inference.

use super::chunk::{Scratch, Stepper, Tape};
use super::program::Program;
use super::weights::Weights;
use crate::weights::values;
use candle_core::{bail, Device, Result, Tensor};
use recurrent_core::{check_step, Carry, InferenceLayer, Stream, Zoneout};
use std::sync::Arc;

/// A program with packed weights.
pub(super) struct InferenceKernel {
    pub(super) program: Arc<Program>,
    pub(super) weights: Weights<f32>,
    pub(super) zoneout: Vec<Option<Zoneout>>,
    /// The state before the first step, of one example.
    pub(super) start: Vec<Vec<f32>>,
    pub(super) field_names: &'static [&'static str],
}

impl InferenceKernel {
    fn stepper(&self, batch: usize) -> Stepper<'_, f32> {
        Stepper {
            program: &self.program,
            weights: &self.weights,
            zoneout: &self.zoneout,
            mask: &[],
            first: 0,
            rows: batch,
        }
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
        let mut start: Vec<_> = self.start.iter().map(|start| start.repeat(batch)).collect();
        let start: Vec<_> = start.iter_mut().map(|field| &mut field[..]).collect();
        let stepper = self.stepper(batch);
        let (tape, scratch) = (stepper.tape(1, &start), stepper.scratch(1));
        Box::new(KernelStream { tape, scratch, batch, kernel: self })
    }
}

struct KernelStream {
    tape: Tape<f32>, // one step; the fields begin with the state before it
    scratch: Scratch<f32>,
    batch: usize,
    kernel: Arc<InferenceKernel>,
}

impl KernelStream {
    /// Name, size and values of each field of the state.
    fn fields(&mut self) -> impl Iterator<Item = (&'static str, usize, &mut [f32])> {
        let batch = self.batch;
        let sizes = self.kernel.program.graph.fields.iter().zip(self.kernel.field_names);
        sizes
            .zip(&mut self.tape.fields)
            .map(move |((&size, name), field)| (*name, size, &mut field[..batch * size]))
    }
}

impl Stream for KernelStream {
    fn sizes(&self) -> (usize, usize) {
        (self.batch * self.kernel.input_size(), self.batch * self.kernel.output_size())
    }

    fn step(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()> {
        check_step(self.sizes(), xs, ys)?;
        let batch = self.batch;
        let stepper = self.kernel.stepper(batch);
        stepper.project(xs, 1, &mut self.scratch.linears);
        stepper.step(0, &mut self.tape, 0, xs, &mut self.scratch, 0);
        self.tape.keep_last_state(1, batch, &self.kernel.program.graph.fields);
        let size = ys.len();
        ys.copy_from_slice(&self.tape.fields[0][..size]);
        Ok(())
    }

    fn carry(&self) -> Result<Carry> {
        let fields = self.kernel.program.graph.fields.iter().zip(self.kernel.field_names);
        let field = |((&size, name), values): ((&usize, &&'static str), &[f32])| {
            let own = &values[..self.batch * size];
            Ok((*name, Tensor::from_slice(own, (self.batch, size), &Device::Cpu)?))
        };
        let values = self.tape.fields.iter().map(|field| &field[..]);
        Ok(Carry::Cell(fields.zip(values).map(field).collect::<Result<_>>()?))
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
