//! A layer, and the options of one forward call.

use crate::{
    ActivationRecorder, Bptt, Carry, GradientRecorder, InferenceLayer, LayerGraph, Sequence,
};
use candle_core::{bail, DType, Device, Module, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Maps a sequence and a carry to a sequence and a carry: a cell run over time, or a wrapper around
/// layers.
///
/// The trait is object-safe. For the plain call on a tensor `(batch, time, input)`, layers
/// implement candle's [`Module`]: `let ys = layer.forward(&xs)?`.
pub trait Layer: Send + Sync {
    /// The number of features of the input.
    fn input_size(&self) -> usize;

    /// The number of features of the output.
    fn output_size(&self) -> usize;

    /// The number of output features, at the end, that come from a reversed direction, which ends
    /// at an example's first step.
    fn reversed_size(&self) -> usize {
        0
    }

    /// The number of recurrent layers on top of each other inside; a stack numbers its [`LayerId`]s
    /// by it.
    fn depth(&self) -> usize {
        1
    }

    /// Runs over `xs`, `(batch, time, input)`, from `carry` (zeros if `None`). Returns the outputs
    /// `(batch, time, output)`, zero in the padding, and the carry at each example's end.
    ///
    /// # Errors
    /// If a shape does not fit; the message names the argument, the expected and the found shape.
    fn run(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Sequence, Carry)>;

    /// As [`Layer::run`], but returns only the last output, `(batch, output)`: that of each
    /// example's last step, and in reverse that of its first step. A layer may skip the other
    /// outputs.
    ///
    /// # Errors
    /// As [`Layer::run`].
    fn last(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Tensor, Carry)> {
        let (ys, carry) = self.run(xs, carry, context)?;
        Ok((ys.ends(self.reversed_size())?, carry))
    }

    /// An inference-only snapshot in f32 that runs on slices, a step or a chunk at a time: with
    /// packed weights if the cell has a kernel, and by its `step` otherwise.
    ///
    /// # Errors
    /// If a part of the layer runs in reverse, or the layer does not implement it.
    fn to_inference(&self) -> Result<Arc<dyn InferenceLayer>> {
        bail!("to_inference: this layer cannot run step by step on slices")
    }

    /// The equations of the layer's evaluation as data, with its weights.
    ///
    /// # Errors
    /// If a cell inside is not described as data, or the layer does not implement it.
    fn graph(&self) -> Result<LayerGraph> {
        bail!("graph: this layer is not described as data")
    }

    /// The engine that runs the layer for tensors of this dtype on this device, and the reason: a
    /// kernel, or replay of the cell's `step`. A layer of several parts has one line for each part
    /// unless all say the same.
    ///
    /// ```
    /// # use candle_core::{DType, Device};
    /// # fn show(layer: &dyn recurrent_core::Layer) {
    /// println!("{}", layer.explain(DType::F32, &Device::Cpu)); // lstm: the cell has a kernel here
    /// # }
    /// ```
    fn explain(&self, _dtype: DType, _device: &Device) -> String {
        "a layer that does not name its engine".to_string()
    }

    /// The weights by name, always in the same order.
    fn params(&self) -> Vec<(String, Tensor)>;

    /// The vector-Jacobian product of one step at the input `x`, `(batch, input)`, and the state
    /// `carry`, in closed form: the gradient `grad` with respect to the state after the step, times
    /// the Jacobian of the step, without dropout. `None` if the layer has no closed form, or has
    /// several layers. See [`crate::Cell::vjp`].
    ///
    /// # Errors
    /// If a shape does not fit.
    fn vjp(&self, _x: &Tensor, _carry: &Carry, _grad: &Carry) -> Result<Option<Carry>> {
        Ok(None)
    }

    /// The square recurrent blocks inside, by name; see [`crate::Cell::recurrent_blocks`].
    ///
    /// # Errors
    /// Those of candle.
    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(Vec::new())
    }
}

impl Layer for Box<dyn Layer> {
    fn input_size(&self) -> usize {
        self.as_ref().input_size()
    }

    fn output_size(&self) -> usize {
        self.as_ref().output_size()
    }

    fn reversed_size(&self) -> usize {
        self.as_ref().reversed_size()
    }

    fn depth(&self) -> usize {
        self.as_ref().depth()
    }

    fn run(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Sequence, Carry)> {
        self.as_ref().run(xs, carry, context)
    }

