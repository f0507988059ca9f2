//! One step of an LSTM.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;
use recurrent_core::{
    chunk_gates, linear, sigmoid_slope, tanh_slope, Cell, Engine, Gate, GateWeights, LstmParts,
    LstmState, Params,
};
use recurrent_kernels::{self as kernels, CellKernel, Kernel};
use std::sync::Arc;

/// One step of an LSTM; see the [crate] for equations and weights.
#[derive(Clone, Debug, Params)]
pub struct LstmCell {
    pub(crate) weights: GateWeights,
    #[param(skip)]
    pub(crate) coupled: bool,
    pub(crate) weight_hr: Option<Tensor>, // (proj, hidden)
    pub(crate) weight_ci: Option<Tensor>, // (hidden)
    pub(crate) weight_cf: Option<Tensor>, // (hidden)
    pub(crate) weight_co: Option<Tensor>, // (hidden)
}

impl LstmCell {
    fn engine<K: CellKernel>(&self, cell: K) -> Arc<dyn Engine> {
        let kernel = Kernel::new(cell);
        Arc::new(if self.weight_hr.is_some() { kernel.projected() } else { kernel })
    }

    /// The gates, the candidate and the cell state of a step.
    fn parts(&self, x: &Tensor, seen: &Tensor, s: &LstmState) -> Result<LstmParts> {
        // (batch, gates * hidden)
        let z = (self.weights.input(x)? + self.weights.recurrent(seen)?)?;
        let (i, f, g, o) = self.pre_activations(&z)?;
        let f = gate(f, &self.weight_cf, &s.c)?;
        let i = match i {
            Some(i) => gate(i, &self.weight_ci, &s.c)?,
            None => f.affine(-1.0, 1.0)?, // 1 − f
        };
        let g = g.tanh()?;
        let c = ((&f * &s.c)? + (&i * &g)?)?;
        let o = gate(o, &self.weight_co, &c)?;
        Ok(LstmParts { i, f, g, o, c })
    }

    /// The pre-activations i, f, g, o, `(batch, hidden)` each; i is missing if it is coupled to f.
    fn pre_activations(&self, z: &Tensor) -> Result<(Option<Tensor>, Tensor, Tensor, Tensor)> {
        if self.coupled {
            let [f, g, o] = chunk_gates(z)?;
            return Ok((None, f, g, o));
        }
        let [i, f, g, o] = chunk_gates(z)?;
        Ok((Some(i), f, g, o))
    }
}

/// σ(z + w ∘ c): a gate with its peephole on the cell state, if it has one.
fn gate(z: Tensor, peephole: &Option<Tensor>, c: &Tensor) -> Result<Tensor> {
    match peephole {
        Some(w) => sigmoid(&(z + c.broadcast_mul(w)?)?),
        None => sigmoid(&z),
    }
}

/// dc + w ∘ δ: adds the gradient through the peephole of a gate, if it has one.
fn through(dc: Tensor, d: &Tensor, peephole: &Option<Tensor>) -> Result<Tensor> {
    match peephole {
        Some(w) => dc + d.broadcast_mul(w)?,
        None => Ok(dc),
    }
}

impl Cell for LstmCell {
    type State = LstmState;

    fn input_size(&self) -> usize {
        self.weights.input_size()
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.weights.output_size(), self.weights.hidden_size()]
    }

    fn step(&self, x: &Tensor, s: &LstmState) -> Result<LstmState> {
        self.step_with_recurrent_input(x, &s.h, s)
    }

    fn step_with_recurrent_input(
        &self,
        x: &Tensor,
        seen: &Tensor,
        s: &LstmState,
    ) -> Result<LstmState> {
        let LstmParts { o, c, .. } = self.parts(x, seen, s)?;
        let h = (o * c.tanh()?)?; // (batch, hidden)
        let h = match &self.weight_hr {
            Some(weight_hr) => linear(&h, weight_hr, None)?, // (batch, proj)
            None => h,
        };
        Ok(LstmState { h, c })
    }

    fn gates(&self, x: &Tensor, s: &LstmState) -> Result<Vec<Gate>> {
        Ok(self.parts(x, &s.h, s)?.gates())
    }

    /// ```text
    /// δo = dh' ∘ tanh(c') ∘ o(1 − o)      δc = dc' + dh' ∘ o ∘ (1 − tanh²c')
    /// δi = δc ∘ g ∘ i(1 − i)      δf = δc ∘ c ∘ f(1 − f)      δg = δc ∘ i ∘ (1 − g²)
    /// dc = δc ∘ f      dh = W_hhᵀ [δi; δf; δg; δo]
    /// ```
    ///
    /// With a projection, W_hrᵀ dh' replaces dh'. Peepholes add w_co ∘ δo to δc, and w_ci ∘ δi +
    /// w_cf ∘ δf to dc. If i is 1 − f, δi is subtracted from δf and has no rows in W_hh.
    fn vjp(&self, x: &Tensor, s: &LstmState, grad: &LstmState) -> Result<Option<LstmState>> {
        let parts = self.parts(x, &s.h, s)?.detached();
        let LstmParts { f, o, c, .. } = &parts;
        let tanh_c = c.tanh()?;
        let dm = match &self.weight_hr {
            Some(weight_hr) => grad.h.matmul(weight_hr)?, // (batch, hidden)
            None => grad.h.clone(),
        };
        let d_o = ((&dm * &tanh_c)? * sigmoid_slope(o)?)?;
        let dc = (&grad.c + ((dm * o)? * tanh_slope(&tanh_c)?)?)?;
        let dc = through(dc, &d_o, &self.weight_co)?;
        let [di, df, dg] = parts.back(&s.c.detach(), &dc)?;
        let df = if self.coupled { (df - &di)? } else { df };
        let before = through((dc * f)?, &di, &self.weight_ci)?;
        let before = through(before, &df, &self.weight_cf)?;
        let d = if self.coupled { vec![df, dg, d_o] } else { vec![di, df, dg, d_o] };
        let h = Tensor::cat(&d, 1)?.matmul(&self.weights.weight_hh)?; // (batch, output)
        Ok(Some(LstmState { h, c: before }))
    }

    /// With a projection, W_hh W_hr gate by gate: the matrix from o ∘ tanh(c) to the next step. Its
    /// eigenvalues are those of W_hr W_hh, and zeros.
    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        let blocks = self.weights.recurrent_blocks()?;
        let Some(weight_hr) = &self.weight_hr else { return Ok(blocks) };
        blocks.into_iter().map(|(name, block)| Ok((name, block.matmul(weight_hr)?))).collect()
    }

    fn kernel(&self) -> Option<Arc<dyn Engine>> {
        Some(match (self.coupled, self.weight_co.is_some()) {
            (false, false) => self.engine(kernels::Lstm::<false, false>),
            (false, true) => self.engine(kernels::Lstm::<false, true>),
            (true, false) => self.engine(kernels::Lstm::<true, false>),
            (true, true) => self.engine(kernels::Lstm::<true, true>),
        })
    }
}
