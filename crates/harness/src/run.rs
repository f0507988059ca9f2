//! One run: one variant, one task, one seed.

mod keep;
mod log;
pub(crate) mod penalty;
mod probe;
mod training;

use crate::config::{ModelConfig, RunConfig, TrainingConfig};
use crate::device;
use crate::folder::Folder;
use crate::network::Network;
use crate::record::{check_schema, EvalRecord, MeasureRecord, ProfileRecord, RunRecord, Status, StepRecord};
use crate::size::solve;
use crate::task::{BatchDraw, Split, Task};
use crate::usage::{line, mistake};
use crate::variant::{Size, Variant};
use anyhow::{Context, Result};
use candle::{DType, Device};
use candle_nn::VarBuilder;
use keep::{Keeper, NotKept};
use log::Log;
use serde_json::Value;
use std::sync::atomic::AtomicBool;
use training::Training;

pub use keep::Interval;

/// One run before it starts: its configuration, and what that opens.
#[derive(Clone)]
pub struct Job<'a> {
    /// The network.
    pub variant: &'a Variant,
    /// What it learns.
    pub task: &'a dyn Task,
    /// What is asked for.
    pub config: RunConfig,
    /// The device that the configuration names.
    pub device: Device,
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
    /// `weights.safetensors`: the weights at the end, under the names that [`Network`] gives them; empty if the run failed before it
    /// had any.
    pub weights: Vec<u8>,
}

