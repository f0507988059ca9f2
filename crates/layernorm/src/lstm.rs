//! The layer-normed LSTM.

use crate::gates::{Normed, NormedGates};
use crate::norm::{Normaliser, NormedState, Param};
use crate::{Norm, Placement, Scope};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use recurrent_core::init::{Gates, Init, Weights};
use recurrent_core::{Cell, CellConfig, Engine, Gate, LayerId, LstmParts, LstmState, Params};
use recurrent_kernels::Kernel;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
    type Cell = LayerNormLstmCell;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<LayerNormLstmCell> {
        let weights = Weights::new(vb, layer_id, &self.init, GATES, hidden)?;
        let by = Normaliser { norm: self.norm, eps: self.placement.eps() };
        let normed = Normed { what: self.placement.what(), by, scope: self.scope };
        let bias = || Param::new(&weights, "bias", GATES.names.len() * hidden, 0.0);
        let state = |field| NormedState::new(&weights, field, hidden, self.gain);
        Ok(LayerNormLstmCell {
            placement: self.placement,
            gates: NormedGates::new(&weights, input, self.gain, normed)?,
            bias: (self.placement == Placement::TfAddons).then(bias).transpose()?,
            c: state("c")?,
            h: (self.placement == Placement::Burn).then(|| state("h")).transpose()?,
        })
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

impl LayerNormLstmCell {
    /// The gates, the candidate and the new cell state of a step, before its normalisation.
    fn parts(&self, x: &Tensor, seen: &Tensor, s: &LstmState) -> Result<LstmParts> {
        let z = self.gates.sum(x, seen)?; // (batch, 4 * hidden)
        match &self.bias {
            None => LstmParts::new(&z, &s.c),
            Some(bias) => LstmParts::new(&z.broadcast_add(&bias.value)?, &s.c),
        }
    }
}

impl Cell for LayerNormLstmCell {
    type State = LstmState;

    fn input_size(&self) -> usize {
        self.gates.weights.input_size()
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.gates.weights.hidden_size(); 2]
    }

    fn step(&self, x: &Tensor, s: &LstmState) -> Result<LstmState> {
        self.step_with_recurrent_input(x, &s.h, s)
    }

    fn step_with_recurrent_input(
        &self,
        x: &Tensor,
        seen: &Tensor,
        s: &LstmState,
    ) -> Result<LstmState> {
        let by = self.gates.normed.by;
        let LstmParts { o, c: m, .. } = self.parts(x, seen, s)?;
        let normed = self.c.apply(&m, by)?; // (batch, hidden)
        let mut h = (o * normed.tanh()?)?;
        if let Some(norm) = &self.h {
            h = norm.apply(&h, by)?;
        }
        let c = match self.placement {
            Placement::Haste => m,
            Placement::PyTorchScript | Placement::TfAddons | Placement::Burn => normed,
        };
        Ok(LstmState { h, c })
    }

    /// f keeps the cell state if c is carried without normalisation. If c is carried normalised, f
    /// alone does not determine how much is forgotten; see [`Placement`].
    fn gates(&self, x: &Tensor, s: &LstmState) -> Result<Vec<Gate>> {
        let as_it_is = self.placement == Placement::Haste;
        let gates = self.parts(x, &s.h, s)?.gates().into_iter();
        Ok(gates.map(|gate| Gate { keeps: gate.keeps && as_it_is, ..gate }).collect())
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.gates.weights.recurrent_blocks()
    }

    fn kernel(&self) -> Option<Arc<dyn Engine>> {
        let Normed { by, scope, .. } = self.gates.normed;
        match (self.placement, by.norm, scope) {
            (Placement::Haste, Norm::Layer, Scope::Whole) => {
                Some(Arc::new(Kernel::new(recurrent_kernels::LayerNormLstm { eps: by.eps })))
            }
            _ => None,
        }
    }
}
