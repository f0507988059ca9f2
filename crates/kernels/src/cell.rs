//! A described cell as a [`Cell`].

use crate::Kernel;
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use recurrent_core::description::{Additions, Adjoint, Builder, Graph, StepInput, Value};
use recurrent_core::init::{Gates, Init, Weights};
use recurrent_core::{
    Cell, CellConfig, Engine, Gate, GateWeights, LayerId, Parameters, Params, State,
};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::vec::IntoIter;

/// The weights of a cell, and its equations as data; [`Described`] makes a [`Cell`] of it. A cell
/// with one matrix on the input and one on the output, and no other weights, is a [`GatedCell`].
pub trait Describe: Parameters + Clone + Send + Sync + 'static {
    /// The state.
    type State: State;

    /// The name of its kernel, as [`recurrent_core::Layer::explain`] shows it.
    const KERNEL: &'static str = "described kernel";

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
    /// With dropout on the recurrence, and the derivative; built when they are needed.
    masked: Arc<OnceLock<Graph>>,
    adjoint: Arc<OnceLock<Adjoint>>,
    kernel: Arc<Kernel>,
}

impl<D: Describe> Described<D> {
    /// The cell on `input` features, with fields of these sizes in its state.
    ///
    /// # Errors
    /// If the description does not fit the weights, or does not use one of them.
    pub fn new(input: usize, state_sizes: &[usize], cell: D) -> Result<Self> {
        let mut params = Vec::new();
        cell.append_params(&mut params);
        let shapes: Vec<_> =
            params.iter().map(|(name, param)| (name.clone(), param.dims().to_vec())).collect();
        let (sizes, own) = (state_sizes.to_vec(), cell.clone());
        let describe = move |additions: Additions| {
            Builder::describe(D::KERNEL, input, &sizes, &shapes, additions, |builder| {
                own.describe(builder)
            })
        };
        Ok(Self {
            weights: params.into_iter().map(|(_, param)| param).collect(),
            graph: Arc::new(describe(Additions::default())?),
            masked: Arc::default(),
            adjoint: Arc::default(),
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
        self.graph.input
    }

    fn state_sizes(&self) -> Vec<usize> {
        self.graph.fields.clone()
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
        let graph = match self.masked.get() {
            Some(graph) => graph,
            None => {
                let graph = self.graph(Additions { mask: true, ..Additions::default() })?;
                self.masked.get_or_init(|| graph)
            }
        };
        State::from_fields(graph.step(input)?)
    }

    fn gates(&self, x: &Tensor, s: &D::State) -> Result<Vec<Gate>> {
        let state = s.fields();
        let input = StepInput { weights: &self.weights, x, state: &state, masked: None };
        self.graph.gate_values(input)
    }

    fn vjp(&self, x: &Tensor, s: &D::State, grad: &D::State) -> Result<Option<D::State>> {
        let (state, grad) = (s.fields(), grad.fields());
        let input = StepInput { weights: &self.weights, x, state: &state, masked: None };
        let adjoint = self.adjoint.get_or_init(|| self.graph.adjoint());
        State::from_fields(adjoint.vjp(input, &grad)?).map(Some)
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

/// The equations of a cell whose weights are [`GateWeights`] alone; [`GatedConfig`] makes layers of
/// it.
///
/// ```
/// use candle_core::{DType, Device, Module, Result, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use recurrent_core::description::{Builder, Value};
/// use recurrent_core::init::Gates;
/// use recurrent_core::{HiddenState, Rnn};
/// use recurrent_kernels::{GatedCell, GatedConfig};
///
/// /// The minimal gated unit (Zhou et al. 2016, arXiv:1603.09420v1).
/// #[derive(Clone)]
/// struct MinimalGatedUnit;
///
/// impl GatedCell for MinimalGatedUnit {
///     type State = HiddenState;
///
///     const GATES: Gates = Gates::new(&["f", "n"]);
///
///     fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
///         let h = cell.recurrent();
///         let [f] = cell.gates(&h);
///         let f = f.sigmoid().gate("f");
///         let [n] = cell.gates(&(f * h));
///         vec![cell.state(0) + f * (n.tanh() - cell.state(0))]
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let vars = VarMap::new();
/// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
/// let layer = Rnn::new(3, 8, &GatedConfig::new(MinimalGatedUnit), vb)?;
/// let xs = Tensor::zeros((2, 50, 3), DType::F32, &Device::Cpu)?; // (batch, time, input)
/// assert_eq!(layer.forward(&xs)?.dims(), [2, 50, 8]);
/// # Ok(())
/// # }
/// ```
pub trait GatedCell: Clone + Send + Sync + 'static {
    /// The state. All its fields have the size of the layer.
    type State: State;

    /// The name of its kernel, as [`recurrent_core::Layer::explain`] shows it.
    const KERNEL: &'static str = "described kernel";

    /// Its gates, in the order of the rows of the weights.
    const GATES: Gates;

    /// The equations of one step, as [`Describe::describe`].
    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>>;
}

/// A [`GatedCell`] with its weights.
#[derive(Clone, Debug, Params)]
pub struct Gated<C: Clone> {
    weights: GateWeights,
    #[param(skip)]
    cell: C,
}

impl<C: GatedCell> Describe for Gated<C> {
    type State = C::State;

    const KERNEL: &'static str = C::KERNEL;

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        self.cell.describe(cell)
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.weights.recurrent_blocks()
    }
}

/// The options of a [`GatedCell`].
#[derive(Clone, Debug)]
pub struct GatedConfig<C> {
    /// The equations.
    pub cell: C,
    /// Whether there are biases.
    pub bias: bool,
    /// The initialisation of the weights.
    pub init: Init,
}

impl<C> GatedConfig<C> {
    /// With biases, and the default initialisation.
    pub fn new(cell: C) -> Self {
        Self { cell, bias: true, init: Init::default() }
    }
}

impl<C: GatedCell> CellConfig for GatedConfig<C> {
    type Cell = Described<Gated<C>>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Self::Cell> {
        let weights = Weights::new(vb, layer_id, &self.init, C::GATES, hidden)?;
        let weights = GateWeights::new(&weights, input, self.bias)?;
        let sizes = vec![hidden; C::State::FIELDS.len()];
        Described::new(input, &sizes, Gated { weights, cell: self.cell.clone() })
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        GateWeights::count(C::GATES.names.len(), input, hidden, self.bias)
    }
}
