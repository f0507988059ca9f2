//! The layer-normed GRU.

use crate::gates::{Normed, NormedGates, What};
use crate::norm::{Normaliser, EPS};
use crate::{Norm, Scope};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use recurrent_core::description::{Builder, Value};
use recurrent_core::init::{Gates, Init, Weights};
use recurrent_core::{CellConfig, HiddenState, LayerId, Params};
use recurrent_kernels::{Describe, Described};
use serde::{Deserialize, Serialize};

/// The options of a layer-normed GRU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerNormGruConfig {
    /// The initial value of all gains.
    pub gain: f64,
    /// The kind of normalisation.
    pub norm: Norm,
    /// The scope of one normalisation of the pre-activations.
    pub scope: Scope,
    /// The initialisation of the other weights.
    pub init: Init,
}

impl Default for LayerNormGruConfig {
    fn default() -> Self {
        Self { gain: 1.0, norm: Norm::default(), scope: Scope::default(), init: Init::default() }
    }
}

const GATES: Gates = Gates { names: &["r", "z", "n"], forget: Some(1), input: None };

impl CellConfig for LayerNormGruConfig {
    type Cell = Described<LayerNormGruCell>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Described<LayerNormGruCell>> {
        let weights = Weights::new(vb, layer_id, &self.init, GATES, hidden)?;
        let by = Normaliser { norm: self.norm, eps: EPS };
        let normed = Normed { what: What::Apart, by, scope: self.scope };
        let gates = NormedGates::new(&weights, input, self.gain, normed)?;
        Described::new(input, &[hidden], LayerNormGruCell { gates })
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        What::Apart.count(3, input, hidden)
    }
}

/// One step of a layer-normed GRU; see the [crate] for equations and weights.
#[derive(Clone, Debug, Params)]
pub struct LayerNormGruCell {
    gates: NormedGates,
}

impl Describe for LayerNormGruCell {
    type State = HiddenState;

    const KERNEL: &'static str = "layer-normed gru kernel";

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let h = cell.state(0);
        let [(a_r, b_r), (a_z, b_z), (a_n, b_n)] = self.gates.parts(cell, cell.recurrent());
        let r = (a_r + b_r).sigmoid().gate("r");
        let z = (a_z + b_z).sigmoid().keep("z");
        let n = (a_n + r * b_n).tanh().named("n");
        vec![n + z * (h - n)]
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.gates.weights.recurrent_blocks()
    }
}
