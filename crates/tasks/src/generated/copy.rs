//! The copy memory task.

use crate::draw::{batch_rng, check_length, one_hot};
use crate::error::Result;
use crate::loss;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use candle_core::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::Sequence;
use std::sync::Arc;

/// The number of symbols to remember.
const SLOTS: usize = 10;
/// The number of different symbols, 0 to 7.
const ALPHABET: usize = 8;
const BLANK: usize = ALPHABET;
const DELIMITER: usize = ALPHABET + 1;

/// The copy memory task, after Hochreiter and Schmidhuber 1997: remember ten symbols over T steps
/// and repeat them in order.
///
/// The inputs are one-hot over 10: eight symbols, the blank (8) and the delimiter (9). Steps count
/// from 0. With a gap of g:
///
/// | steps | input | target |
/// |---|---|---|
/// | 0 to 9 | a symbol each, drawn with replacement | blank |
/// | 10 to g + 8 | g - 1 blanks | blank |
/// | g + 9 | the delimiter | blank |
/// | g + 10 to g + 19 | 10 blanks, or the delimiter again | the symbols, in order |
///
/// The gap between the last symbol and the first slot is g steps, including the delimiter.
/// Variants:
///
/// | | gap | input at the slots | classes of the output |
/// |---|---|---|---|
/// | [`Arjovsky`](CopyVariant::Arjovsky) | T | blanks | 9: a delimiter is never a target |
/// | [`Tcn`](CopyVariant::Tcn) | T | delimiters | 10 |
/// | [`Variable`](CopyVariant::Variable) | 1 to T, drawn for each example | blanks | 9 |
///
/// The loss is the cross entropy in nats, averaged over all g + 20 steps. The best answer that
/// knows the time but not the symbols is blank, then all eight symbols with equal probability. Its
/// loss is 10 ln 8 / (g + 20), averaged over the gaps. The many blanks dominate this mean, so the
/// accuracy counts the ten slots only; guessing gives 1/8.
///
/// Deviation: examples are drawn fresh. Arjovsky et al. draw 100,000 once, Bai et al. 10,000.
#[derive(Clone, Copy, Debug)]
pub struct CopyMemory {
    gap: usize,
    variant: CopyVariant,
}

/// The variants of the copy memory task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyVariant {
    /// Arjovsky, Shah and Bengio 2016 (arXiv:1511.06464).
    Arjovsky,
    /// Bai, Kolter and Koltun 2018 (arXiv:1803.01271), and their program.
    Tcn,
    /// The variable copy task of Tallec and Ollivier 2018 (arXiv:1804.11188), after Henaff, Szlam
    /// and LeCun 2016 (arXiv:1602.06662). The network cannot count the steps to the slots and must
    /// wait for the delimiter.
    Variable,
}

impl CopyVariant {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 3] = [Self::Arjovsky, Self::Tcn, Self::Variable];

    /// The name of the task of this variant.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arjovsky => "copy",
            Self::Tcn => "copy-tcn",
            Self::Variable => "copy-variable",
        }
    }
}

impl CopyMemory {
    /// Copy memory with a gap of `gap` steps, the T of the papers. Sequences have `gap + 20` steps;
    /// those of the variable variant have at most that many.
    ///
    /// # Errors
    /// If `gap` is not 1 to 10,000,000.
    pub fn new(gap: usize, variant: CopyVariant) -> Result<Self> {
        Ok(Self { gap: check_length(variant.name(), gap, 1)?, variant })
    }

    /// Draws the gap of one example.
    fn gap(&self, rng: &mut impl Rng) -> usize {
        match self.variant {
            CopyVariant::Arjovsky | CopyVariant::Tcn => self.gap,
            CopyVariant::Variable => rng.random_range(1..=self.gap),
        }
    }
}

