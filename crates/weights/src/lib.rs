//! Weights of recurrent networks in and out: files of tensors, and the conventions by which other libraries name and lay out the weights of
//! a recurrent layer.
//!
//! [`read`] takes a safetensors file, a PyTorch `.pt` or `.pth`, or a `.npz`, told apart by what is in it, and gives its tensors by name.
//! [`write()`] writes a safetensors file that appears whole or not at all. A [`Convention`] takes such tensors to the names and layouts of
//! this workspace and back; [`conventions`] has those of PyTorch, Keras, Flax, haste, TensorFlow Addons and Lasagne. [`PackedWeights`] does it for cuDNN's
//! single buffer. Nothing here knows a family of networks: a convention is data.
//!
//! ```
//! use candle::{DType, Device, Tensor};
//! use recurrent_weights::{conventions, Tensors};
//!
//! # fn main() -> candle::Result<()> {
//! // An LSTM of Keras, 3 features and 2 units: kernels transposed, one bias.
//! let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
//! let keras = Tensors::from([
//!     ("lstm/kernel".to_string(), zeros(&[3, 8])?),
//!     ("lstm/recurrent_kernel".to_string(), zeros(&[2, 8])?),
//!     ("lstm/bias".to_string(), zeros(&[8])?),
//! ]);
//! let expected = [("weight_ih_l0", vec![8, 3]), ("weight_hh_l0", vec![8, 2]), ("bias_ih_l0", vec![8]), ("bias_hh_l0", vec![8])];
//! let expected = expected.map(|(name, shape)| (name.to_string(), shape));
//! let ours = conventions::keras_lstm().under("lstm/").import(&keras, &expected)?;
//! assert_eq!(ours["weight_ih_l0"].dims(), [8, 3]);
//!
//! // Whoever says nothing of Keras is told all that does not fit, and what it looks like.
//! let error = conventions::pytorch().import(&keras, &expected).expect_err("these are not PyTorch's").to_string();
//! assert!(error.contains("'weight_ih_l0' [8, 3]"), "{error}");
//! assert!(error.contains("conventions::keras_lstm()"), "{error}");
//! # Ok(())
//! # }
//! ```
//!
//! # What a file may do
//!
//! A file that is cut short, corrupt, lies about its sizes or holds more than tensors is an error: no panic, and no more memory than
//! [`budget`](read) allows for its length. A pickle is never executed: only dictionaries, lists, numbers, texts and tensors are understood,
//! and any other name in it is refused with that name in the message.

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

pub use convention::{Absorbed, Convention, GateMapping, RowLayout, WeightMapping};
pub use file::{read, read_bytes, write, Contents, Tensors};
pub use mismatch::{check, Mismatch};
pub use packed::PackedWeights;
#[cfg(feature = "hub")]
pub mod hub;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
