//! Adam with decoupled weight decay.

use candle_core::{bail, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::elementwise::{self, PairUpdate, Real, TripleUpdate};
use crate::slots::{buffer_dtype, finite_non_negative, Slot, SlotOptimizer, UpdateRule};

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
    /// Decoupled weight decay, at least 0, multiplied by the learning rate. Default 0, which is
    /// plain Adam. Decay pulls recurrent weights, and with them the gradients through time,
    /// towards 0, so it must be asked for. PyTorch's `AdamW` and candle's default to 0.01.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// Adam with decoupled weight decay and bias correction; plain Adam without decay.
///
/// With g the gradient, η the learning rate, λ the weight decay, and t the number of updates of
/// this parameter:
///
/// ```text
/// θ <- θ - η λ θ
/// m <- β1 m + (1 - β1) g
/// v <- β2 v + (1 - β2) g²
/// θ <- θ - η (m / (1 - β1^t)) / (sqrt(v / (1 - β2^t)) + ε)
/// ```
///
/// Papers: Adam, Kingma and Ba 2015 (arXiv:1412.6980 v9, Algorithm 1); the decay, Loshchilov and
/// Hutter 2019 (arXiv:1711.05101 v3, Algorithm 2). Deviation from the latter, as in PyTorch: λ is
/// multiplied by η, where the paper multiplies it by the schedule only. Equal to
/// `torch.optim.AdamW` (amsgrad off), and with λ = 0 to `torch.optim.Adam`.
///
/// On the CPU, f32 and f64 are updated in place without an allocation. f16 and bf16 keep m and v
/// in f32 and round the parameter once per step; there is no master copy of it in f32.
///
/// ```
/// use candle_core::{Device, Var};
/// use recurrent_train::{AdamW, AdamWConfig, Optimizer, Params};
///
/// # fn main() -> candle_core::Result<()> {
/// let w = Var::new(&[3f32, -4.0], &Device::Cpu)?;
/// let params = Params::new([("w".to_string(), w.clone())])?;
/// let mut optimizer = AdamW::new(&params, AdamWConfig { lr: 0.5, ..Default::default() })?;
/// optimizer.step(&w.sqr()?.sum_all()?.backward()?)?;
/// assert_eq!(w.to_vec1::<f32>()?, [2.5, -3.5]); // the first step is lr * sign(g)
/// # Ok(())
/// # }
/// ```
pub type AdamW = SlotOptimizer<AdamWConfig>;

impl UpdateRule for AdamWConfig {
    const NAME: &'static str = "adamw";

    fn validate(&self) -> Result<()> {
        for (field, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                bail!("adamw {field}: expected a number in [0, 1), found {beta}");
            }
        }
        finite_non_negative("adamw", "eps", self.eps)?;
        finite_non_negative("adamw", "weight_decay", self.weight_decay)
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn buffers(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn update_in_place(&self, slot: &Slot, grad: &Tensor, lr: f64) -> Result<()> {
        let (m, v) = (&slot.buffers[0], &slot.buffers[1]);
        elementwise::pair(m, grad, &FirstMoment(self.beta1))?;
        elementwise::pair(v, grad, &SecondMoment(self.beta2))?;
        elementwise::triple(&slot.var, m, v, &AdamWStep::new(self, slot, lr))
    }

    fn update_with_tensors(&self, slot: &mut Slot, grad: &Tensor, lr: f64) -> Result<()> {
        let step = AdamWStep::new(self, slot, lr);
        let dtype = buffer_dtype(slot.var.dtype());
        let grad = grad.to_dtype(dtype)?;
        let m = ((&slot.buffers[0] * self.beta1)? + (&grad * (1.0 - self.beta1))?)?;
        let v = ((&slot.buffers[1] * self.beta2)? + (grad.sqr()? * (1.0 - self.beta2))?)?;
        let ratio = (&m / ((v.sqrt()? / step.root)? + step.eps)?)?;
        let theta = slot.var.as_detached_tensor().to_dtype(dtype)?;
        let theta = ((theta * step.keep)? - (ratio * step.step_size)?)?;
        slot.var.set(&theta.to_dtype(slot.var.dtype())?)?;
        slot.buffers = vec![m, v];
        Ok(())
    }
}

/// The numbers of one update of one parameter. As in PyTorch, the bias corrections are moved into
/// the step size and into the root: θ <- keep θ - step_size m / (sqrt(v) / root + ε).
struct AdamWStep {
    keep: f64,
    step_size: f64,
    root: f64,
    eps: f64,
}

impl AdamWStep {
    fn new(config: &AdamWConfig, slot: &Slot, lr: f64) -> Self {
        let step = slot.step as f64;
        Self {
            keep: 1.0 - lr * slot.weight_decay(config.weight_decay),
            step_size: lr / (1.0 - config.beta1.powf(step)),
            root: (1.0 - config.beta2.powf(step)).sqrt(),
            eps: config.eps,
        }
    }
}

/// m <- β m + (1 - β) g
struct FirstMoment(f64);

impl PairUpdate for FirstMoment {
    fn run<T: Real>(&self, m: &mut [T], g: &[T]) {
        let (beta, rest) = (T::from_f64(self.0), T::from_f64(1.0 - self.0));
        for (m, &g) in m.iter_mut().zip(g) {
            *m = beta * *m + rest * g;
        }
    }
}

/// v <- β v + (1 - β) g²
struct SecondMoment(f64);

impl PairUpdate for SecondMoment {
    fn run<T: Real>(&self, v: &mut [T], g: &[T]) {
        let (beta, rest) = (T::from_f64(self.0), T::from_f64(1.0 - self.0));
        for (v, &g) in v.iter_mut().zip(g) {
            *v = beta * *v + rest * (g * g);
        }
    }
}

impl TripleUpdate for AdamWStep {
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
    use crate::{Optimizer, ParamGroup, ParamGroups, Params};

    #[test]
    fn both_paths_agree() -> Result<()> {
        let config = AdamWConfig { weight_decay: 0.1, ..Default::default() };
        paths_agree(&config, 0.01)
    }

    #[test]
    fn numbers_out_of_range_are_refused() -> Result<()> {
        let var = candle_core::Var::new(1f32, &candle_core::Device::Cpu)?;
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
        let empty = params.select(|_| false);
        let message = AdamW::new(&empty, good).err().map(|error| error.to_string());
        let message = message.unwrap_or_default();
        assert!(
            message.contains("expected a parameter to train, found no parameters"),
            "{message}"
        );
        let frozen = ParamGroups::new(&params).with(ParamGroup::frozen(), |_| true)?;
        let message = AdamW::new(frozen, good).err().map(|error| error.to_string());
        let message = message.unwrap_or_default();
        assert!(message.contains("found 1 frozen parameter"), "{message}");
        let mut adamw = AdamW::new(&params, good)?;
        assert!(adamw.set_lr(f64::INFINITY).is_err());
        assert_eq!(adamw.lr(), 1e-3);
        Ok(())
    }
}
