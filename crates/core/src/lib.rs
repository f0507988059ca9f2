//! Recurrent networks on [candle](https://github.com/huggingface/candle): the parts that all
//! families share.
//!
//! A [`Cell`] is one step, written as in its paper. [`Rnn`] runs a cell over time as *one*
//! operation in candle's graph: unlike in a plain loop, the depth of recursion does not grow with
//! the number of steps, and memory grows with its square root. [`Stack`] and [`Bidirectional`]
//! combine layers. A [`GradientRecorder`] receives dL/dh_t and dL/dc_t for every step from the
//! ordinary backward pass.
//!
//! ```
//! use candle_core::{DType, Device, Module, Result, Tensor};
//! use recurrent_core::{linear, Cell, HiddenState, Params, Rnn};
//!
//! /// h' = tanh(W x + U h): a cell of your own, which runs, stacks and is recorded like any other.
//! #[derive(Clone, Params)]
//! struct Elman { w: Tensor, u: Tensor }
//!
//! impl Cell for Elman {
//!     type State = HiddenState;
//!     fn input_size(&self) -> usize { self.w.dims()[1] }
//!     fn state_sizes(&self) -> Vec<usize> { vec![self.u.dims()[1]] }
//!     fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
//!         let h = (linear(x, &self.w, None)? + linear(&s.h, &self.u, None)?)?.tanh()?;
//!         Ok(HiddenState { h })
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let w = Tensor::randn(0f32, 0.3, (4, 3), &Device::Cpu)?;
//! let u = Tensor::randn(0f32, 0.3, (4, 4), &Device::Cpu)?;
//! let layer = Rnn::from_cell(Elman { w, u });
//! let xs = Tensor::zeros((2, 50, 3), DType::F32, &Device::Cpu)?; // (batch, time, input)
//! assert_eq!(layer.forward(&xs)?.dims(), [2, 50, 4]);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

// `#[derive(Params)]` names this crate by its own name.
extern crate self as recurrent_core;

mod activation_recorder;
mod bidirectional;
mod bptt;
mod carry;
mod cell;
pub mod description;
mod dropout;
mod engine;
mod files;
mod gates;
mod gradient_recorder;
mod inference;
pub mod init;
mod layer;
mod layer_graph;
pub mod loss;
pub mod modifier;
mod nonlinearity;
mod operation;
mod orthogonal;
mod params;
mod random;
mod recurrent_dropout;
mod replay;
mod rnn;
mod sequence;
mod spectral;
mod stack;
mod tensor;

pub use activation_recorder::{ActivationRecorder, Activations, Gate};
pub use bidirectional::Bidirectional;
pub use bptt::{Bptt, HiddenGradClip, Truncation};
pub use carry::{Carry, HiddenState, LstmState, State};
pub use cell::{Cell, CellConfig};
pub use dropout::dropout;
pub use engine::{
    BackwardInput, Engine, EngineValue, Forward, InputGrads, NeedsGrad, OutputGrads, Saved,
    SequenceInput, TimeIndex,
};
pub use files::write_whole;
pub use gates::GateWeights;
pub use gradient_recorder::{Float, GradientAccumulator, GradientRecorder, GradientTrace, Record};
pub use inference::{chunk_steps, steps_at_once, InferenceLayer, Stream};
pub use init::Init;
pub use layer::{forward, ForwardContext, Layer, LayerId, StepKey};
pub use layer_graph::{Equations, LayerGraph, RnnGraph};
pub use nonlinearity::Nonlinearity;
pub use orthogonal::{polar_factor, project_orthogonal};
pub use params::{ParamField, Parameters};
pub use random::named_rng;
pub use recurrent_derive::Params;
pub use recurrent_dropout::{RecurrentDropout, StepMasks, Zoneout};
pub use rnn::{Execution, Recompute, Rnn};
pub use sequence::{Lengths, Pool, Sequence};
pub use spectral::spectral_radius;
pub use stack::{Direction, Stack};

/// The names that the code of `#[derive(Params)]` uses.
#[doc(hidden)]
pub mod __private {
    pub use candle_core::{Result, Tensor};
}
pub use tensor::{linear, relu, tanh_slope};
