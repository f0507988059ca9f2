//! One step of a recurrent network.

use crate::{Engine, Gate, LayerId, State};
use candle::{bail, DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use std::sync::Arc;

/// One step of a recurrent network: weights, and `(x_t, state) -> state`.
///
/// A cell knows no loop, no layers and no direction; [`crate::Rnn`] gives it those. `step` is the definition, in
/// candle operations that read like the paper; everything else that computes the same is tested against it.
pub trait Cell: Clone + Send + Sync + 'static {
    /// What is carried from step to step.
    type State: State;

    /// The number of features of `x_t`.
    fn input_size(&self) -> usize;

    /// The size of each field of the state, in the order of [`State::FIELDS`]. The first is the output's.
    fn state_sizes(&self) -> Vec<usize>;

    /// The weights by name, always in the same order.
    fn params(&self) -> Vec<(String, Tensor)>;

    /// The same cell over other weights, in the order of [`Cell::params`].
    ///
    /// # Errors
    /// If there are too few.
    fn with_params(&self, params: Vec<Tensor>) -> Result<Self>;

    /// One step: `x` is `(batch, input)`.
    ///
    /// # Errors
    /// Those of candle, where shapes do not fit.
    fn step(&self, x: &Tensor, state: &Self::State) -> Result<Self::State>;

    /// One step in which the recurrent matrices see `seen`, `(batch, output)`, in the place of the last output, which the state still
    /// carries: what variational dropout on the recurrence needs. A cell without it refuses such dropout.
    ///
    /// # Errors
    /// As [`Cell::step`], and if the cell does not say how this enters.
    fn step_with_recurrent_input(
        &self,
        _x: &Tensor,
        _seen: &Tensor,
        _state: &Self::State,
    ) -> Result<Self::State> {
        bail!("noise recurrent: this cell does not implement `step_seeing`, which dropout on the recurrence needs")
    }

    /// The gates of the step from `state` at the input `x`, `(batch, input)`, with values `(batch, hidden)`. None by default: a cell that has gates
    /// and does not name them is measured without. With dropout on the recurrence, the output in `state` is what the recurrent matrices see.
    ///
    /// # Errors
    /// As [`Cell::step`].
    fn gates(&self, _x: &Tensor, _state: &Self::State) -> Result<Vec<Gate>> {
        Ok(Vec::new())
    }

    /// What comes back through one step in closed form: gᵀ ∂s'/∂s, with g the gradient `grad` with respect to the state after the step and s
    /// the `state` before it. `None`, the default, if the cell does not offer it; then one differentiates `step`.
    ///
    /// In candle's graph, the result depends on the weights by which the recurrence multiplies, and on nothing else: slopes, gates and
    /// states count as constants. That is the "immediate" derivative of Pascanu, Mikolov and Bengio (2013, arXiv:1211.5063v2), which their
    /// regulariser Ω takes.
    ///
    /// # Errors
    /// If a shape does not fit.
    fn vjp(
        &self,
        _x: &Tensor,
        _state: &Self::State,
        _grad: &Self::State,
    ) -> Result<Option<Self::State>> {
        Ok(None)
    }

    /// The square blocks by which one step's output enters the next, by gate, each `(hidden, hidden)`; for the
    /// spectral radius. Empty if the cell has none to show.
    ///
    /// # Errors
    /// Those of candle.
    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(Vec::new())
    }

    /// A kernel that runs this cell over a whole sequence on the CPU in f32 and f64, if there is one.
    fn kernel(&self) -> Option<Arc<dyn Engine>> {
        None
    }

    /// The state before the first step: zeros, each field `(batch, size)`.
    ///
    /// # Errors
    /// Those of candle.
    fn zero_state(&self, batch: usize, dtype: DType, device: &Device) -> Result<Self::State> {
        let zeros = |size| Tensor::zeros((batch, size), dtype, device);
        State::from_fields(self.state_sizes().into_iter().map(zeros).collect::<Result<_>>()?)
    }
}

/// The options of a cell: what makes it, at any size.
pub trait CellConfig: Clone + Send + Sync + 'static {
    /// The cell that it makes.
    type Cell: Cell;

    /// A cell of `hidden` units on `input` features, its weights looked up in `vb`, or drawn where they do not exist yet.
    /// Their names end as `place` says, `weight_ih_l0`, and without one as those of `torch.nn.LSTMCell`, `weight_ih`.
    ///
    /// # Errors
    /// If options contradict each other, or a weight exists with another shape.
    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Self::Cell>;

    /// The size of that cell's output, the first of its [`Cell::state_sizes`]: `hidden` unless the options say otherwise.
    fn output_size(&self, hidden: usize) -> usize {
        hidden
    }

    /// The number of weights of that cell.
    fn param_count(&self, input: usize, hidden: usize) -> usize;
}
