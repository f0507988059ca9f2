//! The intermediate values of one step of a gated network, and their gradients.

use crate::{chunk_gates, sigmoid_slope, tanh_slope, Gate};
use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

/// The gates, the candidate and the cell state of one step of an LSTM, `(batch, hidden)` each.
///
/// ```text
/// i, f, o = σ(...)    g = tanh(...)    c = f ∘ c_{t-1} + i ∘ g
/// ```
#[derive(Clone, Debug)]
pub struct LstmParts {
    /// The input gate.
    pub i: Tensor,
    /// The forget gate.
    pub f: Tensor,
    /// The candidate.
    pub g: Tensor,
    /// The output gate.
    pub o: Tensor,
    /// The cell state after the step.
    pub c: Tensor,
}

impl LstmParts {
    /// From the pre-activations `z`, `(batch, 4 * hidden)` in the order i, f, g, o, and the cell
    /// state before the step.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn new(z: &Tensor, before: &Tensor) -> Result<Self> {
        let [i, f, g, o] = chunk_gates(z)?;
        let (i, f, g, o) = (sigmoid(&i)?, sigmoid(&f)?, g.tanh()?, sigmoid(&o)?);
        let c = ((&f * before)? + (&i * &g)?)?;
        Ok(Self { i, f, g, o, c })
    }

    /// The gates i, f and o; f keeps the cell state.
    pub fn gates(self) -> Vec<Gate> {
        let gate = |(name, values)| Gate { name, values, keeps: name == "f" };
        [("i", self.i), ("f", self.f), ("o", self.o)].into_iter().map(gate).collect()
    }

    /// The same, detached from the graph.
    #[must_use]
    pub fn detached(self) -> Self {
        let Self { i, f, g, o, c } = self;
        Self { i: i.detach(), f: f.detach(), g: g.detach(), o: o.detach(), c: c.detach() }
    }

    /// The gradients δi, δf and δg of the pre-activations, given the cell state before the step and
    /// the gradient δc with respect to the cell state after it.
    ///
    /// ```text
    /// δi = δc ∘ g ∘ i(1 − i)    δf = δc ∘ c_{t-1} ∘ f(1 − f)    δg = δc ∘ i ∘ (1 − g²)
    /// ```
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn back(&self, before: &Tensor, dc: &Tensor) -> Result<[Tensor; 3]> {
        let Self { i, f, g, .. } = self;
        Ok([
            ((dc * g)? * sigmoid_slope(i)?)?,
            ((dc * before)? * sigmoid_slope(f)?)?,
            ((dc * i)? * tanh_slope(g)?)?,
        ])
    }
}

/// The gates and the candidate of one step of a GRU, `(batch, hidden)` each.
///
/// ```text
/// r, z = σ(...)    n = tanh(...)    h_t = (1 − z) ∘ n + z ∘ h_{t-1}
/// ```
#[derive(Clone, Debug)]
pub struct GruParts {
    /// The reset gate.
    pub r: Tensor,
    /// The update gate, which keeps the old state.
    pub z: Tensor,
    /// The candidate.
    pub n: Tensor,
}

impl GruParts {
    /// The parts from the pre-activations of the input part `a` and the recurrent part `b`, each
    /// `(batch, 3 * hidden)` in the order r, z, n, with the reset gate after the matrix product.
    ///
    /// ```text
    /// r = σ(a_r + b_r)    z = σ(a_z + b_z)    n = tanh(a_n + r ∘ b_n)
    /// ```
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn new(a: &Tensor, b: &Tensor) -> Result<Self> {
        let ([a_r, a_z, a_n], [b_r, b_z, b_n]) = (chunk_gates(a)?, chunk_gates(b)?);
        let r = sigmoid(&(a_r + b_r)?)?;
        let z = sigmoid(&(a_z + b_z)?)?;
        let n = (a_n + (&r * b_n)?)?.tanh()?;
        Ok(Self { r, z, n })
    }

    /// The output after the step, given the output before it.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn output(&self, before: &Tensor) -> Result<Tensor> {
        let Self { z, n, .. } = self;
        n + (z * (before - n)?)?
    }

    /// The gates r and z; z keeps the previous output.
    pub fn gates(self) -> Vec<Gate> {
        let gate = |(name, values)| Gate { name, values, keeps: name == "z" };
        [("r", self.r), ("z", self.z)].into_iter().map(gate).collect()
    }

    /// The same, detached from the graph.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { r: self.r.detach(), z: self.z.detach(), n: self.n.detach() }
    }

    /// The gradients δz and δn of the pre-activations, given the output before the step and the
    /// gradient with respect to the output after it.
    ///
    /// ```text
    /// δz = dh' ∘ (h_{t-1} − n) ∘ z(1 − z)    δn = dh' ∘ (1 − z) ∘ (1 − n²)
    /// ```
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn back(&self, before: &Tensor, dh: &Tensor) -> Result<[Tensor; 2]> {
        let Self { z, n, .. } = self;
        let dz = ((dh * (before - n)?)? * sigmoid_slope(z)?)?;
        let dn = ((dh * z.affine(-1.0, 1.0)?)? * tanh_slope(n)?)?;
        Ok([dz, dn])
    }
}
