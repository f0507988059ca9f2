//! A task: a seeded source of sequences and targets, with its loss, baseline and criterion.

use crate::error::Result;
use candle_core::{DType, Device, Tensor};
use recurrent_core::Sequence;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A task that a recurrent network is trained on.
///
/// A [`BatchKey`] determines its batch: the same key gives the same batch on every machine. No
/// example is drawn for both splits.
pub trait Task: Send + Sync {
    /// The name on the command line, such as `adding`.
    fn name(&self) -> &'static str;

    /// The length of the longest sequence, in steps.
    fn length(&self) -> usize;

    /// The longest lag, in steps, over which the network must keep information. Chrono
    /// initialisation depends on it.
    fn longest_lag(&self) -> usize;

    /// The number of features of an input.
    fn input_size(&self) -> usize;

    /// The number of features of an output: the number of classes, or of values.
    fn output_size(&self) -> usize;

    /// Which outputs the loss reads.
    fn loss_target(&self) -> LossTarget;

    /// The batch of a key. The batches of a data set run from epoch to epoch; each epoch shuffles
    /// the examples anew.
    ///
    /// # Errors
    /// Those of candle. If a data set is asked for a batch without examples.
    fn batch(&self, key: BatchKey, dtype: DType, device: &Device) -> Result<Batch>;

    /// The loss of every example, and its accuracy if the task defines one. `outputs` is
    /// `(batch, output)` or `(batch, time, output)`, see [`Task::loss_target`]. The training loss
    /// is the mean over the examples.
    ///
    /// # Errors
    /// If `outputs` has another shape. Those of candle.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics>;

    /// The expected loss of the best answer that does not depend on the input.
    fn baseline(&self) -> f64;

    /// When the task counts as solved. `None` for tasks over real data, which define no such point.
    fn criterion(&self) -> Option<Criterion>;

    /// A checksum of all data that the task read from files. `None` for a generated task.
    fn checksum(&self) -> Option<String> {
        None
    }

    /// The number of training examples of a data set. `None` for a generated task, which draws new
    /// examples forever.
    fn examples(&self) -> Option<usize> {
        None
    }

    /// The number of held-out examples of an evaluation: 1,000 fresh ones for a generated task, the
    /// whole test set of a data set. If it is not a multiple of [`Task::eval_batch`], the last
    /// batch is smaller.
    fn held_out(&self) -> usize {
        1000
    }

    /// The batch size of an evaluation.
    fn eval_batch(&self) -> usize {
        100
    }

    /// The same task with a part of the training examples held out in place of the test set, for
    /// choices that must not depend on the test set. `None` for a generated task: its held-out
    /// examples are fresh for every seed.
    fn validation_split(&self) -> Option<Arc<dyn Task>> {
        None
    }

    /// Whether [`Task::validation_split`] returned this task.
    fn is_validation(&self) -> bool {
        false
    }

    /// Whether the sequences of a batch continue those of the previous batch, `step - 1`. The
    /// network then starts from its last state; gradients stop there.
    fn is_stateful(&self, key: BatchKey) -> bool {
        let _ = key;
        false
    }

    /// The description of the task in records.
    fn config(&self) -> TaskConfig {
        TaskConfig::from_task(self)
    }

    /// The loss of a simple method that does read the input, for comparison.
    fn reference(&self) -> Option<Reference> {
        None
    }

    /// The same task at `factor` times its length, to test generalisation. `None` if the task has
    /// no other length.
    fn scaled(&self, factor: usize) -> Option<Arc<dyn Task>> {
        let _ = factor;
        None
    }
}

/// A task in records: the options that open it and its properties. A checksum identifies its data;
/// their path is not recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskConfig {
    /// The name on the command line, such as `adding`.
    pub name: String,
    /// The length of the longest sequence, in steps.
    pub length: usize,
    /// The column of a CSV file that `forecast` reads; null for other tasks.
    pub column: Option<String>,
    /// The season, in rows, of the naive forecast; null for other tasks.
    pub season: Option<usize>,
    /// Whether a part of the training data is held out in place of the test set. Default: no.
    pub validation: bool,
    /// A checksum of the data; null if they are generated.
    pub data: Option<String>,
    /// The longest lag, in steps, over which the network must keep information.
    pub longest_lag: usize,
    /// The number of training examples; null if they are generated.
    pub examples: Option<usize>,
    /// The number of held-out examples.
    pub held_out: usize,
    /// The expected loss of the best answer that does not depend on the input.
    pub baseline: f64,
    /// The criterion that three evaluations in a row must meet; null if there is no criterion.
    pub criterion: Option<Criterion>,
    /// The loss of a simple method that reads the input; null if there is no such method.
    pub reference: Option<Reference>,
}

impl TaskConfig {
    /// The description of any task, without options of its own.
    pub fn from_task<T: Task + ?Sized>(task: &T) -> Self {
        Self {
            name: task.name().to_string(),
            length: task.length(),
            column: None,
            season: None,
            validation: task.is_validation(),
            data: task.checksum(),
            longest_lag: task.longest_lag(),
            examples: task.examples(),
            held_out: task.held_out(),
            baseline: task.baseline(),
            criterion: task.criterion(),
            reference: task.reference(),
        }
    }
}

/// The outputs of the network that the loss of a task reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossTarget {
    /// The output after the last step.
    Last,
    /// The outputs of all steps.
    Every,
}

/// Identifies one batch of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchKey {
    /// The split of the examples.
    pub split: Split,
    /// The seed of the run.
    pub seed: u64,
    /// The number of the batch.
    pub step: u64,
    /// The number of examples.
    pub batch: usize,
}

/// The purpose of a batch. The splits share no example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Training.
    Train,
    /// Evaluation on held-out examples.
    Test,
}

/// Inputs and targets.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The inputs, `(batch, time, input)`.
    pub xs: Sequence,
    /// The targets; their shape and dtype depend on the task.
    pub targets: Tensor,
}

/// Losses and accuracies of a batch.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The loss of each example, `(batch)`, connected to the graph of the outputs.
    pub losses: Tensor,
    /// The share of correct answers of each example, if the task defines an accuracy.
    pub correct: Option<Vec<f64>>,
}

/// A simple method for comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The method in a few words: `5-gram`, `seasonal naive, season 11`.
    pub name: String,
    /// Its mean loss on the held-out examples.
    pub loss: f64,
}

/// When a task counts as solved: three evaluations in a row must meet the criterion. A generated
/// task draws fresh held-out examples for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// The loss is below this value.
    LossBelow(f64),
    /// The accuracy is at least this value.
    AccuracyAtLeast(f64),
}

impl Criterion {
    /// Whether an evaluation meets the criterion.
    pub fn met(&self, loss: f64, accuracy: Option<f64>) -> bool {
        match *self {
            Self::LossBelow(bound) => loss < bound,
            Self::AccuracyAtLeast(bound) => accuracy.is_some_and(|accuracy| accuracy >= bound),
        }
    }
}
