//! The configuration of a run. It is made once, written into every record, and compared when a run
//! is resumed.
//!
//! | part | content | made from |
//! |---|---|---|
//! | `task` | the task | the opened [`Task`] |
//! | `model` | the network | the variant, at its size |
//! | `training` | its training | the options, with the overrides of the variant |
//! | `seed` | the seed of weights and data | the number of the run |
//!
//! To add an option of training: add a field to [`TrainingConfig`], use it where it acts, and add
//! it to the command line. Records, comparison on resume, exports and the report follow from the
//! field.

use crate::error::Result;
use crate::task::{BatchKey, Split, Task, TaskConfig};
use crate::usage::{bail_config, line, ConfigError};
use candle_core::{DType, Device};
use recurrent_core::{Bptt, HiddenGradClip, Truncation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Batches with more input steps than this are refused as a typo: they would take gigabytes.
const LARGEST_BATCH: usize = 1_000_000_000;

/// The multiples of a task's length at which [`TrainingConfig::generalise`] evaluates.
pub const GENERALISATION_FACTORS: [usize; 2] = [2, 4];

/// The optimiser, in words. It has no options yet.
pub const OPTIMIZER: &str = "AdamW, betas 0.9 and 0.999, eps 1e-8, weight decay 0";

/// Everything that the numbers of a run depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// The version of this workspace.
    pub version: String,
    /// The task.
    pub task: TaskConfig,
    /// The network.
    pub model: ModelConfig,
    /// How it is trained, with the overrides of the variant.
    pub training: TrainingConfig,
    /// The seed of weights and data.
    pub seed: u64,
}

/// The network of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The name of the variant, with its modifiers: `lstm+chrono`.
    pub variant: String,
    /// A description in one line.
    pub summary: String,
    /// How its weights are initialised, in words: `PyTorch`, `chrono(100)`.
    pub init: String,
    /// Its options by name.
    pub options: BTreeMap<String, String>,
    /// The number of hidden units of each layer.
    pub hidden: usize,
    /// The number of recurrent layers on top of each other.
    pub layers: usize,
    /// The number of weights, read-out included.
    pub params: usize,
}

/// How a network is trained: by AdamW without weight decay, betas 0.9 and 0.999, eps 1e-8.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingConfig {
    /// How long it trains at most. Default: 3,000 steps, or two epochs of a data set.
    pub budget: Budget,
    /// How wide it is. Default: 5,000 weights, or 10,000 for a data set.
    pub width: Width,
    /// Examples a batch. Default: 32.
    pub batch: usize,
    /// The learning rate. Default: 5e-3.
    pub lr: f64,
    /// The number of warm-up steps, over which the learning rate rises linearly to `lr`. The last
    /// of them uses `lr` itself. Default: 0, no warm-up.
    pub warmup: u64,
    /// The bound on the gradient of the weights after the backward pass. Default: a global norm of
    /// 1.
    pub clip: Clipping,
    /// Where the backward pass cuts the gradient of the states, in training and in profiles.
    /// Default: nowhere.
    pub truncation: Option<Truncation>,
    /// The bound on dL/dh_t in the backward pass, in training and in profiles. Default: no bound.
    pub hidden_grad_clip: Option<HiddenGradClip>,
    /// The read-out of the recurrent layers. Default: a linear map.
    pub readout: Readout,
    /// The weight of Pascanu's Ω in the loss. Default: 0, which leaves it out.
    pub omega: f64,
    /// The weight of the soft-orthogonality penalty Σ ‖W Wᵀ − I‖² over the recurrent blocks in the
    /// loss. Default: 0, which leaves it out.
    pub orthogonality: f64,
    /// Training steps between two evaluations of a generated task. A data set is evaluated after
    /// every epoch. Default: 100.
    pub eval_every: u64,
    /// How much is measured before and after training. Default: profiles.
    pub measures: Level,
    /// Whether the trained network is also evaluated on [longer sequences](GENERALISATION_FACTORS).
    /// Default: no.
    pub generalise: bool,
    /// The largest number of held-out examples of an evaluation. Default: all.
    pub held_out: Option<usize>,
    /// The dtype of weights and data: `f32` or `f64`. Default: `f32`.
    #[serde(with = "dtype")]
    pub dtype: DType,
    /// The name of the device: `cpu`, `cuda:0`, `metal`. Default: `cpu`.
    pub device: String,
}

/// How long a run trains unless it solves its task first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// A number of training steps.
    Steps(u64),
    /// A number of passes over a data set.
    Epochs(u64),
}

/// How the number of hidden units is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Width {
    /// The width whose number of weights, read-out included, comes nearest to this number, so that
    /// variants are compared at equal cost.
    Params(usize),
    /// Every variant has this number of hidden units.
    Hidden(usize),
}

