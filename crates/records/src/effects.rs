//! The effects of remedies: what pairs of runs with the same seed, with and without a remedy, have
//! to say.
//!
//! See [`Measure`] for what is measured, [`Effect`] for what becomes of the pairs, [`Verdict`] for
//! the rule of the verdicts.

mod effect;
mod measure;
mod verdict;

pub use effect::{all, Effect};
pub use measure::Measure;
pub use verdict::{Verdict, PAIRS, SIGNIFICANT};

use crate::record::Records;
use serde::{Deserialize, Serialize};

/// What an ablation has found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// The records of the comparison.
    pub records: Records,
    /// A line for every remedy and measure: `ablation.jsonl`.
    pub effects: Vec<Effect>,
    /// A line for every variant and learning rate that was tried: `tuning.jsonl`.
    pub tuned: Vec<Tuned>,
}

/// A learning rate that was tried: one line of `tuning.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// The variant.
    pub variant: String,
    /// The rate.
    pub lr: f64,
    /// The seeds with which it was tried, none of which is among those of the comparison.
    pub seeds: Vec<u64>,
    /// The runs that solved the task.
    pub solved: usize,
    /// The runs that failed, which count with an infinite loss.
    pub failed: usize,
    /// The median of the held-out losses at the end; null if it is infinite.
    pub median_loss: Option<f64>,
    /// Whether the variant was then trained with it: of the rates with the lowest median, the
    /// first.
    pub taken: bool,
}

/// The remedy of a variant, as its name says.
pub fn remedy<'a>(base: &str, variant: &'a str) -> Option<&'a str> {
    variant.strip_prefix(base)?.strip_prefix('+').filter(|remedy| !remedy.is_empty())
}

#[cfg(test)]
mod tests;
