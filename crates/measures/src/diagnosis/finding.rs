//! The findings of a diagnosis.

use super::suggestions::Advice;
use crate::json::number;
use recurrent_core::LayerId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A fault that keeps a network from learning, or may do so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its severity.
    pub severity: Severity,
    /// Its kind.
    pub kind: FindingKind,
    /// The recurrent layer; `None` for a finding on parameters or on the whole network.
    #[serde(with = "layer", default)]
    pub layer_id: Option<LayerId>,
    /// The gate, for a finding on a gate.
    pub gate: Option<String>,
    /// The names of the parameters, for a finding on parameters.
    pub parameters: Vec<String>,
    /// The numbers behind it.
    pub measured: Vec<Evidence>,
    /// The observation in words, and why it matters.
    pub why: String,
    /// The suggestions, the most promising first.
    pub suggestions: Vec<Suggestion>,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The batches do not show enough.
    Note,
    /// The network learns less well.
    Warning,
    /// Part of the network does not learn at all, or numbers are not finite.
    Severe,
}

/// The kinds of findings; the table in [the module](super) has the rule of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The loss or a gradient is NaN or infinite.
    NotFinite,
    /// Parameters have no gradient: the graph is cut, or the loss does not depend on them.
    CutGraph,
    /// No gradient reaches a layer.
    Unreached,
    /// The gradient grows along time.
    ExplodesAlongTime,
    /// The gradient vanishes along time, within the lags that the data needs.
    VanishesAlongTime,
    /// The gradient is cut off, from one step to the next, within the lags that the data needs.
    EndsAlongTime,
    /// The gradient falls out of the range of its dtype within the lags that the data needs.
    Underflows,
    /// A lower layer's gradient is far larger than the top layer's.
    ExplodesAlongDepth,
    /// A lower layer's gradient is far smaller than the top layer's.
    VanishesAlongDepth,
    /// A gate is shut in most units, and should not be.
    ShutGate,
    /// Most values of the state lie where tanh is flat.
    SaturatedState,
    /// Units have an output that never changes.
    DeadUnits,
    /// The gradient of parameters is exactly zero.
    ZeroGradient,
    /// The sequences are shorter than the lags that the data needs.
    ShortSequences,
}

/// A measured number with its unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(with = "number")]
    pub value: f64,
    /// Its unit: `steps`, `units`; `1` for a share or a ratio.
    pub unit: String,
}

/// A suggestion of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Its name, as on the command line.
    pub name: String,
    /// Its effect, in a few words.
    pub effect: String,
    /// The section of this repository's documents with the measurement of the effect, if any.
    pub evidence: Option<String>,
}

impl Finding {
    pub(super) fn new(kind: FindingKind, severity: Severity, why: String) -> Self {
        Self {
            severity,
            kind,
            layer_id: None,
            gate: None,
            parameters: Vec::new(),
            measured: Vec::new(),
            why,
            suggestions: Vec::new(),
        }
    }

    pub(super) fn at(self, layer_id: LayerId) -> Self {
        Self { layer_id: Some(layer_id), ..self }
    }

    pub(super) fn measured(mut self, name: &str, value: f64, unit: &str) -> Self {
        self.measured.push(Evidence { name: name.to_string(), value, unit: unit.to_string() });
        self
    }

    pub(super) fn advice(self, advice: Advice) -> Self {
        Self { suggestions: advice.suggestions(), ..self }
    }

    /// The number with this name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.measured.iter().find(|measured| measured.name == name).map(|measured| measured.value)
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFinite => "numbers are not finite",
            Self::CutGraph => "parameters without a gradient",
            Self::Unreached => "no gradient reaches the layer",
            Self::ExplodesAlongTime => "the gradient explodes along time",
            Self::VanishesAlongTime => "the gradient vanishes along time",
            Self::EndsAlongTime => "the gradient is cut off along time",
            Self::Underflows => "the gradient underflows",
            Self::ExplodesAlongDepth => "the gradient explodes along depth",
            Self::VanishesAlongDepth => "the gradient vanishes along depth",
            Self::ShutGate => "a gate is shut",
            Self::SaturatedState => "the state is saturated",
            Self::DeadUnits => "units are dead",
            Self::ZeroGradient => "parameters whose gradient is zero",
            Self::ShortSequences => "sequences too short to tell",
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Severe => "SEVERE",
        })
    }
}

/// A layer id in words: `layer 0`, `layer 1 in reverse`.
pub(super) fn words(layer_id: LayerId) -> String {
    format!("layer {}{}", layer_id.layer, if layer_id.reverse { " in reverse" } else { "" })
}

/// A layer id in JSON: `{"layer": 0, "reverse": false}`, or null.
pub(super) mod layer {
    use recurrent_core::LayerId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct JsonLayerId {
        layer: usize,
        reverse: bool,
    }

    pub(in super::super) fn serialize<S: Serializer>(
        layer_id: &Option<LayerId>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        layer_id.map(|LayerId { layer, reverse }| JsonLayerId { layer, reverse }).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<LayerId>, D::Error> {
        Ok(Option::<JsonLayerId>::deserialize(from)?
            .map(|JsonLayerId { layer, reverse }| LayerId { layer, reverse }))
    }
}
