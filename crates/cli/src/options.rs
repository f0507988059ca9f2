//! The options that `compare`, `ablate` and `sweep` share.

use crate::progress::{Progress, ProgressMode};
use crate::Invocation;
use anyhow::Result;
use clap::Args;
use recurrent_harness::compare::{cores, Comparison};
use recurrent_harness::device;
use recurrent_harness::run::Interval;
use recurrent_harness::variant::Variant;
use recurrent_measures::json;
use recurrent_records::config::{Budget, Clipping, Level, TrainingConfig, Width};
use recurrent_records::dir::OutputDir;
use recurrent_tasks::task::Task;
use recurrent_tasks::usage::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// The groups of options in the help.
pub(crate) const TASK: &str = "Task";
pub(crate) const NETWORKS: &str = "Networks";
pub(crate) const TRAINING: &str = "Training";
pub(crate) const RUNNING: &str = "Running and output";

/// The task, the networks and their training, and the place of the results. Each subcommand defines
/// the content of `--list` and the defaults of `--seeds` and `--clip`, and states them in its help.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Training {
    /// adding, copy, temporal-order, mnist-rows ...; an unknown name shows all
    #[arg(long, default_value = "adding", help_heading = TASK)]
    pub(crate) task: String,
    /// List all variants and exit
    #[arg(long, help_heading = NETWORKS)]
    pub(crate) list: bool,
    /// Runs of each variant, one per seed [default: 3, with --quick 1]
    #[arg(long, value_name = "N", help_heading = TRAINING)]
    pub(crate) seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = TRAINING)]
    seed_offset: u64,
    /// Maximum number of training steps [default: 3000 for a generated task]
    #[arg(long, value_name = "N", help_heading = TRAINING)]
    steps: Option<u64>,
    /// Passes over a data set [default: 2]
    #[arg(long, value_name = "N", conflicts_with = "steps", help_heading = TRAINING)]
    epochs: Option<u64>,
    /// Hidden units of every layer, instead of --params
    #[arg(long, value_name = "N", help_heading = NETWORKS)]
    hidden: Option<usize>,
    /// Weights of every network; its hidden units are chosen to come near [default: 5000, for a
    /// data set 10000, with --quick 2000]
    #[arg(long, value_name = "N", conflicts_with = "hidden", help_heading = NETWORKS)]
    params: Option<usize>,
    /// Examples per batch [default: 32]
    #[arg(long, value_name = "N", help_heading = TRAINING)]
    batch: Option<usize>,
    /// Learning rate of AdamW [default: 0.005]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = TRAINING)]
    lr: Option<f64>,
    /// Warm-up steps, over which the learning rate rises linearly [default: 0]
    #[arg(long, value_name = "N", help_heading = TRAINING)]
    warmup: Option<u64>,
    /// Bound on the global gradient norm, inf for no bound [default: 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = TRAINING)]
    #[serde(with = "json::option")]
    clip: Option<f64>,
    /// f32 or f64
    #[arg(long, default_value = "f32", help_heading = TRAINING)]
    dtype: String,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "cpu", help_heading = TRAINING)]
    device: String,
    /// Runs side by side, each on one thread [default: the number of cores, 1 on a GPU]
    #[arg(long, value_name = "N", help_heading = RUNNING)]
    jobs: Option<usize>,
    /// Level of the measures before and after training: profiles, gradients or dynamics
    #[arg(long, value_name = "LEVEL", default_value = "profiles", help_heading = RUNNING)]
    measures: String,
    /// Folder or file with the data of a task: IDX files, a .ts or CSV file, a text
    #[arg(long, value_name = "PATH", help_heading = TASK)]
    #[serde(serialize_with = "lossy")]
    data: Option<PathBuf>,
    /// Column of a CSV file to forecast [default: the last of two]
    #[arg(long, value_name = "NAME", help_heading = TASK)]
    column: Option<String>,
    /// Season of the naive forecast to compare with, in rows [default: 1]
    #[arg(long, value_name = "N", help_heading = TASK)]
    season: Option<usize>,
    /// Hold out a part of the training data instead of the test set, for a search
    #[arg(long, help_heading = TASK)]
    validate: bool,
    /// Also evaluate the trained networks on sequences of 2 and 4 times the length
    #[arg(long, help_heading = TASK)]
    generalise: bool,
    /// Folder to write to, new or empty [default: runs/<task>-<time>]
    #[arg(long, value_name = "DIR", conflicts_with = "resume", help_heading = RUNNING)]
    #[serde(serialize_with = "lossy")]
    out: Option<PathBuf>,
    /// Resume the runs in a folder, with its options: interrupted and killed runs end with the same
    /// records
    #[arg(long, value_name = "DIR", help_heading = RUNNING)]
    #[serde(serialize_with = "lossy")]
    pub(crate) resume: Option<PathBuf>,
    /// Number of training steps between two saves of a run, to resume from there [default: the
    /// number done in ten seconds]
    #[arg(long, value_name = "N", help_heading = RUNNING)]
    checkpoint_every: Option<u64>,
    /// A trial of some seconds, to see that everything runs; too short to solve the task
    #[arg(long, help_heading = RUNNING)]
    pub(crate) quick: bool,
    /// Show progress as lines, even on a terminal
    #[arg(long, help_heading = RUNNING)]
    plain: bool,
    /// Show no progress
    #[arg(long, help_heading = RUNNING)]
    quiet: bool,
}

/// The length of a task. `sweep` has several lengths instead.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct TaskLength {
    /// Length of a generated task in steps [default: 100, with --quick 30]
    #[arg(long, value_name = "T", help_heading = TASK)]
    pub(crate) length: Option<usize>,
}

