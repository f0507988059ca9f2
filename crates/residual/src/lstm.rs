//! The residual LSTM of Kim, El-Khamy and Lee.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use recurrent_core::description::{Builder, Value};
use recurrent_core::init::{self, Gates, Init, Weights};
use recurrent_core::{CellConfig, GateWeights, LayerId, LstmState, Params, Rnn};
use recurrent_kernels::{Describe, Described};
use serde::{Deserialize, Serialize};

/// The options of a residual LSTM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResidualLstmConfig {
    /// Whether there are biases.
    pub bias: bool,
    /// The initialisation of the gates' weights.
    pub init: Init,
}

impl Default for ResidualLstmConfig {
    fn default() -> Self {
        Self { bias: true, init: Init::default() }
    }
}

const GATES: Gates = Gates { names: &["i", "f", "g", "o"], forget: Some(1), input: Some(0) };

impl CellConfig for ResidualLstmConfig {
    type Cell = Described<ResidualLstmCell>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Described<ResidualLstmCell>> {
        let weights = Weights::new(vb.clone(), layer_id, &self.init, GATES, hidden)?;
        let names = ["weight_projection", "weight_shortcut"].map(|base| weights.name(base));
        let matrix = |input, name| init::linear_weight(input, hidden, name, &vb);
        let cell = ResidualLstmCell {
            gates: GateWeights::new(&weights, input, self.bias)?,
            projection: matrix(hidden, &names[0])?,
            shortcut: if input == hidden { None } else { Some(matrix(input, &names[1])?) },
        };
        Described::new(input, &[hidden; 2], cell)
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        let shortcut = if input == hidden { 0 } else { hidden * input };
        GateWeights::count(4, input, hidden, self.bias) + hidden * hidden + shortcut
    }
}

/// One step of a residual LSTM: the output gate gates the projected cell state *and* the input of
/// the layer.
///
/// ```text
/// i = σ(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)
/// f = σ(W_if x_t + b_if + W_hf h_{t-1} + b_hf)
/// g = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)
/// o = σ(W_io x_t + b_io + W_ho h_{t-1} + b_ho)
/// c_t = f ∘ c_{t-1} + i ∘ g
/// h_t = o ∘ (W_projection tanh(c_t) + W_shortcut x_t)
/// ```
///
/// If input and hidden size are equal, the identity takes the place of W_shortcut:
///
/// ```text
/// h_t = o ∘ (W_projection tanh(c_t) + x_t)
/// ```
///
/// Kim, El-Khamy and Lee (2017, arXiv:1701.03360v3, section 3). The path around a layer goes
/// through its output gate and leaves the cell state to the recurrence over time. Two deviations
/// from the paper: its gates also read c through diagonal weights (peepholes), and its projection
/// of tanh(c) may be smaller than c. Here the gates are those of `torch.nn.LSTM`, and W_projection
/// is square.
///
/// | weight | shape, rows of all gates in the order i, f, g, o | default initialisation |
/// |---|---|---|
/// | `weight_ih_l0` | `(4 * hidden, input)` | U(−1/√hidden, 1/√hidden) |
/// | `weight_hh_l0` | `(4 * hidden, hidden)` | the same |
/// | `bias_ih_l0`, `bias_hh_l0` | `(4 * hidden)` each | the same |
/// | `weight_projection_l0` | `(hidden, hidden)` | the same, independent of [`ResidualLstmConfig::init`] |
/// | `weight_shortcut_l0`, where sizes differ | `(hidden, input)` | U(−1/√input, 1/√input), likewise independent |
///
/// A layer has `4 · hidden · (input + hidden + 2) + hidden²` weights, and `hidden · input` more if
/// the sizes differ. The state has the fields `h` and `c`. The kernel is derived from the
/// equations.
#[derive(Clone, Debug, Params)]
pub struct ResidualLstmCell {
    gates: GateWeights,
    #[param(name = "weight_projection")]
    projection: Tensor, // (hidden, hidden)
    #[param(name = "weight_shortcut")]
    shortcut: Option<Tensor>, // (hidden, input)
}

/// A residual LSTM layer: [`ResidualLstmCell`] run over time.
pub type ResidualLstm = Rnn<Described<ResidualLstmCell>>;

impl Describe for ResidualLstmCell {
    type State = LstmState;

    const KERNEL: &'static str = "residual lstm kernel";

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let (h, c) = (cell.recurrent(), cell.state(1));
        let [i, f, g, o] = cell.gates(&h);
        let (i, f) = (i.sigmoid().gate("i"), f.sigmoid().keep("f"));
        let (g, o) = (g.tanh().named("g"), o.sigmoid().gate("o"));
        let c = f * c + i * g;
        let m = cell.product("weight_projection", c.tanh());
        let around = match &self.shortcut {
            Some(_) => cell.product("weight_shortcut", cell.input()),
            None => cell.input(),
        };
        vec![o * (m + around), c]
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.gates.recurrent_blocks()
    }
}
