//! The multiplication problem.

use super::pairs::{self, Pairs, TOLERANCE};
use crate::draw::{batch_rng, check_length};
use crate::error::Result;
use crate::loss;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

pub(crate) const NAME: &str = "multiplication";

/// The multiplication problem: experiment 5 of Hochreiter and Schmidhuber 1997, "Long Short-Term
/// Memory", section 5.5. Two of T to T + T/10 values are marked, and the target is their product,
/// after the last step.
///
/// Values are from U\[0, 1) (the paper: 0 to 1). The marks are those of
/// [`AddingVariant::Hochreiter`](super::AddingVariant::Hochreiter): one in the first ten pairs,
/// another in the first T/2, and -1 at the first and the last pair. If the first pair is one of the
/// two, its value is 1.
///
/// The loss is the squared error, and an answer is correct within 0.04. The best constant answer is
/// the mean product, and its expected loss is the variance: 7/144 = 0.0486 if the first pair is not
/// marked. The criterion is the stricter one of the paper: fewer than 13 of 2,000 sequences are
/// wrong, which is an accuracy above 99.35 %. The paper's network needed 1,273,000 sequences for it
/// at T = 100, and 482,000 for the weaker one, fewer than 140 of 2,000.
///
/// Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063) mark one value in the first tenth and one in
/// the next four tenths, and do not mark the ends.
#[derive(Clone, Copy, Debug)]
pub struct Multiplication {
    length: usize,
}

impl Multiplication {
    /// The multiplication problem over at least `length` steps, the T of the paper.
    ///
    /// # Errors
    /// If `length` is not 20 to 10,000,000.
    pub fn new(length: usize) -> Result<Self> {
        Ok(Self { length: check_length(NAME, length, pairs::SHORTEST)? })
    }
}

impl Task for Multiplication {
    fn name(&self) -> &'static str {
        NAME
    }

    /// T + T/10.
    fn length(&self) -> usize {
        Pairs::longest(self.length)
    }

    /// From the first step to the last of the longest sequence.
    fn longest_lag(&self) -> usize {
        self.length() - 1
    }

    fn input_size(&self) -> usize {
        2
    }

    fn output_size(&self) -> usize {
        1
    }

    fn loss_target(&self) -> LossTarget {
        LossTarget::Last
    }

    /// The targets are `(batch, 1)`, in `dtype`.
    fn batch(&self, key: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        let pairs = Pairs { length: self.length, least: 0.0, neutral: 1.0 };
        pairs.batch(key, &mut batch_rng(NAME, self.length, key), |x1, x2| x1 * x2, dtype, device)
    }

    /// The squared error. An answer is correct within 0.04.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        loss::squared_error(NAME, outputs, batch, Some(TOLERANCE))
    }

    /// The variance of the product, about 7/144.
    fn baseline(&self) -> f64 {
        let one = Pairs::first_marked(self.length); // the probability that one factor is 1
        let mean = one / 2.0 + (1.0 - one) / 4.0;
        one / 3.0 + (1.0 - one) / 9.0 - mean * mean
    }

    fn criterion(&self) -> Option<Criterion> {
        Some(Criterion::AccuracyAtLeast(1.0 - 13.0 / 2000.0))
    }

    fn scaled(&self, factor: usize) -> Option<Arc<dyn Task>> {
        Some(Arc::new(Self::new(self.length.checked_mul(factor)?).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms};
    use anyhow::Result;

    #[test]
    fn it_conforms() -> Result<()> {
        conforms(&Multiplication::new(23)?)?;
        baseline_is_that_of_the_best_constant(&Multiplication::new(20)?, 0.002)
    }

    #[test]
    fn the_target_is_the_product_of_the_marked_values() -> Result<()> {
        for (pairs, [first, second], target) in
            pairs::tests::examples(&Multiplication::new(40)?, 40, 1.0, 2000)?
        {
            assert!(pairs.iter().all(|pair| (0.0..=1.0).contains(&pair[0])));
            assert!((target - pairs[first][0] * pairs[second][0]).abs() < 1e-12);
        }
        Ok(())
    }

    #[test]
    fn a_length_without_ten_pairs_in_its_half_is_refused() {
        let error = Multiplication::new(19).expect_err("must fail").to_string();
        assert_eq!(error, "multiplication length: expected 20 to 10000000, got 19");
    }
}
