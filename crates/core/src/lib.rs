//! Recurrent networks on [candle](https://github.com/huggingface/candle): what all families share.
//!
//! A [`Cell`] is one step, written as in its paper. [`Rnn`] runs a cell over time as *one* operation in candle's
//! graph, so that neither depth of recursion nor memory grows with the number of steps as they do in a plain loop.
//! [`Stack`] and [`Bidirectional`] combine layers. A [`Recorder`] receives dL/dh_t and dL/dc_t for every step from
//! the ordinary backward pass; the cells do not know who watches.
//!
//! ```
//! use candle::{DType, Device, Module, Result, Tensor};
//! use recurrent_core::{linear, Cell, Hidden, Rnn};
//!
//! /// h' = tanh(W x + U h): a cell of your own. It gets replay, stacking and the recorder for free.
//! #[derive(Clone)]
//! struct Elman { w: Tensor, u: Tensor }
//!
//! impl Cell for Elman {
//!     type State = Hidden;
//!     fn input_size(&self) -> usize { self.w.dims()[1] }
//!     fn state_sizes(&self) -> Vec<usize> { vec![self.u.dims()[1]] }
//!     fn params(&self) -> Vec<(String, Tensor)> {
//!         vec![("w".into(), self.w.clone()), ("u".into(), self.u.clone())]
//!     }
//!     fn with_params(&self, params: Vec<Tensor>) -> Result<Self> {
//!         Ok(Self { w: params[0].clone(), u: params[1].clone() })
//!     }
//!     fn step(&self, x: &Tensor, s: &Hidden) -> Result<Hidden> {
//!         let h = (linear(x, &self.w, None)? + linear(&s.h, &self.u, None)?)?.tanh()?;
//!         Ok(Hidden { h })
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let (w, u) = (Tensor::randn(0f32, 0.3, (4, 3), &Device::Cpu)?, Tensor::randn(0f32, 0.3, (4, 4), &Device::Cpu)?);
//! let layer = Rnn::from_cell(Elman { w, u });
//! let xs = Tensor::zeros((2, 50, 3), DType::F32, &Device::Cpu)?; // (batch, time, input)
//! assert_eq!(layer.forward(&xs)?.dims(), [2, 50, 4]);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod bidirectional;
mod carry;
mod cell;
mod dropout;
mod engine;
mod files;
mod flow;
mod frozen;
mod gates;
pub mod init;
mod layer;
pub mod loss;
mod noise;
mod nonlinearity;
mod observer;
mod operation;
mod orthogonal;
mod parts;
mod random;
mod recorder;
mod replay;
mod rnn;
mod sequence;
mod spectral;
mod stack;
mod tensor;

pub use bidirectional::Bidirectional;
pub use carry::{Carry, Hidden, Memory, State};
pub use cell::{Cell, CellConfig};
pub use dropout::dropout;
pub use engine::{Call, Engine, Forward, Gradients, Reserve, Route, Upstream, Value, Wants};
pub use files::write_whole;
pub use flow::{Flow, StateClip, Window};
pub use frozen::{check_step, Frozen, Stream};
pub use gates::{next_param, GateWeights};
pub use init::Init;
pub use layer::{forward, Draw, Layer, Pass, Place};
pub use noise::{Noise, StepNoise, Zoneout};
pub use nonlinearity::Nonlinearity;
pub use observer::{Gate, Observation, Observer};
pub use orthogonal::{nearest_orthogonal, orthogonalise};
pub use parts::{GruParts, LstmParts};
pub use random::stream;
pub use recorder::{Element, Keep, Probe, Recorder, Trace};
pub use rnn::{Checkpoint, Path, Rnn};
pub use sequence::{Lengths, Pool, Sequence};
pub use spectral::spectral_radius;
pub use stack::{Directions, Stack};
pub use tensor::{chunk_gates, layer_norm, linear, relu, rms_norm, sigmoid_slope, tanh_slope};
