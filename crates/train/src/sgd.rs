//! Stochastic gradient descent with momentum.

use candle::backprop::GradStore;
use candle::{bail, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::elementwise::{self, Pair, Real, Triple};
use crate::groups::Groups;
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::slots::{buffer_dtype, finite_non_negative, Slot, Slots};
use crate::state::State;

/// The momentum of [`Sgd`], with its coefficient μ in \[0, 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Momentum {
    /// No velocity is kept.
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
    /// Default none.
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
/// With g the gradient, η the learning rate, λ the weight decay, μ the momentum, and v = 0 at the start:
///
/// ```text
/// g <- g + λ θ
/// v <- μ v + g
/// θ <- θ - η g            Momentum::None
/// θ <- θ - η v            Momentum::Classical(μ)
/// θ <- θ - η (g + μ v)    Momentum::Nesterov(μ)
/// ```
///
/// Equal to `torch.optim.SGD` (dampening 0). As there, and unlike Sutskever et al. 2013, the learning rate stands
/// outside the velocity: a change of it acts at once on all that has gathered. The decay is part of the gradient,
/// unlike that of [`AdamW`](crate::AdamW).
///
/// On the CPU, f32 and f64 are updated in place without an allocation. f16 and bf16 keep v in f32 and round the
/// parameter once a step.
///
/// ```
/// use candle::{Device, Var};
/// use recurrent_train::{Momentum, Optimizer, Params, Sgd, SgdConfig};
///
/// # fn main() -> candle::Result<()> {
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
pub struct Sgd {
    config: SgdConfig,
    slots: Slots,
}

impl Sgd {
    /// Takes `&Params` or [`Groups`].
    ///
    /// # Errors
    ///
    /// If a number of `config` is out of its range or if there is no parameter to train.
    pub fn new(groups: impl Into<Groups>, config: SgdConfig) -> Result<Self> {
        finite_non_negative("sgd", "weight_decay", config.weight_decay)?;
        let labels: &[&str] = match config.momentum {
            Momentum::None => &[],
            Momentum::Classical(mu) | Momentum::Nesterov(mu) => {
                if !(0.0..1.0).contains(&mu) {
                    bail!("sgd momentum: expected a number in [0, 1), found {mu}");
                }
                &["momentum_buffer"]
            }
        };
        Ok(Self { config, slots: Slots::new("sgd", &groups.into(), labels, config.lr)? })
    }
}

impl Optimizer for Sgd {
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

/// The numbers of one update of one parameter.
struct Update {
    lr: f64,
    decay: f64,
    momentum: Momentum,
}

impl Update {
    fn new(config: &SgdConfig, slot: &Slot, lr: f64) -> Self {
        Self { lr, decay: slot.weight_decay(config.weight_decay), momentum: config.momentum }
    }

    fn in_place(&self, slot: &Slot, grad: &Tensor) -> Result<()> {
        let &Self { lr, decay, momentum } = self;
        match momentum {
            Momentum::None => elementwise::pair(&slot.var, grad, &Descend { lr, decay }),
            Momentum::Classical(mu) => {
                elementwise::triple(&slot.buffers[0], &slot.var, grad, &Velocity { mu, decay })?;
                elementwise::pair(&slot.var, &slot.buffers[0], &Descend { lr, decay: 0.0 })
            }
            Momentum::Nesterov(mu) => {
                elementwise::triple(&slot.buffers[0], &slot.var, grad, &Velocity { mu, decay })?;
                elementwise::triple(&slot.var, &slot.buffers[0], grad, &LookAhead { lr, decay, mu })
            }
        }
    }

    /// The same in tensor operations, for every device and dtype.
    fn with_tensors(&self, slot: &mut Slot, grad: &Tensor) -> Result<()> {
        let dtype = buffer_dtype(slot.var.dtype());
        let theta = slot.var.as_detached_tensor().to_dtype(dtype)?;
        let grad = (grad.to_dtype(dtype)? + (&theta * self.decay)?)?;
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
        let theta = (theta - (direction * self.lr)?)?;
        slot.var.set(&theta.to_dtype(slot.var.dtype())?)
    }
}

/// θ <- θ - η (d + λ θ)
struct Descend {
    lr: f64,
    decay: f64,
}

impl Pair for Descend {
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

impl Triple for Velocity {
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

impl Triple for LookAhead {
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

    #[test]
    fn both_paths_agree() -> Result<()> {
        for momentum in [Momentum::None, Momentum::Classical(0.9), Momentum::Nesterov(0.9)] {
            let config = SgdConfig { momentum, weight_decay: 0.1, ..Default::default() };
            paths_agree(
                usize::from(momentum != Momentum::None),
                |slot, grad| Update::new(&config, slot, 0.01).in_place(slot, grad),
                |slot, grad| Update::new(&config, slot, 0.01).with_tensors(slot, grad),
            )?;
        }
        Ok(())
    }

    #[test]
    fn numbers_out_of_range_are_refused() -> Result<()> {
        let var = candle::Var::new(1f32, &candle::Device::Cpu)?;
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
