//! Recurrent networks for [candle](https://github.com/huggingface/candle): all families of the
//! workspace, built in code or from data, saved and loaded. [`Lstm`], [`Gru`], [`Vanilla`] and
//! their kin are layers; [`Stack`] puts them on top of each other.
//!
//! The [guide](https://github.com/recurrent-rs/recurrent/blob/main/docs/guide/getting-started.md)
//! begins with a program.
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

/// The pages under `docs/`, whose code is compiled and run.
#[cfg(doctest)]
mod pages {
    #[cfg(feature = "hub")]
    #[doc = include_str!("../docs/hub.md")]
    mod hub {}
}
