//! The copy memory task.

use super::{checked_length, classes, generator};
use crate::task::{Batch, BatchDraw, Criterion, Judged, Reads, Task};
use anyhow::Result;
use candle::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::Sequence;

pub(super) const NAME: &str = "copy";

/// The number of symbols to remember.
const SLOTS: usize = 10;
/// The number of symbols there are to choose from: 0 to 7.
const ALPHABET: usize = 8;
const BLANK: usize = ALPHABET;
const DELIMITER: usize = ALPHABET + 1;

/// The copy memory task, as in Arjovsky, Shah and Bengio 2016 (arXiv:1511.06464), after Hochreiter and Schmidhuber
/// 1997: remember ten symbols over T steps and write them down in order.
///
/// The inputs are one-hot over 10: eight symbols, the blank (8) and the delimiter (9). The classes of the output
/// are 9, since a delimiter is never asked for. Steps count from 0:
///
/// | steps | input | target |
/// |---|---|---|
/// | 0 to 9 | a symbol each, drawn with replacement | blank |
/// | 10 to T + 8 | T - 1 blanks | blank |
/// | T + 9 | the delimiter | blank |
/// | T + 10 to T + 19 | 10 blanks | the symbols, in order |
///
/// The gap between the last symbol and the first slot is thus T steps, the delimiter being one of them. The loss is
/// the cross entropy in nats, averaged over all T + 20 steps. Knowing the time but not the symbols, the best answer is
/// blank and then all eight symbols alike: 10 ln 8 / (T + 20). As this mean hides the slots among the blanks,
/// the accuracy is the share of the ten slots that are right; by guessing it is 1/8.
///
/// Examples are drawn fresh, while the paper draws 100,000 once. Other programs differ: Bai, Kolter and Koltun 2018
/// give the delimiter at every slot too, and some have 10 classes; neither changes the baseline.
#[derive(Clone, Copy, Debug)]
pub struct CopyMemory {
    gap: usize,
}

impl CopyMemory {
    /// Copy memory with a gap of `gap` steps, the T of the paper: its sequences have `gap + 20` steps.
    ///
    /// # Errors
    /// If `gap` is not 1 to 10,000,000.
    pub fn new(gap: usize) -> Result<Self> {
        Ok(Self { gap: checked_length(NAME, gap, 1)? })
    }
}

impl Task for CopyMemory {
    fn name(&self) -> &'static str {
        NAME
    }

    /// T + 20: all steps, not the T of the paper, which is the gap.
    fn length(&self) -> usize {
        self.gap + 2 * SLOTS
    }

    /// T + 10: that of every symbol, from the step that shows it to the step that asks for it.
    fn longest_lag(&self) -> usize {
        self.gap + SLOTS
    }

    fn input_size(&self) -> usize {
        ALPHABET + 2
    }

    fn output_size(&self) -> usize {
        ALPHABET + 1
    }

    fn reads(&self) -> Reads {
        Reads::Every
    }

    /// The targets are classes, `(batch, time)` in u32.
    fn batch(&self, draw: BatchDraw, dtype: DType, device: &Device) -> Result<Batch> {
        let mut rng = generator(NAME, self.gap, draw);
        let mut inputs = vec![vec![BLANK; self.length()]; draw.batch];
        let mut targets = Vec::with_capacity(draw.batch * self.length());
        for input in &mut inputs {
            input[..SLOTS].fill_with(|| rng.random_range(0..ALPHABET));
            input[self.longest_lag() - 1] = DELIMITER;
            targets.extend(std::iter::repeat_n(BLANK as u32, self.longest_lag()));
            targets.extend(input[..SLOTS].iter().map(|&symbol| symbol as u32));
        }
        Ok(Batch {
            xs: Sequence::new(classes::one_hot(&inputs, self.input_size(), dtype, device)?)?,
            targets: Tensor::from_vec(targets, (draw.batch, self.length()), device)?,
        })
    }

    /// The cross entropy over all steps, and the share of slots that are right.
    fn judge(&self, outputs: &Tensor, batch: &Batch) -> Result<Judged> {
        classes::judge(NAME, outputs, &batch.targets, self.output_size(), SLOTS)
    }

    /// 10 ln 8 / (T + 20).
    fn baseline(&self) -> f64 {
        SLOTS as f64 * (ALPHABET as f64).ln() / self.length() as f64
    }

    fn criterion(&self) -> Option<Criterion> {
        Some(Criterion::AccuracyAtLeast(0.99))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{baseline_is_that_of_the_best_constant, conforms, held};
    use super::*;

    #[test]
    fn it_conforms() -> Result<()> {
        conforms(&CopyMemory::new(4)?)?;
        baseline_is_that_of_the_best_constant(&CopyMemory::new(3)?, 0.001)
    }

    #[test]
    fn the_slots_ask_for_the_symbols_in_order() -> Result<()> {
        for gap in [1, 2, 7] {
            let task = CopyMemory::new(gap)?;
            let batch = task.batch(held(1, 0, 50), DType::F64, &Device::Cpu)?;
            assert_eq!(batch.xs.values().dims(), [50, gap + 20, 10]);
            assert!(batch.xs.values().sum(2)?.flatten_all()?.to_vec1::<f64>()?.iter().all(|&sum| sum == 1.0));
            let inputs = batch.xs.values().argmax(2)?.to_vec2::<u32>()?;
            for (input, target) in inputs.iter().zip(batch.targets.to_vec2::<u32>()?) {
                assert!(input[..10].iter().all(|&symbol| symbol < 8));
                assert!(input[10..gap + 9].iter().all(|&symbol| symbol == 8), "{input:?}");
                assert_eq!(input[gap + 9], 9);
                assert_eq!(input[gap + 10..], [8; 10]);
                assert!(target[..gap + 10].iter().all(|&class| class == 8), "{target:?}");
                assert_eq!(target[task.longest_lag()..], input[..10], "each after the longest lag");
            }
        }
        Ok(())
    }

    #[test]
    fn accuracy_is_that_of_the_slots() -> Result<()> {
        let task = CopyMemory::new(5)?;
        let batch = task.batch(held(1, 0, 40), DType::F64, &Device::Cpu)?;
        // Always blank is right at 15 of 25 steps, and at no slot.
        let blank = (Tensor::new(&[0u32, 0, 0, 0, 0, 0, 0, 0, 9], &Device::Cpu)?.to_dtype(DType::F64)?)
            .broadcast_as((40, 25, 9))?;
        let judged = task.judge(&blank, &batch)?;
        assert_eq!(judged.right, Some(vec![0.0; 40]));
        // Symbol 0 everywhere: right at the slots that hold it.
        let zero = Tensor::new(&[9f64, 0., 0., 0., 0., 0., 0., 0., 0.], &Device::Cpu)?;
        let right = task.judge(&zero.broadcast_as((40, 25, 9))?, &batch)?.right.expect("it has an accuracy");
        let zeros = |target: &Vec<u32>| target.iter().filter(|&&class| class == 0).count() as f64 / 10.0;
        assert_eq!(right, batch.targets.to_vec2()?.iter().map(zeros).collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn baselines_are_those_of_the_literature() -> Result<()> {
        for (gap, nats) in [(50, 0.2971), (200, 0.0945), (1000, 0.0204)] {
            assert!((CopyMemory::new(gap)?.baseline() - nats).abs() < 5e-5);
        }
        let error = CopyMemory::new(0).expect_err("must fail").to_string();
        assert_eq!(error, "copy length: expected 1 to 10000000, got 0");
        Ok(())
    }
}
