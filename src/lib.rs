//! Recurrent networks for [candle](https://github.com/huggingface/candle) that train over long
//! sequences and record the gradient at every step.
//!
//! ```
//! use candle_core::{DType, Device, Result, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use recurrent::{ForwardContext, GradientRecorder, Layer, Lstm, LstmConfig, Record, Sequence};
//!
//! # fn main() -> Result<()> {
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let lstm = Lstm::new(2, 32, &LstmConfig::forget_bias(1.0), vb)?;
//!
//! let xs = Tensor::ones((4, 100, 2), DType::F32, &Device::Cpu)?; // (batch, time, input)
//! let recorder = GradientRecorder::new(Record::Norms);
//! let context = ForwardContext::default().record(&recorder);
//! let (last, carry) = lstm.last(&Sequence::new(xs)?, None, &context)?;
//! assert_eq!(last.dims(), [4, 32]);
//! assert_eq!(carry.field("c")?.dims(), [4, 32]);
//!
//! last.sqr()?.mean_all()?.backward()?;
//! for trace in recorder.take() {
//!     println!("|dL/d{}| 50 steps before the end: {:.1e}", trace.field, trace.batch_norms[50]);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | item | contents |
//! |---|---|
//! | [`Vanilla`], [`Lstm`], [`Gru`] | the layers of `torch.nn`, with peepholes, projection and other options |
//! | [`LayerNormLstm`], [`LayerNormGru`], [`LayerNormVanilla`] | the same with layer normalisation |
//! | [`Residual`], [`TemporalResidual`], [`ResidualLstm`] | residual connections over depth, over time, inside an LSTM |
//! | [`Layer`], [`Rnn`], [`Cell`] | the trait of all layers, a cell run over time, and the trait for a cell of your own |
//! | [`Stack`], [`Bidirectional`] | several layers, two directions |
//! | [`Sequence`], [`Carry`], [`ForwardContext`] | a batch with lengths, the carried state, the options of a forward call |
//! | [`RnnConfig`], [`CellKind`] | layers as data that serde reads and writes |
//! | [`Model`] | layers with their configuration: save, load, import and export weights |
//! | [`registry`] | networks by name, such as `lstm-chrono`, as the program `recurrent` compares them |
//! | [`modifier`] | named changes of a configuration, such as `layernorm` or `forget-bias=1` |
//! | [`GradientRecorder`], [`ActivationRecorder`] | dL/dh and dL/dc, or states and gates, at every step |
//! | [`Bptt`], [`Recompute`], [`RecurrentDropout`] | truncated BPTT, activation checkpointing, dropout over time |
//! | [`InferenceLayer`], [`Stream`] | inference step by step on slices, without a graph |
//! | [`weights`] | files and naming conventions of other libraries |
//!
//! # Features
//!
//! All are off by default.
//!
//! | feature | effect |
//! |---|---|
//! | `cuda`, `cudnn`, `metal` | candle's GPU backends |
//! | `mkl`, `accelerate` | candle's matrix products by Intel MKL or Apple Accelerate |
//! | `hub` | download and upload of models on the Hugging Face Hub |
//! | `onnx` | export to ONNX |
//!
//! The [guide](https://github.com/recurrent-rs/recurrent/blob/main/docs/guide/getting-started.md)
//! starts with a complete program.
#![forbid(unsafe_code)]

#[cfg(feature = "accelerate")]
extern crate accelerate_src;
#[cfg(feature = "mkl")]
extern crate intel_mkl_src;

mod model;
pub mod modifier;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod registry;
mod rnn_config;

pub use recurrent_core as core;
pub use recurrent_gru as gru;
pub use recurrent_kernels as kernels;
pub use recurrent_layernorm as layernorm;
pub use recurrent_lstm as lstm;
pub use recurrent_residual as residual;
pub use recurrent_vanilla as vanilla;
pub use recurrent_weights as weights;
#[cfg(feature = "hub")]
pub use recurrent_weights::hub;

pub use model::Model;
pub use recurrent_core::{
    ActivationRecorder, Activations, Bidirectional, Bptt, Carry, Cell, CellConfig, Direction,
    Execution, ForwardContext, Gate, GradientRecorder, GradientTrace, HiddenGradClip,
    InferenceLayer, Init, Layer, LayerId, Pool, Recompute, Record, RecurrentDropout, Rnn, Sequence,
    Stack, State, Stream, Truncation,
};
pub use recurrent_gru::{Gru, GruCell, GruConfig, Reset};
pub use recurrent_kernels::{Describe, Described, Gated, GatedCell, GatedConfig};
pub use recurrent_layernorm::{
    LayerNormGru, LayerNormGruConfig, LayerNormLstm, LayerNormLstmConfig, LayerNormVanilla,
    LayerNormVanillaConfig,
};
pub use recurrent_lstm::{Lstm, LstmCell, LstmConfig};
pub use recurrent_residual::{
    Residual, ResidualLstm, ResidualLstmConfig, Shortcut, TemporalResidual,
};
pub use recurrent_vanilla::{Nonlinearity, Vanilla, VanillaCell, VanillaConfig};
pub use rnn_config::{CellKind, Connection, RnnConfig};

/// The pages under `docs/`: their code is compiled and run as doctests.
#[cfg(doctest)]
mod pages {
    #[cfg(feature = "hub")]
    #[doc = include_str!("../docs/hub.md")]
    mod hub {}

    /// Tests of `#[derive(Params)]`: it accepts these fields, and refuses a field that can hold no
    /// weight.
    ///
    /// ```
    /// use candle_core::Tensor;
    /// use recurrent_core::{GateWeights, Parameters, Params};
    ///
    /// #[derive(Clone, Params)]
    /// struct MyCell {
    ///     gates: GateWeights,
    ///     #[param(name = "weight_peephole")]
    ///     peephole: Option<Tensor>,
    ///     #[param(skip)]
    ///     relu: bool,
    /// }
    /// ```
    ///
    /// ```compile_fail
    /// use candle_core::Tensor;
    /// use recurrent_core::{Parameters, Params};
    ///
    /// #[derive(Clone, Params)]
    /// struct MyCell {
    ///     weight_ih: Tensor,
    ///     relu: bool, // it needs `#[param(skip)]`
    /// }
    /// ```
    mod derive {}
}