/// What happens in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// A checkpoint was found spoilt, and one before it is taken, or none: a line that says which, and what is wrong with it.
    Spoilt(&'a str),
    /// It goes on from a checkpoint, after these steps.
    Resumed(&'a [StepRecord]),
    /// A training step is done: its number and its loss.
    Step(u64, f64),
    /// An evaluation on held-out examples has ended.
    Evaluated(&'a EvalRecord),
    /// Gradient profiles were taken.
    Profiled {
        /// Those of all layers, directions and parts of the state; of a run that goes on, first those of all steps so far.
        profiles: &'a [ProfileRecord],
        /// The half-life of h in the top layer at the last of them, in steps; `None` if it does not decay, or cannot be fitted.
        half_life: Option<f64>,
    },
}

/// The number of evaluations in a row that must meet a task's criterion.
pub const IN_A_ROW: usize = 3;

impl<'a> Job<'a> {
    /// The run of a variant on a task: finds its width, applies its overrides, and opens the device.
    ///
    /// # Errors
    /// If the variant cannot be built at that width, or the device is not there.
    pub fn new(
        variant: &'a Variant,
        task: &'a dyn Task,
        training: &TrainingConfig,
        seed: u64,
    ) -> Result<Self> {
        let training = training.with(&variant.overrides);
        let (hidden, params) = solve(training.width, variant, task, training.readout)?;
        let model = ModelConfig {
            variant: variant.name.clone(),
            summary: variant.summary.clone(),
            init: variant.init.clone(),
            options: variant.options.clone(),
            hidden,
            layers: 0,
            params,
        };
        let version = env!("CARGO_PKG_VERSION").to_string();
        let device = device::by_name(&training.device)?;
        let config = RunConfig { version, task: task.config(), model, training, seed };
        let mut job = Self { variant, task, config, device };
        job.config.model.layers = job.untrained()?.rnn().depth();
        Ok(job)
    }

    /// The same run with another seed.
    #[must_use]
    pub fn with_seed(&self, seed: u64) -> Self {
        Self { config: RunConfig { seed, ..self.config.clone() }, ..self.clone() }
    }

    /// The network with weights of zero.
    fn untrained(&self) -> candle::Result<Network> {
        let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
        Network::new(self.variant, self.size(), self.task, self.config.training.readout, &vb)
    }

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
    /// `progress` is called after every training step with its number and its loss. The same job gives the same
    /// records, bit by bit, but for the seconds.
    ///
    /// ```
    /// # use recurrent_harness::{config::{Budget, TrainingConfig}, run::Job, tasks, variant::Variant};
    /// # fn trained(variant: &Variant) -> anyhow::Result<()> {
    /// let task = tasks::by_name("adding", Some(50), None)?;
    /// let training = TrainingConfig::new(task.as_ref());
    /// let training = TrainingConfig { budget: Budget::Steps(500), ..training };
    /// let job = Job::new(variant, task.as_ref(), &training, 0)?;
    /// let run = job.run(&false.into(), &mut |step, loss| assert!(step > 0 && loss > 0.0));
    /// assert_eq!(run.steps.len() as u64, run.record.outcome.steps);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(&self, cancel: &AtomicBool, progress: &mut dyn FnMut(u64, f64)) -> Run {
        let mut said = |event: Event| {
            if let Event::Step(step, loss) = event {
                progress(step, loss);
            }
        };
        self.train(Keeper::none(), cancel, &mut said).expect("it is not kept, so that nothing can fail to be")
    }

    /// As [`Job::run`], in a folder of the run's own: it is saved there under way, goes on from what it finds saved, and ends with the
    /// bits of a run that was never interrupted, in weights and records, but for the seconds.
    ///
    /// A run that was stopped leaves a checkpoint of its last step. One that was killed goes on from its last checkpoint, or from the
    /// one before if that is spoilt, or begins anew if there is none.
    ///
    /// # Errors
    /// If a checkpoint cannot be written, or is of another run: with another seed, another rate, another version of this crate. The last
    /// good checkpoint is then as it was.
    pub fn run_in(
        &self,
        folder: &Folder,
        interval: Interval,
        cancel: &AtomicBool,
        said: &mut dyn FnMut(Event),
    ) -> Result<Run> {
        self.train(Keeper::new(folder, interval), cancel, said)
    }

    fn train(&self, mut keeper: Keeper, cancel: &AtomicBool, said: &mut dyn FnMut(Event)) -> Result<Run> {
        let (mut log, mut weights) = (Log::default(), Vec::new());
        let mut train = || -> Result<Status> {
            let mut training = Training::new(self)?;
            match keeper.found(self, said)? {
                None => training.begin(&mut log, said)?,
                Some(found) => {
                    log = training.restore(found)?;
                    said(log.profiled(0));
                    log.evaluated().into_iter().for_each(&mut *said);
                }
            }
            let status = training.finish(&mut log, &mut keeper, cancel, said)?;
            weights = training.weights()?;
            Ok(status)
        };
        let status = match train() {
            Err(error) if error.is::<NotKept>() => return Err(error),
            ended => ended.unwrap_or_else(|error| failed(&error)),
        };
        Ok(log.close(self, status, weights))
    }

    /// Refuses training that does not suit the layers of the variant.
    pub(crate) fn check(&self) -> Result<()> {
        let (network, RunConfig { training, seed, .. }) = (self.untrained()?, &self.config);
        let second = BatchDraw { split: Split::Train, seed: *seed, step: 1, batch: training.batch };
        if network.rnn().reversed_size() > 0 && self.task.continues(second) {
            mistake!(
                "it reads in both directions, and the task {} asks for what comes next",
                self.task.name()
            );
        }
        penalty::check(training, network.rnn(), DType::F32, &Device::Cpu)
    }

    /// The name of the folder of the run.
    pub(crate) fn folder(&self) -> String {
        self.variant.folder(self.config.seed)
    }

    /// What the variant is built for.
    pub fn size(&self) -> Size {
        Size {
            input: self.task.input_size(),
            hidden: self.config.model.hidden,
            longest_lag: self.task.longest_lag(),
            seed: self.config.seed,
        }
    }

    /// The record of a run that ended before it began.
    pub(crate) fn stillborn(&self, message: String) -> Run {
        Log::default().close(self, Status::Failed(message), Vec::new())
    }
}

fn failed(error: &anyhow::Error) -> Status {
    Status::Failed(line(error))
}

impl Run {
    /// Writes weights and records into a folder of the run's own, `run.json` last, so that it stands for a whole run; and removes the
    /// checkpoints there, unless the run was stopped and can go on.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        if !self.weights.is_empty() {
            folder.write("weights.safetensors", &self.weights)?;
        }
        folder.write_lines("steps.jsonl", &self.steps)?;
        folder.write_lines("evals.jsonl", &self.evals)?;
        folder.write_lines("profiles.jsonl", &self.profiles)?;
        folder.write_lines("measures.jsonl", &self.measures)?;
        folder.write_lines("run.json", std::slice::from_ref(&self.record))?;
        if self.record.status != Status::Stopped {
            keep::clear(folder)?;
        }
        Ok(())
    }

    /// Whether a run in this folder has ended by itself, and need not run again.
    ///
    /// # Errors
    /// If its `run.json` is there and cannot be read.
    pub fn has_ended(folder: &Folder) -> Result<bool> {
        if !folder.path().join("run.json").exists() {
            return Ok(false);
        }
        let path = folder.path().join("run.json");
        let unreadable = || format!("{}: cannot be read back", path.display());
        let stored: Value = serde_json::from_slice(&folder.read("run.json")?).with_context(unreadable)?;
        check_schema(&path, &stored)?;
        let record: RunRecord = serde_json::from_value(stored).with_context(unreadable)?;
        if record.status == Status::Stopped {
            return Ok(false);
        }
        // It may have been killed before it could remove them.
        keep::clear(folder)?;
        Ok(true)
    }
}
