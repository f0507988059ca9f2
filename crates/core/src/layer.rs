//! A layer, and what one call of it is told besides its input.

use crate::{ActivationRecorder, Bptt, Carry, GradientRecorder, InferenceLayer, Sequence};
use candle::{bail, Module, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Maps a sequence and a carry to a sequence and a carry: a cell run over time, or a wrapper around layers.
///
/// The trait is object-safe. For the plain call on a tensor `(batch, time, input)`, layers implement candle's
/// [`Module`]: `let ys = layer.forward(&xs)?`.
pub trait Layer: Send + Sync {
    /// The number of features of the input.
    fn input_size(&self) -> usize;

    /// The number of features of the output.
    fn output_size(&self) -> usize;

    /// How many of the output's features, the last of them, come from a direction that runs in reverse and so ends at an
    /// example's first step.
    fn reversed_size(&self) -> usize {
        0
    }

    /// How many recurrent layers lie on top of each other in here; a stack numbers its [`LayerId`]s by it.
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

    /// As [`Layer::run`], but returns only where the layer ends, `(batch, output)`: the output of each example's
    /// last step, and for two directions the last that each of them computes. A layer that need not materialise
    /// the other outputs does not.
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

    /// An inference-only snapshot in f32 that runs on slices, a step or a chunk at a time: with packed weights where the cell has a kernel, and by
    /// its own definition where it has none.
    ///
    /// # Errors
    /// If the layer cannot be run so: a part of it runs from the end, or it is a wrapper that does not say how.
    fn to_inference(&self) -> Result<Arc<dyn InferenceLayer>> {
        bail!("freeze: this layer cannot be run a step at a time on slices")
    }

    /// The weights by name, always in the same order.
    fn params(&self) -> Vec<(String, Tensor)>;

    /// What comes back through one step at the input `x`, `(batch, input)`, and the state `carry`, in closed form: the gradient `grad` with
    /// respect to the state after it, times the Jacobian of the step, without noise; `None` if the layer has no closed form for it, or
    /// several steps in one. See [`crate::Cell::vjp`].
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

/// The plain call on a tensor: full sequences, no carry, evaluation; what a layer's [`Module::forward`] does.
///
/// # Errors
/// As [`Layer::run`].
pub fn forward(layer: &(impl Layer + ?Sized), xs: &Tensor) -> Result<Tensor> {
    let (ys, _) = layer.run(&Sequence::new(xs.clone())?, None, &ForwardContext::default())?;
    Ok(ys.into_values())
}

/// What one forward call is told besides its input: whether it trains, the random draw, who watches, and how the gradient flows.
///
/// The default evaluates, is watched by nobody, and lets the gradient flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForwardContext<'a> {
    /// The random draw of a training step; `None` evaluates, without dropout.
    pub key: Option<StepKey>,
    /// Who receives the gradients with respect to the states during the backward pass.
    pub record: Option<&'a GradientRecorder>,
    /// Who sees the states and the gates during the forward pass.
    pub activations: Option<&'a ActivationRecorder>,
    /// What the backward pass does to the gradient of the states.
    pub bptt: Bptt,
    /// Where in the network the layer sits that this is handed to; wrappers set it.
    pub layer_id: LayerId,
}

impl<'a> ForwardContext<'a> {
    /// A training step: masks are drawn from `(seed, step)` and the place of the layer.
    pub fn train(seed: u64, step: u64) -> Self {
        Self { key: Some(StepKey { seed, step }), ..Self::default() }
    }

    /// The same pass, watched by `recorder`.
    #[must_use]
    pub fn record(self, recorder: &'a GradientRecorder) -> Self {
        Self { record: Some(recorder), ..self }
    }

    /// The same pass, its states and gates seen by `observer`.
    #[must_use]
    pub fn activations(self, activations: &'a ActivationRecorder) -> Self {
        Self { activations: Some(activations), ..self }
    }

    /// The same pass, whose backward pass does this to the gradient of the states.
    #[must_use]
    pub fn bptt(self, bptt: Bptt) -> Self {
        Self { bptt, ..self }
    }

    /// The same pass for the layer `above` places further up.
    #[must_use]
    pub fn offset_layer(mut self, layers: usize) -> Self {
        self.layer_id.layer += layers;
        self
    }

    /// The same pass for the reversed direction of the layer.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.layer_id.reverse = true;
        self
    }
}

/// The random draw of one training step. Masks depend on it and on the place of the layer, on nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepKey {
    /// The seed of the run.
    pub seed: u64,
    /// The step of the run.
    pub step: u64,
}

/// Where a recurrent layer sits: how far up, and in which direction it runs.
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

    /// The end of the names of the weights there, as in PyTorch: `_l0`, `_l1_reverse`.
    pub fn suffix(&self) -> String {
        format!("_l{}{}", self.layer, if self.reverse { "_reverse" } else { "" })
    }
}
