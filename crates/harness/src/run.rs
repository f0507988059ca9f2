//! One run: one variant, one task, one seed.

mod checkpoint;
mod clip;
mod log;
pub(crate) mod penalty;
mod probe;
mod saved;
mod training;

use crate::config::RunConfig;
use crate::dir::OutputDir;
use crate::error::{Error, Result};
use crate::record::{
    read_stored, EvalRecord, MeasureRecord, ProfileRecord, RunRecord, Status, StepRecord,
};
use crate::task::{BatchKey, Split};
use crate::usage::{bail_config, line};
use candle_core::{DType, Device};
use checkpoint::CheckpointWriter;
use log::Log;
use std::sync::atomic::AtomicBool;
use training::Training;

pub use crate::job::Job;
pub use checkpoint::Interval;
pub use saved::SavedRun;

/// A finished run: the content of its folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// `run.json`.
    pub record: RunRecord,
    /// `steps.jsonl`.
    pub steps: Vec<StepRecord>,
    /// `evals.jsonl`.
    pub evals: Vec<EvalRecord>,
    /// `profiles.jsonl`.
    pub profiles: Vec<ProfileRecord>,
    /// `measures.jsonl`.
    pub measures: Vec<MeasureRecord>,
    /// `weights.safetensors`: the final weights under the names of
    /// [`Network`](crate::network::Network); empty if the run failed before it had any.
    pub weights: Vec<u8>,
}

