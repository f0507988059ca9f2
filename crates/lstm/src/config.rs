//! The options of an LSTM.

use crate::LstmCell;
use candle_core::{bail, Result};
use candle_nn::VarBuilder;
use recurrent_core::init::{ForgetBias, Gates, Init, Weights};
use recurrent_core::{CellConfig, GateWeights, LayerId};
use recurrent_kernels::Described;
use serde::{Deserialize, Serialize};

/// The options of an LSTM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LstmConfig {
    /// Whether there are biases.
    pub bias: bool,
    /// The size of the projected output, `proj_size` of `torch.nn.LSTM`: from 1 to `hidden` − 1.
    pub proj: Option<usize>,
    /// Whether the gates read the cell state.
    pub peepholes: bool,
    /// Whether the input gate is 1 − f.
    pub coupled: bool,
    /// The initialisation of the weights.
    pub init: Init,
}

impl Default for LstmConfig {
    fn default() -> Self {
        Self { bias: true, proj: None, peepholes: false, coupled: false, init: Init::default() }
    }
}

impl LstmConfig {
    /// PyTorch's initialisation, but the forget gate's two biases add up to `sum`: 1 as Jozefowicz,
    /// Zaremba and Sutskever (2015) advise, or more for longer lags.
    pub fn forget_bias(sum: f64) -> Self {
        Self {
            init: Init { forget_bias: ForgetBias::Constant(sum), ..Init::default() },
            ..Self::default()
        }
    }

    /// PyTorch's initialisation with chrono biases for lags up to `longest` steps (Tallec and
    /// Ollivier 2018, arXiv:1804.11188v1).
    pub fn chrono(longest: usize) -> Self {
        Self {
            init: Init { forget_bias: ForgetBias::Chrono { longest }, ..Init::default() },
            ..Self::default()
        }
    }
}

const GATES: Gates = Gates { names: &["i", "f", "g", "o"], forget: Some(1), input: Some(0) };
const COUPLED: Gates = Gates { names: &["f", "g", "o"], forget: Some(0), input: None };

impl LstmConfig {
    fn gates(&self) -> Gates {
        if self.coupled {
            COUPLED
        } else {
            GATES
        }
    }
}

impl CellConfig for LstmConfig {
    type Cell = Described<LstmCell>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Described<LstmCell>> {
        if let Some(proj) = self.proj.filter(|proj| !(1..hidden).contains(proj)) {
            bail!("lstm proj: expected at least 1 and fewer than hidden, {hidden}, got {proj}")
        }
        let weights = Weights::new(vb, layer_id, &self.init, self.gates(), hidden)?;
        let weights = weights.projected(self.output_size(hidden))?;
        let peephole = |base, exists: bool| {
            (self.peepholes && exists).then(|| weights.by_unit(base)).transpose()
        };
        let cell = LstmCell {
            weights: GateWeights::new(&weights, input, self.bias)?,
            coupled: self.coupled,
            weight_hr: self.proj.map(|_| weights.weight_hr()).transpose()?,
            weight_ci: peephole("weight_ci", !self.coupled)?,
            weight_cf: peephole("weight_cf", true)?,
            weight_co: peephole("weight_co", true)?,
        };
        Described::new(input, &[self.output_size(hidden), hidden], cell)
    }

    fn output_size(&self, hidden: usize) -> usize {
        self.proj.unwrap_or(hidden)
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        let (gates, output) = (self.gates().names.len(), self.output_size(hidden));
        let biases = if self.bias { 2 } else { 0 };
        let projection = self.proj.map_or(0, |proj| proj * hidden);
        let peepholes = if self.peepholes { (gates - 1) * hidden } else { 0 }; // all gates but g
        gates * hidden * (input + output + biases) + projection + peepholes
    }
}
