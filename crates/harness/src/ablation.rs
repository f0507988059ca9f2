//! A paired ablation: one variant with and without each of several modifiers, on the same seeds.
//!
//! Base and modifiers are the variants of one comparison: they have the base's hidden size, the
//! same data at every step, and the same initial weights wherever both have a weight of that name
//! and shape. Runs of one seed are therefore a pair, and their difference is compared: see
//! [`Measure`] for the measures, [`Effect`] for the statistics of the pairs, and [`Verdict`] for
//! the rule of the verdicts.

mod tuning;

pub use crate::effects::{Effect, Findings, Measure, Tuned, Verdict, PAIRS, SIGNIFICANT};

use crate::compare::{Comparison, ComparisonEvent};
use crate::config::Width;
use crate::dir::OutputDir;
use crate::effects::{self, modifier};
use crate::error::Result;
use crate::record::Records;
use crate::size::solve;
use crate::usage::bail_config;
use std::sync::atomic::{AtomicBool, Ordering};

/// A paired ablation.
#[derive(Clone)]
pub struct Ablation {
    /// The base, which is the first variant, and the base with each modifier, named after the base,
    /// `+` and the modifier. A width given as a number of weights applies to the base; the others
    /// get its number of hidden units.
    pub comparison: Comparison,
    /// The learning rates from which each variant takes its best; if empty, the configured rate.
    pub rates: Vec<f64>,
    /// The number of seeds with which the rates are tried. They follow the seeds of the comparison
    /// and differ from them.
    pub tuning_seeds: u64,
}

/// An ablation that can be run: everything in it has been checked.
pub struct AblationPlan {
    comparison: Comparison,
    tuning: Option<Comparison>,
    rates: Vec<f64>,
}

impl Ablation {
    /// Checks everything before anything is written or trained.
    ///
    /// # Errors
    /// A [`ConfigError`](crate::usage::ConfigError) in one line: as for [`Comparison::check`]; if
    /// there is no modifier, if a modifier changes nothing, or if a rate is not positive, occurs
    /// twice or is changed by a modifier.
    pub fn check(&self) -> Result<AblationPlan> {
        let Some((base, modifiers)) = self.comparison.variants.split_first() else {
            bail_config!("variant: expected one, got none")
        };
        if modifiers.is_empty() {
            bail_config!("modifiers: expected at least one, got none");
        }
        let training = &self.comparison.training;
        for variant in modifiers {
            let Some(modifier) = modifier(&base.name, &variant.name) else {
                bail_config!(
                    "variant {}: expected a name that begins with {}+",
                    variant.name,
                    base.name
                )
            };
            let (with, without) =
                (training.with(&variant.overrides), training.with(&base.overrides));
            if !variant.overrides.is_empty()
                && variant.overrides != base.overrides
                && with == without
            {
                bail_config!("modifier {modifier} on {}: it changes nothing there", base.name);
            }
        }
        let readout = training.with(&base.overrides).readout;
        let (hidden, _) = solve(training.width, base, self.comparison.task.as_ref(), readout)?;
        let mut comparison = self.comparison.clone();
        comparison.training.width = Width::Hidden(hidden);
        comparison.check()?;
        let tuning = if self.rates.is_empty() { None } else { Some(self.tuning(&comparison)?) };
        Ok(AblationPlan { comparison, tuning, rates: self.rates.clone() })
    }
}

impl AblationPlan {
    /// Runs it, and writes the files of a comparison and `ablation.jsonl`. With several learning
    /// rates it also writes `tuning.jsonl`, and the comparison of the rates in the folder `tuning`.
    ///
    /// Once `cancel` is set, finished runs are kept, and effects are computed from the complete
    /// pairs. `on_event` receives every event.
    ///
    /// # Errors
    /// If something cannot be written.
    pub fn run(
        mut self,
        folder: &OutputDir,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(ComparisonEvent) + Sync),
    ) -> Result<Findings> {
        let mut tuned = Vec::new();
        if let Some(tuning) = &self.tuning {
            let records = tuning.check()?.run(&folder.inside("tuning")?, cancel, on_event)?;
            if !cancel.load(Ordering::Relaxed) {
                tuned = tuning::take(&self.comparison.variants, &self.rates, &records);
                tuning::switch(&mut self.comparison.variants, &tuned);
            }
            folder.write_lines("tuning.jsonl", &tuned)?;
        }
        let tuning = self.tuning.is_some() && tuned.is_empty();
        let records = match tuning {
            // It was interrupted: the runs at the best rates are not known yet.
            true => Records::default(),
            false => self.comparison.check()?.run(folder, cancel, on_event)?,
        };
        let names: Vec<&str> =
            self.comparison.variants.iter().map(|variant| variant.name.as_str()).collect();
        let effects = effects::all(&names, &records);
        folder.write_lines("ablation.jsonl", &effects)?;
        Ok(Findings { records, effects, tuned })
    }
}
