//! What a comparison writes: one JSON object a line. Field names are the schema; units stand beside them.
//!
//! A number that is not finite is written as a string, `"NaN"`, `"Infinity"` or `"-Infinity"`, since JSON has none of
//! them: the loss of the step that made a run fail, for instance. `null` always means that there is no such number.

mod number;
mod read;

use crate::task::{Criterion, Reference};
use crate::tier::Tier;
use crate::treatment::{ClipKind, Readout};
use recurrent_core::{HiddenGradClip, Truncation};
use recurrent_measures::{Fit, Profile};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All that a comparison has written, in the order of its files; the report is made from this alone.
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
    /// The lines of `measures.jsonl`; empty if no more than profiles was asked for.
    pub measures: Vec<MeasureRecord>,
}

/// One run: one line of `runs.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The variant's name.
    pub variant: String,
    /// One line on what the variant is.
    pub summary: String,
    /// The variant's options.
    pub options: BTreeMap<String, String>,
    /// The task's name.
    pub task: String,
    /// A checksum of the data of others that the task is made of; null if it is generated.
    #[serde(default)]
    pub data: Option<String>,
    /// The length of the task's sequences, in steps.
    pub length: usize,
    /// The longest lag of the task, in steps.
    pub longest_lag: usize,
    /// The seed of weights and data.
    pub seed: u64,
    /// The number of weights, read-out included.
    pub params: usize,
    /// The number of hidden units of each layer.
    pub hidden: usize,
    /// The number of recurrent layers on top of each other.
    pub layers: usize,
    /// How the weights begin, in words.
    pub init: String,
    /// The spectral radius of every recurrent block at the start, by name.
    #[serde(with = "number::map")]
    pub spectral_radius: BTreeMap<String, f64>,
    /// The dtype: `f32`, `f64`.
    pub dtype: String,
    /// The device: `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// The number of threads of this run.
    pub threads: usize,
    /// The version of this workspace.
    pub version: String,
    /// Examples a batch.
    pub batch: usize,
    /// The learning rate at the start.
    pub lr: f64,
    /// The bound of the gradient of the weights; null if there is none.
    pub clip: Option<f64>,
    /// What that bounds: `global-norm`, `per-tensor`, `value`; `off` if there is no bound.
    #[serde(default)]
    pub clip_kind: ClipKind,
    /// Where the gradient of the states ended on its way back, in training and in profiles: `{"every": steps}` or `{"last": steps}`;
    /// null if nowhere.
    #[serde(default)]
    pub window: Option<Truncation>,
    /// How dL/dh_t was bounded on the way back, in training and in profiles: `{"value": bound}` or `{"norm": bound}`; null if not.
    #[serde(default)]
    pub state_clip: Option<HiddenGradClip>,
    /// How the network was read: `plain`, `attention`, `attention-detached`.
    #[serde(default)]
    pub readout: Readout,
    /// The weight of Pascanu's Ω in the loss; 0 for none.
    #[serde(default)]
    pub omega: f64,
    /// The weight of the soft-orthogonality penalty in the loss; 0 for none.
    #[serde(default)]
    pub orthogonality: f64,
    /// How the run ended.
    pub status: Status,
    /// The number of training steps done.
    pub steps: u64,
    /// The number of training steps allowed.
    pub max_steps: u64,
    /// Whether the task's criterion was met.
    pub solved: bool,
    /// The step of the first of the evaluations in a row that met it; null if not solved.
    pub steps_to_solve: Option<u64>,
    /// The held-out loss at the last evaluation; NaN if the run failed, or ended before there was one.
    #[serde(with = "number")]
    pub final_loss: f64,
    /// The held-out accuracy there, 0 to 1, where the task has one.
    pub accuracy: Option<f64>,
    /// The loss of the best answer that does not depend on the input.
    pub baseline: f64,
    /// What a simple method that looks at the input reaches, where the task has one: an n-gram model, the seasonal naive forecast.
    #[serde(default)]
    pub reference: Option<Reference>,
    /// The trained network on longer sequences of the same task, if asked for and the run finished.
    #[serde(default)]
    pub generalisation: Vec<Generalised>,
    /// When the task counts as solved, in three evaluations in a row; null where there is no such point, as for real data.
    pub criterion: Option<Criterion>,
    /// Gradient half-life of h in steps, top layer, at initialisation; null: no decay, or too few points to fit.
    pub half_life_h_init: Option<f64>,
    /// The same after training.
    pub half_life_h_final: Option<f64>,
    /// Gradient half-life of c, where the state has one.
    pub half_life_c_init: Option<f64>,
    /// The same after training.
    pub half_life_c_final: Option<f64>,
    /// The fit behind each half-life: by `h_init`, `h_final`, `c_init`, `c_final`.
    pub fits: BTreeMap<String, Fit>,
    /// The largest lag at which the median norm of dL/dh is at least a thousandth of that at lag 0, at initialisation; without
    /// the initial carry.
    pub horizon_init: Option<usize>,
    /// The same after training.
    pub horizon_final: Option<usize>,
    /// As `horizon_init`, with the machine epsilon of the dtype (2^-23 of f32) instead of a thousandth.
    #[serde(default)]
    pub horizon_epsilon_init: Option<usize>,
    /// The same after training.
    #[serde(default)]
    pub horizon_epsilon_final: Option<usize>,
    /// The number of lags at which at least one element of dL/dh was exactly zero or subnormal at initialisation; under a window, which
    /// makes zeros of its own, subnormal alone.
    pub underflow_lags: usize,
    /// The first of these lags; null if there is none.
    #[serde(default)]
    pub underflow_from: Option<usize>,
    /// First/last ratio of the median norm of dL/dh, over all lags of the sequence, at initialisation.
    pub grad_ratio_init: Option<f64>,
    /// The same after training.
    pub grad_ratio_final: Option<f64>,
    /// The share of training steps whose gradient was changed by the clip, 0 to 1.
    pub clipped_fraction: f64,
    /// The mean over training steps of the factor by which clipping scaled the global norm, 1 where it changed nothing.
    #[serde(default)]
    pub clip_scale: Option<f64>,
    /// The mean over training steps of the global gradient norm before the clip.
    #[serde(default)]
    pub grad_norm: Option<f64>,
    /// The same after the clip.
    #[serde(default)]
    pub grad_norm_clipped: Option<f64>,
    /// What the gradient watch had to say.
    pub warnings: Vec<String>,
    /// Wall time of the measures beyond profiles, by tier, in seconds.
    #[serde(default)]
    pub measure_seconds: BTreeMap<String, f64>,
    /// Wall time of the run, in seconds.
    pub seconds: f64,
}

