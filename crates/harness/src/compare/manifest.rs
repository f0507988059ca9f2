//! `comparison.json`: the request, its command, the machine, and the sessions in which it ran.

use super::{cores, Comparison, Plan};
use crate::config::{ModelConfig, Override, TrainingConfig};
use crate::difference::differences;
use crate::dir::{utc, OutputDir};
use crate::error::Result;
use crate::record::{read_stored, SCHEMA};
use crate::task::TaskConfig;
use crate::usage::bail_config;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::time::SystemTime;

/// The name of the file.
const FILE: &str = "comparison.json";

/// `comparison.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The version of the records, [`SCHEMA`].
    schema: u32,
    #[serde(flatten)]
    session: Session,
    /// Notes on what was skipped, such as a damaged checkpoint.
    pub(super) notes: Vec<String>,
    config: ComparisonConfig,
}

/// How it ran. A resumed comparison keeps the entries of its first session.
#[derive(Serialize, Deserialize)]
struct Session {
    /// The command, for the reader.
    command: Vec<String>,
    /// The options of the program, by which it resumes.
    request: Value,
    started: String,
    /// Wall time of the sessions that were not killed, in seconds; null before the first of them
    /// ends.
    seconds: Option<f64>,
    interrupted: bool,
    /// The number of runs side by side in the first session.
    jobs: usize,
    machine: Machine,
    /// The later sessions: when each began, and where.
    resumed: Vec<Resumed>,
}

#[derive(Serialize, Deserialize)]
struct Resumed {
    started: String,
    machine: Machine,
}

#[derive(Serialize, Deserialize)]
struct Machine {
    cores: usize,
    os: String,
    arch: String,
    /// The number of threads of candle's element-wise operations on tensors of 65,536 elements or
    /// more, from the environment.
    candle_num_threads: Option<String>,
}

/// The configuration that its runs share, and their differences. The overrides of a variant come on
/// top of `training`; the configuration of a run has them applied.
#[derive(Serialize, Deserialize)]
struct ComparisonConfig {
    version: String,
    task: TaskConfig,
    training: TrainingConfig,
    variants: Vec<VariantConfig>,
    seeds: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct VariantConfig {
    #[serde(flatten)]
    model: ModelConfig,
    overrides: Vec<Override>,
}

/// The request with which the comparison in a folder was started: [`Comparison::request`].
///
/// # Errors
/// A [`ConfigError`](crate::usage::ConfigError) if the folder holds no comparison, or one of
/// another version.
pub fn stored_request(folder: &Path) -> Result<Value> {
    let mut stored: Value = read_stored(&folder.join(FILE))?;
    Ok(stored["request"].take())
}

impl Manifest {
    /// The manifest of a comparison in a folder: that of an earlier session, or a new one.
    ///
    /// # Errors
    /// A [`ConfigError`](crate::usage::ConfigError) if the folder holds another comparison.
    pub(super) fn new(plan: &Plan, folder: &OutputDir) -> Result<Self> {
        let config = ComparisonConfig::of(plan);
        let (started, machine) = (utc(SystemTime::now()), Machine::this());
        let path = folder.path().join(FILE);
        if !path.exists() {
            let Comparison { command, request, jobs, .. } = plan.comparison;
            let session = Session {
                command: command.clone(),
                request: request.clone(),
                started,
                seconds: None,
                interrupted: false,
                jobs: *jobs,
                machine,
                resumed: Vec::new(),
            };
            return Ok(Self { schema: SCHEMA, session, notes: Vec::new(), config });
        }
        let stored: Value = read_stored(&path)?;
        let apart = differences(&stored["config"], &serde_json::to_value(&config)?);
        if !apart.is_empty() {
            bail_config!(
                "{}: it holds another comparison: {}",
                folder.path().display(),
                apart.join("; ")
            );
        }
        let mut manifest: Self = read_stored(&path)?;
        manifest.session.resumed.push(Resumed { started, machine });
        Ok(manifest)
    }

    /// Writes it when the session begins.
    pub(super) fn begin(&self, folder: &OutputDir) -> Result<()> {
        let text = [serde_json::to_vec_pretty(self)?, vec![b'\n']].concat();
        Ok(folder.write(FILE, &text)?)
    }

    /// Whether a session of it has ended. A session that was killed after its last run has not
    /// recorded its end.
    pub(super) fn ended(&self) -> bool {
        self.session.seconds.is_some()
    }

    /// Records that the present session has ended, `seconds` after it began.
    pub(super) fn end(
        &mut self,
        folder: &OutputDir,
        seconds: f64,
        interrupted: bool,
    ) -> Result<()> {
        self.session.seconds = Some(self.session.seconds.unwrap_or(0.0) + seconds);
        self.session.interrupted = interrupted;
        self.begin(folder)
    }
}

impl Machine {
    fn this() -> Self {
        Self {
            cores: cores(),
            os: std::env::consts::OS.to_string(),
            arch: std::env::consts::ARCH.to_string(),
            candle_num_threads: std::env::var("CANDLE_NUM_THREADS").ok(),
        }
    }
}

impl ComparisonConfig {
    fn of(plan: &Plan) -> Self {
        let variants = plan.jobs.iter().map(|job| VariantConfig {
            model: job.config.model.clone(),
            overrides: job.variant.overrides.clone(),
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_string(),
            task: plan.comparison.task.config(),
            training: plan.comparison.training.clone(),
            variants: variants.collect(),
            seeds: plan.comparison.seeds().collect(),
        }
    }
}
