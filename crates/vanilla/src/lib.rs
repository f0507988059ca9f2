//! Vanilla (Elman) recurrent networks for candle.
//!
//! ```text
//! h_t = φ(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)        φ = tanh, or ReLU
//! ```
//!
//! Elman, "Finding structure in time", Cognitive Science 14 (1990); as `torch.nn.RNN`. With ReLU,
//! the recurrent block the identity and biases zero it is the IRNN of Le, Jaitly and Hinton (2015,
//! arXiv:1504.00941v2): [`VanillaConfig::irnn`].
//!
//! | weight | shape | begins, by default |
//! |---|---|---|
//! | `weight_ih_l0` | `(hidden, input)` | U(−1/√hidden, 1/√hidden) |
//! | `weight_hh_l0` | `(hidden, hidden)` | the same |
//! | `bias_ih_l0`, `bias_hh_l0` | `(hidden)` each | the same |
//!
//! `hidden · (input + hidden + 2)` numbers in all.
//!
//! # Execution
//!
//! On the CPU in f32 and f64, [`Layer::explain`] names the engine of each variant of the registry.
//! A kernel runs a whole sequence, forward and backward; replay runs the cell's `step`, and runs
//! it again in the backward pass. Other devices and
//! dtypes use replay.
//!
//! | variants | engine |
//! |---|---|
//! | `vanilla`, `vanilla-orthogonal`, `irnn` | kernel |
//!
//! # Gradient
//!
//! The gradient is multiplied by W_hhᵀ and by φ′ at every step back. `Init { recurrent:
//! Block::Orthogonal { gain } }` begins with singular values of `gain` in W_hh, and
//! [`VanillaCell::project_orthogonal`] keeps them there while it trains.
//!
//! ```
//! use candle::{DType, Device, Module, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use recurrent_vanilla::{Vanilla, VanillaConfig};
//!
//! # fn main() -> candle::Result<()> {
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let rnn = Vanilla::new(3, 8, &VanillaConfig::default(), vb)?;
//! let xs = Tensor::zeros((2, 50, 3), DType::F32, &Device::Cpu)?; // (batch, time, input)
//! assert_eq!(rnn.forward(&xs)?.dims(), [2, 50, 8]);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod cell;
mod config;

pub use cell::VanillaCell;
pub use config::VanillaConfig;
pub use recurrent_core::Nonlinearity;

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

/// A vanilla layer: [`VanillaCell`] run over time.
pub type Vanilla = Rnn<VanillaCell>;
