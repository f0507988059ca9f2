//! A task: a seeded source of sequences and targets, its loss, its analytic baseline, and when it counts as solved.

use anyhow::Result;
use candle::{DType, Device, Tensor};
use recurrent_core::Sequence;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A task that a recurrent network is trained on.
///
/// The same `(split, seed, step)` gives the same batch, on every machine; the splits share no draw.
pub trait Task: Send + Sync {
    /// The name, as on the command line: `adding`.
    fn name(&self) -> &'static str;

    /// The length of its sequences, in steps; the longest, if they differ.
    fn length(&self) -> usize;

    /// The longest lag in steps over which information must be kept; chrono initialisation takes it.
    fn longest_lag(&self) -> usize;

    /// The number of features of an input.
    fn input_size(&self) -> usize;

    /// The number of features of an output: 1 value, or the number of classes.
    fn output_size(&self) -> usize;

    /// Which outputs the loss reads.
    fn loss_target(&self) -> LossTarget;

    /// Batch `step` of `batch` examples. For a data set, steps beyond an epoch go on with the next, shuffled anew.
    ///
    /// # Errors
    /// Those of candle.
    fn batch(&self, draw: BatchDraw, dtype: DType, device: &Device) -> Result<Batch>;

    /// The loss of every example, `(batch)`, and whether each is right where the task has an accuracy. `outputs` is
    /// `(batch, output)` or `(batch, time, output)`, as [`Task::loss_target`] says. The training loss is the mean.
    ///
    /// # Errors
    /// Those of candle.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics>;

    /// The expected loss of the best answer that does not depend on the input.
    fn baseline(&self) -> f64;

    /// When the task counts as solved; `None` where no such point exists, as for real data.
    fn criterion(&self) -> Option<Criterion>;

    /// A checksum of the data of others that it is made of, all parts of it, to tell one file from another; `None` for a generated task.
    fn checksum(&self) -> Option<String> {
        None
    }

    /// The number of training examples of a data set; `None` for a generated task, which never ends.
    fn examples(&self) -> Option<usize> {
        None
    }

    /// The number of held-out examples on which the network is evaluated: 1,000 fresh ones for a generated task, the
    /// whole test set of a data set. A multiple of [`Task::eval_batch`], or the last batch is smaller.
    fn held_out(&self) -> usize {
        1000
    }

    /// The number of held-out examples that are evaluated at once.
    fn eval_batch(&self) -> usize {
        100
    }

    /// The task on which a search is made: a part of the training examples is held out in place of the test set, which has no say in a choice then. `None` for
    /// a generated task, whose held-out examples are fresh ones for every seed.
    fn validation_split(&self) -> Option<Arc<dyn Task>> {
        None
    }

    /// Whether the sequences of a batch go on where those of the batch before it, `step - 1`, ended: the network then takes over its state, without its gradient.
    fn is_stateful(&self, draw: BatchDraw) -> bool {
        let _ = draw;
        false
    }

    /// What a simple method that does look at the input reaches on the held-out examples, where there is one to compare with.
    fn reference(&self) -> Option<Reference> {
        None
    }

    /// The same task with `factor` times its length, to see whether what was learnt holds there; `None` where there is no such task.
    fn scaled(&self, factor: usize) -> Option<Arc<dyn Task>> {
        let _ = factor;
        None
    }
}

/// Which outputs the loss of a task reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossTarget {
    /// The output after the last step.
    Last,
    /// The outputs of all steps.
    Every,
}

/// Which batch is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchDraw {
    /// Training or validation.
    pub split: Split,
    /// The seed of the run.
    pub seed: u64,
    /// The number of the batch.
    pub step: u64,
    /// The number of examples.
    pub batch: usize,
}

/// What a batch is for. No example is drawn for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To evaluate on.
    Test,
}

/// Inputs and what is wanted for them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The inputs, `(batch, time, input)`.
    pub xs: Sequence,
    /// What is wanted, in the task's own shape.
    pub targets: Tensor,
}

/// How good the outputs for a batch are.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The loss of each example, `(batch)`, in the graph of the outputs.
    pub losses: Tensor,
    /// The share of right answers of each example, where the task has an accuracy.
    pub correct: Option<Vec<f64>>,
}

/// What a simple method reaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The method, in a few words: `5-gram`, `seasonal naive, season 11`.
    pub name: String,
    /// Its mean loss on the held-out examples.
    pub loss: f64,
}

/// When a task counts as solved: three evaluations in a row, each on fresh held-out examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// The loss lies below this.
    LossBelow(f64),
    /// The accuracy is at least this.
    AccuracyAtLeast(f64),
}

impl Criterion {
    /// Whether an evaluation meets it.
    pub fn met(&self, loss: f64, accuracy: Option<f64>) -> bool {
        match *self {
            Self::LossBelow(bound) => loss < bound,
            Self::AccuracyAtLeast(bound) => accuracy.is_some_and(|accuracy| accuracy >= bound),
        }
    }
}
