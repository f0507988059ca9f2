//! What is done to the gradient while a network trains.

use crate::usage::mistake;
use anyhow::Result;
use recurrent_core::{Bptt, HiddenGradClip, Truncation};
use serde::{Deserialize, Serialize};

/// What is done to the gradient while a network trains, and by which way it comes: all that can be switched on any network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Treatment {
    /// The learning rate of AdamW.
    pub lr: f64,
    /// How the gradient of the weights is bounded, after the way back.
    pub clip: Clipping,
    /// What happens to the gradient of the states on the way back: truncation, and bounds on dL/dh_t.
    pub flow: Bptt,
    /// How the network is read.
    pub readout: Readout,
    /// The weight of Pascanu's Ω in the loss; 0 for none.
    pub omega: f64,
    /// The weight of the soft-orthogonality penalty Σ ‖W Wᵀ − I‖² over the recurrent blocks in the loss; 0 for none.
    pub orthogonality: f64,
}

/// How the gradient of the weights is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clipping {
    /// Not at all.
    Off,
    /// By the norm of all gradients together.
    GlobalNorm(f64),
    /// By the norm of each tensor's gradient.
    PerTensor(f64),
    /// Element by element.
    Value(f64),
}

/// What a bound of the gradient of the weights is a bound of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClipKind {
    /// There is none.
    Off,
    /// The norm of all gradients together.
    #[default]
    GlobalNorm,
    /// The norm of each tensor's gradient.
    PerTensor,
    /// Each element.
    Value,
}

/// How a task's answer is read out of the recurrent layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readout {
    /// A linear map of the last output, or of every output, as the task reads.
    #[default]
    Plain,
    /// A linear map of the output and of an attention over the outputs of all steps up to it.
    Attention,
    /// The same, with the outputs that attention reads cut off from the graph: its gradient takes no short way through them.
    AttentionDetached,
}

/// One thing that a variant does otherwise than the rest of its comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Another learning rate.
    Lr(f64),
    /// Other clipping.
    Clip(Clipping),
    /// Other truncation.
    Truncation(Option<Truncation>),
    /// Another bound on dL/dh_t.
    HiddenGradClip(Option<HiddenGradClip>),
    /// Another read-out.
    Readout(Readout),
    /// Another weight of Ω.
    Omega(f64),
    /// Another weight of the soft-orthogonality penalty.
    Orthogonality(f64),
}

impl Default for Treatment {
    /// A learning rate of 5e-3, gradients clipped to a global norm of 1, and nothing else.
    fn default() -> Self {
        Self {
            lr: 5e-3,
            clip: Clipping::GlobalNorm(1.0),
            flow: Bptt::default(),
            readout: Readout::Plain,
            omega: 0.0,
            orthogonality: 0.0,
        }
    }
}

impl Clipping {
    /// What is bounded.
    pub fn kind(self) -> ClipKind {
        match self {
            Self::Off => ClipKind::Off,
            Self::GlobalNorm(_) => ClipKind::GlobalNorm,
            Self::PerTensor(_) => ClipKind::PerTensor,
            Self::Value(_) => ClipKind::Value,
        }
    }

    /// The bound; `None` if there is none.
    pub fn bound(self) -> Option<f64> {
        match self {
            Self::Off => None,
            Self::GlobalNorm(bound) | Self::PerTensor(bound) | Self::Value(bound) => Some(bound),
        }
    }
}

impl Treatment {
    /// The treatment with these changes, one after the other.
    #[must_use]
    pub fn with(mut self, changes: &[Change]) -> Self {
        for change in changes {
            match *change {
                Change::Lr(lr) => self.lr = lr,
                Change::Clip(clip) => self.clip = clip,
                Change::Truncation(window) => self.flow.truncation = window,
                Change::HiddenGradClip(clip) => self.flow.clip = clip,
                Change::Readout(readout) => self.readout = readout,
                Change::Omega(omega) => self.omega = omega,
                Change::Orthogonality(orthogonality) => self.orthogonality = orthogonality,
            }
        }
        self
    }

    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// In one line: what of it, what was expected, what was found.
    pub fn validate(&self) -> Result<()> {
        let state_clip = self
            .flow
            .clip
            .map(|(HiddenGradClip::Value(bound) | HiddenGradClip::Norm(bound))| bound);
        for (name, rate) in
            [("lr", Some(self.lr)), ("clip", self.clip.bound()), ("state clip", state_clip)]
        {
            if let Some(rate) = rate.filter(|rate| !(rate.is_finite() && *rate > 0.0)) {
                mistake!("{name}: expected a positive number, got {rate}");
            }
        }
        if let Some(Truncation::Every(0) | Truncation::Last(0)) = self.flow.truncation {
            mistake!("window: expected at least 1 step, got 0");
        }
        for (name, weight) in [("omega", self.omega), ("orthogonality", self.orthogonality)] {
            if !(weight.is_finite() && weight >= 0.0) {
                mistake!("{name}: expected a number of at least 0, got {weight}");
            }
        }
        Ok(())
    }
}
