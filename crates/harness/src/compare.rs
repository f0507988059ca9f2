//! A comparison: variants × seeds on one task.

mod manifest;
mod workers;

use crate::config::TrainingConfig;
use crate::dir::OutputDir;
use crate::error::Result;
use crate::merge;
use crate::record::{Records, RunRecord};
use crate::run::{self, Event, Interval, Job};
use crate::task::Task;
use crate::usage::{bail_config, line, ConfigError};
use crate::variant::Variant;
use manifest::Manifest;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;

pub use manifest::stored_request;

/// Upper bound; larger values are almost certainly typos. Every run that has not begun takes
/// memory, and every job a thread.
const MOST_SEEDS: u64 = 1_000_000;
const MOST_JOBS: u64 = 1024;

/// Variants × seeds on one task, all with the same training.
#[derive(Clone)]
pub struct Comparison {
    /// The task.
    pub task: Arc<dyn Task>,
    /// The variants, in the order of the report.
    pub variants: Vec<Variant>,
    /// The training options, before the overrides of the variants.
    pub training: TrainingConfig,
    /// The number of seeds.
    pub seeds: u64,
    /// The first seed.
    pub seed_offset: u64,
    /// The number of runs side by side, each on one thread.
    pub jobs: usize,
    /// How often unfinished runs are saved, so that a killed comparison can be resumed.
    pub interval: Interval,
    /// The command that started the comparison, for readers of the results; empty if there was
    /// none.
    pub command: Vec<String>,
    /// What a program needs to resume the comparison. It is written beside the results and read by
    /// that program alone.
    pub request: Value,
}

/// The events of a comparison. Runs send them from their own threads. Each thread is a worker,
/// numbered from 0.
#[derive(Clone, Copy)]
pub enum ComparisonEvent<'a> {
    /// The comparison begins.
    Begins {
        /// The task.
        task: &'a dyn Task,
        /// The training steps of each run.
        steps: u64,
        /// The number of runs that had ended before and are not repeated.
        ended: u64,
        /// The variants of the remaining runs, in the order in which they begin.
        waiting: &'a [&'a str],
    },
    /// A worker begins a run.
    RunBegins {
        /// The worker.
        worker: usize,
        /// The variant's name.
        variant: &'a str,
        /// The seed.
        seed: u64,
    },
    /// An event in the run of a worker.
    Run {
        /// The worker.
        worker: usize,
        /// The event.
        event: Event<'a>,
    },
    /// The run of a worker has ended and is written.
    RunEnded {
        /// The worker.
        worker: usize,
        /// The record of the run.
        run: &'a RunRecord,
    },
    /// The comparison has ended: nothing runs any more.
    Ended,
}

/// A comparison that can be run: everything in it has been checked.
pub struct Plan<'a> {
    comparison: &'a Comparison,
    /// A run of each variant, with seed 0.
    jobs: Vec<Job<'a>>,
}

