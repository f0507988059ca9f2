//! How the runs of a comparison are trained.

use crate::size::Sizing;
use crate::task::{BatchDraw, Split, Task};
use crate::tier::Tier;
use crate::treatment::Treatment;
use crate::usage::{line, mistake, Usage};
use anyhow::Result;
use candle::{DType, Device};

/// Batches of more steps in all are taken for a slip of the pen: their inputs alone would take gigabytes.
const LARGEST: usize = 1_000_000_000;

/// How many times as long the sequences are on which a trained network is evaluated, if asked for.
pub const GENERALISED: [usize; 2] = [2, 4];

/// How the runs of a comparison are trained, all of them alike but for the changes of a variant: AdamW without weight decay, a constant
/// learning rate, and what is done to the gradient.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long, if the task is not solved before.
    pub extent: Extent,
    /// How large.
    pub sizing: Sizing,
    /// Examples a batch.
    pub batch: usize,
    /// What is done to the gradient, where a variant does not change it.
    pub treatment: Treatment,
    /// The number of training steps from one evaluation to the next of a generated task. With a data set, there is one
    /// at the end of every epoch.
    pub eval_every: u64,
    /// How much is measured before and after training.
    pub measures: Tier,
    /// Evaluate the trained network also on sequences of the same task that are [so many times](GENERALISED) as long.
    pub generalise: bool,
    /// Evaluate on no more held-out examples than this.
    pub held_out: usize,
    /// The dtype of weights and data: f32 or f64.
    pub dtype: DType,
    /// The device.
    pub device: Device,
}

/// How long a run trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// This many steps.
    Steps(u64),
    /// This many times through a data set.
    Epochs(u64),
}

impl Settings {
    /// The defaults for a task: 5,000 weights and 3,000 steps evaluated every 100, or 10,000 weights and two epochs of a
    /// data set; batches of 32, learning rate 5e-3, clipped at 1; f32 on the CPU.
    pub fn new(task: &dyn Task) -> Self {
        let (extent, params) = match task.examples() {
            Some(_) => (Extent::Epochs(2), 10_000),
            None => (Extent::Steps(3000), 5000),
        };
        Self {
            extent,
            sizing: Sizing::Params(params),
            batch: 32,
            treatment: Treatment::default(),
            eval_every: 100,
            measures: Tier::Profiles,
            generalise: false,
            held_out: usize::MAX,
            dtype: DType::F32,
            device: Device::Cpu,
        }
    }

    /// A short trial that shows that everything runs, and solves nothing: some thousand steps of sequences, that is 200
    /// training steps of a short task and 10 of a long one, with 2,000 weights and 200 held-out examples.
    pub fn quick(task: &dyn Task) -> Self {
        let steps = (6000 / task.length().max(1) as u64).clamp(10, 200);
        let sizing = Sizing::Params(2000);
        Self { extent: Extent::Steps(steps), sizing, eval_every: steps / 2, held_out: 200, ..Self::new(task) }
    }

    /// The number of training steps.
    pub fn steps(&self, task: &dyn Task) -> u64 {
        match (self.extent, task.examples()) {
            (Extent::Steps(steps), _) => steps,
            (Extent::Epochs(epochs), Some(examples)) => {
                epochs.saturating_mul(examples as u64).div_ceil(self.batch as u64)
            }
            (Extent::Epochs(_), None) => 0, // refused by `validate`
        }
    }

    /// Whether the network is evaluated after training step `step`; after the last it always is.
    pub fn evaluates(&self, task: &dyn Task, step: u64) -> bool {
        match task.examples() {
            None => step.is_multiple_of(self.eval_every),
            Some(examples) => {
                let epochs = |step: u64| step * self.batch as u64 / examples as u64;
                step > 0 && epochs(step) > epochs(step - 1)
            }
        }
    }

    /// The number of held-out examples of an evaluation.
    pub fn held_out(&self, task: &dyn Task) -> usize {
        self.held_out.min(task.held_out())
    }

    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// In one line: which setting, what was expected, what was found.
    pub fn validate(&self, task: &dyn Task) -> Result<()> {
        match self.extent {
            Extent::Steps(0) => mistake!("steps: expected at least 1, got 0"),
            Extent::Epochs(0) => mistake!("epochs: expected at least 1, got 0"),
            Extent::Epochs(_) if task.examples().is_none() => {
                mistake!("epochs: the task {} is generated and has no epochs; give steps", task.name())
            }
            Extent::Steps(_) | Extent::Epochs(_) => {}
        }
        let counts = [
            ("batch", self.batch as u64),
            ("eval_every", self.eval_every),
            ("held_out", self.held_out as u64),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            mistake!("{name}: expected at least 1, got 0");
        }
        let most = LARGEST / task.length().max(1);
        if self.batch > most {
            let length = task.length();
            mistake!("batch: expected at most {most} examples of {length} steps, got {}", self.batch);
        }
        if task.examples().is_some() {
            // Whether a data set has as many at once it knows best itself.
            let first = BatchDraw { split: Split::Train, seed: 0, step: 0, batch: self.batch };
            task.batch(first, DType::F32, &Device::Cpu).map_err(|error| Usage::new(line(&error)))?;
        }
        if self.generalise && task.scaled(2).is_none() {
            mistake!("generalise: the task {} has no longer sequences", task.name());
        }
        self.treatment.validate()?;
        match self.dtype {
            DType::F32 => {}
            DType::F64 if self.device.is_metal() => mistake!("dtype f64: metal has none"),
            DType::F64 => {}
            other => mistake!("dtype {}: expected f32 or f64", other.as_str()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recurrent_tasks::Text;

    #[test]
    fn what_a_data_set_refuses_is_found_before_anything_is_trained() -> Result<()> {
        let letter = |place: u32| char::from(b'a' + (place * place % 23) as u8);
        let task = Text::new(&(0..6000).map(letter).collect::<String>(), 10)?;
        let settings = Settings { batch: 1000, ..Settings::new(&task) };
        let error = settings.validate(&task).expect_err("must fail").to_string();
        assert_eq!(error, "text batch: expected 1 to 270 strands with a window each, got 1000");
        Settings { batch: 270, ..settings }.validate(&task)
    }
}
