//! The random permutation task.

use crate::draw::{batch_rng, check_length, one_hot};
use crate::error::Result;
use crate::loss;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use candle_core::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::Sequence;
use std::sync::Arc;

pub(crate) const NAME: &str = "random-permutation";

/// The number of symbols.
const SYMBOLS: usize = 100;
/// The number of possible first symbols; none of them occurs again.
const KEYS: usize = 2;

/// The random permutation task of Martens and Sutskever 2011 (after Hochreiter and Schmidhuber
/// 1997, experiment 2b), in the form of the program of Pascanu, Mikolov and Bengio 2013
/// (arXiv:1211.5063): a one-hot sequence of 100 different symbols whose first symbol, 0 or 1,
/// follows its end again.
///
/// Step 0 shows the key, 0 or 1. Each of the steps 1 to T - 1 shows a symbol from 2 to 99, drawn
/// with replacement. The target after the last step is the next symbol, the key: nothing else of
/// the sequence is predictable. The loss is the cross entropy over 100 classes in nats. Guessing
/// between 0 and 1 gives ln 2 and an accuracy of 1/2. The task is solved at an accuracy of 99 %.
///
/// Martens and Sutskever predict the next symbol at every step; Pascanu et al., and this task, only
/// at the last. In their paper it is the one task that gradient clipping with their regulariser did
/// not solve in every run: the key is one of T similar inputs.
#[derive(Clone, Copy, Debug)]
pub struct RandomPermutation {
    length: usize,
}

impl RandomPermutation {
    /// Random permutation over `length` steps, the T above.
    ///
    /// # Errors
    /// If `length` is not 2 to 10,000,000.
    pub fn new(length: usize) -> Result<Self> {
        Ok(Self { length: check_length(NAME, length, 2)? })
    }
}

impl Task for RandomPermutation {
    fn name(&self) -> &'static str {
        NAME
    }

    fn length(&self) -> usize {
        self.length
    }

    /// T - 1: from the first step to the last.
    fn longest_lag(&self) -> usize {
        self.length - 1
    }

    fn input_size(&self) -> usize {
        SYMBOLS
    }

    fn output_size(&self) -> usize {
        SYMBOLS
    }

    fn loss_target(&self) -> LossTarget {
        LossTarget::Last
    }

    /// The targets are classes, `(batch)` in u32.
    fn batch(&self, key: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        let mut rng = batch_rng(NAME, self.length, key);
        let mut sequence = |_| -> Vec<usize> {
            let first = rng.random_range(0..KEYS);
            let others = (1..self.length).map(|_| rng.random_range(KEYS..SYMBOLS));
            std::iter::once(first).chain(others).collect()
        };
        let examples: Vec<_> = (0..key.batch).map(&mut sequence).collect();
        let keys: Vec<_> = examples.iter().map(|symbols| symbols[0] as u32).collect();
        Ok(Batch {
            xs: Sequence::new(one_hot(&examples, SYMBOLS, dtype, device)?)?,
            targets: Tensor::from_vec(keys, key.batch, device)?,
        })
    }

    /// The cross entropy, and whether the symbol is correct.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        loss::cross_entropy(NAME, outputs, batch, SYMBOLS, 1)
    }

    /// ln 2.
    fn baseline(&self) -> f64 {
        (KEYS as f64).ln()
    }

    fn criterion(&self) -> Option<Criterion> {
        Some(Criterion::AccuracyAtLeast(0.99))
    }

    fn scaled(&self, factor: usize) -> Option<Arc<dyn Task>> {
        Some(Arc::new(Self::new(self.length.checked_mul(factor)?).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, test_key};
    use anyhow::Result;

    #[test]
    fn it_conforms() -> Result<()> {
        conforms(&RandomPermutation::new(13)?)?;
        baseline_is_that_of_the_best_constant(&RandomPermutation::new(5)?, 0.002)
    }

    #[test]
    fn the_target_is_the_first_symbol_which_occurs_once() -> Result<()> {
        let batch =
            RandomPermutation::new(30)?.batch(test_key(1, 0, 300), DType::F32, &Device::Cpu)?;
        let mut seen = [false; SYMBOLS];
        for (symbols, key) in batch
            .xs
            .values()
            .argmax(2)?
            .to_vec2::<u32>()?
            .iter()
            .zip(batch.targets.to_vec1::<u32>()?)
        {
            assert!(symbols[0] == key && key < 2 && symbols[1..].iter().all(|&symbol| symbol >= 2));
            symbols.iter().for_each(|&symbol| seen[symbol as usize] = true);
        }
        assert!(seen.iter().all(|&seen| seen), "all symbols occur");
        Ok(())
    }

    #[test]
    fn a_length_without_a_lag_is_refused() {
        let error = RandomPermutation::new(1).expect_err("must fail").to_string();
        assert_eq!(error, "random-permutation length: expected 2 to 10000000, got 1");
    }
}