/// The number of cores, for [`Comparison::jobs`] on a CPU.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Comparison {
    /// The variants on the task with three seeds, one run per core side by side, and the task's
    /// default settings.
    pub fn new(task: Arc<dyn Task>, variants: Vec<Variant>) -> Self {
        let training = TrainingConfig::new(task.as_ref());
        let (seeds, seed_offset, jobs, interval) = (3, 0, cores(), Interval::default());
        let (command, request) = (Vec::new(), Value::Null);
        Self { task, variants, training, seeds, seed_offset, jobs, interval, command, request }
    }

    /// Checks everything before anything is written or trained, and finds the width of every
    /// variant.
    ///
    /// # Errors
    /// A [`ConfigError`] error in one line.
    pub fn check(&self) -> Result<Plan<'_>> {
        self.training.validate(self.task.as_ref())?;
        if self.interval == Interval::Steps(0) {
            bail_config!("checkpoint-every: expected at least 1 step, got 0");
        }
        for (name, count, most) in
            [("seeds", self.seeds, MOST_SEEDS), ("jobs", self.jobs as u64, MOST_JOBS)]
        {
            if !(1..=most).contains(&count) {
                bail_config!("{name}: expected 1 to {most}, got {count}");
            }
        }
        if self.seed_offset.checked_add(self.seeds).is_none() {
            bail_config!(
                "seed-offset: expected less than 2^64 minus the number of seeds, got {}",
                self.seed_offset
            );
        }
        if self.variants.is_empty() {
            bail_config!("variants: expected at least one, got none");
        }
        for (index, Variant { name, overrides, .. }) in self.variants.iter().enumerate() {
            let fits = |c: char| {
                c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '=' | ':')
            };
            if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
                bail_config!(
                    "variant {name:?}: expected a name of letters, digits and -_.+=: to \
                 name a folder"
                );
            }
            let folder = |variant: &Variant| variant.folder(0);
            if self.variants[..index]
                .iter()
                .any(|other| folder(other) == folder(&self.variants[index]))
            {
                bail_config!("variant {name}: expected once, got twice");
            }
            let valid = self.training.with(overrides).validate_gradient();
            valid.map_err(|error| ConfigError::new(format!("variant {name}: {}", line(&error))))?;
        }
        let job = |variant| Job::new(variant, self.task.as_ref(), &self.training, 0);
        let jobs: Vec<_> = self.variants.iter().map(job).collect::<Result<_>>()?;
        for job in &jobs {
            let name = &job.variant.name;
            run::check(job)
                .map_err(|error| ConfigError::new(format!("variant {name}: {}", line(&error))))?;
        }
        Ok(Plan { comparison: self, jobs })
    }

    fn seeds(&self) -> impl Iterator<Item = u64> {
        self.seed_offset..self.seed_offset + self.seeds
    }
}

impl Plan<'_> {
    /// Runs every variant with every seed, seeds outermost, and returns all records in canonical
    /// order: variants as given, then seeds, then steps.
    ///
    /// Each run is written to its own folder, `runs/<variant>-<seed>`, when it ends. At the end
    /// these are merged into `runs.jsonl`, `steps.jsonl`, `evals.jsonl` and `profiles.jsonl`;
    /// `comparison.json` holds the request. A failed run is recorded as failed, and the others
    /// continue. Once `cancel` is set, the current runs end after their present step and are kept,
    /// no other begins, and the merged files are written.
    ///
    /// `on_event` receives every event, from several threads; `&|_| {}` ignores them.
    ///
    /// In a folder that this comparison has written to before, it is resumed: finished runs stay
    /// unchanged, killed or stopped runs continue from their last checkpoint, and the final bits
    /// are those of a comparison that was never interrupted, except for times.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the difference, if the folder holds another comparison or one
    /// of another version; another error if something cannot be written. A failure of a run is not
    /// an error.
    pub fn run(
        &self,
        folder: &OutputDir,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(ComparisonEvent) + Sync),
    ) -> Result<Records> {
        let start = Instant::now();
        let mut manifest = Manifest::new(self, folder)?;
        let mut done = workers::ended(self, folder)?;
        let task = self.comparison.task.as_ref();
        let steps = self.comparison.training.steps(task.examples());
        let waiting: Vec<&str> = self
            .places()
            .filter(|place| !done.contains_key(place))
            .map(|(index, _)| self.comparison.variants[index].name.as_str())
            .collect();
        on_event(ComparisonEvent::Begins {
            task,
            steps,
            ended: done.len() as u64,
            waiting: &waiting,
        });
        let whole = done.len() == self.places().count();
        if !whole {
            manifest.begin(folder)?;
            manifest.notes.extend(workers::run(self, folder, cancel, on_event, &mut done)?);
        }
        on_event(ComparisonEvent::Ended);
        if !whole || !manifest.ended() {
            manifest.end(folder, start.elapsed().as_secs_f64(), cancel.load(Ordering::Relaxed))?;
        }
        let order = self.comparison.variants.iter().enumerate();
        let order =
            order.flat_map(|(index, _)| self.comparison.seeds().map(move |seed| (index, seed)));
        let finished: Vec<_> = order.filter_map(|place| done.get(&place)).collect();
        Ok(merge::merge(folder, &finished)?)
    }

    /// Every run, in the order in which they begin: the index of its variant, and its seed.
    fn places(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let variants = self.comparison.variants.len();
        self.comparison.seeds().flat_map(move |seed| (0..variants).map(move |index| (index, seed)))
    }

    /// One of these runs.
    fn job(&self, (index, seed): (usize, u64)) -> Job<'_> {
        self.jobs[index].with_seed(seed)
    }
}
