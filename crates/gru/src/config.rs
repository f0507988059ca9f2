//! The options of a GRU.

use crate::GruCell;
use candle_core::Result;
use candle_nn::VarBuilder;
use recurrent_core::init::{ForgetBias, Init};
use recurrent_core::{CellConfig, LayerId};
use recurrent_kernels::{Described, Gated, GatedConfig};
use serde::{Deserialize, Serialize};

/// The options of a GRU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GruConfig {
    /// The position of the reset gate.
    pub reset: Reset,
    /// Whether there are biases.
    pub bias: bool,
    /// The initialisation of the weights.
    pub init: Init,
}

/// The position of the reset gate in n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reset {
    /// After the matrix product, r ∘ (W_hn h_{t-1} + b_hn): PyTorch, cuDNN, and the paper's first
    /// version.
    #[default]
    After,
    /// Before it, W_hn (r ∘ h_{t-1}) + b_hn: the paper's third version.
    Before,
}

impl Default for GruConfig {
    fn default() -> Self {
        Self { reset: Reset::After, bias: true, init: Init::default() }
    }
}

impl GruConfig {
    /// PyTorch's initialisation with chrono biases on z for lags up to `longest` steps (Tallec and
    /// Ollivier 2018, arXiv:1804.11188v1).
    pub fn chrono(longest: usize) -> Self {
        Self {
            init: Init { forget_bias: ForgetBias::Chrono { longest }, ..Init::default() },
            ..Self::default()
        }
    }
}

impl GruConfig {
    fn gated(&self) -> GatedConfig<GruCell> {
        let cell = GruCell { reset: self.reset };
        GatedConfig { cell, bias: self.bias, init: self.init.clone() }
    }
}

impl CellConfig for GruConfig {
    type Cell = Described<Gated<GruCell>>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Self::Cell> {
        self.gated().cell(input, hidden, layer_id, vb)
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        self.gated().param_count(input, hidden)
    }
}
