//! The parts that the optimisers share: parameters with their groups, buffers and counters, and
//! how these are saved.

use candle_core::backprop::GradStore;
use candle_core::{bail, DType, Result, Tensor, Var};

use crate::elementwise;
use crate::groups::{ParamGroup, ParamGroups};
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::state_dict::{self, StateDict};

/// One parameter and the optimiser's state of it.
pub struct Slot {
    pub(crate) name: String,
    pub(crate) var: Var,
    pub(crate) group: ParamGroup,
    /// Number of updates of this parameter, including the current one.
    pub(crate) step: u64,
    /// In the order of [`UpdateRule::buffers`]; each has its own storage.
    pub(crate) buffers: Vec<Tensor>,
}

impl Slot {
    /// The weight decay of this parameter.
    pub(crate) fn weight_decay(&self, default: f64) -> f64 {
        self.group.weight_decay.unwrap_or(default)
    }
}

/// The rule by which an optimiser updates one parameter. Sealed: the configurations
/// [`AdamWConfig`](crate::AdamWConfig) and [`SgdConfig`](crate::SgdConfig) implement it.
pub trait UpdateRule: Copy + Send {
    /// The name of the optimiser in messages.
    const NAME: &'static str;

    /// Checks the numbers, except for the learning rate.
    fn validate(&self) -> Result<()>;

    /// The learning rate at the start.
    fn lr(&self) -> f64;

    /// The names of the buffers of each parameter.
    fn buffers(&self) -> &'static [&'static str];

    /// Updates the parameter and its buffers in place, on the CPU, in f32 or f64.
    fn update_in_place(&self, slot: &Slot, grad: &Tensor, lr: f64) -> Result<()>;

    /// The same in tensor operations, for every device and dtype.
    fn update_with_tensors(&self, slot: &mut Slot, grad: &Tensor, lr: f64) -> Result<()>;
}

