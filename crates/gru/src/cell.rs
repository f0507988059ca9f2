//! One step of a GRU.

use crate::Reset;
use candle::{Result, Tensor};
use candle_nn::ops::sigmoid;
use recurrent_core::{chunk_gates, gru_output, Cell, Engine, GateWeights, Hidden};
use recurrent_kernels::Kernel;
use std::sync::Arc;

/// One step of a GRU; see the [crate] for equations and weights.
#[derive(Clone, Debug)]
pub struct GruCell {
    pub(crate) weights: GateWeights,
    pub(crate) reset: Reset,
}

impl GruCell {
    /// h' with the reset gate before the matrix product.
    fn reset_before(&self, x: &Tensor, seen: &Tensor, h: &Tensor) -> Result<Tensor> {
        let [a_r, a_z, a_n] = chunk_gates(&self.weights.input(x)?)?; // (batch, hidden) each
        let [b_r, b_z] = chunk_gates(&self.weights.recurrent_of(0, 2, seen)?)?;
        let r = sigmoid(&(a_r + b_r)?)?;
        let z = sigmoid(&(a_z + b_z)?)?;
        let n = (a_n + self.weights.recurrent_of(2, 1, &(r * seen)?)?)?.tanh()?;
        &n + (z * (h - &n)?)?
    }
}

impl Cell for GruCell {
    type State = Hidden;

    fn input_size(&self) -> usize {
        self.weights.input_size()
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.weights.hidden_size()]
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        self.weights.params()
    }

    fn with_params(&self, params: Vec<Tensor>) -> Result<Self> {
        Ok(Self { weights: self.weights.replaced(&mut params.into_iter())?, ..self.clone() })
    }

    fn step(&self, x: &Tensor, s: &Hidden) -> Result<Hidden> {
        self.step_seeing(x, &s.h, s)
    }

    fn step_seeing(&self, x: &Tensor, seen: &Tensor, s: &Hidden) -> Result<Hidden> {
        let h = match self.reset {
            Reset::After => gru_output(&self.weights.input(x)?, &self.weights.recurrent(seen)?, &s.h)?,
            Reset::Before => self.reset_before(x, seen, &s.h)?,
        };
        Ok(Hidden { h })
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