/// The events of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// A checkpoint is damaged; an earlier one is used, or the run starts again. A line that names
    /// the checkpoint and the damage.
    Damaged(&'a str),
    /// The run continues from a checkpoint, after these steps.
    Resumed(&'a [StepRecord]),
    /// A training step is done: its number and its loss.
    Step(u64, f64),
    /// An evaluation on held-out examples has ended.
    Evaluated(&'a EvalRecord),
    /// Gradient profiles were taken.
    Profiled {
        /// The profiles of all layers, directions and parts of the state. For a resumed run, the
        /// first event holds those of all steps so far.
        profiles: &'a [ProfileRecord],
        /// The fitted decay rate of h in the top layer in the last profile, per step; `None` if too
        /// few lags can be fitted.
        decay: Option<f64>,
    },
}

/// The number of evaluations in a row that must meet a task's criterion.
pub const IN_A_ROW: usize = 3;

/// Trains the network until it solves the task, uses up its steps or fails, or until `cancel` is
/// set.
///
/// - Every training step takes a fresh batch. The gradients are watched. A run ends and is recorded
///   as failed at a parameter without gradient, at one whose gradient is exactly zero in all of the
///   first steps without a recorded underflow, and at NaN or infinity.
/// - Each evaluation takes fresh held-out examples, or the whole held-out set. If the task has a
///   criterion, the run ends with the third evaluation in a row that meets it, and counts as solved
///   at the first of these.
/// - Gradient profiles are recorded at the start, at the end, and after 25, 50, 100, 200, ... steps
///   (from an earlier step in short runs), always on the same 32 held-out examples. The evaluations
///   of a generated task never use these examples.
///
/// `progress` is called after every training step with the step's number and its loss. The same job
/// gives the same records, bit by bit, except for the seconds.
///
/// ```
/// # use recurrent_harness::{run::{self, Job}, variant::Variant};
/// # use recurrent_records::config::{Budget, TrainingConfig};
/// # use recurrent_tasks as tasks;
/// # fn trained(variant: &Variant) -> Result<(), Box<dyn std::error::Error>> {
/// let task = tasks::by_name("adding", Some(50), None)?;
/// let training = TrainingConfig { budget: Budget::Steps(500), ..TrainingConfig::default() };
/// let job = Job::new(variant, task.as_ref(), &training, 0)?;
/// let run = run::run(&job, &false.into(), &mut |step, loss| assert!(step > 0 && loss > 0.0));
/// assert_eq!(run.steps.len() as u64, run.record.outcome.steps);
/// # Ok(())
/// # }
/// ```
pub fn run(job: &Job, cancel: &AtomicBool, progress: &mut dyn FnMut(u64, f64)) -> Run {
    let mut on_event = |event: Event| {
        if let Event::Step(step, loss) = event {
            progress(step, loss);
        }
    };
    train(job, CheckpointWriter::none(), cancel, &mut on_event)
        .expect("it is not kept, so that nothing can fail to be")
}

/// Like [`run()`], in the run's own folder. The run is saved there while it trains, continues from
/// a saved state, and ends with the bits of an uninterrupted run in weights and records, except for
/// the seconds.
///
/// A stopped run leaves a checkpoint of its last step. A killed run continues from its last
/// checkpoint, from the one before if the last is damaged, or from step 0 without one.
///
/// # Errors
/// If a checkpoint cannot be written, or belongs to another run: one with another seed, learning
/// rate or version of this crate. The last good checkpoint then stays unchanged.
pub fn run_in(
    job: &Job,
    folder: &OutputDir,
    interval: Interval,
    cancel: &AtomicBool,
    on_event: &mut dyn FnMut(Event),
) -> Result<Run> {
    train(job, CheckpointWriter::new(folder, interval), cancel, on_event)
}

fn train(
    job: &Job,
    mut checkpoints: CheckpointWriter,
    cancel: &AtomicBool,
    on_event: &mut dyn FnMut(Event),
) -> Result<Run> {
    let (mut log, mut weights) = (Log::default(), Vec::new());
    let mut ended = || -> Result<Status> {
        let mut training = Training::new(job)?;
        match checkpoints.found(job, on_event)? {
            None => training.begin(&mut log, on_event)?,
            Some(found) => {
                log = training.restore(found)?;
                on_event(log.profiled(0));
                log.evaluated().into_iter().for_each(&mut *on_event);
            }
        }
        let status = training.finish(&mut log, &mut checkpoints, cancel, on_event)?;
        weights = training.weights()?;
        Ok(status)
    };
    let status = match ended() {
        Err(error @ Error::Checkpoint(_)) => return Err(error),
        ended => ended.unwrap_or_else(|error| failed(&error)),
    };
    Ok(log.close(job, status, weights))
}

/// Refuses training options that do not suit the layers of the variant.
pub(crate) fn check(job: &Job) -> Result<()> {
    let (network, RunConfig { training, seed, .. }) = (job.untrained()?, &job.config);
    let second = BatchKey { split: Split::Train, seed: *seed, step: 1, batch: training.batch };
    if network.rnn().reversed_size() > 0 && job.task.is_stateful(second) {
        bail_config!(
            "it reads in both directions, and the task {} asks for what comes next",
            job.task.name()
        );
    }
    penalty::check(training, network.rnn(), DType::F32, &Device::Cpu)
}

/// The record of a run that ended before it began.
pub(crate) fn failed_at_start(job: &Job, message: String) -> Run {
    Log::default().close(job, Status::Failed(message), Vec::new())
}

fn failed(error: &Error) -> Status {
    Status::Failed(line(error))
}

impl Run {
    /// Writes weights and records into the run's own folder. `run.json` comes last, so that it
    /// marks a complete run. Then the checkpoints there are removed, unless the run was stopped and
    /// can be resumed.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, folder: &OutputDir) -> Result<()> {
        if !self.weights.is_empty() {
            folder.write("weights.safetensors", &self.weights)?;
        }
        folder.write_lines("steps.jsonl", &self.steps)?;
        folder.write_lines("evals.jsonl", &self.evals)?;
        folder.write_lines("profiles.jsonl", &self.profiles)?;
        folder.write_lines("measures.jsonl", &self.measures)?;
        folder.write_lines("run.json", std::slice::from_ref(&self.record))?;
        if self.record.status != Status::Stopped {
            checkpoint::clear(folder)?;
        }
        Ok(())
    }

    /// Whether the run in this folder has ended by itself and need not run again.
    ///
    /// # Errors
    /// If its `run.json` exists and cannot be read.
    pub fn has_ended(folder: &OutputDir) -> Result<bool> {
        if !folder.path().join("run.json").exists() {
            return Ok(false);
        }
        let record: RunRecord = read_stored(&folder.path().join("run.json"))?;
        if record.status == Status::Stopped {
            return Ok(false);
        }
        // The program may have been killed before it removed them.
        checkpoint::clear(folder)?;
        Ok(true)
    }
}
