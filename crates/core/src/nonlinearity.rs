//! The nonlinearity of a network without gates.

use crate::{relu, tanh_slope};
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// The nonlinearity φ of a vanilla network, normalised or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nonlinearity {
    /// tanh.
    #[default]
    Tanh,
    /// max(0, ·), with the derivative 0 at 0.
    Relu,
}

impl Nonlinearity {
    /// φ(a), of any shape.
    ///
    /// # Errors
    /// Those of candle.
    pub fn apply(self, a: &Tensor) -> Result<Tensor> {
        match self {
            Self::Tanh => a.tanh(),
            Self::Relu => relu(a),
        }
    }

    /// φ′ as a function of the output `y` = φ(a), of any shape.
    ///
    /// # Errors
    /// Those of candle.
    pub fn slope(self, y: &Tensor) -> Result<Tensor> {
        match self {
            Self::Tanh => tanh_slope(y),
            Self::Relu => y.gt(0.0)?.to_dtype(y.dtype()),
        }
    }
}
