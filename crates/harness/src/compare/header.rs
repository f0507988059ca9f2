//! `comparison.json`: what was asked for, by which command, on which machine, and in how many parts it ran.

use super::{cores, Checked, Comparison};
use crate::device;
use crate::difference::differences;
use crate::folder::{utc, Folder};
use crate::settings::Extent;
use crate::size::Sizing;
use crate::task::{Criterion, Reference};
use crate::tier::Tier;
use crate::treatment::{Change, ClipKind, Readout};
use crate::usage::mistake;
use crate::variant::Variant;
use anyhow::{Context, Result};
use recurrent_core::{HiddenGradClip, Truncation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::SystemTime;

const FILE: &str = "comparison.json";

/// `comparison.json`.
#[derive(Serialize)]
pub(super) struct Header<'a> {
    #[serde(flatten)]
    part: Part,
    /// What was passed over on the way, as a checkpoint that was spoilt.
    pub(super) notes: Vec<String>,
    #[serde(flatten)]
    asked: Asked<'a>,
}

/// How it went: what a comparison that goes on takes over from its first part.
#[derive(Serialize, Deserialize)]
struct Part {
    command: Vec<String>,
    started: String,
    /// Wall time of the parts that were not killed, in seconds; null while there is none.
    seconds: Option<f64>,
    interrupted: bool,
    /// The number of runs side by side in the first part.
    jobs: usize,
    machine: Machine,
    /// The later parts: when each began, and where.
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
    /// Threads of candle's element-wise operations on tensors of 65,536 elements or more, as the environment says.
    candle_num_threads: Option<String>,
}

/// What was asked for: all that the bits of the records depend on.
#[derive(Serialize)]
struct Asked<'a> {
    version: &'static str,
    task: TaskHeader,
    variants: Vec<VariantHeader<'a>>,
    seeds: Vec<u64>,
    steps: u64,
    epochs: Option<u64>,
    params: Option<usize>,
    batch: usize,
    lr: f64,
    clip: Option<f64>,
    clip_kind: ClipKind,
    window: Option<Truncation>,
    state_clip: Option<HiddenGradClip>,
    readout: Readout,
    omega: f64,
    orthogonality: f64,
    optimizer: &'static str,
    eval_every: Option<u64>,
    measures: Tier,
    dtype: &'static str,
    device: String,
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
    data: Option<String>,
    reference: Option<Reference>,
}

#[derive(Serialize)]
struct VariantHeader<'a> {
    name: &'a str,
    summary: &'a str,
    init: &'a str,
    options: &'a BTreeMap<String, String>,
    hidden: usize,
    params: usize,
    changes: &'a [Change],
}

impl<'a> Header<'a> {
    /// That of a comparison in a folder: with what is there of an earlier part, or new.
    ///
    /// # Errors
    /// A [`Usage`](crate::usage::Usage) error if what is there is another comparison.
    pub(super) fn new(checked: &Checked<'a>, folder: &Folder) -> Result<Self> {
        let asked = Asked::of(checked);
        let (started, machine) = (utc(SystemTime::now()), Machine::this());
        let path = folder.path().join(FILE);
        if !path.exists() {
            let Comparison { command, jobs, .. } = checked.comparison;
            let (command, resumed) = (command.clone(), Vec::new());
            let part = Part {
                command,
                started,
                seconds: None,
                interrupted: false,
                jobs: *jobs,
                machine,
                resumed,
            };
            return Ok(Self { part, notes: Vec::new(), asked });
        }
        let bytes = folder.read(FILE)?;
        let mut there: Value = read(&bytes, folder)?;
        let notes = there.get("notes").cloned().map_or(Ok(Vec::new()), serde_json::from_value)?;
        // By the same way through text on both sides, where the last digit of a number may change.
        let asked_for: Value = serde_json::from_slice(&serde_json::to_vec(&asked)?)?;
        if let Some(there) = there.as_object_mut() {
            let of_part = [
                "command",
                "started",
                "seconds",
                "interrupted",
                "jobs",
                "machine",
                "resumed",
                "notes",
            ];
            of_part.iter().for_each(|key| drop(there.remove(*key)));
        }
        let apart = differences(&there, &asked_for);
        if !apart.is_empty() {
            mistake!(
                "{}: it holds another comparison: {}",
                folder.path().display(),
                apart.join("; ")
            );
        }
        let mut part: Part = read(&bytes, folder)?;
        part.resumed.push(Resumed { started, machine });
        Ok(Self { part, notes, asked })
    }

    /// Writes that it is under way.
    pub(super) fn begin(&self, folder: &Folder) -> Result<()> {
        folder.write(FILE, &[serde_json::to_vec_pretty(self)?, vec![b'\n']].concat())
    }

    /// Whether a part of it has come to its end: one that was killed behind its last run has not said so.
    pub(super) fn ended(&self) -> bool {
        self.part.seconds.is_some()
    }

    /// Writes that it has ended, so many seconds after its present part began.
    pub(super) fn end(&mut self, folder: &Folder, seconds: f64, interrupted: bool) -> Result<()> {
        self.part.seconds = Some(self.part.seconds.unwrap_or(0.0) + seconds);
        self.part.interrupted = interrupted;
        self.begin(folder)
    }
}

fn read<T: for<'a> Deserialize<'a>>(bytes: &[u8], folder: &Folder) -> Result<T> {
    let path = folder.path().join(FILE);
    serde_json::from_slice(bytes)
        .with_context(|| format!("{}: cannot be read back", path.display()))
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

impl<'a> Asked<'a> {
    fn of(checked: &Checked<'a>) -> Self {
        let Comparison { task, variants, settings, .. } = checked.comparison;
        let treatment = settings.treatment;
        let variants = variants.iter().zip(&checked.sizes).map(|(variant, &(hidden, params))| {
            let Variant { name, summary, init, options, changes, .. } = variant;
            VariantHeader { name, summary, init, options, hidden, params, changes }
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            task: TaskHeader {
                name: task.name(),
                length: task.length(),
                longest_lag: task.longest_lag(),
                baseline: task.baseline(),
                solved_if: task.criterion().map(words),
                held_out: settings.held_out(task.as_ref()),
                examples: task.examples(),
                data: task.checksum(),
                reference: task.reference(),
            },
            variants: variants.collect(),
            seeds: checked.comparison.seeds().collect(),
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
            window: treatment.flow.truncation,
            state_clip: treatment.flow.clip,
            readout: treatment.readout,
            omega: treatment.omega,
            orthogonality: treatment.orthogonality,
            optimizer: "AdamW, betas 0.9 and 0.999, eps 1e-8, weight decay 0",
            eval_every: task.examples().is_none().then_some(settings.eval_every),
            measures: settings.measures,
            dtype: settings.dtype.as_str(),
            device: device::name(&settings.device),
        }
    }
}

fn words(criterion: Criterion) -> String {
    match criterion {
        Criterion::LossBelow(bound) => format!("loss < {bound} in three evaluations in a row"),
        Criterion::AccuracyAtLeast(bound) => {
            format!("accuracy >= {bound} in three evaluations in a row")
        }
    }
}
