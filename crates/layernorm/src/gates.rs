//! The normalised pre-activations that both cells have.

use candle::{Result, Tensor};
use recurrent_core::init::Weights;
use recurrent_core::{layer_norm, next_param, GateWeights};

/// Added to the variance, as in `torch.nn.functional.layer_norm`.
pub(crate) const EPS: f64 = 1e-5;

/// The weights of the gates, with a gain for the input and for the recurrent part.
#[derive(Clone, Debug)]
pub(crate) struct NormedGates {
    pub(crate) weights: GateWeights,
    gain_ih: Tensor, // (gates * hidden)
    gain_hh: Tensor, // (gates * hidden)
    names: [String; 2],
}

impl NormedGates {
    pub(crate) fn new(weights: &Weights, input: usize, gain: f64) -> Result<Self> {
        let gates = GateWeights::new(weights, input, true)?;
        let rows = gates.weight_hh.dim(0)?;
        Ok(Self {
            weights: gates,
            gain_ih: weights.constant("gain_ih", rows, gain)?,
            gain_hh: weights.constant("gain_hh", rows, gain)?,
            names: ["gain_ih", "gain_hh"].map(|base| weights.name(base)),
        })
    }

    pub(crate) fn count(gates: usize, input: usize, hidden: usize) -> usize {
        GateWeights::count(gates, input, hidden, true) + 2 * gates * hidden
    }

    pub(crate) fn params(&self) -> Vec<(String, Tensor)> {
        let gains = self.names.iter().cloned().zip([self.gain_ih.clone(), self.gain_hh.clone()]);
        self.weights.params().into_iter().chain(gains).collect()
    }

    pub(crate) fn replaced(&self, params: &mut impl Iterator<Item = Tensor>) -> Result<Self> {
        Ok(Self {
            weights: self.weights.replaced(params)?,
            gain_ih: next_param(params)?,
            gain_hh: next_param(params)?,
            names: self.names.clone(),
        })
    }

    /// LN(W_ih x) ∘ gain_ih + b_ih, `(batch, gates * hidden)`.
    pub(crate) fn input(&self, x: &Tensor) -> Result<Tensor> {
        let normed = layer_norm(&x.matmul(&self.weights.weight_ih.t()?)?, &self.gain_ih, EPS)?;
        self.weights.biases.as_ref().map_or(Ok(normed.clone()), |(ih, _)| normed.broadcast_add(ih))
    }

    /// LN(W_hh h) ∘ gain_hh + b_hh, `(batch, gates * hidden)`.
    pub(crate) fn recurrent(&self, h: &Tensor) -> Result<Tensor> {
        let normed = layer_norm(&h.matmul(&self.weights.weight_hh.t()?)?, &self.gain_hh, EPS)?;
        self.weights.biases.as_ref().map_or(Ok(normed.clone()), |(_, hh)| normed.broadcast_add(hh))
    }
}
