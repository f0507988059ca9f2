//! The results of an evaluation, with every gradient.

use crate::{GradientTaps, Result, TensorMap};
use candle_core::backprop::GradStore;
use candle_core::Tensor;
use recurrent_core::{GradientRecorder, GradientTrace};

/// An evaluation before its backward pass.
pub struct Graph {
    /// The inputs, tracked or not.
    pub leaves: TensorMap,
    /// The results: `ys` or `last`, and `end.*`.
    pub values: TensorMap,
    /// The loss.
    pub loss: Tensor,
    recorder: Option<GradientRecorder>,
    taps: Option<GradientTaps>,
}

/// The results of an evaluation.
#[derive(Clone, Debug)]
pub struct EvaluationOutput {
    /// `ys` or `last`, `end.*`, and the `loss`.
    pub values: TensorMap,
    /// The gradients of the leaves that have one.
    pub grads: TensorMap,
    /// The recorded gradients by layer and field, `state_l0.h`; `(batch, steps + 1, size)`.
    pub states: TensorMap,
    /// The traces of the recorder.
    pub traces: Vec<GradientTrace>,
}

impl Graph {
    pub(crate) fn new(leaves: TensorMap, values: TensorMap, loss: Tensor) -> Self {
        Self { leaves, values, loss, recorder: None, taps: None }
    }

    pub(crate) fn with_recorder(
        self,
        recorder: Option<GradientRecorder>,
        taps: Option<GradientTaps>,
    ) -> Self {
        Self { recorder, taps, ..self }
    }

    /// The gradients as candle returns them.
    ///
    /// # Errors
    /// Those of candle.
    pub fn grads(&self) -> Result<GradStore> {
        Ok(self.loss.backward()?)
    }

    /// Runs backward.
    ///
    /// # Errors
    /// Those of candle.
    pub fn backward(&self) -> Result<EvaluationOutput> {
        let store = self.grads()?;
        // candle differentiates both sides of a product, so the weights of the loss have gradients
        // too.
        let leaves = self.leaves.iter().filter(|(name, _)| !name.starts_with("loss."));
        let given =
            |(name, leaf): (&String, &Tensor)| Some((name.clone(), store.get(leaf)?.clone()));
        let traces = self.recorder.as_ref().map(GradientRecorder::take).unwrap_or_default();
        let mut states = TensorMap::new();
        for trace in &traces {
            let name = format!("state{}.{}", trace.layer_id.suffix(), trace.field);
            states.extend(trace.gradients.clone().map(|gradients| (name, gradients)));
        }
        if let Some(taps) = &self.taps {
            for (layer_id, field) in taps.places() {
                let name = format!("state{}.{field}", layer_id.suffix());
                states.insert(name, taps.gradient(&store, layer_id, field)?);
            }
        }
        let mut values: TensorMap =
            self.values.iter().map(|(name, value)| (name.clone(), value.detach())).collect();
        values.insert("loss".to_string(), self.loss.detach());
        Ok(EvaluationOutput { values, grads: leaves.filter_map(given).collect(), states, traces })
    }
}
