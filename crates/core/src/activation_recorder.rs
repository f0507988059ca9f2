//! Records the states and the gates of every step of a forward pass.

use crate::LayerId;
use candle_core::Tensor;
use std::sync::{Arc, Mutex, PoisonError};

/// Receives, during a forward pass, the states and the gates of every recurrent layer at every
/// step.
///
/// Attach it with [`crate::ForwardContext::activations`], run the network, then
/// [`ActivationRecorder::take`] the activations, one value for each layer and direction. Recording
/// costs a second forward pass by replay, outside of any graph. Clones share one record.
///
/// ```
/// # use candle_core::{DType, Device, Result, Tensor};
/// # use recurrent_core::{Layer, ActivationRecorder, ForwardContext, Sequence};
/// # fn show(layer: &dyn Layer) -> Result<()> {
/// let activations = ActivationRecorder::default();
/// let xs = Sequence::new(Tensor::zeros((8, 50, layer.input_size()), DType::F32, &Device::Cpu)?)?;
/// layer.run(&xs, None, &ForwardContext::default().activations(&activations))?;
/// for layer in activations.take() {
///     for gate in &layer.gates {
///         let mean = gate.values.mean_all()?;
///         println!("layer {}: mean of gate {}: {mean:?}", layer.layer_id.layer, gate.name);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ActivationRecorder {
    seen: Arc<Mutex<Vec<Activations>>>,
}

/// The states and gates of one layer in one direction. Time runs as the layer runs.
#[derive(Clone, Debug)]
pub struct Activations {
    /// Which layer, and which direction.
    pub layer_id: LayerId,
    /// The number of steps of each example. After the last step of an example, its states stay
    /// constant and its gates have no meaning.
    pub lengths: Vec<usize>,
    /// The fields of the state by name, `(batch, steps + 1, size)`; step 0 is the initial carry.
    pub states: Vec<(&'static str, Tensor)>,
    /// The gates, with values `(batch, steps, hidden)`; empty for a cell without gates.
    pub gates: Vec<Gate>,
}

/// A gate: a value in (0, 1) that multiplies something.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Its name, as in the cell's equations: `f`, `z`.
    pub name: &'static str,
    /// Its values; `(batch, hidden)` of one step.
    pub values: Tensor,
    /// Whether this is the one factor on the previous state: f in an LSTM, z in a GRU. A unit then
    /// forgets in about 1 / (1 − value) steps. The state is c where there is one, else h.
    pub keeps: bool,
}

impl ActivationRecorder {
    /// The activations since the last call, ordered by layer and direction.
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
