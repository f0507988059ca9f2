//! One step of a GRU.

use candle::{Result, Tensor};
use recurrent_core::{gru_output, Cell, Engine, GateWeights, Hidden};
use recurrent_kernels::Kernel;
use std::sync::Arc;

/// One step of a GRU; see the [crate] for equations and weights.
#[derive(Clone, Debug)]
pub struct GruCell {
    pub(crate) weights: GateWeights,
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
        Ok(Self { weights: self.weights.replaced(&mut params.into_iter())? })
    }

    fn step(&self, x: &Tensor, s: &Hidden) -> Result<Hidden> {
        self.step_seeing(x, &s.h, s)
    }

    fn step_seeing(&self, x: &Tensor, seen: &Tensor, s: &Hidden) -> Result<Hidden> {
        Ok(Hidden { h: gru_output(&self.weights.input(x)?, &self.weights.recurrent(seen)?, &s.h)? })
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.weights.recurrent_blocks()
    }

    fn kernel(&self) -> Option<Arc<dyn Engine>> {
        Some(Arc::new(Kernel::new(recurrent_kernels::Gru)))
    }
}
