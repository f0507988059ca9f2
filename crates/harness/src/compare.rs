//! A comparison: variants × seeds on one task.

mod board;
#[cfg(feature = "live")]
pub(crate) mod live;
mod merge;
mod progress;
mod workers;

use crate::device;
use crate::folder::{utc, Folder};
use crate::record::Records;
use crate::run::Job;
use crate::settings::{Extent, Settings};
use crate::size::Sizing;
use crate::task::{Criterion, Task};
use crate::treatment::{Change, ClipKind, Readout};
use crate::usage::{line, mistake, Usage};
use crate::variant::Variant;
use anyhow::Result;
use progress::Progress;
use recurrent_core::{StateClip, Window};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// More are taken for a slip of the pen: every run that has not begun takes its place in memory, every job a thread.
const MOST_SEEDS: u64 = 1_000_000;
const MOST_JOBS: u64 = 1024;

/// Variants × seeds on one task, all trained alike.
#[derive(Clone)]
pub struct Comparison {
    /// What is to be learnt.
    pub task: Arc<dyn Task>,
    /// Who learns it, in the order of the report.
    pub variants: Vec<Variant>,
    /// How.
    pub settings: Settings,
    /// The number of seeds.
    pub seeds: u64,
    /// The first seed.
    pub seed_offset: u64,
    /// The number of runs side by side, each on one thread.
    pub jobs: usize,
    /// Show no progress.
    pub quiet: bool,
    /// The command that asked for it, to be written beside the results; empty if there was none.
    pub command: Vec<String>,
}

/// A comparison that can be run: everything in it has been looked at.
pub struct Checked<'a> {
    comparison: &'a Comparison,
    /// Hidden units and weights, by variant.
    sizes: Vec<(usize, usize)>,
}

/// `comparison.json`.
#[derive(Serialize)]
struct Header<'a> {
    command: &'a [String],
    version: &'static str,
    started: String,
    seconds: Option<f64>,
    interrupted: bool,
    machine: Machine,
    task: TaskHeader,
    variants: Vec<VariantHeader<'a>>,
    seeds: Vec<u64>,
    jobs: usize,
    steps: u64,
    epochs: Option<u64>,
    params: Option<usize>,
    batch: usize,
    lr: f64,
    clip: Option<f64>,
    clip_kind: ClipKind,
    window: Option<Window>,
    state_clip: Option<StateClip>,
    readout: Readout,
    omega: f64,
    orthogonality: f64,
    optimizer: &'static str,
    eval_every: Option<u64>,
    dtype: &'static str,
    device: String,
}

#[derive(Serialize)]
struct Machine {
    cores: usize,
    os: &'static str,
    arch: &'static str,
    /// Threads of candle's element-wise operations on tensors of 65,536 elements or more, as the environment says.
    candle_num_threads: Option<String>,
}

#[derive(Serialize)]
struct TaskHeader {
    name: &'static str,
    length: usize,
    longest_lag: usize,
    baseline: f64,
    solved_if: Option<String>,
    held_out: usize,
    examples: Option<usize>,
}

#[derive(Serialize)]
struct VariantHeader<'a> {
    name: &'a str,
    summary: &'a str,
    hidden: usize,
    params: usize,
    changes: &'a [Change],
}

/// The number of cores, for [`Comparison::jobs`] on a CPU.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Comparison {
    /// The variants on the task with three seeds, as many runs side by side as there are cores, and the task's default
    /// settings.
    pub fn new(task: Arc<dyn Task>, variants: Vec<Variant>) -> Self {
        let settings = Settings::new(task.as_ref());
        let (seeds, seed_offset, jobs, quiet) = (3, 0, cores(), false);
        Self { task, variants, settings, seeds, seed_offset, jobs, quiet, command: Vec::new() }
    }

    /// Looks at everything before anything is written or trained, and finds the size of every variant.
    ///
    /// # Errors
    /// A [`Usage`] error in one line.
    pub fn check(&self) -> Result<Checked<'_>> {
        self.settings.validate(self.task.as_ref())?;
        for (name, count, most) in [("seeds", self.seeds, MOST_SEEDS), ("jobs", self.jobs as u64, MOST_JOBS)]
        {
            if !(1..=most).contains(&count) {
                mistake!("{name}: expected 1 to {most}, got {count}");
            }
        }
        if self.seed_offset.checked_add(self.seeds).is_none() {
            mistake!(
                "seed-offset: expected less than 2^64 minus the number of seeds, got {}",
                self.seed_offset
            );
        }
        if self.variants.is_empty() {
            mistake!("variants: expected at least one, got none");
        }
        for (index, Variant { name, changes, .. }) in self.variants.iter().enumerate() {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '=' | ':');
            if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
                mistake!("variant {name:?}: expected a name of letters, digits and -_.+=: to name a folder");
            }
            let folder = |variant: &Variant| variant.folder(0);
            if self.variants[..index].iter().any(|other| folder(other) == folder(&self.variants[index])) {
                mistake!("variant {name}: expected once, got twice");
            }
            let treatment = self.settings.treatment.with(changes);
            treatment.validate().map_err(|error| Usage::new(format!("variant {name}: {}", line(&error))))?;
        }
        let size = |variant: &Variant| {
            let readout = self.settings.treatment.with(&variant.changes).readout;
            self.settings.sizing.solve(variant, self.task.as_ref(), readout)
        };
        let sizes: Vec<_> = self.variants.iter().map(size).collect::<Result<_>>()?;
        for (variant, &(hidden, _)) in self.variants.iter().zip(&sizes) {
            let job = Job { variant, task: self.task.as_ref(), settings: &self.settings, hidden, seed: 0 };
            job.check().map_err(|error| Usage::new(format!("variant {}: {}", variant.name, line(&error))))?;
        }
        Ok(Checked { comparison: self, sizes })
    }

    fn seeds(&self) -> impl Iterator<Item = u64> {
        self.seed_offset..self.seed_offset + self.seeds
    }
}

