//! The parameters of a network, and whether gradients reach them.

use super::finding::{Finding, FindingKind, Severity};
use super::suggestions::Advice;
use candle_core::backprop::GradStore;
use candle_core::{bail, DType, Device, Result, Tensor, Var};
use candle_nn::VarMap;
use recurrent_core::Layer;
use std::collections::BTreeMap;

/// Parameters by name: a `VarMap`, a list of names with variables or tensors, or a [`Layer`].
///
/// Leave out tensors that are not trained, such as frozen weights or the running statistics of a
/// batch norm.
pub trait NamedTensors {
    /// All of them, in any order.
    ///
    /// # Errors
    /// If they cannot be read.
    fn named(&self) -> Result<Vec<(String, Tensor)>>;
}

impl NamedTensors for VarMap {
    fn named(&self) -> Result<Vec<(String, Tensor)>> {
        let Ok(data) = self.data().lock() else {
            bail!(
                "diagnosis params: the varmap's lock is poisoned, another thread panicked while \
                  it held it"
            )
        };
        Ok(data.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect())
    }
}

impl NamedTensors for [(String, Tensor)] {
    fn named(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(self.to_vec())
    }
}

impl NamedTensors for [(String, Var)] {
    fn named(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(self.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect())
    }
}

impl<T> NamedTensors for Vec<T>
where
    [T]: NamedTensors,
{
    fn named(&self) -> Result<Vec<(String, Tensor)>> {
        self.as_slice().named()
    }
}

impl NamedTensors for dyn Layer {
    fn named(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(self.params())
    }
}

/// The number of batches with each state of one parameter's gradient.
#[derive(Clone, Debug, Default)]
struct GradientCounts {
    watched: usize,
    absent: usize,
    zero: usize,
}

/// The state of the loss and of all gradients.
#[derive(Clone, Debug, Default)]
pub(super) struct ParameterGradients {
    reached: BTreeMap<String, GradientCounts>,
    broken: Option<FirstFailure>,
    opening: bool,
}

/// The first batch whose loss or gradients were not finite.
#[derive(Clone, Debug)]
struct FirstFailure {
    batch: usize,
    loss: f64,
    parameters: Vec<String>,
}

impl ParameterGradients {
    /// Adds the gradients of one batch.
    pub(super) fn add(
        &mut self,
        batch: usize,
        loss: f64,
        grads: &GradStore,
        params: &[(String, Tensor)],
    ) -> Result<()> {
        let mut broken = Vec::new();
        for (name, param) in params {
            let reached = self.reached.entry(name.clone()).or_default();
            reached.watched += 1;
            let Some(grad) = grads.get(param) else {
                reached.absent += 1;
                continue;
            };
            let grad = values(grad)?;
            if grad.iter().any(|value| !value.is_finite()) {
                broken.push(name.clone());
            } else if grad.iter().all(|value| *value == 0.0) {
                reached.zero += 1;
            } else if param.elem_count() == 1 && values(param)? == [0.0] {
                self.opening = true;
            }
        }
        if self.broken.is_none() && (!loss.is_finite() || !broken.is_empty()) {
            self.broken = Some(FirstFailure { batch, loss, parameters: broken });
        }
        Ok(())
    }

    /// Whether a scale that is still zero blocks a branch and gets a gradient itself: parameters
    /// behind it get a gradient only after its first update.
    pub(super) fn opening(&self) -> bool {
        self.opening
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        [self.not_finite(), self.absent(), self.zero()].into_iter().flatten().collect()
    }

    fn not_finite(&self) -> Option<Finding> {
        let FirstFailure { batch, loss, parameters } = self.broken.as_ref()?;
        let gradients = match &parameters[..] {
            [] => "the gradients are still finite".to_string(),
            names => format!("so are the gradients of {}", listed(names)),
        };
        let why = match loss.is_finite() {
            false => format!(
                "In batch {batch} the loss is {loss}; {gradients}. The weights are \
                             lost after one such step."
            ),
            true => format!(
                "In batch {batch} the loss is finite, but not the gradients of {}: an operation of \
                the backward pass overflows or divides by zero. The weights are lost after one \
                such step.",
                listed(parameters)
            ),
        };
        let finding = Finding::new(FindingKind::NotFinite, Severity::Severe, why)
            .measured("first batch", *batch as f64, "batches")
            .measured("loss", *loss, "1")
            .advice(Advice::NotFinite);
        Some(Finding { parameters: parameters.clone(), ..finding })
    }

    fn absent(&self) -> Option<Finding> {
        let names = self.names(|reached| reached.absent == reached.watched);
        let why = format!(
            "The backward pass has no gradient for {}. They will never change: the loss does not \
            depend on them, or an operation without a backward pass lies between, such as \
            candle_nn's LayerNorm, RmsNorm or softmax_last_dim, or a detach().",
            listed(&names)
        );
        let finding = Finding::new(FindingKind::CutGraph, Severity::Severe, why)
            .measured("parameters", names.len() as f64, "parameters")
            .advice(Advice::CutGraph);
        (!names.is_empty()).then_some(Finding { parameters: names, ..finding })
    }

    fn zero(&self) -> Option<Finding> {
        let names = self
            .names(|reached| reached.zero > 0 && reached.zero + reached.absent == reached.watched);
        let why = format!(
            "In every batch the gradient of {} is exactly zero in all elements: they do not learn. \
            Dead units, shut gates and underflow have this effect.",
            listed(&names)
        );
        let finding = Finding::new(FindingKind::ZeroGradient, Severity::Warning, why)
            .measured("parameters", names.len() as f64, "parameters")
            .advice(Advice::ZeroGradient);
        (!names.is_empty() && !self.opening).then_some(Finding { parameters: names, ..finding })
    }

    fn names(&self, is: impl Fn(&GradientCounts) -> bool) -> Vec<String> {
        self.reached
            .iter()
            .filter(|(_, reached)| is(reached))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// All values of a tensor, in f64.
pub(super) fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Up to four names, and the number of the others.
fn listed(names: &[String]) -> String {
    let shown = names.iter().take(4).map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(4) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
