//! The adding problem.

use super::pairs::{self, Pairs, TOLERANCE};
use crate::draw::{batch_rng, check_length, tensor};
use crate::error::Result;
use crate::loss;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use candle_core::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::Sequence;
use std::sync::Arc;

/// The adding problem: two of T random values are marked, and the target is their sum, after the
/// last step.
///
/// The literature has three variants. Losses are comparable only within one of them:
///
/// | | [`Arjovsky`](AddingVariant::Arjovsky) | [`Tcn`](AddingVariant::Tcn) | [`Hochreiter`](AddingVariant::Hochreiter) |
/// |---|---|---|---|
/// | values | U\[0, 1) | U\[0, 1) | U\[-1, 1) |
/// | marks | one in each half, 0 to T/2 - 1 and T/2 to T - 1 | two anywhere | one in the first ten pairs, another in the first T/2 |
/// | length | T | T | T to T + T/10 |
/// | target | the sum | the sum | 0.5 + (sum)/4 |
/// | baseline | 1/6 | 1/6 | about 1/24 |
/// | solved at | MSE < 0.01 | MSE < 0.01 | no error of 0.04 or more |
///
/// The inputs are (value, mark). The mark is 1 at the two steps and 0 elsewhere; Hochreiter and
/// Schmidhuber have -1 at the first and the last step. The loss is the squared error. The best
/// constant answer is the mean of the targets, and its expected loss is their variance.
///
/// Deviations:
///
/// - If T is odd, the second half of Arjovsky has one step more than the first. The authors'
///   program never marks the last step.
/// - Values are multiples of 2^-24 (2^-23), so that they are equal in f32 and f64.
/// - Examples are drawn fresh. Arjovsky et al. draw 100,000 once, Bai et al. 50,000.
/// - Bai et al. name no criterion for the two later variants; an MSE below 0.01 is the custom of
///   later papers (among them Rusch et al. 2022, arXiv:2110.04744).
#[derive(Clone, Copy, Debug)]
pub struct Adding {
    length: usize,
    variant: AddingVariant,
}

/// The variants of the adding problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddingVariant {
    /// Arjovsky, Shah and Bengio 2016 (arXiv:1511.06464).
    Arjovsky,
    /// Bai, Kolter and Koltun 2018 (arXiv:1803.01271), and their program.
    Tcn,
    /// Hochreiter and Schmidhuber 1997, "Long Short-Term Memory", section 5.4. If the first pair is
    /// one of the two, its value is 0. The paper stops when the 2,000 most recent sequences are all
    /// correct; here, three evaluations of 1,000 held-out sequences must be.
    Hochreiter,
}

impl AddingVariant {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 3] = [Self::Arjovsky, Self::Tcn, Self::Hochreiter];

    /// The name of the task of this variant.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arjovsky => "adding",
            Self::Tcn => "adding-tcn",
            Self::Hochreiter => "adding-hochreiter",
        }
    }

    fn shortest(self) -> usize {
        match self {
            Self::Arjovsky | Self::Tcn => 2,
            Self::Hochreiter => pairs::SHORTEST,
        }
    }
}

impl Adding {
    /// The adding problem over `length` steps, the T of the papers.
    ///
    /// # Errors
    /// If `length` is not 2 to 10,000,000. The variant of Hochreiter and Schmidhuber needs at least
    /// 20.
    pub fn new(length: usize, variant: AddingVariant) -> Result<Self> {
        Ok(Self { length: check_length(variant.name(), length, variant.shortest())?, variant })
    }

    /// Draws the two marked steps.
    fn marked(&self, rng: &mut impl Rng) -> [usize; 2] {
        let (time, half) = (self.length, self.length / 2);
        match self.variant {
            AddingVariant::Arjovsky => [rng.random_range(0..half), rng.random_range(half..time)],
            AddingVariant::Tcn | AddingVariant::Hochreiter => {
                let (first, second) = (rng.random_range(0..time), rng.random_range(0..time - 1));
                [first, second + usize::from(second >= first)]
            }
        }
    }
}