/// The bound on the gradient of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clipping {
    /// No bound.
    Off,
    /// A bound on the norm of all gradients together.
    GlobalNorm(f64),
    /// A bound on the norm of the gradient of each tensor.
    PerTensor(f64),
    /// A bound on each element.
    Value(f64),
}

/// The read-out: how the answer to a task is computed from the recurrent layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readout {
    /// A linear map of the last output, or of every output, depending on the task.
    #[default]
    Plain,
    /// A linear map of the output and of an attention over the outputs of all steps up to it.
    Attention,
    /// The same, but the outputs that attention reads are detached from the graph: no gradient
    /// takes that shortcut.
    AttentionDetached,
}

/// How much is measured; each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Values that training computes anyway, and gradient profiles.
    #[default]
    Profiles,
    /// Measures that take some more backward passes.
    Gradients,
    /// Measures that take the Jacobian of every step.
    Dynamics,
}

/// One training option that a variant changes for itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Override {
    /// The learning rate.
    Lr(f64),
    /// The bound of the gradient of the weights.
    Clip(Clipping),
    /// The truncation of the backward pass.
    Truncation(Option<Truncation>),
    /// The bound of dL/dh_t.
    HiddenGradClip(Option<HiddenGradClip>),
    /// The read-out.
    Readout(Readout),
    /// The weight of Ω.
    Omega(f64),
    /// The weight of the soft-orthogonality penalty.
    Orthogonality(f64),
}

impl RunConfig {
    /// The largest number of training steps.
    pub fn max_steps(&self) -> u64 {
        self.training.steps(self.task.examples)
    }
}

impl Default for TrainingConfig {
    /// The defaults for a generated task, as documented on each field.
    fn default() -> Self {
        Self {
            budget: Budget::Steps(3000),
            width: Width::Params(5000),
            batch: 32,
            lr: 5e-3,
            warmup: 0,
            clip: Clipping::GlobalNorm(1.0),
            truncation: None,
            hidden_grad_clip: None,
            readout: Readout::Plain,
            omega: 0.0,
            orthogonality: 0.0,
            eval_every: 100,
            measures: Level::Profiles,
            generalise: false,
            held_out: None,
            dtype: DType::F32,
            device: "cpu".to_string(),
        }
    }
}

impl TrainingConfig {
    /// The defaults for a task, as documented on each field.
    pub fn new(task: &dyn Task) -> Self {
        match task.examples() {
            None => Self::default(),
            Some(_) => {
                Self { budget: Budget::Epochs(2), width: Width::Params(10_000), ..Self::default() }
            }
        }
    }

    /// A trial that shows that everything runs, too short to solve the task. It trains on some
    /// thousand steps of sequences, which are 200 training steps of a short task and 10 of a long
    /// one, with 2,000 weights and 200 held-out examples.
    pub fn quick(task: &dyn Task) -> Self {
        let steps = (6000 / task.length().max(1) as u64).clamp(10, 200);
        Self {
            budget: Budget::Steps(steps),
            width: Width::Params(2000),
            eval_every: steps / 2,
            held_out: Some(200),
            ..Self::new(task)
        }
    }

    /// These options with the overrides of a variant, one after the other.
    #[must_use]
    pub fn with(&self, overrides: &[Override]) -> Self {
        let mut training = self.clone();
        for one in overrides {
            match *one {
                Override::Lr(lr) => training.lr = lr,
                Override::Clip(clip) => training.clip = clip,
                Override::Truncation(truncation) => training.truncation = truncation,
                Override::HiddenGradClip(clip) => training.hidden_grad_clip = clip,
                Override::Readout(readout) => training.readout = readout,
                Override::Omega(weight) => training.omega = weight,
                Override::Orthogonality(weight) => training.orthogonality = weight,
            }
        }
        training
    }

    /// The options that differ from the default, each as `name value`. Reports list a new option
    /// without a change of their own.
    pub fn changed(&self) -> Vec<String> {
        let value = |training: &Self| serde_json::to_value(training).unwrap_or_default();
        let (own, default) = (value(self), value(&Self::default()));
        let own = own.as_object().into_iter().flatten();
        let changed = own.filter(|(name, value)| default[name.as_str()] != **value);
        changed.map(|(name, value)| format!("{name} {}", words(value))).collect()
    }

    /// The truncation and the bound on dL/dh_t in the backward pass through time.
    pub fn bptt(&self) -> Bptt {
        Bptt { truncation: self.truncation, clip: self.hidden_grad_clip }
    }

    /// The largest number of training steps, for a task with a number of training examples.
    pub fn steps(&self, examples: Option<usize>) -> u64 {
        match (self.budget, examples) {
            (Budget::Steps(steps), _) => steps,
            (Budget::Epochs(epochs), Some(examples)) => {
                epochs.saturating_mul(examples as u64).div_ceil(self.batch as u64)
            }
            (Budget::Epochs(_), None) => 0, // refused by `validate`
        }
    }

