//! One step of an LSTM.

use candle::{Result, Tensor};
use recurrent_core::{lstm_memory, Cell, Engine, GateWeights, Memory};
use recurrent_kernels::Kernel;
use std::sync::Arc;

/// One step of an LSTM; see the [crate] for equations and weights.
#[derive(Clone, Debug)]
pub struct LstmCell {
    pub(crate) weights: GateWeights,
}

impl Cell for LstmCell {
    type State = Memory;

    fn input_size(&self) -> usize {
        self.weights.input_size()
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.weights.hidden_size(); 2]
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        self.weights.params()
    }

    fn with_params(&self, params: Vec<Tensor>) -> Result<Self> {
        Ok(Self { weights: self.weights.replaced(&mut params.into_iter())? })
    }

    fn step(&self, x: &Tensor, s: &Memory) -> Result<Memory> {
        self.step_seeing(x, &s.h, s)
    }

    fn step_seeing(&self, x: &Tensor, seen: &Tensor, s: &Memory) -> Result<Memory> {
        let z = (self.weights.input(x)? + self.weights.recurrent(seen)?)?; // (batch, 4 * hidden)
        let (c, o) = lstm_memory(&z, &s.c)?;
        let h = (o * c.tanh()?)?;
        Ok(Memory { h, c })
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.weights.recurrent_blocks()
    }

    fn kernel(&self) -> Option<Arc<dyn Engine>> {
        Some(Arc::new(Kernel::new(recurrent_kernels::Lstm)))
    }
}
