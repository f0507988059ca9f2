//! Engines run a cell over a whole sequence, forward and backward.

use crate::{Bptt, GradientAccumulator, InferenceLayer, Lengths, Sequence, StepMasks};
use candle_core::{CpuStorage, Device, Result, Shape, Storage, Tensor};
use std::any::Any;
use std::sync::Arc;

/// Runs a cell over a whole sequence, forward and backward. There are two kinds: replay of `step`
/// (in this crate), and the kernels of `recurrent-kernels`.
///
/// An engine works outside of candle's graph: all its tensors are detached and contiguous, possibly
/// at an offset of their storage.
pub trait Engine: Send + Sync {
    /// The name of the engine, for [`crate::Layer::explain`].
    fn name(&self) -> &'static str;

    /// The same engine for the cell with a residual connection over time, h_t = h_{t-1} + α f(x_t,
    /// h_{t-1}); `None` if the engine does not support it.
    fn temporal_residual(&self, _alpha: f64) -> Option<Arc<dyn Engine>> {
        None
    }

    /// A snapshot of these weights for inference, in f32, from the state `start`, `(1, size)` for
    /// each field, with the zoneout of evaluation; `None` if the engine does not support it.
    ///
    /// # Errors
    /// Those of candle, and of the engine.
    fn to_inference(
        &self,
        _params: &[Tensor],
        _start: &[Tensor],
        _masks: &StepMasks,
    ) -> Result<Option<Arc<dyn InferenceLayer>>> {
        Ok(None)
    }

    /// Runs forward. With `saved`, keeps the values that [`Engine::backward`] needs.
    ///
    /// # Errors
    /// Those of candle, and of the engine.
    fn forward(&self, inputs: &SequenceInput, outputs: bool, saved: bool) -> Result<Forward>;

    /// Runs backward. May be called several times with the same saved values.
    ///
    /// # Errors
    /// Those of candle, and of the engine.
    fn backward(&self, input: BackwardInput) -> Result<InputGrads>;
}

/// The input of one forward pass.
#[derive(Clone, Debug)]
pub struct SequenceInput {
    /// The sequence, `(batch, time, input)`.
    pub xs: Tensor,
    /// The weights, in the order of the cell's `params`.
    pub params: Vec<Tensor>,
    /// The state before the first step, each field `(batch, size)`.
    pub carry: Vec<Tensor>,
    /// The position that each step reads.
    pub time_index: TimeIndex,
    /// The dropout mask and zoneout of every step.
    pub masks: StepMasks,
    /// If given, only the states at the starts of segments of this many steps are saved, and the
    /// backward pass recomputes the rest. By default the engine chooses.
    pub segment: Option<usize>,
    /// Truncation and clipping in the backward pass.
    pub bptt: Bptt,
}

/// The position of its sequence that each example reads at each step.
#[derive(Clone, Debug)]
pub struct TimeIndex {
    batch: usize,
    time: usize,
    lengths: Option<Lengths>,
    reverse: bool,
}

impl TimeIndex {
    /// The index over the positions of `xs`, from each example's end to its beginning if `reverse`.
    ///
    /// # Errors
    /// Those of candle.
    pub fn new(xs: &Sequence, reverse: bool) -> Result<Self> {
        let (batch, time, _) = xs.values().dims3()?;
        Ok(Self { batch, time, lengths: xs.lengths().cloned(), reverse })
    }

    /// The number of examples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The number of positions, padding included.
    pub fn time(&self) -> usize {
        self.time
    }

    /// The number of steps to run: the length of the longest example.
    pub fn steps(&self) -> usize {
        self.lengths.as_ref().map_or(self.time, |l| l.as_slice().iter().copied().max().unwrap_or(0))
    }

    /// The number of steps of example `row`.
    pub fn len(&self, row: usize) -> usize {
        self.lengths.as_ref().map_or(self.time, |lengths| lengths.as_slice()[row])
    }

    /// Whether there is no step to run; a [`Sequence`] is never empty.
    pub fn is_empty(&self) -> bool {
        self.batch * self.time == 0
    }

    /// Whether every example runs at step `step`.
    pub fn all_run(&self, step: usize) -> bool {
        self.lengths.as_ref().is_none_or(|lengths| lengths.as_slice().iter().all(|&len| step < len))
    }

    /// The position that example `row` reads and writes at `step`; in its padding, `step`.
    pub fn position(&self, row: usize, step: usize) -> usize {
        let len = self.len(row);
        if self.reverse && step < len {
            len - 1 - step
        } else {
            step
        }
    }
}

/// The result of a forward pass.
pub struct Forward {
    /// The outputs `(batch, time, output)`, zero in the padding, if requested.
    pub outputs: Option<EngineValue>,
    /// The state after each example's last step.
    pub carry: Vec<Tensor>,
    /// The values that the backward pass needs, if requested.
    pub saved: Option<Saved>,
}

/// The values that an engine saves for the backward pass.
pub type Saved = Box<dyn Any + Send + Sync>;

/// The gradients with respect to the outputs and the final state.
#[derive(Clone, Debug)]
pub struct OutputGrads {
    /// dL/dys, `(batch, time, output)`; `None` if the loss does not read the outputs.
    pub outputs: Option<Tensor>,
    /// The gradient of the final state, each field `(batch, size)`.
    pub carry: Vec<Tensor>,
}

/// The input of one backward pass.
#[derive(Debug)]
pub struct BackwardInput<'a> {
    /// The input of the forward pass.
    pub inputs: &'a SequenceInput,
    /// The values that the forward pass saved.
    pub saved: &'a Saved,
    /// The gradients with respect to the outputs and the final state.
    pub output_grads: &'a OutputGrads,
    /// The gradients to compute.
    pub needs: NeedsGrad,
    /// One accumulator for each field of the state if a [`crate::GradientRecorder`] is attached;
    /// empty otherwise.
    pub accumulators: &'a mut [GradientAccumulator],
}

/// The gradients to compute.
#[derive(Clone, Copy, Debug)]
pub struct NeedsGrad {
    /// The gradient of the input.
    pub xs: bool,
    /// The gradients of the weights.
    pub params: bool,
    /// The gradient of the initial state.
    pub carry: bool,
}

/// The result of a backward pass. Gradients that were not requested are `None` or empty.
#[derive(Clone, Debug, Default)]
pub struct InputGrads {
    /// dL/dxs, `(batch, time, input)`, zero in the padding.
    pub xs: Option<Tensor>,
    /// The gradients of the weights, in the order of [`SequenceInput::params`].
    pub params: Vec<Tensor>,
    /// The gradient of the initial state.
    pub carry: Vec<Tensor>,
}

/// A result for candle's graph: a tensor on any device, or host memory, which is not copied.
#[derive(Debug)]
pub enum EngineValue {
    /// Host memory in the order of the shape.
    Host(CpuStorage, Shape),
    /// A contiguous tensor.
    Tensor(Tensor),
}

impl EngineValue {
    /// The value as an untracked tensor.
    ///
    /// # Errors
    /// Those of candle.
    pub fn into_tensor(self, device: &Device) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => tensor.to_device(device),
            Self::Host(storage, shape) => {
                let op = candle_core::op::BackpropOp::none();
                Tensor::from_storage(Storage::Cpu(storage), shape, op, false).to_device(device)
            }
        }
    }
}
