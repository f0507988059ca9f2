//! The weights that most cells share: one matrix on the input and one on the last output.

use crate::init::Weights;
use crate::Params;
use candle_core::{Result, Tensor};

/// One matrix on the input and one on the last output, each with the rows of all gates, and a bias
/// for each matrix.
///
/// | weight | shape |
/// |---|---|
/// | `weight_ih` | `(gates * hidden, input)` |
/// | `weight_hh` | `(gates * hidden, output)` |
/// | `bias_ih`, `bias_hh` | `(gates * hidden)` each, if the cell has biases |
///
/// The output is as large as `hidden`, unless the cell projects it: [`Weights::projected`].
#[derive(Clone, Debug, Params)]
pub struct GateWeights {
    /// The matrix on the input.
    pub weight_ih: Tensor,
    /// The matrix on the last output.
    pub weight_hh: Tensor,
    /// The bias of the input part, if there are biases.
    pub bias_ih: Option<Tensor>,
    /// The bias of the recurrent part, if there are biases.
    pub bias_hh: Option<Tensor>,
    #[param(skip)]
    gates: &'static [&'static str],
}

impl GateWeights {
    /// The weights for `input` features, looked up or drawn.
    ///
    /// # Errors
    /// If `input` is 0, a weight exists with another shape, or the initialisation sets a bias that
    /// does not exist.
    pub fn new(weights: &Weights, input: usize, bias: bool) -> Result<Self> {
        if !bias {
            weights.no_bias()?;
        }
        Ok(Self {
            weight_ih: weights.weight_ih(input)?,
            weight_hh: weights.weight_hh()?,
            bias_ih: bias.then(|| weights.bias_ih()).transpose()?,
            bias_hh: bias.then(|| weights.bias_hh()).transpose()?,
            gates: weights.gates(),
        })
    }

    /// The number of elements of these weights, if the output is not projected.
    pub fn count(gates: usize, input: usize, hidden: usize, bias: bool) -> usize {
        gates * hidden * (input + hidden + if bias { 2 } else { 0 })
    }

    /// The recurrent block of every gate, `(hidden, output)`, by name: `weight_hh` if there is one
    /// gate, else `weight_hh.f`.
    ///
    /// # Errors
    /// Those of candle.
    pub fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        let hidden = self.weight_hh.dim(0)? / self.gates.len();
        let name = |gate: &str| match self.gates.len() {
            1 => "weight_hh".to_string(),
            _ => format!("weight_hh.{gate}"),
        };
        let block = |(index, gate): (usize, &&str)| {
            Ok((name(gate), self.weight_hh.narrow(0, index * hidden, hidden)?))
        };
        self.gates.iter().enumerate().map(block).collect()
    }
}
