//! Stochastic gradient descent with momentum.

use candle_core::{bail, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::elementwise::{self, PairUpdate, Real, TripleUpdate};
use crate::slots::{buffer_dtype, finite_non_negative, Slot, SlotOptimizer, UpdateRule};

/// The momentum of [`Sgd`], with its coefficient μ in \[0, 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Momentum {
    /// There is no velocity.
    #[default]
    None,
    /// The step follows the velocity (Polyak's heavy ball).
    Classical(f64),
    /// The step follows the gradient plus μ times the new velocity (Nesterov, in PyTorch's form).
    Nesterov(f64),
}

/// Settings of [`Sgd`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// Learning rate at the start, at least 0. Default 1e-2.
    pub lr: f64,
    /// Default: no momentum.
    pub momentum: Momentum,
    /// Coupled weight decay (an L2 penalty in the gradient), at least 0. Default 0.
    pub weight_decay: f64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { lr: 1e-2, momentum: Momentum::None, weight_decay: 0.0 }
    }
}

/// Stochastic gradient descent, with momentum on request.
///
/// With g the gradient, η the learning rate, λ the weight decay, μ the momentum, and v = 0 at the
/// start:
///
/// ```text
/// g <- g + λ θ
/// v <- μ v + g
/// θ <- θ - η g            Momentum::None
/// θ <- θ - η v            Momentum::Classical(μ)
/// θ <- θ - η (g + μ v)    Momentum::Nesterov(μ)
/// ```
///
/// Equal to `torch.optim.SGD` (dampening 0). As there, and unlike Sutskever et al. 2013, the
/// velocity does not contain the learning rate, so a new rate also scales the accumulated velocity.
/// The decay is part of the gradient, unlike that of [`AdamW`](crate::AdamW).
///
/// On the CPU, f32 and f64 are updated in place without an allocation. f16 and bf16 keep v in f32
/// and round the parameter once per step.
///
/// ```
/// use candle_core::{Device, Var};
/// use recurrent_train::{Momentum, Optimizer, Params, Sgd, SgdConfig};
///
/// # fn main() -> candle_core::Result<()> {
/// let w = Var::new(&[4f32], &Device::Cpu)?;
/// let params = Params::new([("w".to_string(), w.clone())])?;
/// let config = SgdConfig { lr: 0.25, momentum: Momentum::Classical(0.5), ..Default::default() };
/// let mut optimizer = Sgd::new(&params, config)?;
/// optimizer.step(&w.sqr()?.sum_all()?.backward()?)?; // v = 8, w = 4 - 0.25 * 8
/// assert_eq!(w.to_vec1::<f32>()?, [2.0]);
/// optimizer.step(&w.sqr()?.sum_all()?.backward()?)?; // v = 0.5 * 8 + 4, w = 2 - 0.25 * 8
/// assert_eq!(w.to_vec1::<f32>()?, [0.0]);
/// # Ok(())
/// # }
/// ```
pub type Sgd = SlotOptimizer<SgdConfig>;

impl UpdateRule for SgdConfig {
    const NAME: &'static str = "sgd";

    fn validate(&self) -> Result<()> {
        finite_non_negative("sgd", "weight_decay", self.weight_decay)?;
        match self.momentum {
            Momentum::Classical(mu) | Momentum::Nesterov(mu) if !(0.0..1.0).contains(&mu) => {
                bail!("sgd momentum: expected a number in [0, 1), found {mu}")
            }
            _ => Ok(()),
        }
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn buffers(&self) -> &'static [&'static str] {
        match self.momentum {
            Momentum::None => &[],
            Momentum::Classical(_) | Momentum::Nesterov(_) => &["momentum_buffer"],
        }
    }

    fn update_in_place(&self, slot: &Slot, grad: &Tensor, lr: f64) -> Result<()> {
        let decay = slot.weight_decay(self.weight_decay);
        match self.momentum {
            Momentum::None => elementwise::pair(&slot.var, grad, &Descent { lr, decay }),
            Momentum::Classical(mu) => {
                let velocity = &slot.buffers[0];
                elementwise::triple(velocity, &slot.var, grad, &Velocity { mu, decay })?;
                elementwise::pair(&slot.var, velocity, &Descent { lr, decay: 0.0 })
            }
            Momentum::Nesterov(mu) => {
                let velocity = &slot.buffers[0];
                elementwise::triple(velocity, &slot.var, grad, &Velocity { mu, decay })?;
                elementwise::triple(&slot.var, velocity, grad, &LookAhead { lr, decay, mu })
            }
        }
    }

