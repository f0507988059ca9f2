//! What the optimisers share: parameters with their groups, buffers and counters, and how these are saved.

use candle::backprop::GradStore;
use candle::{bail, DType, Result, Tensor, Var};

use crate::groups::{Group, Groups};
use crate::params::Params;
use crate::state::{self, State};

/// One parameter and what the optimiser remembers of it.
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) var: Var,
    pub(crate) group: Group,
    /// Number of updates of this parameter, the one under way included.
    pub(crate) step: u64,
    /// In the order of `Slots::labels`; the storage of each is its own.
    pub(crate) buffers: Vec<Tensor>,
}

impl Slot {
    /// The decoupled or coupled decay that holds for this parameter.
    pub(crate) fn weight_decay(&self, default: f64) -> f64 {
        self.group.weight_decay.unwrap_or(default)
    }
}

pub(crate) struct Slots {
    what: &'static str,
    labels: &'static [&'static str],
    slots: Vec<Slot>,
    trainable: Params,
    lr: f64,
    steps: u64,
}

/// Half precision keeps its buffers in f32: a mean of squares underflows in f16.
pub(crate) fn buffer_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// Checks a number of a configuration.
pub(crate) fn finite_non_negative(what: &str, field: &str, value: f64) -> Result<()> {
    if !(value.is_finite() && value >= 0.0) {
        bail!("{what} {field}: expected a finite number >= 0, found {value}");
    }
    Ok(())
}

