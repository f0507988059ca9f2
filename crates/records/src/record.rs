//! The records of a comparison: one JSON object per line. Field names are the schema; units stand
//! beside them.
//!
//! A number that is not finite is written as a string, `"NaN"`, `"Infinity"` or `"-Infinity"`,
//! because JSON cannot represent it: for instance the loss of the step at which a run failed.
//! `null` always means that there is no such number.
//!
//! A run, one line of `runs.jsonl`, in version 1:
//!
//! | field | content |
//! |---|---|
//! | `schema` | the version of this format, [`SCHEMA`] |
//! | `config` | [`RunConfig`]: `task`, `model`, `training`, `seed`, `version` |
//! | `status` | [`Status`]: `finished`, `stopped`, or `{"failed": why}` |
//! | `outcome` | [`Outcome`]: steps, loss, accuracy, steps to solve, seconds |
//! | `gradients.init.h` | [`StateGradients`] of dL/dh at initialisation: half-life, fit, horizon |
//! | `gradients.init.c`, `gradients.trained.h`, `gradients.trained.c` | the same of dL/dc, after training |
//! | `clipping` | [`ClippingSummary`]: how often and how much |
//! | `spectral_radius` | of every recurrent block at initialisation |
//! | `warnings` | of the gradient watch |

mod read;

use crate::config::{Level, RunConfig};
use crate::error::{Context, Result};
use crate::usage::bail_config;
use recurrent_measures::{json, Fit, Profile, Underflow};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The version of this format. A folder of another version is refused.
///
/// | version | |
/// |---|---|
/// | - | before there was a number: `runs.jsonl` with 55 fields on one level |
/// | 1 | the present [`RunRecord`], with a [`RunConfig`] |
pub const SCHEMA: u32 = 1;

/// Reads one JSON value of this version of the format.
///
/// # Errors
/// If the file cannot be read, is of another version, or holds something else.
pub fn read_stored<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let unreadable = || format!("{}: cannot be read back", path.display());
    let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let stored: Value = serde_json::from_slice(&bytes).with_context(unreadable)?;
    check_schema(path, &stored)?;
    serde_json::from_value(stored).with_context(unreadable)
}

/// Refuses records of another version of this format.
///
/// # Errors
/// One line that names the file, both versions, and what to do.
pub fn check_schema(path: &Path, stored: &Value) -> Result<()> {
    let found = stored.get("schema").and_then(Value::as_u64);
    if found != Some(u64::from(SCHEMA)) {
        let found = found.map_or("no version".to_string(), |version| format!("version {version}"));
        bail_config!(
            "{}: records of another version of this program: expected format {SCHEMA}, found \
             {found}; read them with the program that wrote them, or run the comparison again",
            path.display()
        );
    }
    Ok(())
}

/// All records of a comparison, in the order of its files. The report is made from these alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// The lines of `runs.jsonl`; their order is the order of the variants in the report.
    pub runs: Vec<RunRecord>,
    /// The lines of `steps.jsonl`.
    pub steps: Vec<StepRecord>,
    /// The lines of `evals.jsonl`.
    pub evals: Vec<EvalRecord>,
    /// The lines of `profiles.jsonl`.
    pub profiles: Vec<ProfileRecord>,
    /// The lines of `measures.jsonl`; empty if only profiles were requested.
    pub measures: Vec<MeasureRecord>,
}

/// One run: one line of `runs.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The version of this format, [`SCHEMA`].
    pub schema: u32,
    /// The configuration.
    pub config: RunConfig,
    /// How the run ended.
    pub status: Status,
    /// What the network learnt, and the time it took.
    pub outcome: Outcome,
    /// How the gradient of the states falls off with the lag.
    pub gradients: GradientSummary,
    /// The effect of clipping on the gradient of the weights.
    pub clipping: ClippingSummary,
    /// The spectral radius of every recurrent block at initialisation, by name.
    #[serde(with = "json::map")]
    pub spectral_radius: BTreeMap<String, f64>,
    /// The warnings of the gradient watch.
    pub warnings: Vec<String>,
}

