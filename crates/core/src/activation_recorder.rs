//! Who watches the forward pass: the states and the gates of every step.

use crate::LayerId;
use candle::Tensor;
use std::sync::{Arc, Mutex, PoisonError};

/// Receives, during a forward pass, the states and the gates of every recurrent layer at every step.
///
/// Pass it with [`crate::ForwardContext::activations`], run the network, then [`ActivationRecorder::take`] what was seen: one observation for each layer and
/// direction. To observe costs a second forward pass by replay, outside of any graph. Clones share what they see.
///
/// ```
/// # use candle::{DType, Device, Result, Tensor};
/// # use recurrent_core::{Layer, ActivationRecorder, ForwardContext, Sequence};
/// # fn show(layer: &dyn Layer) -> Result<()> {
/// let activations = ActivationRecorder::default();
/// let xs = Sequence::new(Tensor::zeros((8, 50, layer.input_size()), DType::F32, &Device::Cpu)?)?;
/// layer.run(&xs, None, &ForwardContext::default().activations(&activations))?;
/// for seen in activations.take() {
///     for gate in &seen.gates {
///         println!("layer {}: gate {} opens to {:?} on average", seen.layer_id.layer, gate.name, gate.values.mean_all()?);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ActivationRecorder {
    seen: Arc<Mutex<Vec<Activations>>>,
}

/// What one layer, in one direction, did at every step. Time runs as the layer runs.
#[derive(Clone, Debug)]
pub struct Activations {
    /// Which layer, and which direction.
    pub layer_id: LayerId,
    /// The number of steps of each example. Behind it, states stand still and gates mean nothing.
    pub lengths: Vec<usize>,
    /// The fields of the state by name, `(batch, steps + 1, size)`; step 0 is the initial carry.
    pub states: Vec<(&'static str, Tensor)>,
    /// The gates, with values `(batch, steps, hidden)`; none for a cell without gates.
    pub gates: Vec<Gate>,
}

/// A gate: values between 0 and 1 that something is multiplied by.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Its name, as in the cell's equations: `f`, `z`.
    pub name: &'static str,
    /// Its values; `(batch, hidden)` of one step.
    pub values: Tensor,
    /// Whether it alone decides how much of what is kept from step to step stays, so that a unit forgets in about 1 / (1 − value) steps: of the
    /// memory where the state has one beside the output, and else of the output.
    pub keeps: bool,
}

impl ActivationRecorder {
    /// What has been seen since the last call, by place.
    pub fn take(&self) -> Vec<Activations> {
        let mut seen =
            std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        seen.sort_by_key(|observation| observation.layer_id);
        seen
    }

    pub(crate) fn put(&self, observation: Activations) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(observation);
    }
}
