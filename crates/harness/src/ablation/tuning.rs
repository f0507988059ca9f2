//! Finds a learning rate for every variant, because a comparison at one rate would be unfair.

use super::{Ablation, Tuned};
use crate::compare::Comparison;
use crate::config::Override;
use crate::error::Result;
use crate::record::{Records, RunRecord, Status};
use crate::statistics::median;
use crate::usage::bail_config;
use crate::variant::Variant;

impl Ablation {
    /// The comparison of the learning rates. For a data set, it holds out a part of the training
    /// set.
    pub(super) fn tuning(&self, comparison: &Comparison) -> Result<Comparison> {
        for (index, rate) in self.rates.iter().enumerate() {
            if !(rate.is_finite() && *rate > 0.0) {
                bail_config!("lrs: expected positive numbers, got {rate}");
            }
            if self.rates[..index].contains(rate) {
                bail_config!("lrs: expected each rate once, got {rate} twice");
            }
        }
        let sets_rate =
            |variant: &&Variant| variant.overrides.iter().any(|one| matches!(one, Override::Lr(_)));
        if let Some(variant) = comparison.variants.iter().find(sets_rate) {
            bail_config!("lrs: {} sets its learning rate itself", variant.name);
        }
        let mut tuning = comparison.clone();
        // The test set of a data set must not influence the choice.
        if let Some(task) = comparison.task.validation_split() {
            tuning.task = task;
        }
        tuning.variants = comparison
            .variants
            .iter()
            .flat_map(|variant| self.rates.iter().map(|rate| with(variant, *rate)))
            .collect();
        tuning.seeds = self.tuning_seeds;
        tuning.seed_offset = comparison.seed_offset.saturating_add(comparison.seeds);
        tuning.check()?;
        Ok(tuning)
    }
}

/// The variant at a learning rate.
fn with(variant: &Variant, rate: f64) -> Variant {
    let mut variant = variant.clone();
    variant.name = format!("{}+lr={rate}", variant.name);
    variant.overrides.push(Override::Lr(rate));
    variant
}

/// The results of every variant at every rate.
pub(super) fn take(variants: &[Variant], rates: &[f64], records: &Records) -> Vec<Tuned> {
    variants.iter().flat_map(|variant| of(variant, rates, &records.runs)).collect()
}

fn of(variant: &Variant, rates: &[f64], runs: &[RunRecord]) -> Vec<Tuned> {
    let loss = |run: &&RunRecord| match run.status {
        Status::Failed(_) => f64::INFINITY,
        _ if run.outcome.final_loss.is_finite() => run.outcome.final_loss,
        _ => f64::INFINITY,
    };
    let mut tried: Vec<Tuned> = Vec::with_capacity(rates.len());
    for &lr in rates {
        let name = with(variant, lr).name;
        let of_rate: Vec<&RunRecord> =
            runs.iter().filter(|run| run.config.model.variant == name).collect();
        let losses: Vec<f64> = of_rate.iter().map(loss).collect();
        tried.push(Tuned {
            variant: variant.name.clone(),
            lr,
            seeds: of_rate.iter().map(|run| run.config.seed).collect(),
            solved: of_rate.iter().filter(|run| run.outcome.solved).count(),
            failed: of_rate.iter().filter(|run| matches!(run.status, Status::Failed(_))).count(),
            median_loss: median(&losses).filter(|loss| loss.is_finite()),
            taken: false,
        });
    }
    let place = |tuned: &Tuned| tuned.median_loss.unwrap_or(f64::INFINITY);
    let best = tried
        .iter()
        .enumerate()
        .min_by(|a, b| place(a.1).total_cmp(&place(b.1)))
        .map(|(index, _)| index);
    if let Some(best) = best {
        tried[best].taken = true;
    }
    tried
}

/// Gives every variant the rate that was taken.
pub(super) fn switch(variants: &mut [Variant], tuned: &[Tuned]) {
    for variant in variants {
        if let Some(taken) = tuned.iter().find(|tuned| tuned.taken && tuned.variant == variant.name)
        {
            variant.overrides.push(Override::Lr(taken.lr));
        }
    }
}
