//! One run: one variant, one task, one seed.

mod log;
pub(crate) mod penalty;
mod probe;
mod training;

use crate::folder::Folder;
use crate::network::Network;
use crate::record::{EvalRecord, MeasureRecord, ProfileRecord, RunRecord, Status, StepRecord};
use crate::settings::Settings;
use crate::task::Task;
use crate::treatment::Treatment;
use crate::usage::line;
use crate::variant::{Size, Variant};
use anyhow::Result;
use candle::{DType, Device};
use candle_nn::VarBuilder;
use log::Log;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use training::Training;

/// What is to be run.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The network.
    pub variant: &'a Variant,
    /// What it is to learn.
    pub task: &'a dyn Task,
    /// How it is trained.
    pub settings: &'a Settings,
    /// The number of hidden units of each layer.
    pub hidden: usize,
    /// The seed of weights and data.
    pub seed: u64,
}

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
}

/// What happens in a run, for those who watch it.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A training step is done.
    Step {
        /// Its number, from 1.
        step: u64,
        /// The loss of its batch.
        loss: f64,
    },
    /// An evaluation on held-out examples.
    Evaluated(&'a EvalRecord),
    /// Gradient profiles were taken, of all layers, directions and parts of the state.
    Profiled {
        /// The profiles; never empty.
        profiles: &'a [ProfileRecord],
        /// The half-life of h in the top layer, in steps; `None` if it does not decay, or cannot be fitted.
        half_life: Option<f64>,
    },
}

/// The number of evaluations in a row that must meet a task's criterion.
pub const IN_A_ROW: usize = 3;

impl Job<'_> {
    /// Trains the network, until the task is solved, the steps are used up, something fails, or `cancel` is set.
    ///
    /// - Every training step takes a fresh batch. The gradients are watched: a parameter without gradient, one whose
    ///   gradient is exactly zero in all of the first steps without an underflow on record, NaN and infinity end the
    ///   run, which is then recorded as failed.
    /// - Evaluations take fresh held-out examples each time, or the whole held-out set. Where the task has a criterion,
    ///   the run ends with the third evaluation in a row that meets it, and is solved since the first of these.
    /// - Gradient profiles are recorded at the start, at the end, and after 25, 50, 100, 200, ... steps (in short runs
    ///   from an earlier step on), always on the same 32 held-out examples, which are never evaluated on for a generated
    ///   task.
    ///
    /// `progress` is told what happens, as it happens: see [`Event`]. The same job gives the same
    /// records, bit by bit, but for the seconds.
    ///
    /// ```
    /// # use recurrent_harness::{run::{Event, Job}, settings::{Extent, Settings}, tasks, variant::Variant};
    /// # fn trained(variant: &Variant) -> anyhow::Result<()> {
    /// let task = tasks::by_name("adding", Some(50), None)?;
    /// let settings = Settings { extent: Extent::Steps(500), ..Settings::new(task.as_ref()) };
    /// let (hidden, _) = settings.sizing.solve(variant, task.as_ref(), settings.treatment.readout)?;
    /// let job = Job { variant, task: task.as_ref(), settings: &settings, hidden, seed: 0 };
    /// let run = job.run(&false.into(), &mut |event| {
    ///     if let Event::Step { loss, .. } = event {
    ///         assert!(loss > 0.0);
    ///     }
    /// });
    /// assert_eq!(run.steps.len() as u64, run.record.steps);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(&self, cancel: &AtomicBool, progress: &mut dyn FnMut(Event)) -> Run {
        let start = Instant::now();
        let mut log = Log::default();
        let ended = Training::new(self, &mut log, progress)
            .and_then(|training| training.finish(&mut log, cancel, progress));
        let status = ended.unwrap_or_else(|error| failed(&error));
        log.close(self, status, start.elapsed().as_secs_f64())
    }

    /// What is done to the gradient: that of the settings, with the changes of the variant.
    pub fn treatment(&self) -> Treatment {
        self.settings.treatment.with(&self.variant.changes)
    }

    /// Refuses a treatment that does not suit the layers of the variant.
    pub(crate) fn check(&self) -> Result<()> {
        let (treatment, device) = (self.treatment(), Device::Cpu);
        let vb = VarBuilder::zeros(DType::F32, &device);
        let network = Network::new(self.variant, self.size(), self.task, treatment.readout, &vb)?;
        penalty::check(&treatment, network.rnn(), DType::F32, &device)
    }

    /// What the variant is built for.
    pub fn size(&self) -> Size {
        Size {
            input: self.task.input_size(),
            hidden: self.hidden,
            longest_lag: self.task.longest_lag(),
            seed: self.seed,
        }
    }

    /// The record of a run that ended before it began.
    pub(crate) fn stillborn(&self, message: String) -> Run {
        Log::default().close(self, Status::Failed(message), 0.0)
    }
}

fn failed(error: &anyhow::Error) -> Status {
    Status::Failed(line(error))
}

impl Run {
    /// Writes the records into a folder of the run's own; `run.json` last, so that it stands for a whole run.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        folder.write_lines("steps.jsonl", &self.steps)?;
        folder.write_lines("evals.jsonl", &self.evals)?;
        folder.write_lines("profiles.jsonl", &self.profiles)?;
        folder.write_lines("measures.jsonl", &self.measures)?;
        folder.write_lines("run.json", std::slice::from_ref(&self.record))
    }
}
