//! Import and export of the weights of recurrent networks: files of tensors, and the conventions by
//! which other libraries name and lay out the weights of a recurrent layer.
//!
//! [`read`] takes a safetensors file, a PyTorch `.pt` or `.pth`, or a `.npz`, which it recognises
//! by the content, and returns the tensors by name. [`write()`] writes a safetensors file
//! atomically. A [`Convention`] converts such tensors to the names and layouts of this workspace
//! and back; [`conventions`] has those of PyTorch, Keras, Flax, haste, TensorFlow Addons and
//! Lasagne. [`PackedWeights`] does the same for cuDNN's single buffer. This crate knows no family
//! of networks: a convention is data.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use recurrent_weights::{conventions, Tensors};
//!
//! # fn main() -> candle_core::Result<()> {
//! // An LSTM of Keras, 3 features and 2 units: kernels transposed, one bias.
//! let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
//! let keras = Tensors::from([
//!     ("lstm/kernel".to_string(), zeros(&[3, 8])?),
//!     ("lstm/recurrent_kernel".to_string(), zeros(&[2, 8])?),
//!     ("lstm/bias".to_string(), zeros(&[8])?),
//! ]);
//! let expected = [
//!     ("weight_ih_l0", vec![8, 3]),
//!     ("weight_hh_l0", vec![8, 2]),
//!     ("bias_ih_l0", vec![8]),
//!     ("bias_hh_l0", vec![8]),
//! ];
//! let expected = expected.map(|(name, shape)| (name.to_string(), shape));
//! let ours = conventions::keras_lstm().under("lstm/").import(&keras, &expected)?;
//! assert_eq!(ours["weight_ih_l0"].dims(), [8, 3]);
//!
//! // Without the Keras convention the error lists every mismatch and suggests `keras_lstm()`.
//! let error = conventions::pytorch().import(&keras, &expected).expect_err("no such names");
//! let error = error.to_string();
//! assert!(error.contains("'weight_ih_l0' [8, 3]"), "{error}");
//! assert!(error.contains("conventions::keras_lstm()"), "{error}");
//! # Ok(())
//! # }
//! ```
//!
//! # Limits of a file
//!
//! A file that is truncated or corrupt, states wrong sizes or holds more than tensors is an error:
//! no panic, and no more memory than the [budget](read) of its length allows. A pickle is never
//! executed: the reader accepts dictionaries, lists, numbers, strings and tensors, and refuses any
//! other name with that name in the message.

#![forbid(unsafe_code)]

mod archive;
mod convention;
pub mod conventions;
mod dtype;
mod export;
mod file;
mod import;
mod mismatch;
mod nearest;
mod npz;
mod packed;
mod pickle;
mod torch;
mod tracked;

pub use convention::{Absorbed, Convention, GateMapping, RowLayout, WeightMapping};
pub use file::{read, read_bytes, write, Contents, Tensors};
pub use mismatch::{check, Mismatch};
pub use packed::PackedWeights;
pub use tracked::TrackedTensors;
#[cfg(feature = "hub")]
pub mod hub;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
