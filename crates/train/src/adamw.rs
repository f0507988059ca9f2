//! Adam with decoupled weight decay.

use candle::backprop::GradStore;
use candle::{bail, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::elementwise::{self, Pair, Real, Triple};
use crate::groups::Groups;
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::slots::{buffer_dtype, finite_non_negative, Slot, Slots};
use crate::state::State;

/// Settings of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Learning rate at the start, at least 0. Default 1e-3.
    pub lr: f64,
    /// Decay of the mean of the gradient, in \[0, 1). Default 0.9.
    pub beta1: f64,
    /// Decay of the mean of the squared gradient, in \[0, 1). Default 0.999.
    pub beta2: f64,
    /// Added to the root of the mean square, at least 0. Default 1e-8.
    pub eps: f64,
    /// Decoupled weight decay, at least 0, multiplied by the learning rate. Default 0, which is plain Adam: decay
    /// pulls recurrent weights, and with them the gradients through time, towards 0, so it must be asked for.
    /// PyTorch's `AdamW` and candle's have 0.01.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// Adam with decoupled weight decay and bias correction; plain Adam without decay.
///
/// With g the gradient, η the learning rate, λ the weight decay, and t the number of updates of this parameter:
///
/// ```text
/// θ <- θ - η λ θ
/// m <- β1 m + (1 - β1) g
/// v <- β2 v + (1 - β2) g²
/// θ <- θ - η (m / (1 - β1^t)) / (sqrt(v / (1 - β2^t)) + ε)
/// ```
///
/// Papers: Adam, Kingma and Ba 2015 (arXiv:1412.6980 v9, Algorithm 1); the decay, Loshchilov and Hutter 2019
/// (arXiv:1711.05101 v3, Algorithm 2). Deviation from the latter, as in PyTorch: λ is multiplied by η, where the
/// paper multiplies it by the schedule only. Equal to `torch.optim.AdamW` (amsgrad off), and with λ = 0 to
/// `torch.optim.Adam`.
///
/// On the CPU, f32 and f64 are updated in place without an allocation. f16 and bf16 keep m and v in f32 and round
/// the parameter once a step; there is no master copy of it in f32.
///
/// ```
/// use candle::{Device, Var};
/// use recurrent_train::{AdamW, AdamWConfig, Optimizer, Params};
///
/// # fn main() -> candle::Result<()> {
/// let w = Var::new(&[3f32, -4.0], &Device::Cpu)?;
/// let params = Params::new([("w".to_string(), w.clone())])?;
/// let mut optimizer = AdamW::new(&params, AdamWConfig { lr: 0.5, ..Default::default() })?;
/// optimizer.step(&w.sqr()?.sum_all()?.backward()?)?;
/// assert_eq!(w.to_vec1::<f32>()?, [2.5, -3.5]); // the first step is lr * sign(g)
/// # Ok(())
/// # }
/// ```
pub struct AdamW {
    config: AdamWConfig,
    slots: Slots,
}

impl AdamW {
    /// Takes `&Params` or [`Groups`].
    ///
    /// # Errors
    ///
    /// If a number of `config` is out of its range or if there is no parameter to train.
    pub fn new(groups: impl Into<Groups>, config: AdamWConfig) -> Result<Self> {
        for (field, beta) in [("beta1", config.beta1), ("beta2", config.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                bail!("adamw {field}: expected a number in [0, 1), found {beta}");
            }
        }
        finite_non_negative("adamw", "eps", config.eps)?;
        finite_non_negative("adamw", "weight_decay", config.weight_decay)?;
        let slots = Slots::new("adamw", &groups.into(), &["exp_avg", "exp_avg_sq"], config.lr)?;
        Ok(Self { config, slots })
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        let config = self.config;
        self.slots.update(grads, |slot, grad, lr| {
            let update = Update::new(&config, slot, lr);
            if elementwise::supports(&slot.var) {
                update.in_place(slot, grad)
            } else {
                update.with_tensors(slot, grad)
            }
        })
    }

    fn lr(&self) -> f64 {
        self.slots.lr()
    }

    fn set_lr(&mut self, lr: f64) -> Result<()> {
        self.slots.set_lr(lr)
    }

    fn steps(&self) -> u64 {
        self.slots.steps()
    }

    fn trainable(&self) -> &Params {
        self.slots.trainable()
    }

    fn state(&self) -> Result<State> {
        self.slots.state()
    }

    fn load_state(&mut self, state: &State) -> Result<()> {
        self.slots.load_state(state)
    }
}

/// The numbers of one update of one parameter. As in PyTorch, the bias corrections are moved into the step size
/// and into the root: θ <- keep θ - step_size m / (sqrt(v) / root + ε).
struct Update {
    beta1: f64,
    beta2: f64,
    keep: f64,
    step_size: f64,
    root: f64,
    eps: f64,
}

impl Update {
    fn new(config: &AdamWConfig, slot: &Slot, lr: f64) -> Self {
        let step = slot.step as f64;
        Self {
            beta1: config.beta1,
            beta2: config.beta2,
            keep: 1.0 - lr * slot.weight_decay(config.weight_decay),
            step_size: lr / (1.0 - config.beta1.powf(step)),
            root: (1.0 - config.beta2.powf(step)).sqrt(),
            eps: config.eps,
        }
    }

    fn in_place(&self, slot: &Slot, grad: &Tensor) -> Result<()> {
        let (m, v) = (&slot.buffers[0], &slot.buffers[1]);
        elementwise::pair(m, grad, &Mean(self.beta1))?;
        elementwise::pair(v, grad, &MeanSquare(self.beta2))?;
        elementwise::triple(&slot.var, m, v, self)
    }

    /// The same in tensor operations, for every device and dtype.
    fn with_tensors(&self, slot: &mut Slot, grad: &Tensor) -> Result<()> {
        let dtype = buffer_dtype(slot.var.dtype());
        let grad = grad.to_dtype(dtype)?;
        let m = ((&slot.buffers[0] * self.beta1)? + (&grad * (1.0 - self.beta1))?)?;
        let v = ((&slot.buffers[1] * self.beta2)? + (grad.sqr()? * (1.0 - self.beta2))?)?;
        let ratio = (&m / ((v.sqrt()? / self.root)? + self.eps)?)?;
        let theta = slot.var.as_detached_tensor().to_dtype(dtype)?;
        let theta = ((theta * self.keep)? - (ratio * self.step_size)?)?;
        slot.var.set(&theta.to_dtype(slot.var.dtype())?)?;
        slot.buffers = vec![m, v];
        Ok(())
    }
}

struct Mean(f64);

impl Pair for Mean {
    fn run<T: Real>(&self, m: &mut [T], g: &[T]) {
        let (beta, rest) = (T::from_f64(self.0), T::from_f64(1.0 - self.0));
        for (m, &g) in m.iter_mut().zip(g) {
            *m = beta * *m + rest * g;
        }
    }
}

struct MeanSquare(f64);

impl Pair for MeanSquare {
    fn run<T: Real>(&self, v: &mut [T], g: &[T]) {
        let (beta, rest) = (T::from_f64(self.0), T::from_f64(1.0 - self.0));
        for (v, &g) in v.iter_mut().zip(g) {
            *v = beta * *v + rest * (g * g);
        }
    }
}

impl Triple for Update {
    fn run<T: Real>(&self, theta: &mut [T], m: &[T], v: &[T]) {
        let (keep, step_size) = (T::from_f64(self.keep), T::from_f64(self.step_size));
        let (unroot, eps) = (T::from_f64(1.0 / self.root), T::from_f64(self.eps));
        for ((theta, &m), &v) in theta.iter_mut().zip(m).zip(v) {
            *theta = keep * *theta - step_size * (m / (v.sqrt() * unroot + eps));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::tests::paths_agree;

    #[test]
    fn both_paths_agree() -> Result<()> {
        let config = AdamWConfig { weight_decay: 0.1, ..Default::default() };
        paths_agree(
            2,
            |slot, grad| Update::new(&config, slot, 0.01).in_place(slot, grad),
            |slot, grad| Update::new(&config, slot, 0.01).with_tensors(slot, grad),
        )
    }

    #[test]
    fn numbers_out_of_range_are_refused() -> Result<()> {
        let var = candle::Var::new(1f32, &candle::Device::Cpu)?;
        let params = Params::new([("w".to_string(), var)])?;
        let good = AdamWConfig::default();
        for (bad, field) in [
            (AdamWConfig { lr: -1.0, ..good }, "lr"),
            (AdamWConfig { lr: f64::NAN, ..good }, "lr"),
            (AdamWConfig { beta1: 1.0, ..good }, "beta1"),
            (AdamWConfig { beta2: -0.1, ..good }, "beta2"),
            (AdamWConfig { eps: f64::INFINITY, ..good }, "eps"),
            (AdamWConfig { weight_decay: -0.1, ..good }, "weight_decay"),
        ] {
            let message =
                AdamW::new(&params, bad).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(&format!("adamw {field}: expected")), "{bad:?}: {message}");
        }
        let none = AdamW::new(&params.select(|_| false), good).err().map(|error| error.to_string());
        assert!(none.unwrap_or_default().contains("expected a parameter to train"));
        let mut adamw = AdamW::new(&params, good)?;
        assert!(adamw.set_lr(f64::INFINITY).is_err());
        assert_eq!(adamw.lr(), 1e-3);
        Ok(())
    }
}
