//! Inference on slices: a snapshot of a layer, and streams whose state advances step by step.

use crate::replay::noisy_step;
use crate::{Carry, Cell, State, StepMasks};
use candle_core::{bail, Device, Result, Tensor};
use std::sync::Arc;

/// An inference-only snapshot of a layer, in f32, with weights packed for the processor at hand;
/// see [`crate::Layer::to_inference`].
///
/// Later changes of the weights do not affect it. Threads may share it; each makes its own streams.
pub trait InferenceLayer: Send + Sync {
    /// The number of features of the input.
    fn input_size(&self) -> usize;

    /// The number of features of the output.
    fn output_size(&self) -> usize;

    /// A stream of `batch` sequences side by side, before their first step.
    fn stream(self: Arc<Self>, batch: usize) -> Box<dyn Stream>;
}

/// Sequences that run side by side, a step or a chunk at a time. A cell with a kernel runs without
/// allocation.
pub trait Stream: Send {
    /// The lengths of the input and output slices of one step: batch times features.
    fn sizes(&self) -> (usize, usize);

    /// A chunk of steps: `xs` is `(steps, batch, input)`, `ys` becomes `(steps, batch, output)`.
    ///
    /// # Errors
    /// If the slices do not hold the same whole number of steps.
    fn run(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()>;

    /// One step: `xs` is `(batch, input)`, `ys` becomes `(batch, output)`.
    ///
    /// # Errors
    /// If a slice has another length.
    fn step(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()> {
        let (input, output) = self.sizes();
        if (xs.len(), ys.len()) != (input, output) {
            bail!(
                "stream step: expected {input} and {output} values, got {} and {}",
                xs.len(),
                ys.len()
            )
        }
        self.run(xs, ys)
    }

    /// The state after the last step, as the carry of the layer.
    ///
    /// # Errors
    /// Those of candle.
    fn carry(&self) -> Result<Carry>;

    /// Sets the state, in f32.
    ///
    /// # Errors
    /// If its structure, shapes or dtype differ from [`Stream::carry`].
    fn set_carry(&mut self, carry: &Carry) -> Result<()>;
}

/// The number of steps that a stream of `batch` sequences runs at once: the products of their
/// inputs are one product, of 16 rows or little more.
pub fn steps_at_once(batch: usize) -> usize {
    16usize.div_ceil(batch.max(1))
}

/// Cuts the slices of a chunk into slices of at most `steps` steps, of which `sizes` is one.
///
/// # Errors
/// If the slices do not hold the same whole number of steps.
pub fn chunk_steps<'a>(
    sizes: (usize, usize),
    steps: usize,
    xs: &'a [f32],
    ys: &'a mut [f32],
) -> Result<impl Iterator<Item = (&'a [f32], &'a mut [f32])>> {
    let (input, output) = sizes;
    let whole = xs.len().checked_div(input).unwrap_or(0);
    if (whole * input, whole * output) != (xs.len(), ys.len()) {
        bail!(
            "stream: expected steps of {input} and {output} values, got {} and {}",
            xs.len(),
            ys.len()
        )
    }
    let length = |size: usize| (steps * size).max(1);
    Ok(xs.chunks(length(input)).zip(ys.chunks_mut(length(output))))
}

/// A cell without a kernel, which runs its `step`.
pub(crate) struct InferenceCell<C> {
    /// The cell, with weights in f32 on the CPU.
    pub(crate) cell: C,
    /// The state before the first step, each field `(1, size)`.
    pub(crate) start: Vec<Tensor>,
    /// The zoneout of evaluation.
    pub(crate) masks: StepMasks,
}

impl<C: Cell> InferenceLayer for InferenceCell<C> {
    fn input_size(&self) -> usize {
        self.cell.input_size()
    }

    fn output_size(&self) -> usize {
        self.cell.state_sizes()[0]
    }

    fn stream(self: Arc<Self>, batch: usize) -> Box<dyn Stream> {
        let row = |field: &Tensor| {
            field.repeat((batch, 1)).expect("a row of f32 on the CPU can be repeated")
        };
        Box::new(CellStream { state: self.start.iter().map(row).collect(), batch, layer: self })
    }
}

struct CellStream<C> {
    state: Vec<Tensor>, // each field (batch, size)
    batch: usize,
    layer: Arc<InferenceCell<C>>,
}

impl<C: Cell> Stream for CellStream<C> {
    fn sizes(&self) -> (usize, usize) {
        (self.batch * self.layer.input_size(), self.batch * self.layer.output_size())
    }

