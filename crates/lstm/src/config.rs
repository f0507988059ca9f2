//! The options of an LSTM.

use crate::LstmCell;
use candle::Result;
use candle_nn::VarBuilder;
use recurrent_core::init::{Bias, Gates, Init, Weights};
use recurrent_core::{CellConfig, GateWeights, Place};
use serde::{Deserialize, Serialize};

/// The options of an LSTM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LstmConfig {
    /// Whether there are biases.
    pub bias: bool,
    /// How the weights begin.
    pub init: Init,
}

impl Default for LstmConfig {
    fn default() -> Self {
        Self { bias: true, init: Init::default() }
    }
}

impl LstmConfig {
    /// PyTorch's initialisation, but the forget gate's two biases add up to `sum`: 1 as Jozefowicz, Zaremba and Sutskever
    /// (2015) advise, or more for longer lags.
    pub fn forget_bias(sum: f64) -> Self {
        Self { init: Init { memory: Bias::Sum(sum), ..Init::default() }, ..Self::default() }
    }

    /// PyTorch's initialisation with chrono biases for lags up to `longest` steps (Tallec and Ollivier 2018,
    /// arXiv:1804.11188v1).
    pub fn chrono(longest: usize) -> Self {
        Self { init: Init { memory: Bias::Chrono { longest }, ..Init::default() }, ..Self::default() }
    }
}

const GATES: Gates = Gates { names: &["i", "f", "g", "o"], memory: Some(1), input: Some(0) };

impl CellConfig for LstmConfig {
    type Cell = LstmCell;

    fn cell(&self, input: usize, hidden: usize, place: Option<Place>, vb: VarBuilder) -> Result<LstmCell> {
        let weights = Weights::new(vb, place, &self.init, GATES, hidden)?;
        Ok(LstmCell { weights: GateWeights::new(&weights, input, self.bias)? })
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        GateWeights::count(4, input, hidden, self.bias)
    }
}
