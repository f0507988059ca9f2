//! Layer-normed LSTM, GRU and vanilla network for candle (Ba, Kiros and Hinton 2016,
//! arXiv:1607.06450v1, equations 4 and 20 to 25), with every placement of the normalisation in
//! common use.
//!
//! The pre-activations of all gates are normalised as one vector, for the input part u and the
//! recurrent part v separately. u_i are the rows of the gate i; so are W_ii those of `weight_ih`,
//! and gain_ii those of `gain_ih`.
//!
//! LSTM:
//!
//! ```text
//! u = LN(W_ih x_t)
//! v = LN(W_hh h_{t-1})
//! i = σ(u_i ∘ gain_ii + b_ii + v_i ∘ gain_hi + b_hi)
//! f = σ(u_f ∘ gain_if + b_if + v_f ∘ gain_hf + b_hf)
//! g = tanh(u_g ∘ gain_ig + b_ig + v_g ∘ gain_hg + b_hg)
//! o = σ(u_o ∘ gain_io + b_io + v_o ∘ gain_ho + b_ho)
//! c_t = f ∘ c_{t-1} + i ∘ g                     the carried cell state is not normalised
//! h_t = o ∘ tanh(LN(c_t) ∘ gain_c + b_c)
//! LN(a) = (a − mean(a)) / √(mean((a − mean(a))²) + 1e-5)
//! ```
//!
//! GRU, with PyTorch's sign of z (the paper's supplement exchanges z and 1 − z) and the reset after
//! the product:
//!
//! ```text
//! u = LN(W_ih x_t)
//! v = LN(W_hh h_{t-1})
//! r = σ(u_r ∘ gain_ir + b_ir + v_r ∘ gain_hr + b_hr)
//! z = σ(u_z ∘ gain_iz + b_iz + v_z ∘ gain_hz + b_hz)
//! n = tanh(u_n ∘ gain_in + b_in + r ∘ (v_n ∘ gain_hn + b_hn))
//! h_t = n + z ∘ (h_{t-1} − n)    (1 − z) ∘ n + z ∘ h_{t-1}
//! LN(a) = (a − mean(a)) / √(mean((a − mean(a))²) + 1e-5)
//! ```
//!
//! Vanilla network, which normalises the sum of both parts or, as an option, each part
//! ([`NormInput`]):
//!
//! ```text
//! h_t = tanh(LN(W_ih x_t + W_hh h_{t-1}) ∘ gain + b_ih + b_hh)        or relu
//! LN(a) = (a − mean(a)) / √(mean((a − mean(a))²) + 1e-5)
//! ```
//!
//! The initial value of the gains decides whether the gradient vanishes: Cooijmans et al. (2016,
//! arXiv:1603.09025v5, section 3.2 and figure 1) show it for batch normalisation, where 0.1
//! preserves the gradient and 1 does not. It is an option here, [`LayerNormLstmConfig::gain`], 1 by
//! default as in the paper of layer normalisation.
//!
//! # Placements of the LSTM's normalisation
//!
//! Papers and libraries call four different cells a layer-normed LSTM. [`Placement`] has the
//! equations of each and their effect on the gradient. With m_t = f ∘ c_{t-1} + i ∘ g:
//!
//! | [`Placement`] | pre-activations | carried c_t | h_t | eps | source |
//! |---|---|---|---|---|---|
//! | `Haste`, the default | LN of both parts | m_t | o ∘ tanh(LN(m_t)) | 1e-5 | Ba et al. 2016; haste |
//! | `PyTorchScript` | LN of both parts | LN(m_t) | o ∘ tanh(c_t) | 1e-5 | PyTorch's `custom_lstms.py` |
//! | `TfAddons` | LN of both parts, and one more bias | LN(m_t) | o ∘ tanh(c_t) | 1e-3 | TensorFlow Addons |
//! | `Burn` | LN of the input part | LN(m_t) | LN(o ∘ tanh(c_t)) | 1e-5 | burn's `examples/modern-lstm` |
//!
//! The table omits gains and biases. If the carried c_t is LN(m_t), the Jacobian of LN multiplies
//! the gradient along c at every step.
//!
//! Two more options apply to every placement. [`Scope`] selects whether the pre-activations of an
//! LSTM or a GRU are normalised as one vector or gate by gate. [`Norm`] selects LN or the root mean
//! square, v / √(mean v² + eps) (Zhang and Sennrich 2019, arXiv:1910.07467v1). A vanilla network
//! has one gate and therefore no scope. Neither option changes names or shapes of weights.
//!
//! # Weights
//!
//! | weight | shape (G = 4 for the LSTM, 3 for the GRU, 1 for vanilla) | default initialisation |
//! |---|---|---|
//! | `weight_ih_l0` | `(G * hidden, input)` | U(−1/√hidden, 1/√hidden) |
//! | `weight_hh_l0` | `(G * hidden, hidden)` | the same |
//! | `bias_ih_l0`, `bias_hh_l0` | `(G * hidden)` each | the same |
//! | `gain_ih_l0`, `gain_hh_l0`; not `gain_hh_l0` with `Burn` | `(G * hidden)` each | `gain` |
//! | `gain_l0`, in their place (vanilla, sum) | `(hidden)` | `gain` |
//! | `bias_inside_l0` (LSTM, `Burn`) | `(4 * hidden)` | 0 |
//! | `bias_l0` (LSTM, `TfAddons`) | `(4 * hidden)` | 0 |
//! | `gain_c_l0` (LSTM) | `(hidden)` | `gain` |
//! | `bias_c_l0` (LSTM) | `(hidden)` | 0 |
//! | `gain_h_l0` (LSTM, `Burn`) | `(hidden)` | `gain` |
//! | `bias_h_l0` (LSTM, `Burn`) | `(hidden)` | 0 |
//!
//! The gate orders are i, f, g, o and r, z, n. The number of weights of a layer:
//!
//! | cell | weights |
//! |---|---|
//! | LSTM, `Haste` and `PyTorchScript` | `4 · hidden · (input + hidden + 4) + 2 · hidden` |
//! | LSTM, `TfAddons` | `4 · hidden · (input + hidden + 5) + 2 · hidden` |
//! | LSTM, `Burn` | `4 · hidden · (input + hidden + 4) + 4 · hidden` |
//! | GRU | `3 · hidden · (input + hidden + 4)` |
//! | vanilla, sum | `hidden · (input + hidden + 3)` |
//! | vanilla, separate | `hidden · (input + hidden + 4)` |
//!
//! The paper has one bias where this crate has two, of which only the sum matters; so the weights
//! have the same names as those of the networks without normalisation. The crate does not use
//! candle's own `LayerNorm` and `RmsNorm`, because they cut the graph.
//!
//! # Execution
//!
//! A kernel runs a whole sequence, forward and backward. Replay runs the cell's `step`, and runs it
//! again in the backward pass. The table lists the engine on the CPU in f32 and f64 for the
//! variants of the registry; other devices and dtypes use replay. [`Layer::explain`] names the
//! engine of a layer.
//!
//! | variants | engine |
//! |---|---|
//! | `layernorm-lstm`, `layernorm-lstm-gain0.1`, `layernorm-gru` | kernel |
//! | `layernorm-lstm-pytorch`, `layernorm-lstm-tfa`, `layernorm-lstm-burn` | kernel |
//! | `layernorm-lstm-per-gate`, `rmsnorm-lstm`, `layernorm-vanilla` | kernel |
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use recurrent_layernorm::{LayerNormLstm, LayerNormLstmConfig};
//!
//! # fn main() -> candle_core::Result<()> {
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
mod norm;
mod placement;
mod vanilla;