impl Training {
    /// The task, with that length if it is generated. A trial uses a shorter one.
    pub(crate) fn task(&self, length: Option<usize>) -> Result<Arc<dyn Task>> {
        let small_images = ["mnist", "fashion"].iter().any(|name| self.task.contains(name));
        let short = self.quick && self.data.is_none() && !small_images;
        #[cfg(feature = "hub")]
        let hub = self.progress().hub();
        let choice = recurrent_tasks::TaskOptions {
            length: length.or(short.then_some(30)),
            data: self.data.as_deref(),
            column: self.column.as_deref(),
            season: self.season,
            #[cfg(feature = "hub")]
            hub: Some(&hub),
        };
        let task = recurrent_tasks::open(&self.task, &choice)?;
        match (self.validate, task.validation_split()) {
            (false, _) => Ok(task),
            (true, Some(validating)) => Ok(validating),
            (true, None) => {
                let why = format!(
                    "validate: the task {} is generated and has no test set to spare",
                    self.task
                );
                Err(ConfigError::new(why).into())
            }
        }
    }

    /// The comparison that the options describe. `clip` is the default of --clip.
    pub(crate) fn comparison(
        &self,
        task: Arc<dyn Task>,
        variants: Vec<Variant>,
        seeds: u64,
        clip: Clipping,
        invocation: &Invocation,
        request: Value,
    ) -> Result<Comparison> {
        let base = match self.quick {
            true => TrainingConfig::quick(task.as_ref()),
            false => TrainingConfig::new(task.as_ref()),
        };
        let (steps, epochs) = (self.steps.map(Budget::Steps), self.epochs.map(Budget::Epochs));
        let (hidden, params) = (self.hidden.map(Width::Hidden), self.params.map(Width::Params));
        let training = TrainingConfig {
            budget: steps.or(epochs).unwrap_or(base.budget),
            width: hidden.or(params).unwrap_or(base.width),
            batch: self.batch.unwrap_or(base.batch),
            lr: self.lr.unwrap_or(base.lr),
            warmup: self.warmup.unwrap_or(base.warmup),
            clip: match self.clip {
                None => clip,
                Some(f64::INFINITY) => Clipping::Off,
                Some(bound) if bound > 0.0 => Clipping::GlobalNorm(bound),
                Some(bound) => {
                    let expected = "a positive number, or inf for no bound";
                    let line = format!("clip: expected {expected}, got {bound}");
                    return Err(ConfigError::new(line).into());
                }
            },
            measures: Level::by_name(&self.measures)?,
            generalise: self.generalise,
            dtype: device::dtype(&self.dtype)?,
            device: device::name(&device::by_name(&self.device)?),
            ..base
        };
        let jobs = self.jobs.unwrap_or(if training.device == "cpu" { cores() } else { 1 });
        let interval = self.checkpoint_every.map_or(Interval::default(), Interval::Steps);
        let (seed_offset, command) = (self.seed_offset, invocation.command());
        Ok(Comparison {
            task,
            variants,
            training,
            seeds,
            seed_offset,
            jobs,
            interval,
            command,
            request,
        })
    }

    /// The progress display that the options ask for.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(match (self.quiet, self.plain) {
            (true, _) => ProgressMode::Nothing,
            (false, true) => ProgressMode::Lines,
            (false, false) => ProgressMode::Terminal,
        })
    }

    /// The folder to write to.
    pub(crate) fn folder(&self) -> Result<OutputDir> {
        let folder = match (&self.resume, &self.out) {
            (Some(path), _) => OutputDir::reopen(path),
            (None, Some(path)) => OutputDir::create(path),
            (None, None) => OutputDir::create_default(&self.task),
        };
        Ok(folder?)
    }
}

/// A path as text; one that is not Unicode gets replacement characters.
fn lossy<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(to)
}

#[cfg(test)]
mod tests {
    use crate::commands::{ablate, compare, sweep};
    use anyhow::Result;
    use clap::{CommandFactory, Parser};
    use serde::{de::DeserializeOwned, Serialize};

    /// Every option is at the top level of the request, where `--resume` looks for it, and is read
    /// back from there.
    fn round_trip<A: Parser + Serialize + DeserializeOwned>(words: &[&str]) -> Result<()> {
        let args = A::try_parse_from([&["program"], words].concat())?;
        let request = serde_json::to_value(&args)?;
        for argument in A::command().get_arguments() {
            let id = argument.get_id().as_str();
            let none = ["help", "version"].contains(&id);
            assert_ne!(request.get(id).is_some(), none, "{id} in {request}");
        }
        let again: A = serde_json::from_value(request.clone())?;
        assert_eq!(serde_json::to_value(again)?, request);
        Ok(())
    }

    #[test]
    fn requests_are_flat_and_read_back() -> Result<()> {
        for words in [&[][..], &["--seeds", "2", "--clip", "inf", "--steps", "9", "--csv"]] {
            round_trip::<compare::Args>(words)?;
            round_trip::<ablate::Args>(words)?;
            round_trip::<sweep::Args>(words)?;
        }
        Ok(())
    }

    #[test]
    fn help_states_the_defaults_of_a_subcommand() {
        let help = |mut command: clap::Command| {
            command.render_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let (compare, ablate, sweep) = (
            help(compare::Args::command()),
            help(ablate::Args::command()),
            help(sweep::Args::command()),
        );
        assert!(compare.contains("one per seed [default: 3, with --quick 1]"));
        assert!(
            ablate.contains("give no verdict [default: 5]") && ablate.contains("all modifiers")
        );
        assert!(sweep.contains("at each length, one per seed [default: 5, with"));
    }
}
