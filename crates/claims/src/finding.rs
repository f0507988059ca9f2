//! The result of one claim: the fields of a line of `claims.jsonl`.

use serde::Serialize;

/// A claim from articles, phrased so that it can fail.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Claim {
    /// Its name on the command line, and the anchor of its section in the documentation.
    pub(crate) id: &'static str,
    /// The statement in articles.
    pub(crate) claim: &'static str,
    /// The measurement that would be expected if it were true.
    pub(crate) prediction: &'static str,
    /// The experiment that was run.
    pub(crate) experiment: &'static str,
    /// The rule that derives the verdict from the measured numbers.
    pub(crate) rule: &'static str,
    /// Results of other authors.
    pub(crate) literature: &'static [Citation],
}

/// A statement or result of other authors, and its source.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Citation {
    pub(crate) paper: &'static str,
    pub(crate) says: &'static str,
    /// Whether the text was read for this. Otherwise it is quoted from memory and should be looked
    /// up before it is quoted again.
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
    /// The kind of value and interval: a median and a range, or a mean difference and its bootstrap
    /// interval.
    pub(crate) kind: &'static str,
    /// The number of seeds.
    pub(crate) seeds: usize,
}

/// The verdict of a claim's rule on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClaimVerdict {
    Supported,
    Refuted,
    /// True under the condition at the beginning of the reason.
    TrueOnlyIf,
    /// The numbers of this experiment do not decide.
    Open,
}

/// A claim with its measurements.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    #[serde(flatten)]
    pub(crate) claim: Claim,
    /// The command that measures this claim alone.
    pub(crate) command: String,
    pub(crate) seeds: Vec<u64>,
    pub(crate) measured: Vec<Measured>,
    /// The verdict of the rule; always `open` for a trial.
    pub(crate) verdict: ClaimVerdict,
    /// The reason, in words and numbers.
    pub(crate) because: String,
    /// Runs that ended without solving their task. They still count in the numbers.
    pub(crate) unsolved: usize,
    /// Those of them that failed, for instance with a NaN. Their loss counts as if the network had
    /// learnt nothing.
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

/// As in all records, non-finite numbers are strings, because JSON has no infinity.
fn number<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        value if value.is_finite() => serializer.serialize_f64(*value),
        value if value.is_nan() => serializer.serialize_str("NaN"),
        value if *value > 0.0 => serializer.serialize_str("Infinity"),
        _ => serializer.serialize_str("-Infinity"),
    }
}
