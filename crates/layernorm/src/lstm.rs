//! The layer-normed LSTM.

use crate::gates::{Normed, NormedGates};
use crate::norm::{Normaliser, NormedState, Param};
use crate::{Norm, Placement, Scope};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use recurrent_core::description::{Builder, Value};
use recurrent_core::init::{Gates, Init, Weights};
use recurrent_core::{CellConfig, LayerId, LstmState, Params};
use recurrent_kernels::{Describe, Described};
use serde::{Deserialize, Serialize};

/// The options of a layer-normed LSTM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerNormLstmConfig {
    /// The initial value of all gains.
    pub gain: f64,
    /// The placement of the normalisation, which decides which values are carried.
    pub placement: Placement,
    /// The kind of normalisation.
    pub norm: Norm,
    /// The scope of one normalisation of the pre-activations.
    pub scope: Scope,
    /// The initialisation of the other weights.
    pub init: Init,
}

impl Default for LayerNormLstmConfig {
    fn default() -> Self {
        Self {
            gain: 1.0,
            placement: Placement::default(),
            norm: Norm::default(),
            scope: Scope::default(),
            init: Init::default(),
        }
    }
}

const GATES: Gates = Gates { names: &["i", "f", "g", "o"], forget: Some(1), input: Some(0) };

impl CellConfig for LayerNormLstmConfig {
    type Cell = Described<LayerNormLstmCell>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Described<LayerNormLstmCell>> {
        let weights = Weights::new(vb, layer_id, &self.init, GATES, hidden)?;
        let by = Normaliser { norm: self.norm, eps: self.placement.eps() };
        let normed = Normed { what: self.placement.what(), by, scope: self.scope };
        let bias = || Param::new(&weights, "bias", GATES.names.len() * hidden, 0.0);
        let state = |field| NormedState::new(&weights, field, hidden, self.gain);
        let cell = LayerNormLstmCell {
            placement: self.placement,
            gates: NormedGates::new(&weights, input, self.gain, normed)?,
            bias: (self.placement == Placement::TfAddons).then(bias).transpose()?,
            c: state("c")?,
            h: (self.placement == Placement::Burn).then(|| state("h")).transpose()?,
        };
        Described::new(input, &[hidden; 2], cell)
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        let vectors = match self.placement {
            Placement::Haste | Placement::PyTorchScript => 2, // gain_c, bias_c
            Placement::TfAddons => 6,                         // and bias, for four gates
            Placement::Burn => 4,                             // and gain_h, bias_h
        };
        self.placement.what().count(GATES.names.len(), input, hidden) + vectors * hidden
    }
}

/// One step of a layer-normed LSTM; see the [crate] and [`Placement`] for equations and weights.
#[derive(Clone, Debug, Params)]
pub struct LayerNormLstmCell {
    #[param(skip)]
    placement: Placement,
    gates: NormedGates,
    bias: Option<Param>, // (4 * hidden), of TensorFlow Addons
    c: NormedState,
    h: Option<NormedState>, // of burn
}

impl Describe for LayerNormLstmCell {
    type State = LstmState;

    const KERNEL: &'static str = "layer-normed lstm kernel";

    /// f keeps the cell state if c is carried without normalisation. If c is carried normalised, f
    /// alone does not determine how much is forgotten; see [`Placement`].
    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let by = self.gates.normed.by;
        let mut z = self.gates.sum(cell, cell.recurrent());
        if self.bias.is_some() {
            let bias = cell.weight("bias").chunks::<4>();
            z = std::array::from_fn(|gate| z[gate] + bias[gate]);
        }
        let [i, f, g, o] = z;
        let (i, f) = (i.sigmoid().gate("i"), f.sigmoid());
        let f = if self.placement == Placement::Haste { f.keep("f") } else { f.gate("f") };
        let (g, o) = (g.tanh().named("g"), o.sigmoid().gate("o"));
        let m = f * cell.state(1) + i * g;
        let normed = self.c.apply(cell, m, by);
        let mut h = o * normed.tanh();
        if let Some(norm) = &self.h {
            h = norm.apply(cell, h, by);
        }
        let c = match self.placement {
            Placement::Haste => m,
            Placement::PyTorchScript | Placement::TfAddons | Placement::Burn => normed,
        };
        vec![h, c]
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.gates.weights.recurrent_blocks()
    }
}
