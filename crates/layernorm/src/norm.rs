//! The kinds of normalisation and their weights.

use candle_core::{Result, Tensor};
use recurrent_core::description::{Builder, Value};
use recurrent_core::init::Weights;
use recurrent_core::{ParamField, Parameters, Params};
use serde::{Deserialize, Serialize};
use std::vec::IntoIter;

/// The kind of normalisation of a vector v.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// LN(v) = (v − mean v) / √(variance v + eps) (Ba, Kiros and Hinton 2016, arXiv:1607.06450v1,
    /// eq. 4). Its derivative (I − 11ᵀ/n − v̂v̂ᵀ/n) / √(variance v + eps), with v̂ = LN(v) and n
    /// values, removes the mean of a gradient and its component along v̂.
    #[default]
    Layer,
    /// RMS(v) = v / √(mean v² + eps) (Zhang and Sennrich 2019, arXiv:1910.07467v1, eq. 4): not
    /// centred. Its derivative (I − v̂v̂ᵀ/n) / √(mean v² + eps) removes the component along v̂
    /// only. Biases remain, as in that equation.
    Rms,
}

/// The scope of one normalisation of the pre-activations, for cells with several gates. c and h are
/// always normalised as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The whole vector of `gates * hidden` values: one mean and one deviation for all gates (Ba et
    /// al. 2016; haste, PyTorch, TensorFlow Addons, burn). A gate with large pre-activations makes
    /// those of the others small.
    #[default]
    Whole,
    /// The `hidden` values of each gate separately (TensorFlow 1's `LayerNormBasicLSTMCell`, there
    /// with the sum of both parts): no gate affects another. With [`Norm::Layer`] and equal gains,
    /// the mean of a gate's pre-activations over its units is the mean of its biases.
    PerGate,
}

/// A kind of normalisation, and the constant eps below its root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normaliser {
    pub(crate) norm: Norm,
    pub(crate) eps: f64,
}

/// The eps of all placements but TensorFlow Addons, as in `torch.nn.functional.layer_norm`.
pub(crate) const EPS: f64 = 1e-5;

impl Normaliser {
    /// `v` normalised over its columns.
    pub(crate) fn apply(self, v: Value<'_>) -> Value<'_> {
        match self.norm {
            Norm::Layer => v.layer_norm(self.eps),
            Norm::Rms => v.rms_norm(self.eps),
        }
    }
}

/// A weight with its name.
#[derive(Clone, Debug)]
pub(crate) struct Param {
    name: String,
    pub(crate) value: Tensor,
}

impl Param {
    /// The weight `name`, with all elements initialised to the same value.
    pub(crate) fn new(weights: &Weights, base: &str, size: usize, value: f64) -> Result<Self> {
        Ok(Self { name: base.to_string(), value: weights.constant(base, size, value)? })
    }
}

impl Parameters for Param {
    fn append_params(&self, params: &mut Vec<(String, Tensor)>) {
        params.push((self.name.clone(), self.value.clone()));
    }

    fn replace_params(&self, params: &mut IntoIter<Tensor>) -> Result<Self> {
        Ok(Self { name: self.name.clone(), value: self.value.replaced(params)? })
    }
}

/// The weights of a normalised state: `gain_c` and `bias_c`, `(hidden)` each.
#[derive(Clone, Debug, Params)]
pub(crate) struct NormedState {
    gain: Param,
    bias: Param,
}

impl NormedState {
    /// The weights for the field `name`, with gains initialised to `gain` and biases to 0.
    pub(crate) fn new(weights: &Weights, field: &str, hidden: usize, gain: f64) -> Result<Self> {
        Ok(Self {
            gain: Param::new(weights, &format!("gain_{field}"), hidden, gain)?,
            bias: Param::new(weights, &format!("bias_{field}"), hidden, 0.0)?,
        })
    }

    /// LN(v) ∘ gain + bias.
    pub(crate) fn apply<'a>(&self, cell: &'a Builder, v: Value<'a>, by: Normaliser) -> Value<'a> {
        by.apply(v) * cell.weight(&self.gain.name) + cell.weight(&self.bias.name)
    }
}
