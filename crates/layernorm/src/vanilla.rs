//! The layer-normed vanilla network.

use crate::gates::{Normed, NormedGates, What};
use crate::norm::{Normaliser, EPS};
use crate::{Norm, Scope};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use recurrent_core::description::{Builder, Value};
use recurrent_core::init::{Gates, Init, Weights};
use recurrent_core::{CellConfig, HiddenState, LayerId, Nonlinearity, Params};
use recurrent_kernels::{Describe, Described};
use serde::{Deserialize, Serialize};

/// The options of a layer-normed vanilla network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerNormVanillaConfig {
    /// The initial value of all gains.
    pub gain: f64,
    /// The nonlinearity φ.
    pub nonlinearity: Nonlinearity,
    /// Whether the sum of the input and the recurrent part is normalised, or each part.
    pub norm_input: NormInput,
    /// The kind of normalisation.
    pub norm: Norm,
    /// The initialisation of the other weights.
    pub init: Init,
}

/// The values that a vanilla network normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormInput {
    /// The sum of both parts, as one vector: Ba, Kiros and Hinton 2016 (arXiv:1607.06450v1, eq. 4).
    ///
    /// ```text
    /// h_t = tanh(LN(W_ih x_t + W_hh h_{t-1}) ∘ gain + b_ih + b_hh)
    /// LN(a) = (a − mean(a)) / √(mean((a − mean(a))²) + 1e-5)
    /// ```
    ///
    /// Gradient: each step of the backward pass multiplies W_hh by J / s, with s the deviation of
    /// the *sum*. A large input makes s large and the gradient small.
    #[default]
    Sum,
    /// Each part separately, as in that paper's LSTM and GRU.
    ///
    /// ```text
    /// h_t = tanh(LN(W_ih x_t) ∘ gain_ih + b_ih + LN(W_hh h_{t-1}) ∘ gain_hh + b_hh)
    /// LN(a) = (a − mean(a)) / √(mean((a − mean(a))²) + 1e-5)
    /// ```
    ///
    /// Gradient: s is the deviation of W_hh h_{t-1} alone. So the scale of W_hh divides out, and
    /// the scale of the input has no effect.
    Separate,
}

impl Default for LayerNormVanillaConfig {
    fn default() -> Self {
        Self {
            gain: 1.0,
            nonlinearity: Nonlinearity::default(),
            norm_input: NormInput::default(),
            norm: Norm::default(),
            init: Init::default(),
        }
    }
}

impl LayerNormVanillaConfig {
    fn what(&self) -> What {
        match self.norm_input {
            NormInput::Sum => What::Together,
            NormInput::Separate => What::Apart,
        }
    }
}

const GATES: Gates = Gates { names: &["h"], forget: None, input: None };

impl CellConfig for LayerNormVanillaConfig {
    type Cell = Described<LayerNormVanillaCell>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Described<LayerNormVanillaCell>> {
        let weights = Weights::new(vb, layer_id, &self.init, GATES, hidden)?;
        let by = Normaliser { norm: self.norm, eps: EPS };
        let normed = Normed { what: self.what(), by, scope: Scope::Whole };
        let gates = NormedGates::new(&weights, input, self.gain, normed)?;
        let cell = LayerNormVanillaCell { gates, nonlinearity: self.nonlinearity };
        Described::new(input, &[hidden], cell)
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        self.what().count(1, input, hidden)
    }
}

/// One step of a layer-normed vanilla network; see the [crate] and [`NormInput`] for equations and
/// weights.
#[derive(Clone, Debug, Params)]
pub struct LayerNormVanillaCell {
    gates: NormedGates,
    #[param(skip)]
    nonlinearity: Nonlinearity,
}

impl Describe for LayerNormVanillaCell {
    type State = HiddenState;

    const KERNEL: &'static str = "layer-normed vanilla kernel";

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let [a] = self.gates.sum(cell, cell.recurrent());
        vec![a.nonlinearity(self.nonlinearity)]
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.gates.weights.recurrent_blocks()
    }
}
