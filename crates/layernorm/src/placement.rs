//! The placement of the normalisation in an LSTM.

use crate::gates::What;
use crate::norm::EPS;
use serde::{Deserialize, Serialize};

/// The placement of the normalisation in an LSTM: four cells in common use.
///
/// In all of them the pre-activations of all gates are normalised as one vector. u_i are the rows
/// of the gate i of u, gain_ii those of `gain_ih`, and so on. m is the new cell state before
/// normalisation:
///
/// ```text
/// m_t = f ∘ c_{t-1} + i ∘ g
/// ```
///
/// With the gates held fixed, the Jacobian along c is ∂c_t/∂c_{t-1}. If m is carried without
/// normalisation, it is diag f: an open forget gate passes the gradient unchanged, a closed one
/// stops it. If m is carried normalised, the Jacobian of *every* step is:
///
/// ```text
/// diag(gain_c) · J(m_t) · diag f      J(m) = (I − 11ᵀ/hidden − m̂m̂ᵀ/hidden) / √(variance m + eps),  m̂ = LN(m)
/// ```
///
/// J removes the mean of the gradient and its component along m̂, whatever the gates do, and
/// divides the rest by the root. Let f be φ and gain_c be γ for all units, and let the new values i
/// ∘ g have the variance v and be uncorrelated with c. Then the variance of m is φ²γ² + v, and the
/// factor of a step is 1 / √(1 + (v + eps) / (φγ)²). It is below 1 even if the forget gate is fully
/// open, and near 1 if no new values enter, even if the gate is nearly closed. So the gate no
/// longer sets how much is forgotten, but the weight of the old values relative to the new ones.
/// With [`crate::Norm::Rms`] there is no term 11ᵀ/hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Only inside the output: Ba, Kiros and Hinton 2016 (arXiv:1607.06450v1, eq. 20 to 22), and
    /// haste's `LayerNormLSTM` (`frameworks/tf/layer_norm_lstm_cell.py`, commit 1258d03; its rows
    /// are in the order i, g, f, o). Carried: m and h, not normalised.
    ///
    /// ```text
    /// u = LN(W_ih x_t)
    /// v = LN(W_hh h_{t-1})
    /// i = σ(u_i ∘ gain_ii + b_ii + v_i ∘ gain_hi + b_hi)
    /// f = σ(u_f ∘ gain_if + b_if + v_f ∘ gain_hf + b_hf)
    /// g = tanh(u_g ∘ gain_ig + b_ig + v_g ∘ gain_hg + b_hg)
    /// o = σ(u_o ∘ gain_io + b_io + v_o ∘ gain_ho + b_ho)
    /// c_t = f ∘ c_{t-1} + i ∘ g
    /// h_t = o ∘ tanh(LN(c_t) ∘ gain_c + b_c)
    /// LN(a) = (a − mean(a)) / √(mean((a − mean(a))²) + 1e-5)
    /// ```
    ///
    /// Gradient: along c it is that of an LSTM, ∂c_t/∂c_{t-1} = diag f. J acts once, between the
    /// cell state and an output.
    #[default]
    Haste,
    /// The cell state is carried normalised: `LayerNormLSTMCell` of PyTorch's
    /// `benchmarks/fastrnns/custom_lstms.py` (commit 02ed725; the variant with `nn.LayerNorm`).
    /// Carried: c normalised, h not. The weights are those of [`Placement::Haste`], with b_ih and
    /// b_hh for the shifts of the two norms.
    ///
    /// ```text
    /// u = LN(W_ih x_t)
    /// v = LN(W_hh h_{t-1})
    /// i = σ(u_i ∘ gain_ii + b_ii + v_i ∘ gain_hi + b_hi)
    /// f = σ(u_f ∘ gain_if + b_if + v_f ∘ gain_hf + b_hf)
    /// g = tanh(u_g ∘ gain_ig + b_ig + v_g ∘ gain_hg + b_hg)
    /// o = σ(u_o ∘ gain_io + b_io + v_o ∘ gain_ho + b_ho)
    /// c_t = LN(f ∘ c_{t-1} + i ∘ g) ∘ gain_c + b_c
    /// h_t = o ∘ tanh(c_t)
    /// LN(a) = (a − mean(a)) / √(mean((a − mean(a))²) + 1e-5)
    /// ```
    ///
    /// Gradient: ∂c_t/∂c_{t-1} = diag(gain_c) J(m_t) diag f.
    #[serde(rename = "pytorch-script")]
    PyTorchScript,
    /// `LayerNormLSTMCell` of TensorFlow Addons (commit 386d685): the function of
    /// [`Placement::PyTorchScript`], with eps 1e-3, and with the bias of the Keras cell beside the
    /// shifts of the two norms (`bias`, 0 at first). b_ih and b_hh are the `beta` of `kernel_norm`
    /// and `recurrent_norm`. Carried: c normalised, h not.
    ///
    /// ```text
    /// u = LN(W_ih x_t)
    /// v = LN(W_hh h_{t-1})
    /// i = σ(u_i ∘ gain_ii + b_ii + v_i ∘ gain_hi + b_hi + b_i)
    /// f = σ(u_f ∘ gain_if + b_if + v_f ∘ gain_hf + b_hf + b_f)
    /// g = tanh(u_g ∘ gain_ig + b_ig + v_g ∘ gain_hg + b_hg + b_g)
    /// o = σ(u_o ∘ gain_io + b_io + v_o ∘ gain_ho + b_ho + b_o)
    /// c_t = LN(f ∘ c_{t-1} + i ∘ g) ∘ gain_c + b_c
    /// h_t = o ∘ tanh(c_t)
    /// LN(a) = (a − mean(a)) / √(mean((a − mean(a))²) + 1e-3)
    /// ```
    ///
    /// Gradient: ∂c_t/∂c_{t-1} = diag(gain_c) J(m_t) diag f. Only the sum of the three biases
    /// matters, and each gets the same gradient: under plain gradient descent the sum moves three
    /// times as far as a single bias would.
    TfAddons,
    /// burn's `examples/modern-lstm` (commit 1717f71; without its dropout): the recurrent part is
    /// not normalised, but cell state and output are. Carried: c and h normalised. `bias_inside` is
    /// the bias of burn's linear map on the input, b_ih the `beta` of its norm.
    ///
    /// ```text
    /// u = LN(W_ih x_t + b_inside)
    /// i = σ(u_i ∘ gain_ii + b_ii + W_hi h_{t-1} + b_hi)
    /// f = σ(u_f ∘ gain_if + b_if + W_hf h_{t-1} + b_hf)
    /// g = tanh(u_g ∘ gain_ig + b_ig + W_hg h_{t-1} + b_hg)
    /// o = σ(u_o ∘ gain_io + b_io + W_ho h_{t-1} + b_ho)
    /// c_t = LN(f ∘ c_{t-1} + i ∘ g) ∘ gain_c + b_c
    /// h_t = LN(o ∘ tanh(c_t)) ∘ gain_h + b_h
    /// LN(a) = (a − mean(a)) / √(mean((a − mean(a))²) + 1e-5)
    /// ```
    ///
    /// Gradient: ∂c_t/∂c_{t-1} = diag(gain_c) J(m_t) diag f; the path through h passes a second
    /// J, that of the output. `bias_inside` is 0 at first, and b_ih holds the bias of the forget
    /// gate, where normalisation does not change it; burn starts with 1 for the forget gate in
    /// `bias_inside` and in b_hh.
    Burn,
}

