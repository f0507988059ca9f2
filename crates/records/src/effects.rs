//! The effects of modifiers, computed from pairs of runs with the same seed, with and without a
//! modifier.
//!
//! See [`Measure`] for the measures, [`Effect`] for the statistics of the pairs, and [`Verdict`]
//! for the rule of the verdicts.

mod effect;
mod measure;
mod verdict;

pub use effect::{all, Effect};
pub use measure::Measure;
pub use verdict::{Verdict, PAIRS, SIGNIFICANT};

use crate::record::Records;
use serde::{Deserialize, Serialize};

/// The findings of an ablation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// The records of the comparison.
    pub records: Records,
    /// One line for every modifier and measure: `ablation.jsonl`.
    pub effects: Vec<Effect>,
    /// One line for every variant and learning rate that was tried: `tuning.jsonl`.
    pub tuned: Vec<Tuned>,
}

/// A learning rate that was tried: one line of `tuning.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// The variant.
    pub variant: String,
    /// The rate.
    pub lr: f64,
    /// The seeds with which it was tried. The comparison uses other seeds.
    pub seeds: Vec<u64>,
    /// The runs that solved the task.
    pub solved: usize,
    /// The runs that failed; they count with an infinite loss.
    pub failed: usize,
    /// The median of the final held-out losses; null if it is infinite.
    pub median_loss: Option<f64>,
    /// Whether the variant was then trained with this rate: the first of the rates with the lowest
    /// median.
    pub taken: bool,
}

/// The modifier that the name of a variant contains.
pub fn modifier<'a>(base: &str, variant: &'a str) -> Option<&'a str> {
    variant.strip_prefix(base)?.strip_prefix('+').filter(|modifier| !modifier.is_empty())
}

#[cfg(test)]
mod tests;
