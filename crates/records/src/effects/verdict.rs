//! What an effect allows to say.

use super::Effect;
use serde::{Deserialize, Serialize};

/// What an effect allows to say, by this rule and nothing else:
///
/// 1. Fewer than [`PAIRS`] pairs, or steps to solve where neither variant solved the task with any
///    seed: **not enough evidence**.
/// 2. The interval lies on one side of 0, the p-value of the sign flips is at most [`SIGNIFICANT`],
///    and the effect is at least the measure's margin: **helps** or **hurts**.
/// 3. The interval lies within ± the margin: **no effect shown**.
/// 4. Else **not enough evidence**: what is there may as well be chance, and an effect that matters
///    may be hidden.
///
/// Nothing is corrected for the number of remedies and measures that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is better with the remedy.
    Helps,
    /// It is worse.
    Hurts,
    /// Whatever it does is less than matters.
    NoEffectShown,
    /// It cannot be told.
    NotEnoughEvidence,
}

/// The least number of pairs for a verdict. Of fewer, not even differences of one sign are
/// unlikely: with four, the p-value is 0.125 at best.
pub const PAIRS: usize = 5;

/// The largest p-value of an effect; that of five differences of one sign is 0.0625.
pub const SIGNIFICANT: f64 = 0.1;

impl Verdict {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Helps => "helps",
            Self::Hurts => "hurts",
            Self::NoEffectShown => "no effect shown",
            Self::NotEnoughEvidence => "not enough evidence",
        }
    }

    /// By the rule.
    pub(super) fn of(effect: &Effect) -> Self {
        let (Some(size), Some(low), Some(high), Some(p)) =
            (effect.effect, effect.low, effect.high, effect.p)
        else {
            return Self::NotEnoughEvidence;
        };
        let unsolved = effect.base_solved + effect.remedy_solved == 0;
        if effect.pairs < PAIRS || (effect.measure == super::Measure::StepsToSolve && unsolved) {
            Self::NotEnoughEvidence
        } else if (low > 0.0 || high < 0.0) && p <= SIGNIFICANT && size.abs() >= effect.margin {
            if (size < 0.0) == effect.measure.lower_is_better() {
                Self::Helps
            } else {
                Self::Hurts
            }
        } else if -effect.margin < low && high < effect.margin {
            Self::NoEffectShown
        } else {
            Self::NotEnoughEvidence
        }
    }
}