impl Placement {
    /// The constant below the root: 1e-3 in TensorFlow Addons, 1e-5 otherwise.
    pub fn eps(self) -> f64 {
        match self {
            Self::TfAddons => 1e-3,
            Self::Haste | Self::PyTorchScript | Self::Burn => EPS,
        }
    }

    /// The part of the gates' pre-activations that is normalised.
    pub(crate) fn what(self) -> What {
        match self {
            Self::Haste | Self::PyTorchScript | Self::TfAddons => What::Apart,
            Self::Burn => What::InputAlone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Placement;
    use crate::LayerNormLstmConfig;
    use candle_core::{DType, Device, Result, Tensor, Var};
    use candle_nn::VarBuilder;
    use recurrent_core::{Cell, CellConfig, LstmState};
    use std::collections::HashMap;

    const HIDDEN: usize = 8;
    const STEPS: i32 = 20;

    /// The norm of the gradient after 20 steps of zeros backward along c from `w`, with no new
    /// values and b_f = −1.
    fn gradient_norm(placement: Placement, w: &Tensor) -> Result<f64> {
        let zeros = |size: usize| Tensor::zeros(size, DType::F64, &Device::Cpu);
        let ones = |size: usize| Tensor::ones(size, DType::F64, &Device::Cpu);
        let forget = Tensor::cat(&[zeros(HIDDEN)?, ones(HIDDEN)?.neg()?, zeros(2 * HIDDEN)?], 0)?;
        let mut weights = HashMap::from([
            ("weight_ih".to_string(), zeros(4 * HIDDEN * 3)?.reshape((4 * HIDDEN, 3))?),
            ("weight_hh".to_string(), zeros(4 * HIDDEN * HIDDEN)?.reshape((4 * HIDDEN, HIDDEN))?),
            ("bias_ih".to_string(), forget),
        ]);
        for name in ["bias_hh", "bias_inside", "bias", "gain_ih", "gain_hh"] {
            weights.insert(name.to_string(), zeros(4 * HIDDEN)?);
        }
        for (name, value) in [("gain_c", ones(HIDDEN)?), ("gain_h", ones(HIDDEN)?)] {
            weights.insert(name.to_string(), value);
            weights.insert(name.replace("gain", "bias"), zeros(HIDDEN)?);
        }
        let vb = VarBuilder::from_tensors(weights, DType::F64, &Device::Cpu);
        let config = LayerNormLstmConfig { placement, ..LayerNormLstmConfig::default() };
        let cell = config.cell(3, HIDDEN, None, vb)?;
        // Mean 0, variance 3.5.
        let c = Var::new(&[[2f64, -1., 0., 1., -2., 3., -3., 0.]], &Device::Cpu)?;
        let x = Tensor::zeros((1, 3), DType::F64, &Device::Cpu)?;
        let mut s = LstmState {
            h: Tensor::zeros((1, HIDDEN), DType::F64, &Device::Cpu)?,
            c: c.as_tensor().clone(),
        };
        for _ in 0..STEPS {
            s = cell.step(&x, &s)?;
        }
        let grads = (s.c * w)?.sum_all()?.backward()?;
        grads.get(&c).expect("c is tracked").sqr()?.sum_all()?.sqrt()?.to_scalar()
    }

    #[test]
    fn a_forget_gate_decays_the_gradient_unless_c_is_carried_normalised() -> Result<()> {
        // Mean 0 and orthogonal to c, so that J only divides it; norm 1.
        let w = Tensor::new(&[[0f64, 0., 0.5, 0., 0., -0.5, -0.5, 0.5]], &Device::Cpu)?;
        let forget = 1.0 / (1.0 + 1f64.exp());
        let close = |found: f64, expected: f64| {
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} against {expected}")
        };
        close(gradient_norm(Placement::Haste, &w)?, forget.powi(STEPS));
        for placement in [Placement::PyTorchScript, Placement::TfAddons, Placement::Burn] {
            // The variance of the carried state; after the first step, eps keeps it just below 1.
            let (mut variance, mut expected) = (3.5, 1.0);
            for _ in 0..STEPS {
                let kept = forget * forget * variance;
                expected *= forget / (kept + placement.eps()).sqrt();
                variance = kept / (kept + placement.eps());
            }
            assert!(expected > 0.4, "{expected}");
            close(gradient_norm(placement, &w)?, expected);
        }
        Ok(())
    }
}
