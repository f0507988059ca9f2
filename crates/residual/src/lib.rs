//! Residual connections for recurrent networks on candle: over depth for any layer, over time for
//! any cell, and an LSTM with one inside.
//!
//! ```text
//! over depth   ys = layer(xs) + xs                          P xs where the sizes differ; at every step
//! over time    h_t = h_{t-1} + α f(x_t, h_{t-1})            f: the output of the inner cell
//! inside       h_t = o ∘ (W_projection tanh(c_t) + W_shortcut x_t)          an LSTM whose output gate also gates its input
//! ```
//!
//! Over depth: He et al. (2016, arXiv:1512.03385v1) and, between LSTM layers, Wu et al. (2016,
//! arXiv:1609.08144v2, equation 6). The connection gives the gradient a path around a layer; for
//! the same inputs and weights, it does *not* change the layer's own Jacobian from step to step.
//!
//! Over time: Chang et al. (2019, arXiv:1902.09689v1, equation 9, a forward Euler step of size α).
//! This connection does change that Jacobian, to the identity plus α times the Jacobian of the
//! cell.
//!
//! # Execution
//!
//! A kernel runs a whole sequence, forward and backward. Replay runs the cell's `step`, and runs it
//! again in the backward pass. The table lists the engine on the CPU in f32 and f64 for the
//! variants of the registry; other devices and dtypes use replay. [`Layer::explain`] names the
//! engine of a layer. A connection over depth does not change the engine of its inner layer.
//!
//! | variants | engine |
//! |---|---|
//! | `residual-lstm`, `residual-lstm-chrono`, `highway-lstm`, `rezero-lstm` | kernel |
//! | `residual-vanilla`, `residual-time-lstm` | kernel |
//! | `kim-residual-lstm` | kernel |
//!
//! # Options
//!
//! A connection over depth may have a gate or a learned scale: see [`Shortcut`], which also lists
//! the weights that [`Residual`] adds. [`TemporalResidual`] adds no weights. [`ResidualLstm`] is
//! the network of Kim et al. (2017); see [`ResidualLstmCell`].
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use recurrent_core::{LayerId, Rnn};
//! use recurrent_residual::{TemporalResidual, Residual};
//! # use candle_core::Result;
//! # use recurrent_core::{linear, Cell, CellConfig, HiddenState, Params};
//! # #[derive(Clone, Params)] struct Elman { w: Tensor, u: Tensor }
//! # impl Cell for Elman {
//! #     type State = HiddenState;
//! #     fn input_size(&self) -> usize { self.w.dims()[1] }
//! #     fn state_sizes(&self) -> Vec<usize> { vec![self.u.dims()[1]] }
//! #     fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
//! #         let h = (linear(x, &self.w, None)? + linear(&s.h, &self.u, None)?)?.tanh()?;
//! #         Ok(HiddenState { h })
//! #     }
//! # }
//! # #[derive(Clone, Params)] struct ElmanConfig;
//! # impl CellConfig for ElmanConfig {
//! #     type Cell = Elman;
//! #     fn cell(&self, input: usize, hidden: usize, _: Option<LayerId>, vb: VarBuilder)
//! #         -> Result<Elman> {
//! #         Ok(Elman { w: vb.get((hidden, input), "w")?, u: vb.get((hidden, hidden), "u")? })
//! #     }
//! #     fn param_count(&self, input: usize, hidden: usize) -> usize { hidden * (input + hidden) }
//! # }
//!
//! # fn main() -> candle_core::Result<()> {
//! # let config = ElmanConfig; // any cell's
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let over_time = TemporalResidual::new(config.clone(), 0.02);
//! let over_time = Rnn::new(3, 8, &over_time, vb.pp("time"))?;
//! let over_depth = Rnn::new(3, 8, &config, vb.pp("depth"))?;
//! let over_depth = Residual::new(over_depth, LayerId::default(), vb)?;
//! let xs = Tensor::zeros((2, 50, 3), DType::F32, &Device::Cpu)?; // (batch, time, input)
//! assert_eq!(over_depth.forward(&xs)?.dims(), over_time.forward(&xs)?.dims());
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod depth;
mod inference;
mod lstm;
mod shortcut;
mod temporal;

pub use depth::Residual;
pub use lstm::{ResidualLstm, ResidualLstmCell, ResidualLstmConfig};
pub use shortcut::Shortcut;
pub use temporal::{TemporalResidual, TemporalResidualCell};

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