impl Slots {
    pub(crate) fn new(
        what: &'static str,
        groups: &Groups,
        labels: &'static [&'static str],
        lr: f64,
    ) -> Result<Self> {
        finite_non_negative(what, "lr", lr)?;
        let mut slots = Vec::new();
        let mut trainable = Vec::new();
        for (name, var, group) in groups.iter() {
            let buffer = |_| Tensor::zeros(var.shape(), buffer_dtype(var.dtype()), var.device());
            let buffers = labels.iter().map(buffer).collect::<Result<Vec<_>>>()?;
            slots.push(Slot {
                name: name.to_string(),
                var: var.clone(),
                group: *group,
                step: 0,
                buffers,
            });
            if !group.frozen {
                trainable.push((name.to_string(), var.clone()));
            }
        }
        if trainable.is_empty() {
            bail!(
                "{what} groups: expected a parameter to train, found {} in all, none to train",
                slots.len()
            );
        }
        Ok(Self { what, labels, slots, trainable: Params::new(trainable)?, lr, steps: 0 })
    }

    /// Calls `update(slot, gradient, learning rate)` for every trainable parameter with a gradient.
    pub(crate) fn update(
        &mut self,
        grads: &GradStore,
        update: impl Fn(&mut Slot, &Tensor, f64) -> Result<()>,
    ) -> Result<()> {
        for slot in self.slots.iter().filter(|slot| !slot.group.frozen) {
            let Some(grad) = grads.get(&slot.var) else { continue };
            let var = &slot.var;
            if grad.shape() != var.shape()
                || grad.dtype() != var.dtype()
                || !grad.device().same_device(var.device())
            {
                bail!(
                    "{} gradient of '{}': expected {} {:?} on {:?}, found {} {:?} on {:?}",
                    self.what,
                    slot.name,
                    var.dtype().as_str(),
                    var.shape(),
                    var.device().location(),
                    grad.dtype().as_str(),
                    grad.shape(),
                    grad.device().location()
                );
            }
        }
        for slot in self.slots.iter_mut().filter(|slot| !slot.group.frozen) {
            let Some(grad) = grads.get(&slot.var) else { continue };
            slot.step += 1;
            let lr = self.lr * slot.group.lr_scale;
            update(slot, &grad.detach().contiguous()?, lr)?;
        }
        self.steps += 1;
        Ok(())
    }

    pub(crate) fn lr(&self) -> f64 {
        self.lr
    }

    pub(crate) fn set_lr(&mut self, lr: f64) -> Result<()> {
        finite_non_negative(self.what, "lr", lr)?;
        self.lr = lr;
        Ok(())
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn trainable(&self) -> &Params {
        &self.trainable
    }

    pub(crate) fn state(&self) -> Result<State> {
        let mut state = State::new();
        state.insert("lr".to_string(), state::number(self.lr)?);
        state.insert("steps".to_string(), state::counter(self.steps)?);
        for slot in &self.slots {
            state.insert(format!("{}.step", slot.name), state::counter(slot.step)?);
            for (label, buffer) in self.labels.iter().zip(&slot.buffers) {
                state.insert(format!("{}.{label}", slot.name), state::copy(buffer)?);
            }
        }
        Ok(state)
    }

    pub(crate) fn load_state(&mut self, state: &State) -> Result<()> {
        let mut expected = vec![
            ("lr".to_string(), DType::F64, ().into()),
            ("steps".to_string(), DType::I64, ().into()),
        ];
        for slot in &self.slots {
            expected.push((format!("{}.step", slot.name), DType::I64, ().into()));
            for (label, buffer) in self.labels.iter().zip(&slot.buffers) {
                expected.push((
                    format!("{}.{label}", slot.name),
                    buffer.dtype(),
                    buffer.shape().clone(),
                ));
            }
        }
        state::check(&format!("{} state", self.what), expected, state)?;

        // everything is read before anything is changed
        let lr = state["lr"].to_scalar::<f64>()?;
        finite_non_negative(self.what, "state 'lr'", lr)?;
        let steps = state::read_counter("steps", &state["steps"])?;
        let mut read = Vec::new();
        for slot in &self.slots {
            let name = format!("{}.step", slot.name);
            let step = state::read_counter(&name, &state[&name])?;
            let buffer = |label: &&str| {
                let saved = &state[&format!("{}.{label}", slot.name)];
                state::copy(&saved.to_device(slot.var.device())?)
            };
            read.push((step, self.labels.iter().map(buffer).collect::<Result<Vec<_>>>()?));
        }
        for (slot, (step, buffers)) in self.slots.iter_mut().zip(read) {
            slot.step = step;
            slot.buffers = buffers;
        }
        self.lr = lr;
        self.steps = steps;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use candle::Device;

    /// Two updates of one optimiser, in place and by tensor operations, must walk the same way to rounding.
    pub(crate) fn paths_agree(
        buffers: usize,
        in_place: impl Fn(&mut Slot, &Tensor) -> Result<()>,
        with_tensors: impl Fn(&mut Slot, &Tensor) -> Result<()>,
    ) -> Result<()> {
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-13)] {
            let start =
                Tensor::arange(-7f64, 8.0, &Device::Cpu)?.reshape((3, 5))?.to_dtype(dtype)?;
            let slot = || {
                let var = Var::from_tensor(&start)?;
                let buffer = || Tensor::zeros(var.shape(), dtype, &Device::Cpu);
                let buffers = (0..buffers).map(|_| buffer()).collect::<Result<Vec<_>>>()?;
                Result::Ok(Slot {
                    name: String::new(),
                    var,
                    group: Group::default(),
                    step: 0,
                    buffers,
                })
            };
            let (mut left, mut right) = (slot()?, slot()?);
            for step in 1..=20 {
                let grad = ((&start * 0.3)? + (f64::from(step) * 0.7).sin())?;
                for slot in [&mut left, &mut right] {
                    slot.step += 1;
                }
                in_place(&mut left, &grad)?;
                with_tensors(&mut right, &grad)?;
            }
            let moved = difference(&start, left.var.as_tensor())?;
            assert!(moved > 0.05, "{dtype:?}: moved by {moved} only");
            let apart = difference(left.var.as_tensor(), right.var.as_tensor())?;
            assert!(apart < tolerance, "{dtype:?}: parameters apart by {apart}");
            for (left, right) in left.buffers.iter().zip(&right.buffers) {
                let apart = difference(left, right)?;
                assert!(apart < tolerance, "{dtype:?}: buffers apart by {apart}");
            }
        }
        Ok(())
    }

    fn difference(left: &Tensor, right: &Tensor) -> Result<f64> {
        (left - right)?.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()
    }
}
