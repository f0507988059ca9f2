//! A residual connection over depth.

use crate::inference::InferenceResidual;
use crate::shortcut::{Join, Shortcut};
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::VarBuilder;
use recurrent_core::{
    forward, Carry, ForwardContext, InferenceLayer, Layer, LayerGraph, LayerId, Pool, Sequence,
};
use std::sync::Arc;

/// A layer with a [`Shortcut`] around it; by default ys = layer(xs) + P xs.
///
/// The carry, the recorder and the names of the layer's weights are those of the inner layer.
pub struct Residual<L> {
    layer: L,
    join: Join,
}

impl<L: Layer> Residual<L> {
    /// The layer with an additive connection around it; see [`Residual::of`].
    ///
    /// # Errors
    /// As [`Residual::of`].
    pub fn new(layer: L, layer_id: LayerId, vb: VarBuilder) -> Result<Self> {
        Self::of(Shortcut::Additive, layer, layer_id, vb)
    }

    /// The layer with a connection of this kind around it. The names of its weights end with the
    /// suffix of `layer_id`. They are looked up in `vb`, or initialised as [`Shortcut`] lists.
    ///
    /// # Errors
    /// If a weight exists with another shape, or an option of the connection is not a finite
    /// number.
    pub fn of(shortcut: Shortcut, layer: L, layer_id: LayerId, vb: VarBuilder) -> Result<Self> {
        let join = Join::new(shortcut, layer.input_size(), layer.output_size(), layer_id, &vb)?;
        Ok(Self { layer, join })
    }

    /// Joins the layer's outputs `ys` with its input `xs`. The padding of the result is zero,
    /// whatever `xs` holds there.
    fn join(&self, ys: &Sequence, xs: &Sequence) -> Result<Sequence> {
        ys.with_values(self.join.join(ys.values(), xs.zero_padding()?.values())?)
    }
}

impl<L: Layer> Layer for Residual<L> {
    fn input_size(&self) -> usize {
        self.layer.input_size()
    }

    fn output_size(&self) -> usize {
        self.layer.output_size()
    }

    fn reversed_size(&self) -> usize {
        self.layer.reversed_size()
    }

    fn depth(&self) -> usize {
        self.layer.depth()
    }

    fn run(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Sequence, Carry)> {
        let (ys, carry) = self.layer.run(xs, carry, context)?;
        Ok((self.join(&ys, xs)?, carry))
    }

    fn last(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Tensor, Carry)> {
        let (y, carry) = self.layer.last(xs, carry, context)?;
        // Two steps are enough: the last one, and the first one for a reversed direction.
        let last = xs.pool(Pool::Last)?;
        let ends = match self.reversed_size() {
            0 => vec![last],
            _ => vec![xs.values().narrow(1, 0, 1)?.squeeze(1)?, last],
        };
        let ys = Sequence::new(Tensor::stack(&vec![y; ends.len()], 1)?)?;
        let joined = self.join(&ys, &Sequence::new(Tensor::stack(&ends, 1)?)?)?;
        Ok((joined.ends(self.reversed_size())?, carry))
    }

    fn to_inference(&self) -> Result<Arc<dyn InferenceLayer>> {
        Ok(Arc::new(InferenceResidual {
            layer: self.layer.to_inference()?,
            join: self.join.to_inference()?,
        }))
    }

    fn graph(&self) -> Result<LayerGraph> {
        Ok(LayerGraph::Connected {
            layer: Box::new(self.layer.graph()?),
            connection: Box::new(self.join.equations().clone()),
        })
    }

    fn explain(&self, dtype: DType, device: &Device) -> String {
        self.layer.explain(dtype, device)
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        self.layer.params().into_iter().chain(self.join.equations().weights.clone()).collect()
    }

    /// That of the inner layer: a connection over depth does not change the carried state.
    fn vjp(&self, x: &Tensor, carry: &Carry, grad: &Carry) -> Result<Option<Carry>> {
        self.layer.vjp(x, carry, grad)
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.layer.recurrent_blocks()
    }
}

impl<L: Layer> Module for Residual<L> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        forward(self, xs)
    }
}
