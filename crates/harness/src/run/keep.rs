//! The checkpoints of a run.

use super::log::Log;
use super::{Event, Job};
use crate::config::RunConfig;
use crate::difference::differences;
use crate::folder::Folder;
use anyhow::{Context, Result};
use candle::Tensor;
use recurrent_core::Carry;
use recurrent_train::{Checkpoint, Checkpoints, Optimizer, Params, State, WatchState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The folder of a run's checkpoints, in its own.
const FOLDER: &str = "checkpoints";

/// A run spends no more than a hundredth of its time on checkpoints by the clock.
const SHARE: u32 = 100;

/// How often a run under way is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// After so many training steps.
    Steps(u64),
    /// After so long, or longer if what it costs would be more than a hundredth of the time.
    Time(Duration),
}

impl Default for Interval {
    /// Ten seconds: that much is lost at most when the power fails, and a run of a few seconds never waits for the disk.
    fn default() -> Self {
        Self::Time(Duration::from_secs(10))
    }
}

/// What is said of an error that is the disk's, not the run's.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotKept;

impl std::fmt::Display for NotKept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the run cannot be kept")
    }
}

/// Where a run under way is saved, if anywhere.
pub(super) struct Keeper {
    checkpoints: Option<Checkpoints>,
    interval: Interval,
    /// When the run was last saved, or began, and after how many steps.
    last: Instant,
    step: u64,
    /// How long it took.
    cost: Duration,
}

/// What a checkpoint holds besides weights, optimiser and the columns of the log. Data and masks are a function of seed and step, so
/// that there is no state of random numbers, and no position but the step.
#[derive(Serialize, Deserialize)]
struct Rest {
    config: Value,
    watch: WatchState,
    log: Log,
    /// The wall time of the run so far.
    seconds: f64,
}

/// A run as it was.
pub(super) struct Found {
    pub(super) checkpoint: Checkpoint<()>,
    pub(super) watch: WatchState,
    pub(super) log: Log,
}

impl Keeper {
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
    pub(super) fn new(folder: &Folder, interval: Interval) -> Self {
        Self { checkpoints: Some(of(folder)), interval, ..Self::none() }
    }

    /// The last checkpoint, if there is one; `said` hears of those that were passed over.
    pub(super) fn found(
        &mut self,
        job: &Job,
        said: &mut dyn FnMut(Event),
    ) -> Result<Option<Found>> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(None) };
        let found = checkpoints.latest::<Rest>().context(NotKept)?;
        found.spoilt.iter().for_each(|line| said(Event::Spoilt(line)));
        let Some(checkpoint) = found.checkpoint else {
            if !found.spoilt.is_empty() {
                let (name, seed) = (&job.variant.name, job.config.seed);
                said(Event::Spoilt(&format!(
                    "{name} seed {seed} begins anew: no checkpoint of it is whole"
                )));
            }
            return Ok(None);
        };
        let Checkpoint { step, weights, optimizer, tensors, rest } = checkpoint;
        let Rest { config, watch, mut log, seconds } = rest;
        let apart = differences(&config, &serde_json::to_value(&job.config)?);
        if !apart.is_empty() {
            let apart = anyhow::anyhow!(
                "{}: it is of another run: {}",
                checkpoints.folder().display(),
                apart.join("; ")
            );
            return Err(apart.context(NotKept));
        }
        log.seconds = seconds;
        log.take_columns(job, &tensors).context(NotKept)?;
        said(Event::Resumed(&log.steps));
        (self.step, self.last) = (step, Instant::now());
        Ok(Some(Found {
            checkpoint: Checkpoint { step, weights, optimizer, tensors, rest: () },
            watch,
            log,
        }))
    }

    /// Saves the run if it is time.
    pub(super) fn when_due(&mut self, run: &Present) -> Result<()> {
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
    pub(super) fn now(&mut self, run: &Present) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(()) };
        let start = Instant::now();
        let rest = RestOf {
            config: &run.job.config,
            watch: run.watch,
            log: run.log,
            seconds: run.log.elapsed(),
        };
        let checkpoint = Checkpoint::of(run.log.done(), run.params, run.optimizer, rest);
        let saved = checkpoint.and_then(|checkpoint| {
            let mut tensors = run.log.columns()?;
            for (index, part) in parts(run.carry)?.into_iter().enumerate() {
                tensors.insert(format!("carry.{index}"), part);
            }
            checkpoints.save(&Checkpoint { tensors, ..checkpoint })
        });
        saved.context(NotKept)?;
        (self.last, self.cost, self.step) = (Instant::now(), start.elapsed(), run.log.done());
        Ok(())
    }
}

/// A run at the end of a step.
pub(super) struct Present<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) params: &'a Params,
    pub(super) optimizer: &'a dyn Optimizer,
    pub(super) watch: &'a WatchState,
    pub(super) log: &'a Log,
    /// The state at the end of the last batch, where the next goes on from it.
    pub(super) carry: Option<&'a Carry>,
}

/// The tensors of a carry, in its own order.
fn parts(carry: Option<&Carry>) -> candle::Result<Vec<Tensor>> {
    let mut parts = Vec::new();
    if let Some(carry) = carry {
        carry.map(&mut |part| {
            parts.push(part.clone());
            Ok(part.clone())
        })?;
    }
    Ok(parts)
}

/// The carry that a checkpoint holds, in the form of another; `None` if it holds none.
pub(super) fn carry(tensors: &State, form: &Carry) -> Result<Option<Carry>> {
    if !tensors.contains_key("carry.0") {
        return Ok(None);
    }
    let mut index = 0;
    let carry = form.map(&mut |part| {
        let name = format!("carry.{index}");
        index += 1;
        match tensors.get(&name) {
            Some(found) if found.dims() == part.dims() => found.to_device(part.device()),
            _ => candle::bail!("expected a tensor {name} of shape {:?}", part.dims()),
        }
    });
    Ok(Some(carry.context(NotKept)?))
}

/// As [`Rest`], for writing.
#[derive(Serialize)]
struct RestOf<'a> {
    config: &'a RunConfig,
    watch: &'a WatchState,
    log: &'a Log,
    seconds: f64,
}

fn of(folder: &Folder) -> Checkpoints {
    Checkpoints::new(folder.path().join(FOLDER))
}

/// Removes the checkpoints of a run that has ended: what it found is on record.
pub(super) fn clear(folder: &Folder) -> Result<()> {
    Ok(of(folder).clear()?)
}