impl Task for CopyMemory {
    fn name(&self) -> &'static str {
        self.variant.name()
    }

    /// T + 20: the number of all steps. The T of the papers is the gap.
    fn length(&self) -> usize {
        self.gap + 2 * SLOTS
    }

    /// T + 10: from the step that shows a symbol to the step that repeats it.
    fn longest_lag(&self) -> usize {
        self.gap + SLOTS
    }

    fn input_size(&self) -> usize {
        ALPHABET + 2
    }

    fn output_size(&self) -> usize {
        match self.variant {
            CopyVariant::Arjovsky | CopyVariant::Variable => ALPHABET + 1,
            CopyVariant::Tcn => ALPHABET + 2,
        }
    }

    fn loss_target(&self) -> LossTarget {
        LossTarget::Every
    }

    /// The targets are classes, `(batch, time)` in u32. The batch has as many steps as its longest
    /// example.
    fn batch(&self, key: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        let mut rng = batch_rng(self.name(), self.gap, key);
        let mut examples = Vec::with_capacity(key.batch);
        for _ in 0..key.batch {
            let gap = self.gap(&mut rng);
            let mut input = vec![BLANK; gap + 2 * SLOTS];
            input[..SLOTS].fill_with(|| rng.random_range(0..ALPHABET));
            let last = if self.variant == CopyVariant::Tcn { gap + 2 * SLOTS } else { gap + SLOTS };
            input[gap + SLOTS - 1..last].fill(DELIMITER);
            examples.push(input);
        }
        let lengths: Vec<_> = examples.iter().map(Vec::len).collect();
        let time = lengths.iter().copied().max().unwrap_or(0);
        let mut targets = vec![BLANK as u32; key.batch * time];
        for ((target, input), length) in targets.chunks_exact_mut(time).zip(&examples).zip(&lengths)
        {
            let slots = &mut target[length - SLOTS..*length];
            slots.iter_mut().zip(input).for_each(|(slot, &symbol)| *slot = symbol as u32);
        }
        let xs = one_hot(&examples, self.input_size(), dtype, device)?;
        let xs = match self.variant {
            CopyVariant::Arjovsky | CopyVariant::Tcn => Sequence::new(xs)?,
            CopyVariant::Variable => Sequence::padded(xs, &lengths)?,
        };
        Ok(Batch { xs, targets: Tensor::from_vec(targets, (key.batch, time), device)? })
    }

    /// The cross entropy over all steps, and the share of correct slots.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        loss::cross_entropy(self.name(), outputs, batch, self.output_size(), SLOTS)
    }

    /// 10 ln 8 / (T + 20), or its mean over the gaps.
    fn baseline(&self) -> f64 {
        let nats = |gap: usize| (SLOTS as f64) * (ALPHABET as f64).ln() / (gap + 2 * SLOTS) as f64;
        match self.variant {
            CopyVariant::Arjovsky | CopyVariant::Tcn => nats(self.gap),
            CopyVariant::Variable => (1..=self.gap).map(nats).sum::<f64>() / self.gap as f64,
        }
    }

    fn criterion(&self) -> Option<Criterion> {
        Some(Criterion::AccuracyAtLeast(0.99))
    }

    fn scaled(&self, factor: usize) -> Option<Arc<dyn Task>> {
        Some(Arc::new(Self::new(self.gap.checked_mul(factor)?, self.variant).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, test_key};
    use anyhow::Result;

    #[test]
    fn it_conforms() -> Result<()> {
        for variant in CopyVariant::ALL {
            conforms(&CopyMemory::new(4, variant)?)?;
        }
        for variant in [CopyVariant::Arjovsky, CopyVariant::Tcn] {
            baseline_is_that_of_the_best_constant(&CopyMemory::new(3, variant)?, 0.001)?;
        }
        Ok(())
    }

    #[test]
    fn the_targets_of_the_slots_are_the_symbols_in_order() -> Result<()> {
        for (gap, variant, after) in [
            (1, CopyVariant::Arjovsky, 8),
            (2, CopyVariant::Arjovsky, 8),
            (7, CopyVariant::Arjovsky, 8),
            (3, CopyVariant::Tcn, 9),
        ] {
            let task = CopyMemory::new(gap, variant)?;
            let batch = task.batch(test_key(1, 0, 50), DType::F64, &Device::Cpu)?;
            assert_eq!(batch.xs.values().dims(), [50, gap + 20, 10]);
            assert!(batch
                .xs
                .values()
                .sum(2)?
                .flatten_all()?
                .to_vec1::<f64>()?
                .iter()
                .all(|&sum| sum == 1.0));
            let inputs = batch.xs.values().argmax(2)?.to_vec2::<u32>()?;
            for (input, target) in inputs.iter().zip(batch.targets.to_vec2::<u32>()?) {
                assert!(input[..10].iter().all(|&symbol| symbol < 8));
                assert!(input[10..gap + 9].iter().all(|&symbol| symbol == 8), "{input:?}");
                assert_eq!(input[gap + 9], 9);
                assert_eq!(input[gap + 10..], [after; 10]);
                assert!(target[..gap + 10].iter().all(|&class| class == 8), "{target:?}");
                assert_eq!(target[task.longest_lag()..], input[..10], "each after the longest lag");
            }
        }
        Ok(())
    }

    #[test]
    fn gaps_vary_from_one_to_the_longest() -> Result<()> {
        let task = CopyMemory::new(6, CopyVariant::Variable)?;
        let batch = task.batch(test_key(1, 0, 400), DType::F64, &Device::Cpu)?;
        let lengths = batch.xs.lengths().expect("its examples differ in length").as_slice();
        let (rows, targets) =
            (batch.xs.values().to_vec3::<f64>()?, batch.targets.to_vec2::<u32>()?);
        let mut gaps = std::collections::BTreeSet::new();
        for ((row, target), &length) in rows.iter().zip(targets).zip(lengths) {
            let symbol = |step: &Vec<f64>| step.iter().position(|&value| value == 1.0);
            let symbols: Vec<_> = row.iter().map(symbol).collect();
            assert_eq!(symbols.iter().position(|symbol| *symbol == Some(9)), Some(length - 11));
            assert!(symbols[length..].iter().all(Option::is_none), "zeros in the padding");
            let expected_slots: Vec<_> =
                target[length - 10..length].iter().map(|&class| Some(class as usize)).collect();
            assert_eq!(expected_slots, symbols[..10]);
            gaps.insert(length - 20);
        }
        assert!(gaps.into_iter().eq(1..=6));
        // The best answer that knows the delimiter: blank, then all symbols with equal probability.
        let eighth = |step: usize, length: usize, class: usize| match (step + 10 < length, class) {
            (true, 8) | (false, 0..8) => 0.0,
            _ => -1e3,
        };
        let answer: Vec<f64> = lengths
            .iter()
            .flat_map(|&length| {
                (0..26).flat_map(move |step| (0..9).map(move |class| eighth(step, length, class)))
            })
            .collect();
        let answer = Tensor::from_vec(answer, (400, 26, 9), &Device::Cpu)?;
        let found = task.evaluate(&answer, &batch)?.losses.mean_all()?.to_scalar::<f64>()?;
        assert!((found - task.baseline()).abs() < 0.01, "{found} against {}", task.baseline());
        Ok(())
    }

    #[test]
    fn accuracy_is_that_of_the_slots() -> Result<()> {
        let task = CopyMemory::new(5, CopyVariant::Arjovsky)?;
        let batch = task.batch(test_key(1, 0, 40), DType::F64, &Device::Cpu)?;
        // Constant blank is correct at 15 of 25 steps, but at no slot.
        let blank = (Tensor::new(&[0u32, 0, 0, 0, 0, 0, 0, 0, 9], &Device::Cpu)?
            .to_dtype(DType::F64)?)
        .broadcast_as((40, 25, 9))?;
        let judged = task.evaluate(&blank, &batch)?;
        assert_eq!(judged.correct, Some(vec![0.0; 40]));
        // Constant symbol 0 is correct at the slots that contain it.
        let zero = Tensor::new(&[9f64, 0., 0., 0., 0., 0., 0., 0., 0.], &Device::Cpu)?;
        let correct = task
            .evaluate(&zero.broadcast_as((40, 25, 9))?, &batch)?
            .correct
            .expect("it has an accuracy");
        let zeros =
            |target: &Vec<u32>| target.iter().filter(|&&class| class == 0).count() as f64 / 10.0;
        assert_eq!(correct, batch.targets.to_vec2()?.iter().map(zeros).collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn baselines_are_those_of_the_literature() -> Result<()> {
        for (gap, nats) in [(50, 0.2971), (200, 0.0945), (1000, 0.0204)] {
            assert!((CopyMemory::new(gap, CopyVariant::Arjovsky)?.baseline() - nats).abs() < 5e-5);
        }
        let error = CopyMemory::new(0, CopyVariant::Arjovsky).expect_err("must fail").to_string();
        assert_eq!(error, "copy length: expected 1 to 10000000, got 0");
        Ok(())
    }
}