    fn update_with_tensors(&self, slot: &mut Slot, grad: &Tensor, lr: f64) -> Result<()> {
        let decay = slot.weight_decay(self.weight_decay);
        let dtype = buffer_dtype(slot.var.dtype());
        let theta = slot.var.as_detached_tensor().to_dtype(dtype)?;
        let grad = (grad.to_dtype(dtype)? + (&theta * decay)?)?;
        let direction = match self.momentum {
            Momentum::None => grad,
            Momentum::Classical(mu) => {
                slot.buffers[0] = ((&slot.buffers[0] * mu)? + grad)?;
                slot.buffers[0].clone()
            }
            Momentum::Nesterov(mu) => {
                slot.buffers[0] = ((&slot.buffers[0] * mu)? + &grad)?;
                (grad + (&slot.buffers[0] * mu)?)?
            }
        };
        let theta = (theta - (direction * lr)?)?;
        slot.var.set(&theta.to_dtype(slot.var.dtype())?)
    }
}

/// θ <- θ - η (d + λ θ)
struct Descent {
    lr: f64,
    decay: f64,
}

impl PairUpdate for Descent {
    fn run<T: Real>(&self, theta: &mut [T], direction: &[T]) {
        let (lr, decay) = (T::from_f64(self.lr), T::from_f64(self.decay));
        for (theta, &d) in theta.iter_mut().zip(direction) {
            *theta -= lr * (d + decay * *theta);
        }
    }
}

/// v <- μ v + (g + λ θ)
struct Velocity {
    mu: f64,
    decay: f64,
}

impl TripleUpdate for Velocity {
    fn run<T: Real>(&self, v: &mut [T], theta: &[T], g: &[T]) {
        let (mu, decay) = (T::from_f64(self.mu), T::from_f64(self.decay));
        for ((v, &theta), &g) in v.iter_mut().zip(theta).zip(g) {
            *v = mu * *v + (g + decay * theta);
        }
    }
}

/// θ <- θ - η ((g + λ θ) + μ v)
struct LookAhead {
    lr: f64,
    decay: f64,
    mu: f64,
}

impl TripleUpdate for LookAhead {
    fn run<T: Real>(&self, theta: &mut [T], v: &[T], g: &[T]) {
        let (lr, decay, mu) = (T::from_f64(self.lr), T::from_f64(self.decay), T::from_f64(self.mu));
        for ((theta, &v), &g) in theta.iter_mut().zip(v).zip(g) {
            *theta -= lr * ((g + decay * *theta) + mu * v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::tests::paths_agree;
    use crate::Params;

    #[test]
    fn both_paths_agree() -> Result<()> {
        for momentum in [Momentum::None, Momentum::Classical(0.9), Momentum::Nesterov(0.9)] {
            let config = SgdConfig { momentum, weight_decay: 0.1, ..Default::default() };
            paths_agree(&config, 0.01)?;
        }
        Ok(())
    }

    #[test]
    fn numbers_out_of_range_are_refused() -> Result<()> {
        let var = candle_core::Var::new(1f32, &candle_core::Device::Cpu)?;
        let params = Params::new([("w".to_string(), var)])?;
        let good = SgdConfig::default();
        for (bad, field) in [
            (SgdConfig { lr: f64::NAN, ..good }, "lr"),
            (SgdConfig { momentum: Momentum::Classical(1.0), ..good }, "momentum"),
            (SgdConfig { momentum: Momentum::Nesterov(-0.1), ..good }, "momentum"),
            (SgdConfig { weight_decay: f64::INFINITY, ..good }, "weight_decay"),
        ] {
            let message =
                Sgd::new(&params, bad).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(&format!("sgd {field}: expected")), "{bad:?}: {message}");
        }
        Ok(())
    }

    #[test]
    fn config_reads_and_writes_json() -> std::result::Result<(), serde_json::Error> {
        let config = SgdConfig { momentum: Momentum::Nesterov(0.9), ..Default::default() };
        let text = serde_json::to_string(&config)?;
        assert_eq!(text, r#"{"lr":0.01,"momentum":{"nesterov":0.9},"weight_decay":0.0}"#);
        assert_eq!(serde_json::from_str::<SgdConfig>(&text)?, config);
        assert!(serde_json::from_str::<SgdConfig>(r#"{"learning_rate": 0.1}"#).is_err());
        Ok(())
    }
}
