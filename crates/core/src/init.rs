//! Initialisation: schemes, recurrent blocks by gate, and the forget bias.
//!
//! Every weight is drawn from its seed and its full name. So the order of construction does not
//! matter, a CPU and a GPU start equal, and two networks share each weight of the same name and
//! shape. Draws happen in f64 and are rounded to the dtype. The seed travels with the builder:
//! [`seeded`].

mod seed;
mod weights;

pub use seed::{seed, seeded};
pub use weights::{Gates, Weights};

use crate::named_rng;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Linear, VarBuilder};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// The initialisation of the weights of a cell.
///
/// ```
/// use recurrent_core::init::{ForgetBias, Block, Init, Scheme};
///
/// // An LSTM for lags up to 200: orthogonal recurrent blocks, chrono biases, the rest as PyTorch.
/// let init = Init {
///     recurrent: Block::Orthogonal { gain: 1.0 },
///     forget_bias: ForgetBias::Chrono { longest: 200 },
///     ..Init::default()
/// };
/// assert_eq!(init.scheme, Scheme::PyTorch);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Init {
    /// The distribution of every weight that the other fields do not set.
    pub scheme: Scheme,
    /// The recurrent block of every gate.
    pub recurrent: Block,
    /// The recurrent blocks of single gates, by the gate's name; they override `recurrent`.
    pub recurrent_by_gate: Vec<(String, Block)>,
    /// The schemes of single gates, by the gate's name; they override `scheme`. The gate's rows
    /// have the values that they would have if all gates had that scheme.
    pub scheme_by_gate: Vec<(String, Scheme)>,
    /// The bias of the gate that keeps the old state: f of an LSTM, z of a GRU.
    pub forget_bias: ForgetBias,
    /// The biases of single gates, by the gate's name; they override `forget_bias`. b_ih has this
    /// value and b_hh is zero.
    pub bias_by_gate: Vec<(String, f64)>,
}

/// A distribution for every weight of a cell. `I` is the number of inputs, `H` that of hidden
/// units, `G` that of gates. If the output is projected, the fan-in of the recurrent matrix is the
/// size of the projection; for the projection see [`Weights::weight_hr`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// As `torch.nn.RNN`, `LSTM`, `GRU` (PyTorch 2): all weights and biases from U(−1/√H, 1/√H).
    #[default]
    #[serde(rename = "pytorch")]
    PyTorch,
    /// As Keras 3: input weights from U(±√(6 / (I + G·H))) (Glorot), the recurrent matrix of all
    /// gates orthogonal as a whole, biases zero, but 1 for an LSTM's forget gate.
    Keras,
    /// As candle-nn 0.11: weights from U(±√(6 / fan-in)) (Kaiming with the gain of ReLU), biases
    /// zero.
    Candle,
    /// Input weights from `input` · N(0, 1), recurrent weights from `recurrent` · N(0, 1 / fan-in),
    /// biases zero. `recurrent` is about the spectral radius of each block.
    Normal {
        /// The standard deviation of the input weights.
        input: f64,
        /// The standard deviation of the recurrent weights, times √H.
        recurrent: f64,
    },
}

/// One gate's recurrent block, `(hidden, hidden)`; `(hidden, output)` where the output is
/// projected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Block {
    /// The scheme's own values.
    #[default]
    Scheme,
    /// `gain` times a random orthogonal matrix, uniform over all of them (Saxe, McClelland and
    /// Ganguli 2014, arXiv:1312.6120v3); with orthonormal columns if it is not square.
    Orthogonal {
        /// The singular values.
        gain: f64,
    },
    /// `scale` times the identity (Le, Jaitly and Hinton 2015, arXiv:1504.00941v2); an error if the
    /// block is not square.
    Identity {
        /// The eigenvalue.
        scale: f64,
    },
}

/// The bias of the gate that keeps the previous state. It sets how long a gated network remembers
/// at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForgetBias {
    /// The scheme's own values.
    #[default]
    Scheme,
    /// A constant: b_ih has this value and b_hh is zero (Gers, Schmidhuber and Cummins 2000;
    /// Jozefowicz, Zaremba and Sutskever 2015).
    Constant(f64),
    /// b ~ ln U(1, `longest` − 1), and −b for the input gate of an LSTM, with b_hh zero for both.
    /// Time constants then spread up to the longest lag (Tallec and Ollivier 2018,
    /// arXiv:1804.11188v1, eq. 16).
    Chrono {
        /// The longest lag of the task, in steps; above 2.
        longest: usize,
    },
}

/// A random matrix `(rows, columns)` with orthonormal columns, or rows if there are fewer rows.
///
/// Gram-Schmidt, twice for orthogonality to rounding, on normal draws: the Q of a QR decomposition
/// with positive diagonal of R.
pub(crate) fn orthogonal(rng: &mut impl Rng, rows: usize, columns: usize) -> Vec<f64> {
    let (long, short) = (rows.max(columns), rows.min(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(short);
    for _ in 0..short {
        let mut vector: Vec<f64> = (0..long).map(|_| normal(rng)).collect();
        for _ in 0..2 {
            for other in &basis {
                let dot: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|v| *v /= norm);
        basis.push(vector);
    }
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let at = |(row, column): (usize, usize)| {
        if rows >= columns {
            basis[column][row]
        } else {
            basis[row][column]
        }
    };
    places.map(at).collect()
}

/// A draw from N(0, 1) (Box and Muller 1958).
pub fn normal(rng: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// A linear read-out, `weight` `(output, input)` and `bias` `(output)` from U(±1/√input) as
/// `torch.nn.Linear`, drawn from (seed, name) where `vb` does not have them.
///
/// # Errors
/// If `vb` has them with other shapes, or a size is 0.
pub fn linear(input: usize, output: usize, vb: &VarBuilder) -> Result<Linear> {
    let weight = linear_weight(input, output, "weight", vb)?;
    Ok(Linear::new(weight, Some(uniform(input, "bias", &[output], vb)?)))
}

/// The weight `name` of a linear map alone, `(output, input)`, as [`linear`] draws it.
///
/// # Errors
/// If `vb` has it with another shape, or a size is 0.
pub fn linear_weight(input: usize, output: usize, name: &str, vb: &VarBuilder) -> Result<Tensor> {
    weights::require_size("linear input", input, "feature")?;
    weights::require_size("linear output", output, "feature")?;
    uniform(input, name, &[output, input], vb)
}

fn uniform(input: usize, name: &str, shape: &[usize], vb: &VarBuilder) -> Result<Tensor> {
    let bound = 1.0 / (input as f64).sqrt();
    weights::get_or(vb, name, shape, |full| {
        let mut rng = named_rng(seed(vb), full);
        (0..shape.iter().product()).map(|_| rng.random_range(-bound..bound)).collect()
    })
}

/// Values in f64 as a tensor.
pub(crate) fn tensor(
    values: Vec<f64>,
    shape: &[usize],
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}

#[cfg(test)]
mod tests;
