//! Vanilla (Elman) recurrent networks for candle.
//!
//! ```text
//! h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)
//! h_t = relu(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)        with `Nonlinearity::Relu`
//! ```
//!
//! Elman, "Finding structure in time", Cognitive Science 14 (1990); `torch.nn.RNN`. With ReLU, an
//! identity as recurrent block and zero biases, it is the IRNN of Le, Jaitly and Hinton (2015,
//! arXiv:1504.00941v2): [`VanillaConfig::irnn`].
//!
//! | weight | shape | default initialisation |
//! |---|---|---|
//! | `weight_ih_l0` | `(hidden, input)` | U(−1/√hidden, 1/√hidden) |
//! | `weight_hh_l0` | `(hidden, hidden)` | the same |
//! | `bias_ih_l0`, `bias_hh_l0` | `(hidden)` each | the same |
//!
//! A layer has `hidden · (input + hidden + 2)` weights.
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
//! | `vanilla`, `vanilla-orthogonal`, `irnn` | kernel |
//!
//! # Gradient
//!
//! Every step of the backward pass multiplies the gradient by W_hhᵀ and the slope of the
//! nonlinearity. `Init { recurrent: Block::Orthogonal { gain } }` sets the singular values of W_hh
//! to `gain` at the start, and [`VanillaCell::project_orthogonal`] keeps them there during
//! training.
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use recurrent_vanilla::{Vanilla, VanillaConfig};
//!
//! # fn main() -> candle_core::Result<()> {
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
pub use recurrent_kernels::Described;

/// A vanilla layer: [`VanillaCell`] run over time.
pub type Vanilla = Rnn<Described<VanillaCell>>;
