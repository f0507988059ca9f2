//! One step of a recurrent network.

use crate::description::{Additions, Graph};
use crate::{Engine, Gate, LayerId, Parameters, State};
use candle_core::{bail, DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use std::sync::Arc;

/// One step of a recurrent network: weights, and `(x_t, state) -> state`.
///
/// A cell has no loop, layers or direction; [`crate::Rnn`] adds them. `step` defines the cell, in
/// candle operations that read like the paper. Kernels and closed forms are tested against it.
pub trait Cell: Parameters + Clone + Send + Sync + 'static {
    /// The state that is carried from step to step.
    type State: State;

    /// The number of features of `x_t`.
    fn input_size(&self) -> usize;

    /// The size of each field of the state, in the order of [`State::FIELDS`]. The first is the
    /// output's.
    fn state_sizes(&self) -> Vec<usize>;

    /// The weights by name, always in the same order.
    fn params(&self) -> Vec<(String, Tensor)> {
        let mut params = Vec::new();
        self.append_params(&mut params);
        params
    }

    /// The same cell over other weights, in the order of [`Cell::params`].
    ///
    /// # Errors
    /// If there are too few or too many.
    fn with_params(&self, params: Vec<Tensor>) -> Result<Self> {
        let mut params = params.into_iter();
        let replaced = self.replace_params(&mut params)?;
        match params.len() {
            0 => Ok(replaced),
            more => bail!("params: expected the weights of the cell, got {more} more"),
        }
    }

    /// One step: `x` is `(batch, input)`.
    ///
    /// # Errors
    /// Those of candle, where shapes do not fit.
    fn step(&self, x: &Tensor, state: &Self::State) -> Result<Self::State>;

    /// One step whose recurrent matrices multiply `recurrent_input`, `(batch, output)`, instead of
    /// the last output; `state` still holds that output. Variational dropout on the recurrence
    /// needs it. A cell without it refuses such dropout.
    ///
    /// # Errors
    /// As [`Cell::step`]; if the cell does not implement it.
    fn step_with_recurrent_input(
        &self,
        _x: &Tensor,
        _seen: &Tensor,
        _state: &Self::State,
    ) -> Result<Self::State> {
        bail!(
            "recurrent_dropout recurrent: this cell does not implement \
             `step_with_recurrent_input`, which dropout on the recurrence needs"
        )
    }

    /// The gates of the step from `state` at the input `x`, `(batch, input)`, with values
    /// `(batch, hidden)`; empty by default. With dropout on the recurrence, `state` holds the
    /// masked output.
    ///
    /// # Errors
    /// As [`Cell::step`].
    fn gates(&self, _x: &Tensor, _state: &Self::State) -> Result<Vec<Gate>> {
        Ok(Vec::new())
    }

    /// The vector-Jacobian product of one step in closed form: gᵀ ∂s'/∂s, with g the gradient
    /// `grad` with respect to the state after the step, and s the `state` before it. `None`, the
    /// default, if the cell has no closed form; callers then differentiate `step`.
    ///
    /// In candle's graph, the result depends on the recurrent weights only; slopes, gates and
    /// states are constants. That is the "immediate" derivative of Pascanu, Mikolov and Bengio
    /// (2013, arXiv:1211.5063v2), which their regulariser Ω takes.
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

    /// The square recurrent blocks by gate, each `(hidden, hidden)`, for the spectral radius; empty
    /// by default.
    ///
    /// # Errors
    /// Those of candle.
    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(Vec::new())
    }

    /// The kernel that runs this cell over a whole sequence on the CPU in f32 and f64, if there is
    /// one.
    fn kernel(&self) -> Option<Arc<dyn Engine>> {
        None
    }

    /// The equations of one step as data, with `additions`.
    ///
    /// # Errors
    /// If the cell is not described as data: its `step` is its only definition.
    fn graph(&self, _additions: Additions) -> Result<Graph> {
        bail!("graph: this cell is not described as data")
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

/// The options of a cell, from which it is made at any size.
pub trait CellConfig: Clone + Send + Sync + 'static {
    /// The cell.
    type Cell: Cell;

    /// A cell of `hidden` units on `input` features. Its weights are looked up in `vb`, or drawn if
    /// they do not exist yet. Their names in `vb` end with the suffix of `layer_id`:
    /// `weight_ih_l0`; without one they are those of `torch.nn.LSTMCell`: `weight_ih`.
    ///
    /// # Errors
    /// If a size is 0, options contradict each other, or a weight exists with another shape.
    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Self::Cell>;

    /// The size of that cell's output, the first of its [`Cell::state_sizes`]: `hidden` unless the
    /// options say otherwise.
    fn output_size(&self, hidden: usize) -> usize {
        hidden
    }

    /// The number of weights of that cell.
    fn param_count(&self, input: usize, hidden: usize) -> usize;
}
