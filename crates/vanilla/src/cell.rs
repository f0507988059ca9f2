//! One step of a vanilla network.

use candle::{Result, Tensor};
use recurrent_core::{Cell, Engine, GateWeights, Hidden, Nonlinearity};
use recurrent_kernels::{Activation, Kernel};
use std::sync::Arc;

/// One step of a vanilla network; see the [crate] for equations and weights.
#[derive(Clone, Debug)]
pub struct VanillaCell {
    pub(crate) weights: GateWeights,
    pub(crate) nonlinearity: Nonlinearity,
}

impl Cell for VanillaCell {
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

    fn step_seeing(&self, x: &Tensor, seen: &Tensor, _: &Hidden) -> Result<Hidden> {
        let a = (self.weights.input(x)? + self.weights.recurrent(seen)?)?; // (batch, hidden)
        Ok(Hidden { h: self.nonlinearity.apply(&a)? })
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.weights.recurrent_blocks()
    }

    fn kernel(&self) -> Option<Arc<dyn Engine>> {
        let activation = match self.nonlinearity {
            Nonlinearity::Tanh => Activation::Tanh,
            Nonlinearity::Relu => Activation::Relu,
        };
        Some(Arc::new(Kernel::new(recurrent_kernels::Vanilla(activation))))
    }
}