pub use gru::{LayerNormGruCell, LayerNormGruConfig};
pub use lstm::{LayerNormLstmCell, LayerNormLstmConfig};
pub use norm::{Norm, Scope};
pub use placement::Placement;
pub use vanilla::{LayerNormVanillaCell, LayerNormVanillaConfig, NormInput};

#[doc(no_inline)]
pub use recurrent_core as core;
#[doc(no_inline)]
pub use recurrent_core::init::{seeded, Init};
#[doc(no_inline)]
pub use recurrent_core::{
    Bidirectional, Carry, Cell, CellConfig, Direction, ForwardContext, GradientRecorder,
    HiddenState, InferenceLayer, Layer, LayerId, LstmState, Params, Record, RecurrentDropout, Rnn,
    Sequence, Stack, State, Stream,
};
pub use recurrent_kernels::Described;

/// A layer-normed LSTM layer: [`LayerNormLstmCell`] run over time.
pub type LayerNormLstm = Rnn<Described<LayerNormLstmCell>>;

/// A layer-normed GRU layer: [`LayerNormGruCell`] run over time.
pub type LayerNormGru = Rnn<Described<LayerNormGruCell>>;

/// A layer-normed vanilla layer: [`LayerNormVanillaCell`] run over time.
pub type LayerNormVanilla = Rnn<Described<LayerNormVanillaCell>>;
