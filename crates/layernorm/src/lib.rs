//! Layer-normed LSTM and GRU for candle (Ba, Kiros and Hinton 2016, arXiv:1607.06450v1, equations 20 to 25).
//!
//! LN(v) = (v − mean v) / √(variance v + 1e-5), over the whole vector of all gates, for the input and the recurrent part apart.
//!
//! LSTM:
//! ```text
//! (i, f, g, o) = LN(W_ih x_t) ∘ gain_ih + b_ih + LN(W_hh h_{t-1}) ∘ gain_hh + b_hh
//! c_t = σ(f) ∘ c_{t-1} + σ(i) ∘ tanh(g)                     the carried memory is not normalised
//! h_t = σ(o) ∘ tanh(LN(c_t) ∘ gain_c + bias_c)
//! ```
//! GRU, with PyTorch's sign of z (the paper's supplement has z and 1 − z exchanged) and the reset after the product:
//! ```text
//! (a_r, a_z, a_n) = LN(W_ih x_t) ∘ gain_ih + b_ih           (b_r, b_z, b_n) = LN(W_hh h_{t-1}) ∘ gain_hh + b_hh
//! r = σ(a_r + b_r)    z = σ(a_z + b_z)    n = tanh(a_n + r ∘ b_n)    h_t = (1 − z) ∘ n + z ∘ h_{t-1}
//! ```
//!
//! The initial value of the gains decides whether the gradient vanishes: Cooijmans et al. (2016, arXiv:1603.09025v5, section
//! 3.2 and figure 1) show it for batch normalisation, where 0.1 keeps it alive and 1 does not. It is an option here,
//! [`LayerNormLstmConfig::gain`], 1 by default as in the paper of layer normalisation.
//!
//! | weight | shape (G = 4 for the LSTM, 3 for the GRU) | begins, by default |
//! |---|---|---|
//! | `weight_ih_l0` | `(G * hidden, input)` | U(−1/√hidden, 1/√hidden) |
//! | `weight_hh_l0` | `(G * hidden, hidden)` | the same |
//! | `bias_ih_l0`, `bias_hh_l0` | `(G * hidden)` each | the same |
//! | `gain_ih_l0`, `gain_hh_l0` | `(G * hidden)` each | `gain` |
//! | `gain_c_l0` (LSTM) | `(hidden)` | `gain` |
//! | `bias_c_l0` (LSTM) | `(hidden)` | 0 |
//!
//! `G · hidden · (input + hidden + 4)` numbers in all, and `2 · hidden` more for the LSTM. Gate orders are i, f, g, o and r, z, n.
//!
//! The paper has one bias where there are two here; their sum is what counts, and with two the weights have the names of the
//! networks without normalisation. candle's own `LayerNorm` is not used: it cuts the graph.
//!
//! ```
//! use candle::{DType, Device, Module, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use recurrent_layernorm::{LayerNormLstm, LayerNormLstmConfig};
//!
//! # fn main() -> candle::Result<()> {
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let config = LayerNormLstmConfig { gain: 0.1, ..LayerNormLstmConfig::default() };
//! let lstm = LayerNormLstm::new(3, 8, &config, vb)?;
//! let xs = Tensor::zeros((2, 50, 3), DType::F32, &Device::Cpu)?; // (batch, time, input)
//! assert_eq!(lstm.forward(&xs)?.dims(), [2, 50, 8]);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod gates;
mod gru;
mod lstm;

pub use gru::{LayerNormGruCell, LayerNormGruConfig};
pub use lstm::{LayerNormLstmCell, LayerNormLstmConfig};

/// A layer-normed LSTM layer: [`LayerNormLstmCell`] run over time.
pub type LayerNormLstm = recurrent_core::Rnn<LayerNormLstmCell>;

/// A layer-normed GRU layer: [`LayerNormGruCell`] run over time.
pub type LayerNormGru = recurrent_core::Rnn<LayerNormGruCell>;