impl Task for Adding {
    fn name(&self) -> &'static str {
        self.variant.name()
    }

    /// T, or T + T/10.
    fn length(&self) -> usize {
        match self.variant {
            AddingVariant::Arjovsky | AddingVariant::Tcn => self.length,
            AddingVariant::Hochreiter => Pairs::longest(self.length),
        }
    }

    /// From the first step, which may be marked, to the last.
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
        let time = self.length;
        let mut rng = batch_rng(self.name(), time, key);
        if self.variant == AddingVariant::Hochreiter {
            let pairs = Pairs { length: time, least: -1.0, neutral: 0.0 };
            return pairs.batch(key, &mut rng, |x1, x2| 0.5 + (x1 + x2) / 4.0, dtype, device);
        }
        let mut xs = vec![0f32; key.batch * time * 2]; // (batch, time, input)
        let mut targets = Vec::with_capacity(key.batch);
        for steps in xs.chunks_exact_mut(time * 2) {
            steps.iter_mut().step_by(2).for_each(|value| *value = rng.random());
            let marked = self.marked(&mut rng);
            marked.iter().for_each(|step| steps[2 * step + 1] = 1.0);
            // The sum of two f32 is exact in f64.
            targets.push(marked.iter().map(|step| f64::from(steps[2 * step])).sum::<f64>());
        }
        let xs = tensor(xs, (key.batch, time, 2), dtype, device)?;
        Ok(Batch {
            xs: Sequence::new(xs)?,
            targets: tensor(targets, (key.batch, 1), dtype, device)?,
        })
    }

    /// The squared error. The variant of Hochreiter and Schmidhuber has an accuracy: an answer is
    /// correct within 0.04.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        let tolerance = (self.variant == AddingVariant::Hochreiter).then_some(TOLERANCE);
        loss::squared_error(self.name(), outputs, batch, tolerance)
    }

    /// 1/6. For Hochreiter and Schmidhuber, 1/24 if the first pair is not marked, else 1/48.
    fn baseline(&self) -> f64 {
        match self.variant {
            AddingVariant::Arjovsky | AddingVariant::Tcn => 1.0 / 6.0,
            AddingVariant::Hochreiter => (2.0 - Pairs::first_marked(self.length)) / 48.0,
        }
    }

    fn criterion(&self) -> Option<Criterion> {
        Some(match self.variant {
            AddingVariant::Arjovsky | AddingVariant::Tcn => Criterion::LossBelow(0.01),
            AddingVariant::Hochreiter => Criterion::AccuracyAtLeast(1.0),
        })
    }

    fn scaled(&self, factor: usize) -> Option<Arc<dyn Task>> {
        Some(Arc::new(Self::new(self.length.checked_mul(factor)?, self.variant).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, test_key};
    use anyhow::Result;

    #[test]
    fn it_conforms() -> Result<()> {
        for variant in AddingVariant::ALL {
            conforms(&Adding::new(23, variant)?)?;
            baseline_is_that_of_the_best_constant(&Adding::new(20, variant)?, 0.003)?;
        }
        Ok(())
    }

    #[test]
    fn one_value_of_each_half_is_marked_and_their_sum_is_the_target() -> Result<()> {
        for time in [2, 3, 9, 10] {
            let batch = Adding::new(time, AddingVariant::Arjovsky)?.batch(
                test_key(1, 0, 600),
                DType::F64,
                &Device::Cpu,
            )?;
            let targets = batch.targets.to_vec2::<f64>()?;
            let mut marked = vec![false; time];
            for (steps, target) in batch.xs.values().to_vec3::<f64>()?.iter().zip(targets) {
                let marks: Vec<_> = (0..time).filter(|&t| steps[t][1] == 1.0).collect();
                assert!(steps.iter().all(|step| step[1] == 0.0 || step[1] == 1.0));
                assert!(steps.iter().all(|step| (0.0..1.0).contains(&step[0])));
                let [first, second] = marks[..] else { panic!("{marks:?}") };
                assert!(first < time / 2 && time / 2 <= second, "{first} {second} of {time}");
                assert_eq!(vec![steps[first][0] + steps[second][0]], target);
                marked[first] = true;
                marked[second] = true;
            }
            assert!(
                marked.iter().all(|&marked| marked),
                "every step is marked at some point, also the last"
            );
            assert!(batch.xs.lengths().is_none());
        }
        Ok(())
    }

    #[test]
    fn tcn_marks_any_two_values_and_the_target_is_their_sum() -> Result<()> {
        let batch = Adding::new(4, AddingVariant::Tcn)?.batch(
            test_key(1, 0, 600),
            DType::F64,
            &Device::Cpu,
        )?;
        let mut seen = std::collections::BTreeSet::new();
        for (steps, target) in
            batch.xs.values().to_vec3::<f64>()?.iter().zip(batch.targets.to_vec2::<f64>()?)
        {
            let marks: Vec<_> = (0..4).filter(|&t| steps[t][1] == 1.0).collect();
            assert_eq!(target, [marks.iter().map(|&t| steps[t][0]).sum::<f64>()]);
            seen.insert(marks);
        }
        let pairs = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]].map(|pair| pair.to_vec());
        assert!(seen.into_iter().eq(pairs), "any two different steps");
        Ok(())
    }

    #[test]
    fn pairs_are_those_of_hochreiter_and_schmidhuber() -> Result<()> {
        let task = Adding::new(40, AddingVariant::Hochreiter)?;
        for (pairs, [first, second], target) in pairs::tests::examples(&task, 40, 0.0, 2000)? {
            assert!(pairs.iter().all(|pair| (-1.0..1.0).contains(&pair[0])));
            assert!((target - (0.5 + (pairs[first][0] + pairs[second][0]) / 4.0)).abs() < 1e-12);
        }
        Ok(())
    }

    #[test]
    fn the_loss_is_the_squared_error() -> Result<()> {
        let task = Adding::new(5, AddingVariant::Arjovsky)?;
        let batch = task.batch(test_key(1, 0, 3), DType::F64, &Device::Cpu)?;
        let errors = Tensor::new(&[[0.5], [-2.0], [0.0]], &Device::Cpu)?;
        let losses = task.evaluate(&(&batch.targets + errors)?, &batch)?.losses.to_vec1::<f64>()?;
        let expected = [0.25, 4.0, 0.0];
        assert!(losses
            .iter()
            .zip(expected)
            .all(|(loss, expected)| (loss - expected).abs() < 1e-14));
        Ok(())
    }

    #[test]
    fn a_length_out_of_range_is_refused() {
        for length in [0, 1, usize::MAX] {
            let error =
                Adding::new(length, AddingVariant::Arjovsky).expect_err("must fail").to_string();
            assert_eq!(error, format!("adding length: expected 2 to 10000000, got {length}"));
        }
        let error = Adding::new(19, AddingVariant::Hochreiter).expect_err("must fail").to_string();
        assert_eq!(error, "adding-hochreiter length: expected 20 to 10000000, got 19");
    }
}
