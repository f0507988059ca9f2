//! One step of a GRU.

use crate::Reset;
use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;
use recurrent_core::{
    chunk_gates, sigmoid_slope, Cell, Engine, Gate, GateWeights, GruParts, HiddenState, Params,
};
use recurrent_kernels::Kernel;
use std::sync::Arc;

/// One step of a GRU; see the [crate] for equations and weights.
#[derive(Clone, Debug, Params)]
pub struct GruCell {
    pub(crate) weights: GateWeights,
    #[param(skip)]
    pub(crate) reset: Reset,
}

impl GruCell {
    /// The gates and the candidate of a step.
    fn parts(&self, x: &Tensor, seen: &Tensor) -> Result<GruParts> {
        match self.reset {
            Reset::After => GruParts::new(&self.weights.input(x)?, &self.weights.recurrent(seen)?),
            Reset::Before => self.reset_before(x, seen),
        }
    }

    /// The same with the reset gate before the matrix product.
    fn reset_before(&self, x: &Tensor, seen: &Tensor) -> Result<GruParts> {
        let [a_r, a_z, a_n] = chunk_gates(&self.weights.input(x)?)?; // (batch, hidden) each
        let [b_r, b_z] = chunk_gates(&self.weights.recurrent_of(0, 2, seen)?)?;
        let r = sigmoid(&(a_r + b_r)?)?;
        let z = sigmoid(&(a_z + b_z)?)?;
        let n = (a_n + self.weights.recurrent_of(2, 1, &(&r * seen)?)?)?.tanh()?;
        Ok(GruParts { r, z, n })
    }
}

impl Cell for GruCell {
    type State = HiddenState;

    fn input_size(&self) -> usize {
        self.weights.input_size()
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.weights.hidden_size()]
    }

    fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
        self.step_with_recurrent_input(x, &s.h, s)
    }

    fn step_with_recurrent_input(
        &self,
        x: &Tensor,
        seen: &Tensor,
        s: &HiddenState,
    ) -> Result<HiddenState> {
        Ok(HiddenState { h: self.parts(x, seen)?.output(&s.h)? })
    }

    fn gates(&self, x: &Tensor, s: &HiddenState) -> Result<Vec<Gate>> {
        Ok(self.parts(x, &s.h)?.gates())
    }

    /// ```text
    /// δz = dh' ∘ (h − n) ∘ z(1 − z)      δn = dh' ∘ (1 − z) ∘ (1 − n²)
    /// reset after    δr = δn ∘ (W_hn h + b_hn) ∘ r(1 − r)      dh = dh' ∘ z + W_hhᵀ [δr; δz; δn ∘ r]
    /// reset before   δr = W_hnᵀ δn ∘ h ∘ r(1 − r)              dh = dh' ∘ z + W_hnᵀ δn ∘ r + W_hrᵀ δr + W_hzᵀ δz
    /// ```
    fn vjp(&self, x: &Tensor, s: &HiddenState, grad: &HiddenState) -> Result<Option<HiddenState>> {
        let (h, parts) = (s.h.detach(), self.parts(x, &s.h)?.detached());
        let [dz, dn] = parts.back(&h, &grad.h)?;
        let GruParts { r, z, .. } = &parts;
        let kept = (&grad.h * z)?;
        let before = match self.reset {
            Reset::After => {
                let b_n = self.weights.recurrent_of(2, 1, &h)?.detach();
                let dr = ((&dn * b_n)? * sigmoid_slope(r)?)?;
                (kept
                    + self.weights.recurrent_back(0, 3, &Tensor::cat(&[dr, dz, (dn * r)?], 1)?)?)?
            }
            Reset::Before => {
                let seen = self.weights.recurrent_back(2, 1, &dn)?; // dL/d(r ∘ h)
                let dr = ((&seen * h)? * sigmoid_slope(r)?)?;
                ((kept + (seen * r)?)?
                    + self.weights.recurrent_back(0, 2, &Tensor::cat(&[dr, dz], 1)?)?)?
            }
        };
        Ok(Some(HiddenState { h: before }))
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.weights.recurrent_blocks()
    }

    fn kernel(&self) -> Option<Arc<dyn Engine>> {
        match self.reset {
            Reset::After => Some(Arc::new(Kernel::new(recurrent_kernels::Gru))),
            Reset::Before => Some(Arc::new(Kernel::new(recurrent_kernels::GruResetBefore))),
        }
    }
}
