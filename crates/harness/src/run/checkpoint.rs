//! The checkpoints of a run.

use super::log::Log;
use super::{Event, Job};
use crate::config::RunConfig;
use crate::difference::differences;
use crate::dir::OutputDir;
use crate::error::{Error, Kept, Result};
use candle_core::Tensor;
use recurrent_core::Carry;
use recurrent_train::{Checkpoint, Checkpoints, GradientWatchState, Optimizer, Params, StateDict};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The subfolder of a run's folder for its checkpoints.
const FOLDER: &str = "checkpoints";

/// The largest share of a run's time for checkpoints by the clock: one hundredth.
const SHARE: u32 = 100;

/// How often an unfinished run is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// After this number of training steps.
    Steps(u64),
    /// After this time, or later if saving would take more than a hundredth of the time.
    Time(Duration),
}

impl Default for Interval {
    /// Ten seconds: a power failure costs no more than that, and a run of a few seconds never waits
    /// for the disk.
    fn default() -> Self {
        Self::Time(Duration::from_secs(10))
    }
}

/// Saves an unfinished run, if it has a folder.
pub(super) struct CheckpointWriter {
    checkpoints: Option<Checkpoints>,
    interval: Interval,
    /// When the run was last saved, or began, and after how many steps.
    last: Instant,
    step: u64,
    /// The duration of the last save.
    cost: Duration,
}

/// The content of a checkpoint besides weights, optimiser and the columns of the log. Data and
/// masks are functions of seed and step, so that a checkpoint needs no state of random numbers and
/// no position except the step.
#[derive(Serialize, Deserialize)]
struct Extra {
    config: Value,
    watch: GradientWatchState,
    log: Log,
    /// The wall time of the run so far.
    seconds: f64,
}

/// A run restored from a checkpoint.
pub(super) struct Restored {
    pub(super) checkpoint: Checkpoint<()>,
    pub(super) watch: GradientWatchState,
    pub(super) log: Log,
}

impl CheckpointWriter {
    /// Saves nothing.
    pub(super) fn none() -> Self {
        Self {
            checkpoints: None,
            interval: Interval::default(),
            last: Instant::now(),
            step: 0,
            cost: Duration::ZERO,
        }
    }

    /// Saves into the folder of the run.
    pub(super) fn new(folder: &OutputDir, interval: Interval) -> Self {
        Self { checkpoints: Some(of(folder)), interval, ..Self::none() }
    }

    /// The last checkpoint, if there is one. `on_event` receives a note on each damaged one.
    pub(super) fn found(
        &mut self,
        job: &Job,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Option<Restored>> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(None) };
        let found = checkpoints.latest::<Extra>().kept()?;
        found.damaged.iter().for_each(|line| on_event(Event::Damaged(line)));
        let Some(checkpoint) = found.checkpoint else {
            if !found.damaged.is_empty() {
                let (name, seed) = (&job.variant.name, job.config.seed);
                on_event(Event::Damaged(&format!(
                    "{name} seed {seed} starts again from step 0: its checkpoints are damaged"
                )));
            }
            return Ok(None);
        };
        let Checkpoint { step, weights, optimizer, tensors, rest } = checkpoint;
        let Extra { config, watch, mut log, seconds } = rest;
        let apart = differences(&config, &serde_json::to_value(&job.config)?);
        if !apart.is_empty() {
            let folder = checkpoints.folder().display();
            let line = format!("{folder}: it belongs to another run: {}", apart.join("; "));
            return Err(Error::OtherRun(line)).kept();
        }
        log.seconds = seconds;
        log.take_columns(job, &tensors).kept()?;
        on_event(Event::Resumed(&log.steps));
        (self.step, self.last) = (step, Instant::now());
        Ok(Some(Restored {
            checkpoint: Checkpoint { step, weights, optimizer, tensors, rest: () },
            watch,
            log,
        }))
    }

    /// Saves the run if a checkpoint is due.
    pub(super) fn when_due(&mut self, run: &Snapshot) -> Result<()> {
        let due = self.step < run.log.done()
            && match self.interval {
                Interval::Steps(steps) => run.log.done() - self.step >= steps,
                Interval::Time(time) => self.last.elapsed() >= time.max(self.cost * SHARE),
            };
        if due {
            self.now(run)?;
        }
        Ok(())
    }

    /// Saves the run.
    pub(super) fn now(&mut self, run: &Snapshot) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(()) };
        let start = Instant::now();
        let rest = ExtraRef {
            config: &run.job.config,
            watch: run.watch,
            log: run.log,
            seconds: run.log.elapsed(),
        };
        let checkpoint = Checkpoint::new(run.log.done(), run.params, run.optimizer, rest);
        let saved = checkpoint.and_then(|checkpoint| {
            let mut tensors = run.log.columns()?;
            for (index, part) in parts(run.carry)?.into_iter().enumerate() {
                tensors.insert(format!("carry.{index}"), part);
            }
            checkpoints.save(&Checkpoint { tensors, ..checkpoint })
        });
        saved.kept()?;
        (self.last, self.cost, self.step) = (Instant::now(), start.elapsed(), run.log.done());
        Ok(())
    }
}

/// A run at the end of a step.
pub(super) struct Snapshot<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) params: &'a Params,
    pub(super) optimizer: &'a dyn Optimizer,
    pub(super) watch: &'a GradientWatchState,
    pub(super) log: &'a Log,
    /// The state at the end of the last batch, if the next batch continues from it.
    pub(super) carry: Option<&'a Carry>,
}

/// The tensors of a carry, in its own order.
fn parts(carry: Option<&Carry>) -> candle_core::Result<Vec<Tensor>> {
    let mut parts = Vec::new();
    if let Some(carry) = carry {
        carry.map(&mut |part| {
            parts.push(part.clone());
            Ok(part.clone())
        })?;
    }
    Ok(parts)
}

/// The carry in a checkpoint, in the structure of another carry; `None` if it holds none.
pub(super) fn carry(tensors: &StateDict, form: &Carry) -> Result<Option<Carry>> {
    if !tensors.contains_key("carry.0") {
        return Ok(None);
    }
    let mut index = 0;
    let carry = form.map(&mut |part| {
        let name = format!("carry.{index}");
        index += 1;
        match tensors.get(&name) {
            Some(found) if found.dims() == part.dims() => found.to_device(part.device()),
            _ => candle_core::bail!("expected a tensor {name} of shape {:?}", part.dims()),
        }
    });
    Ok(Some(carry.kept()?))
}

/// Like [`Extra`], for writing.
#[derive(Serialize)]
struct ExtraRef<'a> {
    config: &'a RunConfig,
    watch: &'a GradientWatchState,
    log: &'a Log,
    seconds: f64,
}

fn of(folder: &OutputDir) -> Checkpoints {
    Checkpoints::new(folder.path().join(FOLDER))
}

/// Removes the checkpoints of a finished run, whose results are on record.
pub(super) fn clear(folder: &OutputDir) -> Result<()> {
    Ok(of(folder).clear()?)
}
