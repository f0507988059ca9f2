//! A layer as data.

use crate::description::Graph;
use candle_core::Tensor;

/// A layer as data: the equations of its evaluation. [`crate::Layer::graph`] returns it.
#[derive(Clone, Debug)]
pub enum LayerGraph {
    /// Cells over the same input, with their outputs side by side: one, or one for each direction.
    Recurrent(Vec<RnnGraph>),
    /// Layers on top of each other, bottom first.
    Stack(Vec<LayerGraph>),
    /// A layer with a connection around it.
    Connected {
        /// The layer.
        layer: Box<LayerGraph>,
        /// The connection, the same at every step. Its input is that of the layer. Its only field
        /// is the output: of the layer before, of both after.
        connection: Box<Equations>,
    },
}

/// Equations with their weights.
#[derive(Clone, Debug)]
pub struct Equations {
    /// The equations.
    pub graph: Graph,
    /// The names and values of the weights, in the order of [`Graph::weights`].
    pub weights: Vec<(String, Tensor)>,
}

/// A cell run over time.
#[derive(Clone, Debug)]
pub struct RnnGraph {
    /// The cell, with residual over time and zoneout. Names of weights have no suffix.
    pub cell: Equations,
    /// The names of the fields of its state.
    pub fields: &'static [&'static str],
    /// The rate of zoneout of each field, which is its factor k in evaluation.
    pub zoneout: Vec<f64>,
    /// Whether it runs from each example's end to its beginning.
    pub reverse: bool,
    /// Whether the layer learns its initial state.
    pub learned_start: bool,
}
