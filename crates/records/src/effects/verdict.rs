//! The verdict on an effect.

use super::Effect;
use serde::{Deserialize, Serialize};

/// The verdict on an effect, by this rule alone:
///
/// 1. Fewer than [`PAIRS`] pairs, or steps to solve where neither variant solved the task with any
///    seed: **not enough evidence**.
/// 2. The interval lies on one side of 0, the p-value of the sign flips is at most [`SIGNIFICANT`],
///    and the effect is at least the measure's margin: **helps** or **hurts**.
/// 3. The interval lies within ± the margin: **no effect shown**.
/// 4. Otherwise **not enough evidence**: the effect may be chance, or an effect that matters may be
///    hidden.
///
/// There is no correction for the number of modifiers and measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The measure is better with the modifier.
    Helps,
    /// The measure is worse with the modifier.
    Hurts,
    /// The effect, if any, is smaller than the margin.
    NoEffectShown,
    /// The data do not decide.
    NotEnoughEvidence,
}

/// The smallest number of pairs for a verdict. With four pairs the p-value is at least 0.125, even
/// if all differences have the same sign.
pub const PAIRS: usize = 5;

/// The largest p-value of a verdict; five differences of one sign have 0.0625.
pub const SIGNIFICANT: f64 = 0.1;

impl Verdict {
    /// The verdict in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Helps => "helps",
            Self::Hurts => "hurts",
            Self::NoEffectShown => "no effect shown",
            Self::NotEnoughEvidence => "not enough evidence",
        }
    }

    /// Applies the rule.
    pub(super) fn of(effect: &Effect) -> Self {
        let (Some(size), Some(low), Some(high), Some(p)) =
            (effect.effect, effect.low, effect.high, effect.p)
        else {
            return Self::NotEnoughEvidence;
        };
        let unsolved = effect.base_solved + effect.modifier_solved == 0;
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