/// What a trained network does on sequences of another length, all of them held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generalised {
    /// The length of the sequences, in steps; the longest, if they differ.
    pub length: usize,
    /// The mean loss.
    #[serde(with = "number")]
    pub loss: f64,
    /// The accuracy, 0 to 1, where the task has one.
    pub accuracy: Option<f64>,
    /// The loss of the best answer there that does not depend on the input.
    pub baseline: f64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It was solved, or used all of its steps.
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
    #[serde(with = "number")]
    pub loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// The global gradient norm before the clip.
    #[serde(with = "number")]
    pub grad_norm: f64,
    /// The global gradient norm after the clip; NaN at the step at which a run failed, which was not clipped.
    #[serde(with = "number")]
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
    #[serde(with = "number")]
    pub loss: f64,
    /// The accuracy, 0 to 1, where the task has one.
    pub accuracy: Option<f64>,
}

/// One measure at one moment of a run: one line of `measures.jsonl`. What each means is said in the crate `recurrent-measures`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasureRecord {
    /// The variant's name.
    pub variant: String,
    /// The seed of the run.
    pub seed: u64,
    /// The number of training steps done: 0 at initialisation.
    pub step: u64,
    /// The tier of cost.
    pub tier: Tier,
    /// The measure's name: `gate-mean`, `long-range-share`.
    pub measure: String,
    /// The layer, 0 at the bottom; null for the whole network.
    pub layer: Option<usize>,
    /// The direction: `forward`, `reverse`; null for the whole network.
    pub direction: Option<String>,
    /// Which part: a gate, a field of the state, a weight; empty for all.
    pub part: String,
    /// What `at` counts: `lag`, `window`, `step`, `exponent`, `delay`; empty for a single number.
    pub axis: String,
    /// The places of the values on that axis; empty for a single number.
    pub at: Vec<usize>,
    /// The values, one a place.
    #[serde(with = "number::list")]
    pub values: Vec<f64>,
    /// Why there is no value; null where there is.
    pub note: Option<String>,
}

/// One gradient profile: one line of `profiles.jsonl`, of the gradient that the run trains by: under its window and its bound on dL/dh_t,
/// behind which norms are exactly zero or no more than that bound. All arrays have one entry a lag, in the order of `lag`.
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
    /// The median over examples of the norm of the example's own gradient.
    #[serde(with = "number::list")]
    pub median: Vec<f64>,
    /// The lower quartile.
    #[serde(with = "number::list")]
    pub q25: Vec<f64>,
    /// The upper quartile.
    #[serde(with = "number::list")]
    pub q75: Vec<f64>,
    /// The norm of the batch-mean gradient.
    #[serde(with = "number::list")]
    pub mean: Vec<f64>,
    /// The share of elements that are exactly zero.
    pub zeros: Vec<f64>,
    /// The share of elements that are subnormal.
    pub subnormals: Vec<f64>,
}

impl ProfileRecord {
    /// The line of `profiles.jsonl` for a profile that was taken after `step` training steps of a run.
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
