//! The options of a vanilla network.

use crate::VanillaCell;
use candle_core::Result;
use candle_nn::VarBuilder;
use recurrent_core::init::{Block, Gates, Init, Scheme, Weights};
use recurrent_core::{CellConfig, GateWeights, LayerId, Nonlinearity};
use recurrent_kernels::Described;
use serde::{Deserialize, Serialize};

/// The options of a vanilla network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VanillaConfig {
    /// The nonlinearity φ.
    pub nonlinearity: Nonlinearity,
    /// Whether there are biases.
    pub bias: bool,
    /// The initialisation of the weights.
    pub init: Init,
}

impl Default for VanillaConfig {
    fn default() -> Self {
        Self { nonlinearity: Nonlinearity::Tanh, bias: true, init: Init::default() }
    }
}

impl VanillaConfig {
    /// The IRNN of Le, Jaitly and Hinton (2015, arXiv:1504.00941v2): ReLU, the recurrent block
    /// `scale` times the identity (1 in the paper's main experiments, 0.01 for speech), input
    /// weights from 0.001 · N(0, 1), biases zero.
    pub fn irnn(scale: f64) -> Self {
        let init = Init {
            scheme: Scheme::Normal { input: 0.001, recurrent: 1.0 },
            recurrent: Block::Identity { scale },
            ..Init::default()
        };
        Self { nonlinearity: Nonlinearity::Relu, init, ..Self::default() }
    }
}

const GATES: Gates = Gates { names: &["h"], forget: None, input: None };

impl CellConfig for VanillaConfig {
    type Cell = Described<VanillaCell>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Described<VanillaCell>> {
        let weights = Weights::new(vb, layer_id, &self.init, GATES, hidden)?;
        let weights = GateWeights::new(&weights, input, self.bias)?;
        let cell = VanillaCell { weights, nonlinearity: self.nonlinearity };
        Described::new(input, &[hidden], cell)
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        GateWeights::count(1, input, hidden, self.bias)
    }
}