/// The results of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The number of training steps done.
    pub steps: u64,
    /// Whether the criterion of the task was met.
    pub solved: bool,
    /// The step of the first of the evaluations in a row that met it; null if not solved.
    pub steps_to_solve: Option<u64>,
    /// The held-out loss at the last evaluation; NaN if the run failed or ended before its first
    /// evaluation.
    #[serde(with = "json::number")]
    pub final_loss: f64,
    /// The held-out accuracy there, 0 to 1; null if the task has no accuracy.
    pub accuracy: Option<f64>,
    /// The trained network on longer sequences of the same task, if requested and the run finished.
    pub generalisation: Vec<Generalised>,
    /// The number of threads of this run.
    pub threads: usize,
    /// Wall time of the run, in seconds.
    pub seconds: f64,
    /// Wall time of the measures beyond profiles, by level, in seconds.
    pub measure_seconds: BTreeMap<String, f64>,
}

/// The gradient of the states of the top layer before and after training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GradientSummary {
    /// At initialisation.
    pub init: PhaseGradients,
    /// After training; all null without training.
    pub trained: PhaseGradients,
}

/// The gradient of the states at one moment of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseGradients {
    /// dL/dh.
    pub h: StateGradients,
    /// dL/dc; all null if the state has no c.
    pub c: StateGradients,
}

/// How the gradient of one part of the state falls off with the lag, by the median over examples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StateGradients {
    /// The half-life, in steps; null if the gradient does not decay, or too few points can be
    /// fitted.
    pub half_life: Option<f64>,
    /// Its fit; null if there are too few points.
    pub fit: Option<Fit>,
    /// The largest lag at which the norm is at least a thousandth of that at lag 0, in steps. The
    /// initial carry does not count.
    pub horizon: Option<usize>,
    /// The same with the machine epsilon of the dtype (2^-23 for f32) instead of a thousandth.
    pub horizon_epsilon: Option<usize>,
    /// The norm at the first step over that at the last.
    pub ratio: Option<f64>,
    /// The lags at which at least one element was exactly zero or subnormal. A truncation makes
    /// zeros itself; with one, only subnormal elements count.
    pub underflow: Underflow,
}

/// The effect of clipping on the gradient of the weights, over the training steps of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClippingSummary {
    /// The share of steps whose gradient was changed, 0 to 1.
    pub fraction: f64,
    /// The mean factor by which the global norm was scaled, 1 for an unchanged step; null without a
    /// step.
    pub scale: Option<f64>,
    /// The mean global norm before clipping; null without a step.
    pub norm_before: Option<f64>,
    /// The mean global norm after clipping; null without a step.
    pub norm_after: Option<f64>,
}

/// Results of a trained network on sequences of another length, all of them held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generalised {
    /// The length of the sequences, in steps; the longest if they differ.
    pub length: usize,
    /// The mean loss.
    #[serde(with = "json::number")]
    pub loss: f64,
    /// The accuracy, 0 to 1; null if the task has no accuracy.
    pub accuracy: Option<f64>,
    /// The loss of the best answer at that length that does not depend on the input.
    pub baseline: f64,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It solved its task or used all of its steps.
    #[default]
    Finished,
    /// It was interrupted.
    Stopped,
    /// It failed; the message says why: a NaN, a parameter without gradient.
    Failed(String),
}

/// One training step: one line of `steps.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The variant's name.
    pub variant: String,
    /// The seed of the run.
    pub seed: u64,
    /// The step, from 1.
    pub step: u64,
    /// The training loss of the batch before the update, without penalties.
    #[serde(with = "json::number")]
    pub loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// The global gradient norm before the clip.
    #[serde(with = "json::number")]
    pub grad_norm: f64,
    /// The global gradient norm after the clip; NaN at the step at which a run failed, because that
    /// step was not clipped.
    #[serde(with = "json::number")]
    pub grad_norm_clipped: f64,
}

/// One evaluation on held-out examples: one line of `evals.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// The variant's name.
    pub variant: String,
    /// The seed of the run.
    pub seed: u64,
    /// The number of training steps done.
    pub step: u64,
    /// The mean loss.
    #[serde(with = "json::number")]
    pub loss: f64,
    /// The accuracy, 0 to 1; null if the task has no accuracy.
    pub accuracy: Option<f64>,
}

