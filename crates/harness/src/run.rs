//! One run: one variant, one task, one seed.

mod checkpoint;
mod clip;
mod log;
pub(crate) mod penalty;
mod probe;
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

/// A run that has ended: what its folder holds.
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
    /// `weights.safetensors`: the weights at the end, under the names that
    /// [`Network`](crate::network::Network) gives them; empty if the run failed before it had any.
    pub weights: Vec<u8>,
}

/// What happens in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// A checkpoint was found spoilt, and one before it is taken, or none: a line that says which,
    /// and what is wrong with it.
    Damaged(&'a str),
    /// It goes on from a checkpoint, after these steps.
    Resumed(&'a [StepRecord]),
    /// A training step is done: its number and its loss.
    Step(u64, f64),
    /// An evaluation on held-out examples has ended.
    Evaluated(&'a EvalRecord),
    /// Gradient profiles were taken.
    Profiled {
        /// Those of all layers, directions and parts of the state; of a run that goes on, first
        /// those of all steps so far.
        profiles: &'a [ProfileRecord],
        /// The half-life of h in the top layer at the last of them, in steps; `None` if it does not
        /// decay, or cannot be fitted.
        half_life: Option<f64>,
    },
}

/// The number of evaluations in a row that must meet a task's criterion.
pub const IN_A_ROW: usize = 3;

/// Trains the network, until the task is solved, the steps are used up, something fails, or
/// `cancel` is set.
///
/// - Every training step takes a fresh batch. The gradients are watched: a parameter without
///   gradient, one whose gradient is exactly zero in all of the first steps without an underflow on
///   record, NaN and infinity end the run, which is then recorded as failed.
/// - Evaluations take fresh held-out examples each time, or the whole held-out set. Where the task
///   has a criterion, the run ends with the third evaluation in a row that meets it, and is solved
///   since the first of these.
/// - Gradient profiles are recorded at the start, at the end, and after 25, 50, 100, 200, ... steps
///   (in short runs from an earlier step on), always on the same 32 held-out examples, which are
///   never evaluated on for a generated task.
///
/// `progress` is called after every training step with its number and its loss. The same job gives
/// the same records, bit by bit, but for the seconds.
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

/// As [`run()`], in a folder of the run's own: it is saved there under way, goes on from what it
/// finds saved, and ends with the bits of a run that was never interrupted, in weights and records,
/// but for the seconds.
///
/// A run that was stopped leaves a checkpoint of its last step. One that was killed goes on from
/// its last checkpoint, or from the one before if that is spoilt, or begins anew if there is none.
///
/// # Errors
/// If a checkpoint cannot be written, or is of another run: with another seed, another rate,
/// another version of this crate. The last good checkpoint is then as it was.
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

/// Refuses a treatment that does not suit the layers of the variant.
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
    /// Writes weights and records into a folder of the run's own, `run.json` last, so that it
    /// stands for a whole run; and removes the checkpoints there, unless the run was stopped and
    /// can go on.
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

    /// Whether a run in this folder has ended by itself, and need not run again.
    ///
    /// # Errors
    /// If its `run.json` is there and cannot be read.
    pub fn has_ended(folder: &OutputDir) -> Result<bool> {
        if !folder.path().join("run.json").exists() {
            return Ok(false);
        }
        let record: RunRecord = read_stored(&folder.path().join("run.json"))?;
        if record.status == Status::Stopped {
            return Ok(false);
        }
        // It may have been killed before it could remove them.
        checkpoint::clear(folder)?;
        Ok(true)
    }
}
