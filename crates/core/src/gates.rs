//! The weights that every cell of the zoo has, and how they enter a step.

use crate::init::Weights;
use crate::linear;
use candle::{bail, Result, Tensor};

/// One matrix on the input and one on the last output, with the rows of all gates below each other, and a bias for each.
///
/// | weight | shape |
/// |---|---|
/// | `weight_ih` | `(gates * hidden, input)` |
/// | `weight_hh` | `(gates * hidden, output)` |
/// | `bias_ih`, `bias_hh` | `(gates * hidden)` each, or none |
///
/// The output is as large as `hidden`, unless the cell projects it: [`Weights::projected`].
#[derive(Clone, Debug)]
pub struct GateWeights {
    /// The matrix on the input.
    pub weight_ih: Tensor,
    /// The matrix on the last output.
    pub weight_hh: Tensor,
    /// The bias of each, if there are biases.
    pub biases: Option<(Tensor, Tensor)>,
    names: [String; 4],
    gates: &'static [&'static str],
}

impl GateWeights {
    /// The weights for `input` features, looked up or drawn.
    ///
    /// # Errors
    /// If one exists with another shape, or the initialisation sets a bias that does not exist.
    pub fn new(weights: &Weights, input: usize, bias: bool) -> Result<Self> {
        if !bias {
            weights.no_bias()?;
        }
        Ok(Self {
            weight_ih: weights.weight_ih(input)?,
            weight_hh: weights.weight_hh()?,
            biases: if bias { Some((weights.bias_ih()?, weights.bias_hh()?)) } else { None },
            names: ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(|base| weights.name(base)),
            gates: weights.gates(),
        })
    }

    /// How many numbers such weights hold, where the output is not projected.
    pub fn count(gates: usize, input: usize, hidden: usize, bias: bool) -> usize {
        gates * hidden * (input + hidden + if bias { 2 } else { 0 })
    }

    /// The number of input features.
    pub fn input_size(&self) -> usize {
        self.weight_ih.dims()[1]
    }

    /// The number of hidden units.
    pub fn hidden_size(&self) -> usize {
        self.weight_hh.dims()[0] / self.gates.len()
    }

    /// The size of the output that enters the next step.
    pub fn output_size(&self) -> usize {
        self.weight_hh.dims()[1]
    }

    /// W_ih x + b_ih, `(batch, gates * hidden)`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn input(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight_ih, self.biases.as_ref().map(|(ih, _)| ih))
    }

    /// W_hh h + b_hh, `(batch, gates * hidden)`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn recurrent(&self, h: &Tensor) -> Result<Tensor> {
        linear(h, &self.weight_hh, self.biases.as_ref().map(|(_, hh)| hh))
    }

    /// W_hh h + b_hh for some of the gates, `(batch, gates * hidden)`: `count` of them from number `first` on.
    ///
    /// # Errors
    /// If the shapes do not fit, or there are fewer gates.
    pub fn recurrent_of(&self, first: usize, count: usize, h: &Tensor) -> Result<Tensor> {
        let hidden = self.hidden_size();
        let rows = |all: &Tensor| all.narrow(0, first * hidden, count * hidden);
        let bias = self.biases.as_ref().map(|(_, hh)| rows(hh)).transpose()?;
        linear(h, &rows(&self.weight_hh)?, bias.as_ref())
    }

    /// W_hhᵀ d for some of the gates, `(batch, output)`: `count` of them from number `first` on, with `d` `(batch, count * hidden)`. The way back
    /// through [`GateWeights::recurrent_of`].
    ///
    /// # Errors
    /// If the shapes do not fit, or there are fewer gates.
    pub fn recurrent_back(&self, first: usize, count: usize, d: &Tensor) -> Result<Tensor> {
        let hidden = self.hidden_size();
        d.matmul(&self.weight_hh.narrow(0, first * hidden, count * hidden)?)
    }

    /// The weights by name: weight_ih, weight_hh, and bias_ih, bias_hh if there are biases.
    pub fn params(&self) -> Vec<(String, Tensor)> {
        let (ih, hh) = self.biases.clone().unzip();
        let tensors = [Some(self.weight_ih.clone()), Some(self.weight_hh.clone()), ih, hh];
        self.names
            .iter()
            .cloned()
            .zip(tensors)
            .filter_map(|(name, tensor)| Some((name, tensor?)))
            .collect()
    }

    /// The same over the next tensors of `params`, in the order of [`GateWeights::params`].
    ///
    /// # Errors
    /// If there are too few.
    pub fn replaced(&self, params: &mut impl Iterator<Item = Tensor>) -> Result<Self> {
        let (weight_ih, weight_hh) = (next_param(params)?, next_param(params)?);
        let biases = if self.biases.is_some() {
            Some((next_param(params)?, next_param(params)?))
        } else {
            None
        };
        Ok(Self { weight_ih, weight_hh, biases, ..self.clone() })
    }

    /// The recurrent block of every gate, `(hidden, output)`, by name: `weight_hh_l0` if there is one gate, else `weight_hh_l0.f`.
    ///
    /// # Errors
    /// Those of candle.
    pub fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        let hidden = self.hidden_size();
        let name = |gate: &str| match self.gates.len() {
            1 => self.names[1].clone(),
            _ => format!("{}.{gate}", self.names[1]),
        };
        let block = |(index, gate): (usize, &&str)| {
            Ok((name(gate), self.weight_hh.narrow(0, index * hidden, hidden)?))
        };
        self.gates.iter().enumerate().map(block).collect()
    }
}

/// The next of a cell's weights, for [`crate::Cell::with_params`].
///
/// # Errors
/// If there is none left.
pub fn next_param(params: &mut impl Iterator<Item = Tensor>) -> Result<Tensor> {
    match params.next() {
        Some(param) => Ok(param),
        None => bail!("cell weights: expected more of them"),
    }
}
