//! The effect of a modifier on a measure.

use super::{modifier, Measure, Verdict};
use crate::record::{Records, RunRecord, Status};
use crate::statistics::{mean, mean_interval, median, sign_flip, LEVEL};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The effect of a modifier on a measure: one line of `ablation.jsonl`.
///
/// Two runs of base and modifier with the same seed form a pair. Each pair gives one difference,
/// modifier minus base: of |ρ| for half-lives, of the logarithm for the loss. `null` means that
/// there is no such number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// The task's name.
    pub task: String,
    /// The length of its sequences, in steps.
    pub length: usize,
    /// The variant without the modifier.
    pub base: String,
    /// The modifier, as written by the user.
    pub modifier: String,
    /// The measure.
    pub measure: Measure,
    /// The unit of the medians and the effect.
    pub unit: String,
    /// Whether a negative effect is an improvement.
    pub lower_is_better: bool,
    /// The median of the base over the pairs; for half-lives, the median of ρ with its sign.
    pub base_median: Option<f64>,
    /// The same with the modifier.
    pub modifier_median: Option<f64>,
    /// ln 2 / ρ for the base's median, in steps; null without decay.
    pub base_half_life: Option<f64>,
    /// The same with the modifier.
    pub modifier_half_life: Option<f64>,
    /// The mean difference over the pairs.
    pub effect: Option<f64>,
    /// The lower end of its confidence interval ([`mean_interval`]); null for fewer than three
    /// pairs.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// The confidence level of the interval.
    pub level: f64,
    /// The two-sided p-value of the sign-flip test ([`sign_flip`]).
    pub p: Option<f64>,
    /// Whether all sign flips were enumerated.
    pub p_exact: Option<bool>,
    /// The smallest difference that matters.
    pub margin: f64,
    /// The number of pairs.
    pub pairs: usize,
    /// The seeds of pairs that cannot be compared: a run failed or was interrupted, or its gradient
    /// has too few points for a fit.
    pub left_out: Vec<u64>,
    /// The number of runs of the base that were not interrupted.
    pub base_runs: usize,
    /// The number of runs with the modifier that were not interrupted.
    pub modifier_runs: usize,
    /// The runs of the base that solved the task.
    pub base_solved: usize,
    /// The runs with the modifier that solved it.
    pub modifier_solved: usize,
    /// The runs of the base that failed.
    pub base_failed: usize,
    /// The runs with the modifier that failed.
    pub modifier_failed: usize,
    /// The learning rate of the base.
    pub base_lr: f64,
    /// The learning rate with the modifier.
    pub modifier_lr: f64,
    /// The verdict.
    pub verdict: Verdict,
}

/// Every measure of every modifier. The first of `variants` is the base. Measures that no run has
/// are left out.
pub fn all(variants: &[&str], records: &Records) -> Vec<Effect> {
    let of = |name: &str| -> Vec<&RunRecord> {
        records.runs.iter().filter(|run| run.config.model.variant == name).collect()
    };
    let Some((base, others)) = variants.split_first() else { return Vec::new() };
    let without = of(base);
    let effects = others
        .iter()
        .filter_map(|other| Some((modifier(base, other)?, of(other))))
        .flat_map(|(modifier, with)| {
            let without = &without;
            Measure::ALL
                .into_iter()
                .filter_map(move |measure| {
                    Arms { without, with: &with }.effect(base, modifier, measure)
                })
                .collect::<Vec<_>>()
        });
    effects.collect()
}

/// The runs without a modifier and those with it.
struct Arms<'a> {
    without: &'a [&'a RunRecord],
    with: &'a [&'a RunRecord],
}

impl Arms<'_> {
    fn effect(&self, base: &str, modifier: &str, measure: Measure) -> Option<Effect> {
        let (first, other) = (self.without.first()?, self.with.first()?);
        if measure == Measure::StepsToSolve && first.config.task.criterion.is_none() {
            return None;
        }
        let worst = self.worst();
        let value = |run: &RunRecord| measure.value(run, worst);
        let by_seed: BTreeMap<u64, &RunRecord> =
            self.with.iter().map(|run| (run.config.seed, *run)).collect();
        let (mut left_out, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
        for run in self.without {
            let Some(other) = by_seed.get(&run.config.seed) else { continue };
            match (value(run), value(other)) {
                (Some(one), Some(two)) => {
                    before.push(one);
                    after.push(two);
                }
                _ => left_out.push(run.config.seed),
            }
        }
        let pairs = before.iter().zip(&after);
        let differences: Vec<f64> =
            pairs.map(|(before, after)| measure.scale(*after) - measure.scale(*before)).collect();
        // The seed is fixed, so that two effects with the same differences have the same interval.
        let (interval, flips) = (mean_interval(&differences, 0), sign_flip(&differences, 0));
        let (base_median, modifier_median) = (median(&before), median(&after));
        let half_life = |rate: Option<f64>| match measure {
            Measure::DecayInit | Measure::DecayFinal => {
                rate.filter(|rate| *rate > 0.0).map(|rate| std::f64::consts::LN_2 / rate)
            }
            _ => None,
        };
        let mut effect = Effect {
            task: first.config.task.name.clone(),
            length: first.config.task.length,
            base: base.to_string(),
            modifier: modifier.to_string(),
            measure,
            unit: measure.unit().to_string(),
            lower_is_better: measure.lower_is_better(),
            base_half_life: half_life(base_median),
            modifier_half_life: half_life(modifier_median),
            base_median,
            modifier_median,
            effect: mean(&differences),
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            level: LEVEL,
            p: flips.map(|flips| flips.p),
            p_exact: flips.map(|flips| flips.exact),
            margin: measure.margin(first),
            pairs: differences.len(),
            left_out,
            base_runs: ended(self.without),
            modifier_runs: ended(self.with),
            base_solved: solved(self.without),
            modifier_solved: solved(self.with),
            base_failed: failed(self.without),
            modifier_failed: failed(self.with),
            base_lr: first.config.training.lr,
            modifier_lr: other.config.training.lr,
            verdict: Verdict::NotEnoughEvidence,
        };
        effect.verdict = Verdict::of(&effect);
        Some(effect)
    }

    /// The loss of a failed run: the largest of both variants, or the baseline if that is larger.
    fn worst(&self) -> f64 {
        let runs = self.without.iter().chain(self.with);
        let losses = runs
            .flat_map(|run| [run.outcome.final_loss, run.config.task.baseline])
            .filter(|loss| loss.is_finite());
        losses.fold(f64::NEG_INFINITY, f64::max)
    }
}

fn ended(runs: &[&RunRecord]) -> usize {
    runs.iter().filter(|run| run.status != Status::Stopped).count()
}

fn solved(runs: &[&RunRecord]) -> usize {
    runs.iter().filter(|run| run.outcome.solved).count()
}

fn failed(runs: &[&RunRecord]) -> usize {
    runs.iter().filter(|run| matches!(run.status, Status::Failed(_))).count()
}