/// One measure at one moment of a run: one line of `measures.jsonl`. The crate `recurrent-measures`
/// documents the measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasureRecord {
    /// The variant's name.
    pub variant: String,
    /// The seed of the run.
    pub seed: u64,
    /// The number of training steps done: 0 at initialisation.
    pub step: u64,
    /// The level to which it belongs.
    pub level: Level,
    /// The measure's name: `gate-mean`, `long-range-share`.
    pub measure: String,
    /// The layer, 0 at the bottom; null for the whole network.
    pub layer: Option<usize>,
    /// The direction: `forward`, `reverse`; null for the whole network.
    pub direction: Option<String>,
    /// The part: a gate, a field of the state, or a weight; empty for all.
    pub part: String,
    /// The meaning of `at`: `lag`, `window`, `step`, `exponent`, `delay`; empty for a single
    /// number.
    pub axis: String,
    /// The positions of the values on that axis; empty for a single number.
    pub at: Vec<usize>,
    /// The values, one per position.
    #[serde(with = "json::list")]
    pub values: Vec<f64>,
    /// Why there is no value; null if there is one.
    pub note: Option<String>,
}

/// One gradient profile: one line of `profiles.jsonl`. Its gradient is the one that the run trains
/// by, with the run's truncation window and bound on dL/dh_t. Beyond the window norms are exactly
/// zero, and under the bound they are no larger than it. All arrays have one entry per lag, in the
/// order of `lag`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileRecord {
    /// The variant's name.
    pub variant: String,
    /// The seed of the run.
    pub seed: u64,
    /// The number of training steps done: 0 at initialisation.
    pub step: u64,
    /// Whether this is the last profile of the run.
    pub last: bool,
    /// The layer, 0 at the bottom.
    pub layer: usize,
    /// The direction: `forward`, `reverse`.
    pub direction: String,
    /// The part of the state: `h`, `c`.
    pub part: String,
    /// The lags, in steps from the end of the sequence.
    pub lag: Vec<usize>,
    /// The median over examples of the norm of each example's own gradient.
    #[serde(with = "json::list")]
    pub median: Vec<f64>,
    /// The lower quartile.
    #[serde(with = "json::list")]
    pub q25: Vec<f64>,
    /// The upper quartile.
    #[serde(with = "json::list")]
    pub q75: Vec<f64>,
    /// The norm of the batch-mean gradient.
    #[serde(with = "json::list")]
    pub mean: Vec<f64>,
    /// The share of elements that are exactly zero.
    pub zeros: Vec<f64>,
    /// The share of elements that are subnormal.
    pub subnormals: Vec<f64>,
}

impl ProfileRecord {
    /// The line of `profiles.jsonl` for a profile that was taken after `step` training steps of a
    /// run.
    pub fn of(profile: Profile, variant: &str, seed: u64, step: u64) -> Self {
        Self {
            variant: variant.to_string(),
            seed,
            step,
            last: false,
            layer: profile.layer_id.layer,
            direction: if profile.layer_id.reverse { "reverse" } else { "forward" }.to_string(),
            part: profile.part.to_string(),
            lag: profile.lag,
            median: profile.median,
            q25: profile.q25,
            q75: profile.q75,
            mean: profile.mean,
            zeros: profile.zeros,
            subnormals: profile.subnormals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_another_version_are_refused() {
        let path = Path::new("runs.jsonl");
        assert!(check_schema(path, &serde_json::json!({ "schema": SCHEMA })).is_ok());
        for (stored, found) in [
            (serde_json::json!({ "variant": "lstm", "half_life_h_init": 3.5 }), "no version"),
            (serde_json::json!({ "schema": 7 }), "version 7"),
        ] {
            let error = check_schema(path, &stored).expect_err("another version");
            let line = error.to_string();
            assert!(error.is_config() && line.contains(&format!("found {found}; ")), "{line}");
            assert!(line.ends_with("or run the comparison again"), "{line}");
        }
    }
    use recurrent_core::LayerId;

    #[test]
    fn a_profile_says_where_it_was_taken() {
        let profile = Profile {
            layer_id: LayerId { layer: 1, reverse: true },
            part: "c",
            steps: 1,
            lag: vec![0, 1],
            median: vec![6.0, 1.5],
            q25: vec![4.5, 1.125],
            q75: vec![7.5, 2.25],
            mean: vec![6.0, 1.75],
            zeros: vec![1.0, 0.25],
            subnormals: vec![0.0, 0.5],
        };
        let record = ProfileRecord::of(profile, "v", 7, 25);
        assert_eq!(
            (record.layer, record.direction.as_str(), record.part.as_str()),
            (1, "reverse", "c")
        );
        assert_eq!((record.variant.as_str(), record.seed, record.step), ("v", 7, 25));
    }
}