impl Checked<'_> {
    /// Runs every variant with every seed, seeds outermost, and gives all records in canonical order: variants as they
    /// were given, then seeds, then steps.
    ///
    /// Each run is written to its own folder, `runs/<variant>-<seed>`, as it ends. `runs.jsonl`, `steps.jsonl`,
    /// `evals.jsonl` and `profiles.jsonl` are merged from these at the end, `comparison.json` says what was asked for.
    /// A run that fails is recorded as failed, and the others go on. Once `cancel` is set, the runs under way end after
    /// their present step and are kept, no other begins, and the merged files are written.
    ///
    /// # Errors
    /// If something cannot be written. What runs find is no error.
    pub fn run(&self, folder: &Folder, cancel: &AtomicBool) -> Result<Records> {
        let (start, started) = (Instant::now(), utc(SystemTime::now()));
        let header = |seconds, interrupted| {
            let header = self.header(started.clone(), seconds, interrupted);
            folder.write("comparison.json", &[serde_json::to_vec_pretty(&header)?, vec![b'\n']].concat())
        };
        header(None, false)?;
        let runs = self.sizes.len() as u64 * self.comparison.seeds;
        let steps = self.comparison.settings.steps(self.comparison.task.as_ref());
        let progress = Progress::new(self.comparison.quiet, self.comparison.task.as_ref(), runs, steps);
        let done = progress.during(cancel, || workers::run(self, folder, cancel, &progress));
        let done = done?;
        let order = self.comparison.variants.iter().enumerate();
        let order = order.flat_map(|(index, _)| self.comparison.seeds().map(move |seed| (index, seed)));
        let finished: Vec<_> = order.filter_map(|place| done.get(&place)).collect();
        let records = merge::merge(folder, &finished)?;
        header(Some(start.elapsed().as_secs_f64()), cancel.load(Ordering::Relaxed))?;
        Ok(records)
    }

    fn header(&self, started: String, seconds: Option<f64>, interrupted: bool) -> Header<'_> {
        let Comparison { task, variants, settings, .. } = self.comparison;
        let treatment = settings.treatment;
        let variants = variants.iter().zip(&self.sizes).map(|(variant, &(hidden, params))| {
            let Variant { name, summary, changes, .. } = variant;
            VariantHeader { name, summary, hidden, params, changes }
        });
        Header {
            command: &self.comparison.command,
            version: env!("CARGO_PKG_VERSION"),
            started,
            seconds,
            interrupted,
            machine: Machine {
                cores: cores(),
                os: std::env::consts::OS,
                arch: std::env::consts::ARCH,
                candle_num_threads: std::env::var("CANDLE_NUM_THREADS").ok(),
            },
            task: TaskHeader {
                name: task.name(),
                length: task.length(),
                longest_lag: task.longest_lag(),
                baseline: task.baseline(),
                solved_if: task.criterion().map(words),
                held_out: settings.held_out(task.as_ref()),
                examples: task.examples(),
            },
            variants: variants.collect(),
            seeds: self.comparison.seeds().collect(),
            jobs: self.comparison.jobs,
            steps: settings.steps(task.as_ref()),
            epochs: match settings.extent {
                Extent::Epochs(epochs) => Some(epochs),
                Extent::Steps(_) => None,
            },
            params: match settings.sizing {
                Sizing::Params(params) => Some(params),
                Sizing::Hidden(_) => None,
            },
            batch: settings.batch,
            lr: treatment.lr,
            clip: treatment.clip.bound(),
            clip_kind: treatment.clip.kind(),
            window: treatment.flow.window,
            state_clip: treatment.flow.clip,
            readout: treatment.readout,
            omega: treatment.omega,
            orthogonality: treatment.orthogonality,
            optimizer: "AdamW, betas 0.9 and 0.999, eps 1e-8, weight decay 0",
            eval_every: task.examples().is_none().then_some(settings.eval_every),
            dtype: settings.dtype.as_str(),
            device: device::name(&settings.device),
        }
    }
}

fn words(criterion: Criterion) -> String {
    match criterion {
        Criterion::LossBelow(bound) => format!("loss < {bound} in three evaluations in a row"),
        Criterion::AccuracyAtLeast(bound) => format!("accuracy >= {bound} in three evaluations in a row"),
    }
}
