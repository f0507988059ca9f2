//! Lyapunov exponents: the long-run growth rates of directions.

use crate::Trajectory;
use candle_core::{bail, Result};
use nalgebra::DMatrix;
use rand::Rng;
use recurrent_core::named_rng;
use serde::{Deserialize, Serialize};

/// The Lyapunov spectrum of a layer along a trajectory, in nats per step, largest exponent first.
///
/// ```text
/// Q_{t+1} R_{t+1} = J_t Q_t        λ_i = (1/T) Σ_t ln |R_{t,ii}|
/// ```
///
/// λ_1 > 0: nearby states part, and gradients explode along typical directions; λ_1 < 0: they
/// vanish. Vogt et al. 2022 (Front. Appl. Math. Stat. 8:818799); Engelken et al. 2023; on bounded
/// and diverging gradients Mikhaeil et al. 2022.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lyapunov {
    /// The exponents λ_1 >= λ_2 >= …; −∞ for a direction that a step annihilates.
    pub exponents: Vec<f64>,
    /// The size n of the state, which is the number of all exponents.
    pub size: usize,
    /// The number T of steps averaged over, after the warm-up.
    pub steps: usize,
}

/// The first `count` exponents, averaged over all examples and over the steps after the first
/// `warmup`, during which Q turns into the directions of growth. Q starts as the same random
/// orthogonal matrix in every call.
///
/// # Errors
/// If `count` is 0 or exceeds n, or no step is left after the warm-up; if a Jacobian is not finite;
/// as [`Trajectory::jacobian`].
pub fn lyapunov(trajectory: &Trajectory, count: usize, warmup: usize) -> Result<Lyapunov> {
    let mut mean = vec![0.0; count];
    for example in 0..trajectory.batch() {
        let found = lyapunov_of_example(trajectory, example, count, warmup)?;
        mean.iter_mut().zip(found.exponents).for_each(|(sum, exponent)| *sum += exponent);
    }
    mean.iter_mut().for_each(|sum| *sum /= trajectory.batch() as f64);
    Ok(Lyapunov { exponents: mean, size: trajectory.size(), steps: trajectory.steps() - warmup })
}

/// As [`lyapunov`], for one example.
///
/// # Errors
/// As [`lyapunov`].
pub fn lyapunov_of_example(
    trajectory: &Trajectory,
    example: usize,
    count: usize,
    warmup: usize,
) -> Result<Lyapunov> {
    let (size, steps) = (trajectory.size(), trajectory.steps());
    if !(1..=size).contains(&count) {
        bail!("lyapunov, count: expected from 1 to {size}, got {count}")
    }
    if warmup >= steps {
        bail!("lyapunov, warm-up: expected less than the {steps} steps, got {warmup}")
    }
    let mut rng = named_rng(0, "lyapunov");
    let mut q = DMatrix::from_fn(size, count, |_, _| rng.random_range(-1.0..1.0)).qr().q();
    let mut sums = vec![0.0; count];
    for t in 0..steps {
        let (next, r) = (trajectory.matrix(t, example)? * q).qr().unpack();
        if t >= warmup {
            sums.iter_mut().enumerate().for_each(|(i, sum)| *sum += r[(i, i)].abs().ln());
        }
        q = next;
    }
    let mut exponents: Vec<_> = sums.iter().map(|sum| sum / (steps - warmup) as f64).collect();
    exponents.sort_by(|a, b| b.total_cmp(a));
    Ok(Lyapunov { exponents, size, steps: steps - warmup })
}

impl Lyapunov {
    /// λ_1, the largest.
    pub fn largest(&self) -> f64 {
        self.exponents[0]
    }

    /// Σ λ_i, the rate at which the logarithm of a volume grows; `None` unless all n exponents are
    /// known.
    pub fn sum(&self) -> Option<f64> {
        (self.exponents.len() == self.size).then(|| self.exponents.iter().sum())
    }

    /// The Kaplan–Yorke dimension, j + (λ_1 + … + λ_j) / |λ_{j+1}| with j the largest number for
    /// which the sum is not negative: 0 for a network that forgets its initial state, n if volumes
    /// do not shrink. `None` if there are too few exponents to tell.
    pub fn kaplan_yorke(&self) -> Option<f64> {
        let mut sum = 0.0;
        for (index, exponent) in self.exponents.iter().enumerate() {
            if sum + exponent < 0.0 {
                return Some(index as f64 + sum / exponent.abs());
            }
            sum += exponent;
        }
        (self.exponents.len() == self.size).then_some(self.size as f64)
    }

    /// λ_1 − λ_n, the rate at which the logarithm of the long-term Jacobian's condition number
    /// grows: κ ≈ exp(T (λ_1 − λ_n)) (Engelken et al. 2023). `None` unless all n exponents are
    /// known.
    pub fn condition_rate(&self) -> Option<f64> {
        let last = self.exponents.last().filter(|_| self.exponents.len() == self.size)?;
        Some(self.exponents[0] - last)
    }

    /// log10 κ over `steps` steps, by [`Lyapunov::condition_rate`].
    pub fn log10_condition(&self, steps: usize) -> Option<f64> {
        Some(self.condition_rate()? * steps as f64 / std::f64::consts::LN_10)
    }
}
