//! A named network in a comparison.

use candle_nn::VarBuilder;
use recurrent_core::Layer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A named network in a comparison: a recipe for its recurrent layers at any size. The harness knows no cell by name.
#[derive(Clone)]
pub struct Variant {
    /// The name, as on the command line: `lstm-chrono`.
    pub name: String,
    /// One line on what it is.
    pub summary: String,
    /// The number of recurrent layers on top of each other.
    pub layers: usize,
    /// How its weights begin, in words: `PyTorch`, `chrono(100)`.
    pub init: String,
    /// Its options, for the report.
    pub options: BTreeMap<String, String>,
    /// The number of weights of the recurrent layers at a size.
    pub params: Params,
    /// Makes the recurrent layers.
    pub build: Build,
}

/// What a variant is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The number of input features.
    pub input: usize,
    /// The number of hidden units of each layer.
    pub hidden: usize,
    /// The longest lag of the task, for initialisations that take it.
    pub longest_lag: usize,
    /// The seed of the weights.
    pub seed: u64,
}

/// The number of weights at a size.
pub type Params = Arc<dyn Fn(Size) -> usize + Send + Sync>;

/// Makes the recurrent layers at a size.
pub type Build = Arc<dyn Fn(Size, VarBuilder) -> candle::Result<Box<dyn Layer>> + Send + Sync>;