    fn last(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Tensor, Carry)> {
        self.as_ref().last(xs, carry, context)
    }

    fn to_inference(&self) -> Result<Arc<dyn InferenceLayer>> {
        self.as_ref().to_inference()
    }

    fn graph(&self) -> Result<LayerGraph> {
        self.as_ref().graph()
    }

    fn explain(&self, dtype: DType, device: &Device) -> String {
        self.as_ref().explain(dtype, device)
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        self.as_ref().params()
    }

    fn vjp(&self, x: &Tensor, carry: &Carry, grad: &Carry) -> Result<Option<Carry>> {
        self.as_ref().vjp(x, carry, grad)
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.as_ref().recurrent_blocks()
    }
}

impl Module for dyn Layer {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        forward(self, xs)
    }
}

impl Module for Box<dyn Layer> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        forward(self.as_ref(), xs)
    }
}

/// The plain call on a tensor, as in [`Module::forward`]: full sequences, no carry, evaluation.
///
/// # Errors
/// As [`Layer::run`].
pub fn forward(layer: &(impl Layer + ?Sized), xs: &Tensor) -> Result<Tensor> {
    let (ys, _) = layer.run(&Sequence::new(xs.clone())?, None, &ForwardContext::default())?;
    Ok(ys.into_values())
}

/// The options of one forward call: the key of a training step, recorders, and truncated BPTT.
///
/// The default evaluates, without recorders, truncation or clipping.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForwardContext<'a> {
    /// The key of the dropout masks of a training step; `None` evaluates, without dropout.
    pub key: Option<StepKey>,
    /// The recorder of the gradients with respect to the states in the backward pass.
    pub record: Option<&'a GradientRecorder>,
    /// The recorder of the states and the gates in the forward pass.
    pub activations: Option<&'a ActivationRecorder>,
    /// Truncation and clipping of the gradient of the states.
    pub bptt: Bptt,
    /// The position of the layer in the network; wrappers set it.
    pub layer_id: LayerId,
}

impl<'a> ForwardContext<'a> {
    /// A training step: masks are drawn from `(seed, step)` and the position of the layer.
    pub fn train(seed: u64, step: u64) -> Self {
        Self { key: Some(StepKey { seed, step }), ..Self::default() }
    }

    /// The same context with a recorder of gradients.
    #[must_use]
    pub fn record(self, recorder: &'a GradientRecorder) -> Self {
        Self { record: Some(recorder), ..self }
    }

    /// The same context with a recorder of states and gates.
    #[must_use]
    pub fn activations(self, activations: &'a ActivationRecorder) -> Self {
        Self { activations: Some(activations), ..self }
    }

    /// The same context with truncation or clipping of the gradient of the states.
    #[must_use]
    pub fn bptt(self, bptt: Bptt) -> Self {
        Self { bptt, ..self }
    }

    /// The same context for the layer `layers` positions further up.
    #[must_use]
    pub fn offset_layer(mut self, layers: usize) -> Self {
        self.layer_id.layer += layers;
        self
    }

    /// The same context for the reversed direction of the layer.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.layer_id.reverse = true;
        self
    }
}

/// The key of one training step. Masks depend on it and on the position of the layer only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepKey {
    /// The seed of the run.
    pub seed: u64,
    /// The step of the run.
    pub step: u64,
}

/// The position of a recurrent layer in a stack, and its direction.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LayerId {
    /// The layer, 0 at the bottom.
    pub layer: usize,
    /// Whether it runs from each example's end to its beginning.
    pub reverse: bool,
}

impl LayerId {
    /// The layer `layer`, running forward.
    pub fn layer(layer: usize) -> Self {
        Self { layer, reverse: false }
    }

    /// The suffix of the names of its weights, as in PyTorch: `_l0`, `_l1_reverse`.
    pub fn suffix(&self) -> String {
        format!("_l{}{}", self.layer, if self.reverse { "_reverse" } else { "" })
    }
}

/// The explanations of several parts: one line if all are the same, else one line for each.
pub(crate) fn explain_parts(parts: &[(String, String)]) -> String {
    match parts {
        [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => first.clone(),
        _ => {
            let line = |(name, text): &(String, String)| match text.contains('\n') {
                true => format!("{name}:\n  {}", text.replace('\n', "\n  ")),
                false => format!("{name}: {text}"),
            };
            parts.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    }
}
