//! A described cell as a [`Cell`].

use crate::Kernel;
use candle_core::{Result, Tensor};
use recurrent_core::description::{Additions, Adjoint, Builder, Graph, StepInput, Value};
use recurrent_core::{Cell, Engine, Gate, Parameters, State};
use std::ops::Deref;
use std::sync::Arc;
use std::vec::IntoIter;

/// The weights of a cell, and its equations as data; [`Described`] makes a [`Cell`] of it.
pub trait Describe: Parameters + Clone + Send + Sync + 'static {
    /// The state.
    type State: State;

    /// The name of its kernel, as [`recurrent_core::Layer::explain`] shows it.
    const KERNEL: &'static str = "described kernel";

    /// The number of input features.
    fn input_size(&self) -> usize;

    /// The sizes of the fields of the state.
    fn state_sizes(&self) -> Vec<usize>;

    /// The equations of one step: the value of every field of the state after it.
    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>>;

    /// The square recurrent blocks by gate, as [`Cell::recurrent_blocks`].
    ///
    /// # Errors
    /// Those of candle.
    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(Vec::new())
    }
}

/// A cell that is described as data: its definition, gates, vector-Jacobian product and kernel come
/// from [`Describe::describe`].
#[derive(Clone)]
pub struct Described<D> {
    cell: D,
    weights: Vec<Tensor>,
    graph: Arc<Graph>,
    masked: Arc<Graph>,
    adjoint: Arc<Adjoint>,
    kernel: Arc<Kernel>,
}

impl<D: Describe> Described<D> {
    /// The cell.
    ///
    /// # Errors
    /// If the description does not fit the weights, or does not use one of them.
    pub fn new(cell: D) -> Result<Self> {
        let mut params = Vec::new();
        cell.append_params(&mut params);
        let shapes: Vec<_> =
            params.iter().map(|(name, param)| (name.clone(), param.dims().to_vec())).collect();
        let (input, sizes, own) = (cell.input_size(), cell.state_sizes(), cell.clone());
        let describe = move |additions: Additions| {
            Builder::describe(D::KERNEL, input, &sizes, &shapes, additions, |builder| {
                own.describe(builder)
            })
        };
        let graph = describe(Additions::default())?;
        let masked = describe(Additions { mask: true, ..Additions::default() })?;
        Ok(Self {
            weights: params.into_iter().map(|(_, param)| param).collect(),
            adjoint: Arc::new(graph.adjoint()),
            graph: Arc::new(graph),
            masked: Arc::new(masked),
            kernel: Arc::new(Kernel::new(D::KERNEL, D::State::FIELDS, describe)),
            cell,
        })
    }
}

/// The weights and options.
impl<D> Deref for Described<D> {
    type Target = D;

    fn deref(&self) -> &D {
        &self.cell
    }
}

impl<D: Describe> Parameters for Described<D> {
    fn append_params(&self, params: &mut Vec<(String, Tensor)>) {
        self.cell.append_params(params);
    }

    fn replace_params(&self, params: &mut IntoIter<Tensor>) -> Result<Self> {
        let cell = self.cell.replace_params(params)?;
        let mut own = Vec::new();
        cell.append_params(&mut own);
        let weights = own.into_iter().map(|(_, param)| param).collect();
        Ok(Self { cell, weights, ..self.clone() })
    }
}

impl<D: Describe> Cell for Described<D> {
    type State = D::State;

    fn input_size(&self) -> usize {
        self.cell.input_size()
    }

    fn state_sizes(&self) -> Vec<usize> {
        self.cell.state_sizes()
    }

    fn step(&self, x: &Tensor, s: &D::State) -> Result<D::State> {
        let state = s.fields();
        let input = StepInput { weights: &self.weights, x, state: &state, masked: None };
        State::from_fields(self.graph.step(input)?)
    }

    fn step_with_recurrent_input(
        &self,
        x: &Tensor,
        seen: &Tensor,
        s: &D::State,
    ) -> Result<D::State> {
        let state = s.fields();
        let input = StepInput { weights: &self.weights, x, state: &state, masked: Some(seen) };
        State::from_fields(self.masked.step(input)?)
    }

    fn gates(&self, x: &Tensor, s: &D::State) -> Result<Vec<Gate>> {
        let state = s.fields();
        let input = StepInput { weights: &self.weights, x, state: &state, masked: None };
        self.graph.gate_values(input)
    }

    fn vjp(&self, x: &Tensor, s: &D::State, grad: &D::State) -> Result<Option<D::State>> {
        let (state, grad) = (s.fields(), grad.fields());
        let input = StepInput { weights: &self.weights, x, state: &state, masked: None };
        State::from_fields(self.adjoint.vjp(input, &grad)?).map(Some)
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.cell.recurrent_blocks()
    }

    fn graph(&self, additions: Additions) -> Result<Graph> {
        (self.kernel.describe)(additions)
    }

    fn kernel(&self) -> Option<Arc<dyn Engine>> {
        Some(self.kernel.clone())
    }
}