/// An optimiser with one slot for each parameter and the update rule of its configuration:
/// [`AdamW`](crate::AdamW) or [`Sgd`](crate::Sgd).
pub struct SlotOptimizer<R> {
    rule: R,
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

impl<R: UpdateRule> SlotOptimizer<R> {
    /// Takes `&Params` or [`ParamGroups`].
    ///
    /// # Errors
    ///
    /// If a number of `config` is out of its range or if there is no parameter to train.
    pub fn new(groups: impl Into<ParamGroups>, config: R) -> Result<Self> {
        config.validate()?;
        finite_non_negative(R::NAME, "lr", config.lr())?;
        let groups = groups.into();
        let mut slots = Vec::new();
        let mut trainable = Vec::new();
        for (name, var, group) in groups.iter() {
            let buffer = |_| Tensor::zeros(var.shape(), buffer_dtype(var.dtype()), var.device());
            let buffers = config.buffers().iter().map(buffer).collect::<Result<Vec<_>>>()?;
            let (name, var) = (name.to_string(), var.clone());
            if !group.frozen {
                trainable.push((name.clone(), var.clone()));
            }
            slots.push(Slot { name, var, group: *group, step: 0, buffers });
        }
        if trainable.is_empty() {
            let name = R::NAME;
            match slots.len() {
                0 => bail!(
                    "{name} params: expected a parameter to train, found no parameters; build the \
                     layers before the optimiser"
                ),
                1 => {
                    bail!("{name} groups: expected a parameter to train, found 1 frozen parameter")
                }
                all => bail!(
                    "{name} groups: expected a parameter to train, found {all} frozen parameters"
                ),
            }
        }
        let (trainable, lr) = (Params::new(trainable)?, config.lr());
        Ok(Self { rule: config, slots, trainable, lr, steps: 0 })
    }
}

impl<R: UpdateRule> Optimizer for SlotOptimizer<R> {
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        for slot in self.slots.iter().filter(|slot| !slot.group.frozen) {
            if let Some(grad) = grads.get(&slot.var) {
                check_gradient(R::NAME, slot, grad)?;
            }
        }
        for slot in self.slots.iter_mut().filter(|slot| !slot.group.frozen) {
            let Some(grad) = grads.get(&slot.var) else { continue };
            slot.step += 1;
            let lr = self.lr * slot.group.lr_scale;
            let grad = grad.detach().contiguous()?;
            if elementwise::supports(&slot.var) {
                self.rule.update_in_place(slot, &grad, lr)?;
            } else {
                self.rule.update_with_tensors(slot, &grad, lr)?;
            }
        }
        self.steps += 1;
        Ok(())
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) -> Result<()> {
        finite_non_negative(R::NAME, "lr", lr)?;
        self.lr = lr;
        Ok(())
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn trainable(&self) -> &Params {
        &self.trainable
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = StateDict::new();
        state.insert("lr".to_string(), state_dict::number(self.lr)?);
        state.insert("steps".to_string(), state_dict::counter(self.steps)?);
        for slot in &self.slots {
            state.insert(format!("{}.step", slot.name), state_dict::counter(slot.step)?);
            for (label, buffer) in self.rule.buffers().iter().zip(&slot.buffers) {
                state.insert(format!("{}.{label}", slot.name), state_dict::copy(buffer)?);
            }
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &StateDict) -> Result<()> {
        let mut expected = vec![
            ("lr".to_string(), DType::F64, ().into()),
            ("steps".to_string(), DType::I64, ().into()),
        ];
        for slot in &self.slots {
            expected.push((format!("{}.step", slot.name), DType::I64, ().into()));
            for (label, buffer) in self.rule.buffers().iter().zip(&slot.buffers) {
                expected.push((
                    format!("{}.{label}", slot.name),
                    buffer.dtype(),
                    buffer.shape().clone(),
                ));
            }
        }
        state_dict::check(&format!("{} state", R::NAME), expected, state)?;

        // Read everything before changing anything.
        let lr = state["lr"].to_scalar::<f64>()?;
        finite_non_negative(R::NAME, "state 'lr'", lr)?;
        let steps = state_dict::read_counter("steps", &state["steps"])?;
        let mut read = Vec::new();
        for slot in &self.slots {
            let name = format!("{}.step", slot.name);
            let step = state_dict::read_counter(&name, &state[&name])?;
            let buffer = |label: &&str| {
                let saved = &state[&format!("{}.{label}", slot.name)];
                state_dict::copy(&saved.to_device(slot.var.device())?)
            };
            read.push((step, self.rule.buffers().iter().map(buffer).collect::<Result<Vec<_>>>()?));
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

/// Checks that a gradient has the shape, dtype and device of its parameter.
fn check_gradient(what: &str, slot: &Slot, grad: &Tensor) -> Result<()> {
    let var = &slot.var;
    let fits = grad.shape() == var.shape()
        && grad.dtype() == var.dtype()
        && grad.device().same_device(var.device());
    if !fits {
        bail!(
            "{what} gradient of '{}': expected {} {:?} on {:?}, found {} {:?} on {:?}",
            slot.name,
            var.dtype().as_str(),
            var.shape(),
            var.device().location(),
            grad.dtype().as_str(),
            grad.shape(),
            grad.device().location()
        );
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use candle_core::Device;

    /// Updates in place and by tensor operations must agree to rounding.
    pub(crate) fn paths_agree(rule: &impl UpdateRule, lr: f64) -> Result<()> {
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-13)] {
            let start =
                Tensor::arange(-7f64, 8.0, &Device::Cpu)?.reshape((3, 5))?.to_dtype(dtype)?;
            let slot = || {
                let var = Var::from_tensor(&start)?;
                let buffer = || Tensor::zeros(var.shape(), dtype, &Device::Cpu);
                let buffers =
                    rule.buffers().iter().map(|_| buffer()).collect::<Result<Vec<_>>>()?;
                Result::Ok(Slot {
                    name: String::new(),
                    var,
                    group: ParamGroup::default(),
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
                rule.update_in_place(&left, &grad, lr)?;
                rule.update_with_tensors(&mut right, &grad, lr)?;
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
