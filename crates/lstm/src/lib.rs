//! LSTM for candle.
//!
//! ```text
//! i = σ(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)        input gate
//! f = σ(W_if x_t + b_if + W_hf h_{t-1} + b_hf)        forget gate
//! g = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)     candidate
//! o = σ(W_io x_t + b_io + W_ho h_{t-1} + b_ho)        output gate
//! c_t = f ∘ c_{t-1} + i ∘ g
//! h_t = o ∘ tanh(c_t)
//! ```
//!
//! Hochreiter and Schmidhuber (1997), with the forget gate of Gers, Schmidhuber and Cummins (2000);
//! `torch.nn.LSTM`. Along c, every step of the backward pass multiplies the gradient by f: a forget
//! gate near 1 preserves it, one near 0 stops it. So the initial bias of the forget gate decides
//! over how many steps the network learns at the start; see [`LstmConfig::forget_bias`] and
//! [`LstmConfig::chrono`].
//!
//! | weight | shape, rows in the order i, f, g, o | default initialisation |
//! |---|---|---|
//! | `weight_ih_l0` | `(4 * hidden, input)` | U(−1/√hidden, 1/√hidden) |
//! | `weight_hh_l0` | `(4 * hidden, hidden)` | the same |
//! | `bias_ih_l0`, `bias_hh_l0` | `(4 * hidden)` each | the same |
//!
//! A layer has `4 · hidden · (input + hidden + 2)` weights. The state has the fields `h` and `c`.
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
//! | `lstm`, `lstm-bias1`, `lstm-chrono`, `lstm-2layers` | kernel |
//! | `lstm-peephole`, `lstm-coupled`, `lstm-proj` | kernel |
//! | `lstm-zoneout`, `lstm-variational`, `lstm-weight-drop` | kernel |
//!
//! # Options
//!
//! Three options change the equations above, and they combine: peepholes (Gers and Schmidhuber
//! 2000; Gers, Schraudolph and Schmidhuber 2002), the coupled gate or CIFG (Greff et al. 2017,
//! arXiv:1503.04069v2), and the projection (Sak, Senior and Beaufays 2014, arXiv:1402.1128v1,
//! without its second, non-recurrent projection; `proj_size` of `torch.nn.LSTM`).
//!
//! ```text
//! i = σ(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi + w_ci ∘ c_{t-1})    peepholes
//! f = σ(W_if x_t + b_if + W_hf h_{t-1} + b_hf + w_cf ∘ c_{t-1})    peepholes
//! o = σ(W_io x_t + b_io + W_ho h_{t-1} + b_ho + w_co ∘ c_t)        peepholes
//! i = 1 − f                                                        coupled; there is no w_ci
//! h_t = W_hr (o ∘ tanh(c_t))                                       proj; h has `proj` values, fewer than c
//! ```
//!
//! If coupled, c is a moving average of g: it stays within [−1, 1], and the gradient along it is
//! still multiplied by f. The row order is then f, g, o. With a projection, recurrent blocks are
//! not square, and [`recurrent_core::Cell::recurrent_blocks`] returns W_hh W_hr gate by gate. The
//! paper's network has peepholes beside the projection: `LstmConfig { proj, peepholes: true, .. }`.
//!
//! | weight | shape |
//! |---|---|
//! | `weight_ih_l0` | `(G * hidden, input)` |
//! | `weight_hh_l0` | `(G * hidden, R)` |
//! | `bias_ih_l0`, `bias_hh_l0` | `(G * hidden)` each |
//! | `weight_hr_l0` (`proj`) | `(proj, hidden)` |
//! | `weight_ci_l0` (`peepholes`, not coupled) | `(hidden)` |
//! | `weight_cf_l0`, `weight_co_l0` (`peepholes`) | `(hidden)` each |
//!
//! G is 4, or 3 if coupled; R is `proj` or `hidden`. These are `G · hidden · (input + R + 2)`
//! weights, plus `proj · hidden` for the projection and `(G − 1) · hidden` for the peepholes. By
//! default, all are drawn from U(−1/√hidden, 1/√hidden). In the other schemes of initialisation
//! peepholes are zero, as biases are. If the gates are coupled, chrono biases set the bias of f
//! only.
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use recurrent_lstm::{Lstm, LstmConfig};
//!
//! # fn main() -> candle_core::Result<()> {
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let lstm = Lstm::new(3, 8, &LstmConfig::default(), vb)?;
//! let xs = Tensor::zeros((2, 50, 3), DType::F32, &Device::Cpu)?; // (batch, time, input)
//! assert_eq!(lstm.forward(&xs)?.dims(), [2, 50, 8]);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod cell;
mod config;

pub use cell::LstmCell;
pub use config::LstmConfig;

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

/// An LSTM layer: [`LstmCell`] run over time.
pub type Lstm = Rnn<Described<LstmCell>>;
