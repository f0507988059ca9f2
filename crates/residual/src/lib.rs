//! Residual connections for recurrent networks on candle: over depth, for any layer; over time, for
//! any cell; and an LSTM with one inside.
//!
//! ```text
//! over depth   ys = layer(xs) + xs                          P xs where the sizes differ; for every step by itself
//! over time    h_t = h_{t-1} + α f(x_t, h_{t-1})            f: the output of the cell inside
//! inside       h_t = o ∘ (W_p tanh(c_t) + W_h x_t)          the output gate of an LSTM lets out its input too
//! ```
//!
//! Over depth as in He et al. (2016, arXiv:1512.03385v1) and, between LSTM layers, Wu et al. (2016,
//! arXiv:1609.08144v2, equation 6). It gives the gradient a path around a layer; it does *not*
//! change the layer's own Jacobian from step to step, for the same inputs and weights. Over time as
//! in Chang et al. (2019, arXiv:1902.09689v1, equation 9, a forward Euler step of size α): it does
//! change that Jacobian, to the identity plus α times that of the cell.
//!
//! # Execution
//!
//! On the CPU in f32 and f64, [`Layer::explain`] names the engine of each variant of the registry.
//! A kernel runs a whole sequence, forward and backward; replay runs the cell's `step`, and runs
//! it again in the backward pass. A connection over
//! depth leaves the execution of the layer inside as it is.
//!
//! | variants | engine |
//! |---|---|
//! | `residual-lstm`, `residual-lstm-chrono`, `highway-lstm`, `rezero-lstm` | kernel |
//! | `residual-vanilla`, `residual-time-lstm` | kernel |
//! | `kim-residual-lstm` | replay |
//!
//! # Options
//!
//! A connection over depth may have a gate or a learned scale: see [`Shortcut`], which also lists
//! the weights that [`Residual`] adds. [`TemporalResidual`] adds none. [`ResidualLstm`] is the
//! network of Kim et al. (2017); see [`ResidualLstmCell`].
//!
//! ```
//! use candle::{DType, Device, Module, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use recurrent_core::{LayerId, Rnn};
//! use recurrent_residual::{TemporalResidual, Residual};
//! # use candle::Result;
//! # use recurrent_core::{linear, Cell, CellConfig, HiddenState, Params};
//! # #[derive(Clone, Params)] struct Elman { w: Tensor, u: Tensor }
//! # impl Cell for Elman {
//! #     type State = HiddenState;
//! #     fn input_size(&self) -> usize { self.w.dims()[1] }
//! #     fn state_sizes(&self) -> Vec<usize> { vec![self.u.dims()[1]] }
//! #     fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
//! #         let a = (linear(x, &self.w, None)? + linear(&s.h, &self.u, None)?)?;
//! #         Ok(HiddenState { h: a.tanh()? })
//! #     }
//! # }
//! # #[derive(Clone, Params)] struct ElmanConfig;
//! # impl CellConfig for ElmanConfig {
//! #     type Cell = Elman;
//! #     fn cell(
//! #         &self,
//! #         input: usize,
//! #         hidden: usize,
//! #         _: Option<LayerId>,
//! #         vb: VarBuilder,
//! #     ) -> Result<Elman> {
//! #         Ok(Elman { w: vb.get((hidden, input), "w")?, u: vb.get((hidden, hidden), "u")? })
//! #     }
//! #     fn param_count(&self, input: usize, hidden: usize) -> usize { hidden * (input + hidden) }
//! # }
//!
//! # fn main() -> candle::Result<()> {
//! # let config = ElmanConfig; // any cell's
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let over_time = TemporalResidual::new(config.clone(), 0.02);
//! let temporal_residual = Rnn::new(3, 8, &over_time, vb.pp("time"))?;
//! let layer = Rnn::new(3, 8, &config, vb.pp("depth"))?;
//! let over_depth = Residual::new(layer, LayerId::default(), vb)?;
//! let xs = Tensor::zeros((2, 50, 3), DType::F32, &Device::Cpu)?; // (batch, time, input)
//! assert_eq!(over_depth.forward(&xs)?.dims(), temporal_residual.forward(&xs)?.dims());
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