    /// Whether the network is evaluated after training step `step`. The last step is always
    /// evaluated.
    pub fn evaluates(&self, examples: Option<usize>, step: u64) -> bool {
        match examples {
            None => step.is_multiple_of(self.eval_every),
            Some(examples) => {
                let epochs = |step: u64| step * self.batch as u64 / examples as u64;
                step > 0 && epochs(step) > epochs(step - 1)
            }
        }
    }

    /// The number of held-out examples of an evaluation.
    pub fn held_out(&self, task: &dyn Task) -> usize {
        self.held_out.unwrap_or(usize::MAX).min(task.held_out())
    }

    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// A one-line message that names the option, the expected value and the value found.
    pub fn validate(&self, task: &dyn Task) -> Result<()> {
        match self.budget {
            Budget::Steps(0) => bail_config!("steps: expected at least 1, got 0"),
            Budget::Epochs(0) => bail_config!("epochs: expected at least 1, got 0"),
            Budget::Epochs(_) if task.examples().is_none() => {
                bail_config!(
                    "epochs: the task {} is generated and has no epochs; use steps instead",
                    task.name()
                )
            }
            Budget::Steps(_) | Budget::Epochs(_) => {}
        }
        let counts = [
            ("batch", self.batch as u64),
            ("eval_every", self.eval_every),
            ("held_out", self.held_out.unwrap_or(1) as u64),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            bail_config!("{name}: expected at least 1, got 0");
        }
        let most = LARGEST_BATCH / task.length().max(1);
        if self.batch > most {
            let length = task.length();
            bail_config!(
                "batch: expected at most {most} examples of {length} steps, got {}",
                self.batch
            );
        }
        if task.examples().is_some() {
            // Only the data set knows how large a batch it can give.
            let first = BatchKey { split: Split::Train, seed: 0, step: 0, batch: self.batch };
            task.batch(first, DType::F32, &Device::Cpu)
                .map_err(|error| ConfigError::new(line(&error)))?;
        }
        if self.generalise && task.scaled(2).is_none() {
            bail_config!("generalise: the task {} has no longer sequences", task.name());
        }
        self.validate_gradient()?;
        match self.dtype {
            DType::F32 => {}
            DType::F64 if self.device == "metal" => bail_config!("dtype f64: metal has none"),
            DType::F64 => {}
            other => bail_config!("dtype {}: expected f32 or f64", other.as_str()),
        }
        Ok(())
    }

    /// The part of [`validate`](Self::validate) that a variant may override.
    ///
    /// # Errors
    /// As for [`validate`](Self::validate).
    pub fn validate_gradient(&self) -> Result<()> {
        let of_states = self
            .hidden_grad_clip
            .map(|(HiddenGradClip::Value(bound) | HiddenGradClip::Norm(bound))| bound);
        let positive =
            [("lr", Some(self.lr)), ("clip", self.clip.bound()), ("state clip", of_states)];
        for (name, value) in positive {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                bail_config!("{name}: expected a positive number, got {value}");
            }
        }
        if let Some(Truncation::Every(0) | Truncation::Last(0)) = self.truncation {
            bail_config!("truncation: expected at least 1 step, got 0");
        }
        for (name, weight) in [("omega", self.omega), ("orthogonality", self.orthogonality)] {
            if !(weight.is_finite() && weight >= 0.0) {
                bail_config!("{name}: expected a number of at least 0, got {weight}");
            }
        }
        Ok(())
    }
}

/// A value in words: `every 20` for a truncation.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name} {}", words(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        value => value.to_string(),
    }
}

impl Clipping {
    /// The bound, or `None` without one.
    pub fn bound(self) -> Option<f64> {
        match self {
            Self::Off => None,
            Self::GlobalNorm(bound) | Self::PerTensor(bound) | Self::Value(bound) => Some(bound),
        }
    }
}

impl Level {
    /// All levels, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Profiles, Self::Gradients, Self::Dynamics];

    /// The level called `name`.
    ///
    /// # Errors
    /// If there is no level of that name.
    pub fn by_name(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|level| level.name() == name) {
            Some(level) => Ok(level),
            None => bail_config!("measures {name}: expected profiles, gradients or dynamics"),
        }
    }

    /// The name, as on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Profiles => "profiles",
            Self::Gradients => "gradients",
            Self::Dynamics => "dynamics",
        }
    }
}

/// A dtype by its name.
mod dtype {
    use candle_core::DType;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        dtype: &DType,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(dtype.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<DType, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(|_| D::Error::custom(format!("expected a dtype, found {name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_options_are_listed() {
        assert_eq!(TrainingConfig::default().changed(), [""; 0]);
        let clip = Clipping::Value(0.5);
        let training = TrainingConfig { warmup: 5, clip, ..TrainingConfig::default() };
        assert_eq!(training.changed(), ["clip value 0.5", "warmup 5"]);
    }
}
