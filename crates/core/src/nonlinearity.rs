//! The nonlinearity of a network without gates.

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