    fn run(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()> {
        let InferenceCell { cell, masks, .. } = &*self.layer;
        for (xs, ys) in chunk_steps(self.sizes(), 1, xs, ys)? {
            let x = Tensor::from_slice(xs, (self.batch, cell.input_size()), &Device::Cpu)?;
            // In evaluation, zoneout is its expectation, which is the same at every step.
            self.state = noisy_step(cell, masks, 0, &x, &self.state)?;
            ys.copy_from_slice(&self.state[0].flatten_all()?.to_vec1()?);
        }
        Ok(())
    }

    fn carry(&self) -> Result<Carry> {
        Ok(Carry::Cell(C::State::FIELDS.iter().copied().zip(self.state.clone()).collect()))
    }

    fn set_carry(&mut self, carry: &Carry) -> Result<()> {
        let mut state = Vec::new();
        for (name, own) in C::State::FIELDS.iter().zip(&self.state) {
            let field = carry.field(name)?;
            if field.dims() != own.dims() {
                bail!("stream carry {name}: expected {:?}, got {:?}", own.dims(), field.dims())
            }
            if field.dtype() != own.dtype() {
                bail!("stream carry {name}: expected {:?}, got {:?}", own.dtype(), field.dtype())
            }
            state.push(field.detach().to_device(&Device::Cpu)?);
        }
        self.state = state;
        Ok(())
    }
}

/// The snapshots of a stack.
pub(crate) struct InferenceStack(pub(crate) Vec<Arc<dyn InferenceLayer>>);

impl InferenceLayer for InferenceStack {
    fn input_size(&self) -> usize {
        self.0.first().map_or(0, |layer| layer.input_size())
    }

    fn output_size(&self) -> usize {
        self.0.last().map_or(0, |layer| layer.output_size())
    }

    fn stream(self: Arc<Self>, batch: usize) -> Box<dyn Stream> {
        let layers: Vec<_> = self.0.iter().map(|layer| layer.clone().stream(batch)).collect();
        let steps = steps_at_once(batch);
        let between = layers.iter().map(|layer| vec![0.0; steps * layer.sizes().1]).collect();
        Box::new(StackStream { layers, between, steps })
    }
}

struct StackStream {
    layers: Vec<Box<dyn Stream>>,
    between: Vec<Vec<f32>>, // each layer's output
    steps: usize,           // at most, at once
}

impl Stream for StackStream {
    fn sizes(&self) -> (usize, usize) {
        let ends = self.layers.first().zip(self.layers.last());
        ends.map_or((0, 0), |(first, last)| (first.sizes().0, last.sizes().1))
    }

    fn run(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()> {
        for (xs, ys) in chunk_steps(self.sizes(), self.steps, xs, ys)? {
            let steps = xs.len() / self.sizes().0;
            for (index, layer) in self.layers.iter_mut().enumerate() {
                let (input, output) = layer.sizes();
                let (below, above) = self.between.split_at_mut(index);
                let xs = below.last().map_or(xs, |below| &below[..steps * input]);
                layer.run(xs, &mut above[0][..steps * output])?;
            }
            if let Some(top) = self.between.last() {
                ys.copy_from_slice(&top[..ys.len()]);
            }
        }
        Ok(())
    }

    fn carry(&self) -> Result<Carry> {
        Ok(Carry::Layers(self.layers.iter().map(|layer| layer.carry()).collect::<Result<_>>()?))
    }

    fn set_carry(&mut self, carry: &Carry) -> Result<()> {
        let Carry::Layers(parts) = carry else {
            bail!("stream carry: expected one carry for each layer, got fields")
        };
        if parts.len() != self.layers.len() {
            bail!("stream carry: expected {} layers, got {}", self.layers.len(), parts.len())
        }
        self.layers.iter_mut().zip(parts).try_for_each(|(layer, part)| layer.set_carry(part))
    }
}
