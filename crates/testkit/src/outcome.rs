//! What comes out of an evaluation, and every gradient.

use crate::{Named, Result, Taps};
use candle::backprop::GradStore;
use candle::Tensor;
use recurrent_core::{GradientRecorder, GradientTrace};

/// An evaluation before its backward pass.
pub struct Graph {
    /// What went in, as it went in.
    pub leaves: Named,
    /// What came out: `ys` or `last`, and `end.*`.
    pub values: Named,
    /// The loss.
    pub loss: Tensor,
    recorder: Option<GradientRecorder>,
    taps: Option<Taps>,
}

/// All that an evaluation gives.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `ys` or `last`, `end.*`, and the `loss`.
    pub values: Named,
    /// The gradients of those leaves that have one.
    pub grads: Named,
    /// The recorded gradients by place and field, `state_l0.h`; `(batch, steps + 1, size)`.
    pub states: Named,
    /// The records.
    pub traces: Vec<GradientTrace>,
}

impl Graph {
    pub(crate) fn new(leaves: Named, values: Named, loss: Tensor) -> Self {
        Self { leaves, values, loss, recorder: None, taps: None }
    }

    pub(crate) fn watched(self, recorder: Option<GradientRecorder>, taps: Option<Taps>) -> Self {
        Self { recorder, taps, ..self }
    }

    /// The gradients, by candle's own names.
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
    pub fn backward(&self) -> Result<Outcome> {
        let store = self.grads()?;
        // candle differentiates both sides of a product, so the weights of the loss have gradients too.
        let leaves = self.leaves.iter().filter(|(name, _)| !name.starts_with("loss."));
        let given =
            |(name, leaf): (&String, &Tensor)| Some((name.clone(), store.get(leaf)?.clone()));
        let traces = self.recorder.as_ref().map(GradientRecorder::take).unwrap_or_default();
        let mut states = Named::new();
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
        let mut values: Named =
            self.values.iter().map(|(name, value)| (name.clone(), value.detach())).collect();
        values.insert("loss".to_string(), self.loss.detach());
        Ok(Outcome { values, grads: leaves.filter_map(given).collect(), states, traces })
    }
}
