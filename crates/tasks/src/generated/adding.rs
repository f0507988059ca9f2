//! The adding problem.

use super::pairs::{self, Pairs, TOLERANCE};
use crate::draw::{batch_rng, check_length, tensor};
use crate::loss;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use anyhow::Result;
use candle::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::Sequence;
use std::sync::Arc;

/// The adding problem: among T random values two are marked, and their sum is asked for after the last step.
///
/// Three definitions go by that name, and losses compare only within one of them:
///
/// | | [`Arjovsky`](AddingVariant::Arjovsky) | [`Tcn`](AddingVariant::Tcn) | [`Hochreiter`](AddingVariant::Hochreiter) |
/// |---|---|---|---|
/// | values | U\[0, 1) | U\[0, 1) | U\[-1, 1) |
/// | marks | one in each half, 0 to T/2 - 1 and T/2 to T - 1 | two anywhere | one in the first ten pairs, another in the first T/2 |
/// | length | T | T | T to T + T/10 |
/// | target | the sum | the sum | 0.5 + (sum)/4 |
/// | baseline | 1/6 | 1/6 | about 1/24 |
/// | solved at | MSE < 0.01 | MSE < 0.01 | no answer off by 0.04 or more |
///
/// The inputs are (value, mark), a mark being one at the two steps and zero elsewhere; Hochreiter and Schmidhuber have -1 at the first and
/// at the last. The loss is the squared error. The best answer that does not look at the input is the mean of the targets, with the variance of the sum as
/// its expected loss.
///
/// Deviations: where T is odd, Arjovsky's second half has one step more than the first, while the authors' program never marks
/// the last step. Values are multiples of 2^-24 (2^-23), hence the same in f32 and f64. Examples are drawn fresh, while Arjovsky et al. draw 100,000 once
/// and Bai et al. 50,000. That of the two later definitions an MSE below 0.01 is the usual sign of success is the custom of later papers
/// (Rusch et al. 2022, arXiv:2110.04744, among them); Bai et al. name none.
#[derive(Clone, Copy, Debug)]
pub struct Adding {
    length: usize,
    definition: AddingVariant,
}

/// Whose adding problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddingVariant {
    /// Arjovsky, Shah and Bengio 2016 (arXiv:1511.06464).
    Arjovsky,
    /// Bai, Kolter and Koltun 2018 (arXiv:1803.01271), and their program.
    Tcn,
    /// Hochreiter and Schmidhuber 1997, "Long Short-Term Memory", section 5.4. A first pair that is one of the two has the value 0. They stop when the 2,000 most
    /// recent sequences were all right; here that is three times 1,000 held-out ones.
    Hochreiter,
}

impl AddingVariant {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 3] = [Self::Arjovsky, Self::Tcn, Self::Hochreiter];

    /// The name of the task of this definition.
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
    /// If `length` is not 2 to 10,000,000; with the definition of Hochreiter and Schmidhuber 20 at least.
    pub fn new(length: usize, definition: AddingVariant) -> Result<Self> {
        Ok(Self {
            length: check_length(definition.name(), length, definition.shortest())?,
            definition,
        })
    }

    /// The two steps that are marked.
    fn marked(&self, rng: &mut impl Rng) -> [usize; 2] {
        let (time, half) = (self.length, self.length / 2);
        match self.definition {
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
        self.definition.name()
    }

    /// T, or T + T/10: the longest sequences.
    fn length(&self) -> usize {
        match self.definition {
            AddingVariant::Arjovsky | AddingVariant::Tcn => self.length,
            AddingVariant::Hochreiter => Pairs::longest(self.length),
        }
    }

    /// From the first step to the last: the first value may be marked, and the answer comes after the last step.
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
    fn batch(&self, draw: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        let time = self.length;
        let mut rng = batch_rng(self.name(), time, draw);
        if self.definition == AddingVariant::Hochreiter {
            let pairs = Pairs { length: time, least: -1.0, neutral: 0.0 };
            return pairs.batch(draw, &mut rng, |x1, x2| 0.5 + (x1 + x2) / 4.0, dtype, device);
        }
        let mut xs = vec![0f32; draw.batch * time * 2]; // (batch, time, input)
        let mut targets = Vec::with_capacity(draw.batch);
        for steps in xs.chunks_exact_mut(time * 2) {
            steps.iter_mut().step_by(2).for_each(|value| *value = rng.random());
            let marked = self.marked(&mut rng);
            marked.iter().for_each(|step| steps[2 * step + 1] = 1.0);
            // In f64, where the sum of two f32 is exact.
            targets.push(marked.iter().map(|step| f64::from(steps[2 * step])).sum::<f64>());
        }
        let xs = tensor(xs, (draw.batch, time, 2), dtype, device)?;
        Ok(Batch {
            xs: Sequence::new(xs)?,
            targets: tensor(targets, (draw.batch, 1), dtype, device)?,
        })
    }

    /// The squared error; with the definition of Hochreiter and Schmidhuber also whether it is right, within 0.04.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        let tolerance = (self.definition == AddingVariant::Hochreiter).then_some(TOLERANCE);
        loss::squared_error(self.name(), outputs, batch, tolerance)
    }

    /// 1/6; of Hochreiter and Schmidhuber 1/24 where no first pair is marked, else 1/48.
    fn baseline(&self) -> f64 {
        match self.definition {
            AddingVariant::Arjovsky | AddingVariant::Tcn => 1.0 / 6.0,
            AddingVariant::Hochreiter => (2.0 - Pairs::first_marked(self.length)) / 48.0,
        }
    }

    fn criterion(&self) -> Option<Criterion> {
        Some(match self.definition {
            AddingVariant::Arjovsky | AddingVariant::Tcn => Criterion::LossBelow(0.01),
            AddingVariant::Hochreiter => Criterion::AccuracyAtLeast(1.0),
        })
    }

    fn scaled(&self, factor: usize) -> Option<Arc<dyn Task>> {
        Some(Arc::new(Self::new(self.length.checked_mul(factor)?, self.definition).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, held};

    #[test]
    fn it_conforms() -> Result<()> {
        for definition in AddingVariant::ALL {
            conforms(&Adding::new(23, definition)?)?;
            baseline_is_that_of_the_best_constant(&Adding::new(20, definition)?, 0.003)?;
        }
        Ok(())
    }

    #[test]
    fn one_value_of_each_half_is_marked_and_their_sum_is_the_target() -> Result<()> {
        for time in [2, 3, 9, 10] {
            let batch = Adding::new(time, AddingVariant::Arjovsky)?.batch(
                held(1, 0, 600),
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
                "every step is marked some time, the last too"
            );
            assert!(batch.xs.lengths().is_none());
        }
        Ok(())
    }

    #[test]
    fn two_values_anywhere_are_marked_and_their_sum_is_the_target() -> Result<()> {
        let batch =
            Adding::new(4, AddingVariant::Tcn)?.batch(held(1, 0, 600), DType::F64, &Device::Cpu)?;
        let mut seen = std::collections::BTreeSet::new();
        for (steps, target) in
            batch.xs.values().to_vec3::<f64>()?.iter().zip(batch.targets.to_vec2::<f64>()?)
        {
            let marks: Vec<_> = (0..4).filter(|&t| steps[t][1] == 1.0).collect();
            assert_eq!(target, [marks.iter().map(|&t| steps[t][0]).sum::<f64>()]);
            seen.insert(marks);
        }
        let pairs = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]].map(|pair| pair.to_vec());
        assert!(seen.into_iter().eq(pairs), "any two, never one twice");
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
        let batch = task.batch(held(1, 0, 3), DType::F64, &Device::Cpu)?;
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
