//! What runs a cell over a whole sequence, forward and backward: an [`Engine`].

use crate::{Bptt, GradientAccumulator, InferenceLayer, Lengths, Sequence, StepMasks};
use candle::{CpuStorage, Device, Result, Shape, Storage, Tensor};
use std::any::Any;
use std::sync::Arc;

/// Runs a cell over a whole sequence and back. There are two kinds: replay of `step` (in this crate), and the
/// kernels of `recurrent-kernels`.
///
/// All tensors that an engine meets are detached and contiguous; candle's graph is not its business.
pub trait Engine: Send + Sync {
    /// What this engine is, in a word, for those who ask which path runs.
    fn name(&self) -> &'static str;

    /// The same engine for the cell with a residual connection over time around it, h_t = h_{t-1} + α f(x_t, h_{t-1}), if it can
    /// do that.
    fn temporal_residual(&self, _alpha: f64) -> Option<Arc<dyn Engine>> {
        None
    }

    /// A snapshot for inference of these weights, in f32, from the state `start`, `(1, size)` a field, with the evaluation's `noise`; if it can
    /// do that.
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

    /// Runs forward. With `wants.reserve`, keeps what [`Engine::backward`] needs.
    ///
    /// # Errors
    /// Those of candle, and of the engine.
    fn forward(&self, inputs: &SequenceInput, outputs: bool, saved: bool) -> Result<Forward>;

    /// Runs backward. May be called several times with one reserve. `probes` has one entry a field of the state if
    /// somebody records, and is empty otherwise.
    ///
    /// # Errors
    /// Those of candle, and of the engine.
    fn backward(
        &self,
        inputs: &SequenceInput,
        saved: &Saved,
        output_grads: &OutputGrads,
        needs: NeedsGrad,
        accumulators: &mut [GradientAccumulator],
    ) -> Result<InputGrads>;
}

/// The input of one run.
#[derive(Clone, Debug)]
pub struct SequenceInput {
    /// The sequence, `(batch, time, input)`.
    pub xs: Tensor,
    /// The weights, in the order of the cell's `params`.
    pub params: Vec<Tensor>,
    /// The state before the first step, each field `(batch, size)`.
    pub carry: Vec<Tensor>,
    /// Which step reads what.
    pub time_index: TimeIndex,
    /// What is added at every step.
    pub masks: StepMasks,
    /// If given, only the states at the starts of segments of so many steps are kept for the way back, and the rest is computed
    /// again; else an engine keeps what suits it.
    pub segment: Option<usize>,
    /// What the way back does to the gradient of the state.
    pub bptt: Bptt,
}

/// Which position of its sequence each example reads at each step.
#[derive(Clone, Debug)]
pub struct TimeIndex {
    batch: usize,
    time: usize,
    lengths: Option<Lengths>,
    reverse: bool,
}

impl TimeIndex {
    /// The route over the positions of `xs`, from each example's end to its beginning if `reverse`.
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

    /// Whether there is nothing to run; a [`Sequence`] is never empty.
    pub fn is_empty(&self) -> bool {
        self.batch * self.time == 0
    }

    /// Whether every example runs at step `step`.
    pub fn all_run(&self, step: usize) -> bool {
        self.lengths.as_ref().is_none_or(|lengths| lengths.as_slice().iter().all(|&len| step < len))
    }

    /// The position that example `row` reads and writes at `step`; in its padding, the step itself.
    pub fn position(&self, row: usize, step: usize) -> usize {
        let len = self.len(row);
        if self.reverse && step < len {
            len - 1 - step
        } else {
            step
        }
    }
}

/// What a forward run gives.
pub struct Forward {
    /// The outputs `(batch, time, output)`, zero in the padding, if they were asked for.
    pub outputs: Option<EngineValue>,
    /// The state after each example's last step.
    pub carry: Vec<Tensor>,
    /// What the backward run needs, if it was asked for.
    pub saved: Option<Saved>,
}

/// What an engine keeps between forward and backward.
pub type Saved = Box<dyn Any + Send + Sync>;

/// The gradients that reach a run from above.
#[derive(Clone, Debug)]
pub struct OutputGrads {
    /// dL/dys, `(batch, time, output)`; `None` if the loss does not read the outputs.
    pub outputs: Option<Tensor>,
    /// The gradient of the final state, each field `(batch, size)`.
    pub carry: Vec<Tensor>,
}

/// Which gradients somebody needs.
#[derive(Clone, Copy, Debug)]
pub struct NeedsGrad {
    /// The gradient of the input.
    pub xs: bool,
    /// The gradients of the weights.
    pub params: bool,
    /// The gradient of the initial state.
    pub carry: bool,
}

/// What a backward run gives: what was wanted, and `None` or nothing for the rest.
#[derive(Clone, Debug, Default)]
pub struct InputGrads {
    /// dL/dxs, `(batch, time, input)`, zero in the padding.
    pub xs: Option<Tensor>,
    /// The gradients of the weights, in the order of the call.
    pub params: Vec<Tensor>,
    /// The gradient of the initial state.
    pub carry: Vec<Tensor>,
}

/// A result on its way into candle's graph: a tensor on any device, or host memory that need not be copied.
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
                let op = candle::op::BackpropOp::none();
                Tensor::from_storage(Storage::Cpu(storage), shape, op, false).to_device(device)
            }
        }
    }
}
