//! GRU for candle.
//!
//! ```text
//! r = σ(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)            reset gate
//! z = σ(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)            update gate
//! n = tanh(W_in x_t + b_in + r ∘ (W_hn h_{t-1} + b_hn))   candidate
//! h_t = n + z ∘ (h_{t-1} − n)                             (1 − z) ∘ n + z ∘ h_{t-1}
//! ```
//!
//! Cho et al. 2014 in its first version (arXiv:1406.1078v1), with the reset gate after the matrix
//! product; `torch.nn.GRU`. [`Reset::Before`] selects the third version (arXiv:1406.1078v3), with
//! the same weights:
//!
//! ```text
//! n = tanh(W_in x_t + b_in + W_hn (r ∘ h_{t-1}) + b_hn)
//! ```
//!
//! The sign of z is that of PyTorch and of the paper's equation 7: z multiplies the old state, so a
//! positive bias on z preserves it longer. Chung et al. 2014 (arXiv:1412.3555) exchange z and 1 −
//! z.
//!
//! | weight | shape, rows in the order r, z, n | default initialisation |
//! |---|---|---|
//! | `weight_ih_l0` | `(3 * hidden, input)` | U(−1/√hidden, 1/√hidden) |
//! | `weight_hh_l0` | `(3 * hidden, hidden)` | the same |
//! | `bias_ih_l0`, `bias_hh_l0` | `(3 * hidden)` each | the same |
//!
//! A layer has `3 · hidden · (input + hidden + 2)` weights.
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
//! | `gru`, `gru-chrono`, `gru-v3`, `gru-zoneout` | kernel |
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use recurrent_gru::{Gru, GruConfig};
//!
//! # fn main() -> candle_core::Result<()> {
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let gru = Gru::new(3, 8, &GruConfig::default(), vb)?;
//! let xs = Tensor::zeros((2, 50, 3), DType::F32, &Device::Cpu)?; // (batch, time, input)
//! assert_eq!(gru.forward(&xs)?.dims(), [2, 50, 8]);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod cell;
mod config;

pub use cell::GruCell;
pub use config::{GruConfig, Reset};

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
pub use recurrent_kernels::{Described, Gated};

/// A GRU layer: [`GruCell`] run over time.
pub type Gru = Rnn<Described<Gated<GruCell>>>;
