//! The adding problem.

use super::{checked_length, generator, tensor};
use crate::task::{Batch, BatchDraw, Criterion, Judged, Reads, Task};
use anyhow::{ensure, Result};
use candle::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::Sequence;

pub(super) const NAME: &str = "adding";

/// The adding problem, as in Arjovsky, Shah and Bengio 2016 (arXiv:1511.06464): of T random values two are marked,
/// and their sum is asked for after the last step.
///
/// The inputs are (value, mark): values from U\[0, 1), and a mark of one at one step of the first half, 0 to T/2 - 1,
/// and at one step of the second, T/2 to T - 1; zero elsewhere. The loss is the squared error. The best answer that
/// does not look at the input is 1, with an expected loss of 1/6, the variance of the sum of two values.
///
/// Two other definitions go by the same name. Hochreiter and Schmidhuber 1997 (experiment 4) draw values from
/// U\[-1, 1\] and lengths from T to T + T/10 and ask for 0.5 + (sum)/4, whose baseline is 1/24; Bai, Kolter and Koltun
/// 2018 put both marks anywhere. Losses compare only within a definition.
///
/// Deviations: where T is odd the second half has one step more than the first, while the authors' program never marks
/// the last step. Values are multiples of 2^-24, hence the same in f32 and f64. Examples are drawn fresh, while
/// the paper draws 100,000 once.
#[derive(Clone, Copy, Debug)]
pub struct Adding {
    length: usize,
}

impl Adding {
    /// The adding problem over `length` steps, the T of the paper.
    ///
    /// # Errors
    /// If `length` is not 2 to 10,000,000.
    pub fn new(length: usize) -> Result<Self> {
        Ok(Self { length: checked_length(NAME, length, 2)? })
    }
}

impl Task for Adding {
    fn name(&self) -> &'static str {
        NAME
    }

    fn length(&self) -> usize {
        self.length
    }

    /// T - 1: the first value may be marked, and the answer comes after the last step.
    fn longest_lag(&self) -> usize {
        self.length - 1
    }

    fn input_size(&self) -> usize {
        2
    }

    fn output_size(&self) -> usize {
        1
    }

    fn reads(&self) -> Reads {
        Reads::Last
    }

    /// The targets are `(batch, 1)`, in `dtype`.
    fn batch(&self, draw: BatchDraw, dtype: DType, device: &Device) -> Result<Batch> {
        let (time, half) = (self.length, self.length / 2);
        let mut rng = generator(NAME, time, draw);
        let mut xs = vec![0f32; draw.batch * time * 2]; // (batch, time, input)
        let mut targets = Vec::with_capacity(draw.batch);
        for steps in xs.chunks_exact_mut(time * 2) {
            steps.iter_mut().step_by(2).for_each(|value| *value = rng.random());
            let marked = [rng.random_range(0..half), rng.random_range(half..time)];
            marked.iter().for_each(|step| steps[2 * step + 1] = 1.0);
            // In f64, where the sum of two f32 is exact.
            targets.push(marked.iter().map(|step| f64::from(steps[2 * step])).sum::<f64>());
        }
        let xs = tensor(xs, (draw.batch, time, 2), dtype, device)?;
        Ok(Batch { xs: Sequence::new(xs)?, targets: tensor(targets, (draw.batch, 1), dtype, device)? })
    }

    /// The squared error; it has no accuracy.
    fn judge(&self, outputs: &Tensor, batch: &Batch) -> Result<Judged> {
        let (expected, found) = (batch.targets.dims(), outputs.dims());
        ensure!(found == expected, "{NAME} outputs: expected {expected:?}, got {found:?}");
        Ok(Judged { losses: (outputs - &batch.targets)?.sqr()?.squeeze(1)?, right: None })
    }

    /// 1/6.
    fn baseline(&self) -> f64 {
        1.0 / 6.0
    }

    fn criterion(&self) -> Option<Criterion> {
        Some(Criterion::LossBelow(0.01))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{baseline_is_that_of_the_best_constant, conforms, held};
    use super::*;

    #[test]
    fn it_conforms() -> Result<()> {
        conforms(&Adding::new(13)?)?;
        baseline_is_that_of_the_best_constant(&Adding::new(10)?, 0.003)
    }

    #[test]
    fn one_value_of_each_half_is_marked_and_their_sum_is_the_target() -> Result<()> {
        for time in [2, 3, 9, 10] {
            let batch = Adding::new(time)?.batch(held(1, 0, 600), DType::F64, &Device::Cpu)?;
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
            assert!(marked.iter().all(|&marked| marked), "every step is marked some time, the last too");
            assert!(batch.xs.lengths().is_none());
        }
        Ok(())
    }

    #[test]
    fn the_loss_is_the_squared_error() -> Result<()> {
        let task = Adding::new(5)?;
        let batch = task.batch(held(1, 0, 3), DType::F64, &Device::Cpu)?;
        let errors = Tensor::new(&[[0.5], [-2.0], [0.0]], &Device::Cpu)?;
        let losses = task.judge(&(&batch.targets + errors)?, &batch)?.losses.to_vec1::<f64>()?;
        let expected = [0.25, 4.0, 0.0];
        assert!(losses.iter().zip(expected).all(|(loss, expected)| (loss - expected).abs() < 1e-14));
        Ok(())
    }

    #[test]
    fn a_length_out_of_range_is_refused() {
        for length in [0, 1, usize::MAX] {
            let error = Adding::new(length).expect_err("must fail").to_string();
            assert_eq!(error, format!("adding length: expected 2 to 10000000, got {length}"));
        }
    }
}
