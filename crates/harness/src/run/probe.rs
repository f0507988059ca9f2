//! The gradient profiles of a run: the examples and the schedule.

use super::Job;
use crate::error::Result;
use crate::network::Network;
use crate::task::{Batch, BatchKey, Split, Task};
use recurrent_core::{Bptt, ForwardContext, GradientRecorder, Record};
use recurrent_measures::Profile;

/// The number of examples; quartiles of fewer would be unstable.
const EXAMPLES: usize = 32;

/// Held-out examples for all profiles of a run, so that these can be compared.
pub(super) struct Probe(Batch);

impl Probe {
    pub(super) fn new(job: &Job) -> Result<Self> {
        let draw = BatchKey { split: Split::Test, seed: job.config.seed, step: 0, batch: EXAMPLES };
        Ok(Self(job.task.batch(draw, job.config.training.dtype, &job.device)?))
    }

    /// The profiles of every layer, direction and part of the state, from an ordinary backward pass
    /// of the task's loss with the truncation and bounds of training: they show the gradient by
    /// which the network is trained.
    pub(super) fn profiles(
        &self,
        task: &dyn Task,
        network: &Network,
        flow: Bptt,
    ) -> Result<Vec<Profile>> {
        let recorder = GradientRecorder::new(Record::Norms);
        let outputs =
            network.forward(&self.0.xs, &ForwardContext::default().bptt(flow).record(&recorder))?;
        task.evaluate(&outputs, &self.0)?.losses.mean_all()?.backward()?;
        Ok(recorder.take().iter().map(Profile::from_trace).collect())
    }
}

/// Whether a profile is due after `step` training steps of a run of at most `steps`: after 25, 50,
/// 100, 200 and so on. Runs of fewer than 1,600 steps begin earlier, so that they have some too.
/// The schedule does not depend on when a run ends, so that all runs of a comparison have profiles
/// after the same steps.
pub(super) fn scheduled(step: u64, steps: u64) -> bool {
    let first = (steps / 64).clamp(1, 25);
    step.is_multiple_of(first) && (step / first).is_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_doubles() {
        let all = |steps| (1..=steps).filter(|&step| scheduled(step, steps)).collect::<Vec<_>>();
        assert_eq!(all(3000), [25, 50, 100, 200, 400, 800, 1600]);
        assert_eq!(all(20), [1, 2, 4, 8, 16]);
        assert_eq!(all(200), [3, 6, 12, 24, 48, 96, 192]);
    }
}
