//! A residual connection over time.

use candle_core::{bail, Result, Tensor};
use candle_nn::VarBuilder;
use recurrent_core::description::{Additions, Graph};
use recurrent_core::{Cell, CellConfig, Engine, Gate, LayerId, Parameters, State};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::vec::IntoIter;

/// The options of a cell with a residual connection over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemporalResidual<K> {
    /// The options of the inner cell.
    pub cell: K,
    /// α, the factor on the cell's output. 0.02 by default: with PyTorch's initialisation the
    /// spectral radius of a vanilla cell's Jacobian J is at most about 1/√3, so over 100 steps that
    /// of the product of I + α J is below (1 + 0.02 / √3)^100 = 3.2: the gradient neither vanishes
    /// nor explodes. Use a smaller α for longer sequences.
    pub alpha: f64,
}

impl<K: Default> Default for TemporalResidual<K> {
    fn default() -> Self {
        Self { cell: K::default(), alpha: 0.02 }
    }
}

impl<K> TemporalResidual<K> {
    /// The inner cell, and α.
    pub fn new(cell: K, alpha: f64) -> Self {
        Self { cell, alpha }
    }
}

impl<K: CellConfig> CellConfig for TemporalResidual<K> {
    type Cell = TemporalResidualCell<K::Cell>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Self::Cell> {
        if !self.alpha.is_finite() {
            bail!("residual over time, alpha: expected a finite number, got {}", self.alpha)
        }
        Ok(TemporalResidualCell {
            cell: self.cell.cell(input, hidden, layer_id, vb)?,
            alpha: self.alpha,
        })
    }

    fn output_size(&self, hidden: usize) -> usize {
        self.cell.output_size(hidden)
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        self.cell.param_count(input, hidden)
    }
}

/// One step of a cell with a residual connection over time: h_t = h_{t-1} + α f(x_t, h_{t-1}), with
/// f the output of the inner cell. The inner cell updates other fields of its state, such as c.
#[derive(Clone, Debug)]
pub struct TemporalResidualCell<C> {
    cell: C,
    alpha: f64,
}

impl<C: Cell> TemporalResidualCell<C> {
    /// The state `before` plus α times the cell's output.
    fn around(&self, before: &C::State, after: C::State) -> Result<C::State> {
        let h = before.fields().swap_remove(0);
        let mut fields = after.fields();
        fields[0] = (h + (&fields[0] * self.alpha)?)?;
        State::from_fields(fields)
    }
}

impl<C: Cell> Parameters for TemporalResidualCell<C> {
    fn append_params(&self, params: &mut Vec<(String, Tensor)>) {
        self.cell.append_params(params);
    }

    fn replace_params(&self, params: &mut IntoIter<Tensor>) -> Result<Self> {
        Ok(Self { cell: self.cell.replace_params(params)?, alpha: self.alpha })
    }
}

impl<C: Cell> Cell for TemporalResidualCell<C> {
    type State = C::State;

    fn input_size(&self) -> usize {
        self.cell.input_size()
    }

    fn state_sizes(&self) -> Vec<usize> {
        self.cell.state_sizes()
    }

    fn step(&self, x: &Tensor, s: &Self::State) -> Result<Self::State> {
        self.around(s, self.cell.step(x, s)?)
    }

    fn step_with_recurrent_input(
        &self,
        x: &Tensor,
        seen: &Tensor,
        s: &Self::State,
    ) -> Result<Self::State> {
        self.around(s, self.cell.step_with_recurrent_input(x, seen, s)?)
    }

    fn gates(&self, x: &Tensor, s: &Self::State) -> Result<Vec<Gate>> {
        // In the inner cell, a gate such as z in h' = (1 − z) ∘ n + z ∘ h decides how much of the
        // output is kept. With the residual it no longer does: the factor of h is 1 + α z, whatever
        // z is. The inner cell still updates other fields, c' = f ∘ c + i ∘ g, and f keeps them as
        // before.
        let memory = C::State::FIELDS.len() > 1;
        let gates = self.cell.gates(x, s)?.into_iter();
        Ok(gates.map(|gate| Gate { keeps: gate.keeps && memory, ..gate }).collect())
    }

    /// ```text
    /// dh = dh' + the product of the inner cell for α dh'
    /// ```
    ///
    /// For other fields, the result is that of the inner cell; `None` if that cell has no closed
    /// form.
    fn vjp(&self, x: &Tensor, s: &Self::State, grad: &Self::State) -> Result<Option<Self::State>> {
        let mut inside = grad.fields();
        let around = inside[0].clone();
        inside[0] = (&around * self.alpha)?;
        let Some(before) = self.cell.vjp(x, s, &State::from_fields(inside)?)? else {
            return Ok(None);
        };
        let mut before = before.fields();
        before[0] = (&before[0] + around)?;
        Ok(Some(State::from_fields(before)?))
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.cell.recurrent_blocks()
    }

    fn graph(&self, additions: Additions) -> Result<Graph> {
        match additions.temporal_residual {
            None => self.cell.graph(Additions { temporal_residual: Some(self.alpha), ..additions }),
            Some(_) => {
                bail!("graph: expected one residual connection over time, got one inside another")
            }
        }
    }

    fn kernel(&self) -> Option<Arc<dyn Engine>> {
        self.cell.kernel()?.temporal_residual(self.alpha)
    }
}
