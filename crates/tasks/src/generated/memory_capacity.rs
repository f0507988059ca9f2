//! The memory capacity task.

use crate::draw::{batch_rng, check_length, tensor};
use crate::error::Result;
use crate::loss;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use candle_core::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::Sequence;
use std::sync::Arc;

pub(crate) const NAME: &str = "memory-capacity";

/// The variance of U\[-1, 1).
const VARIANCE: f64 = 1.0 / 3.0;

/// The memory capacity task of Jaeger 2001 ("Short term memory in echo state networks", GMD report
/// 152), for trained networks. The input is T independent values from U\[-1, 1), one per step. The
/// targets, after the last step, are all values but the last, each with its own output.
///
/// ```text
/// target_k = u_{T-k}, k = 1 .. T - 1        loss = mean over k of (output_k - target_k)² / var(u)
/// capacity >= (T - 1)(1 - loss)             capacity <= N, the number of units of the top layer
/// ```
///
/// Jaeger's capacity is the sum over k of the squared correlation of target and output. A squared
/// error of `e` var(u) bounds a term from below by 1 - e, so the loss tells how many past values
/// the network remembers. The bound by N holds for every network with a linear read-out, trained or
/// not, since the values are independent. The best constant answer is 0, with loss 1. The task has
/// no criterion: Jaeger names none, and a capacity is a quantity, not a goal.
///
/// Deviations: Jaeger's values are from U\[-0.5, 0.5\], and he trains the read-out only. He has a
/// target at every step of one long sequence, when the state has forgotten its start. The nearest
/// thing here is [`Task::scaled`], with the same T - 1 targets after more steps. For the capacity
/// that a linear regression reads from a network trained on any task, see
/// `recurrent_measures::memory_capacity`.
#[derive(Clone, Copy, Debug)]
pub struct MemoryCapacity {
    delays: usize,
    steps: usize,
}

impl MemoryCapacity {
    /// Memory capacity over `length` steps, the T above.
    ///
    /// # Errors
    /// If `length` is not 2 to 10,000,000.
    pub fn new(length: usize) -> Result<Self> {
        let steps = check_length(NAME, length, 2)?;
        Ok(Self { delays: steps - 1, steps })
    }
}

impl Task for MemoryCapacity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn length(&self) -> usize {
        self.steps
    }

    /// T - 1: from the oldest target to the last step.
    fn longest_lag(&self) -> usize {
        self.delays
    }

    fn input_size(&self) -> usize {
        1
    }

    /// One output per delay.
    fn output_size(&self) -> usize {
        self.delays
    }

    fn loss_target(&self) -> LossTarget {
        LossTarget::Last
    }

    /// The targets are `(batch, T - 1)`, in `dtype`, by delay from 1.
    fn batch(&self, key: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        let mut rng = batch_rng(NAME, self.steps, key);
        let values: Vec<f32> =
            (0..key.batch * self.steps).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect();
        let past = |steps: &[f32]| {
            steps.iter().rev().skip(1).take(self.delays).copied().collect::<Vec<_>>()
        };
        let targets = values.chunks_exact(self.steps).flat_map(past).collect();
        let xs = tensor(values, (key.batch, self.steps, 1), dtype, device)?;
        Ok(Batch {
            xs: Sequence::new(xs)?,
            targets: tensor::<f32>(targets, (key.batch, self.delays), dtype, device)?,
        })
    }

    /// The squared error divided by the variance of a value, averaged over the delays.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        let metrics = loss::squared_error(NAME, outputs, batch, None)?;
        Ok(Metrics { losses: (metrics.losses / VARIANCE)?, ..metrics })
    }

    /// 1.
    fn baseline(&self) -> f64 {
        1.0
    }

    fn criterion(&self) -> Option<Criterion> {
        None
    }

    /// The same T - 1 targets after `factor` T steps.
    fn scaled(&self, factor: usize) -> Option<Arc<dyn Task>> {
        let steps = check_length(NAME, self.steps.checked_mul(factor)?, 2).ok()?;
        Some(Arc::new(Self { steps, ..*self }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, test_key};
    use anyhow::Result;

    #[test]
    fn it_conforms() -> Result<()> {
        conforms(&MemoryCapacity::new(13)?)?;
        baseline_is_that_of_the_best_constant(&MemoryCapacity::new(5)?, 0.02)
    }

    #[test]
    fn the_targets_are_the_values_before_the_last_in_reverse() -> Result<()> {
        let task = MemoryCapacity::new(6)?;
        let longer = task.scaled(3).expect("it is generated");
        for (task, steps) in [(&task as &dyn Task, 6), (longer.as_ref(), 18)] {
            let batch = task.batch(test_key(1, 0, 50), DType::F64, &Device::Cpu)?;
            let values = batch.xs.values().squeeze(2)?.to_vec2::<f64>()?;
            for (values, targets) in values.iter().zip(batch.targets.to_vec2::<f64>()?) {
                assert!(values.len() == steps && values.iter().all(|u| (-1.0..1.0).contains(u)));
                let expected: Vec<_> = (1..=5).map(|delay| values[steps - 1 - delay]).collect();
                assert_eq!(targets, expected);
            }
        }
        Ok(())
    }

    #[test]
    fn the_loss_counts_the_remembered_values() -> Result<()> {
        // The last three of ten values, and zeros for the others: a loss of 7 / 10.
        let task = MemoryCapacity::new(11)?;
        let batch = task.batch(test_key(1, 0, 4000), DType::F64, &Device::Cpu)?;
        let kept = batch.targets.narrow(1, 0, 3)?.pad_with_zeros(1, 0, 7)?;
        let loss = task.evaluate(&kept, &batch)?.losses.mean_all()?.to_scalar::<f64>()?;
        assert!((10.0 * (1.0 - loss) - 3.0).abs() < 0.1, "{loss}");
        Ok(())
    }

    #[test]
    fn a_length_without_a_past_is_refused() {
        let error = MemoryCapacity::new(1).expect_err("must fail").to_string();
        assert_eq!(error, "memory-capacity length: expected 2 to 10000000, got 1");
    }
}
