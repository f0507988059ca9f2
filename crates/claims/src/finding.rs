//! What comes out of one claim: the fields of a line of `claims.jsonl`.

use serde::Serialize;

/// A claim as articles make it, put so that it can fail.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Claim {
    /// Its name on the command line, and the anchor of its section in the documents.
    pub(crate) id: &'static str,
    /// What articles say.
    pub(crate) claim: &'static str,
    /// What would be measured if it were true.
    pub(crate) prediction: &'static str,
    /// What was run.
    pub(crate) experiment: &'static str,
    /// The rule that makes the verdict out of the measured numbers.
    pub(crate) rule: &'static str,
    /// What others measured.
    pub(crate) literature: &'static [Citation],
}

/// What others say or measured, and where it stands.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Citation {
    pub(crate) paper: &'static str,
    pub(crate) says: &'static str,
    /// Whether the text was read for this; otherwise it is told from memory, and should be looked
    /// up before it is quoted.
    pub(crate) read: bool,
}

impl Citation {
    pub(crate) const fn read(paper: &'static str, says: &'static str) -> Self {
        Self { paper, says, read: true }
    }

    pub(crate) const fn remembered(paper: &'static str, says: &'static str) -> Self {
        Self { paper, says, read: false }
    }
}

/// A measured number, with an interval over seeds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    #[serde(serialize_with = "number")]
    pub(crate) value: f64,
    #[serde(serialize_with = "number")]
    pub(crate) low: f64,
    #[serde(serialize_with = "number")]
    pub(crate) high: f64,
    /// What the value and the interval are: a median and a range, a mean difference and its
    /// bootstrap interval.
    pub(crate) kind: &'static str,
    /// The number of seeds.
    pub(crate) seeds: usize,
}

/// What a claim's rule makes of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClaimVerdict {
    Supported,
    Refuted,
    /// True under the condition with which the reason begins.
    TrueOnlyIf,
    /// The numbers of this experiment do not tell.
    Open,
}

/// A claim with what was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    #[serde(flatten)]
    pub(crate) claim: Claim,
    /// The command that measures this claim alone.
    pub(crate) command: String,
    pub(crate) seeds: Vec<u64>,
    pub(crate) measured: Vec<Measured>,
    /// What the rule makes of the numbers; of a trial always `open`.
    pub(crate) verdict: ClaimVerdict,
    /// Why, in words and numbers.
    pub(crate) because: String,
    /// Runs that ended without having solved their task, and are in the numbers all the same.
    pub(crate) unsolved: usize,
    /// Those of them that failed, with a NaN for instance; their loss counts as if nothing was
    /// learnt.
    pub(crate) failed: usize,
    pub(crate) seconds: f64,
    pub(crate) version: &'static str,
}

impl ClaimVerdict {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Refuted => "refuted",
            Self::TrueOnlyIf => "true only if",
            Self::Open => "not decided here",
        }
    }
}

/// As everywhere in the records: JSON has no infinity, so what is not finite is a string.
fn number<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        value if value.is_finite() => serializer.serialize_f64(*value),
        value if value.is_nan() => serializer.serialize_str("NaN"),
        value if *value > 0.0 => serializer.serialize_str("Infinity"),
        _ => serializer.serialize_str("-Infinity"),
    }
}
