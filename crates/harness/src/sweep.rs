//! How long may a lag be? One comparison for every length of a task, and the longest length that
//! each variant still solves.

pub use crate::solve_rates::{Findings, MaximumLength, SolveRate};

use crate::compare::{Comparison, ComparisonEvent};
use crate::dir::OutputDir;
use crate::error::{Error, Result};
use crate::record::{Records, RunRecord};
use crate::solve_rates::findings;
use crate::usage::bail_config;
use std::sync::atomic::{AtomicBool, Ordering};

/// The error type of a caller's function.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Comparisons of the same variants on a task of increasing length.
#[derive(Clone)]
pub struct Sweep {
    /// A comparison for every length.
    pub comparisons: Vec<Comparison>,
    /// The share of runs that must solve the task.
    pub probability: f64,
}

impl Sweep {
    /// Checks everything before anything is written or trained.
    ///
    /// # Errors
    /// A [`ConfigError`](crate::usage::ConfigError) in one line: as for [`Comparison::check`]; if
    /// lengths do not increase, if the task has no criterion, or if the probability is not above 0
    /// and at most 1.
    pub fn check(&self) -> Result<()> {
        if self.comparisons.is_empty() {
            bail_config!("lengths: expected at least one, got none");
        }
        if !(self.probability > 0.0 && self.probability <= 1.0) {
            bail_config!(
                "probability: expected a number above 0 and up to 1, got {}",
                self.probability
            );
        }
        let lengths: Vec<usize> =
            self.comparisons.iter().map(|comparison| comparison.task.length()).collect();
        if let Some(pair) = lengths.windows(2).find(|pair| pair[0] >= pair[1]) {
            bail_config!("lengths: expected increasing numbers, got {} after {}", pair[1], pair[0]);
        }
        for comparison in &self.comparisons {
            if comparison.task.criterion().is_none() {
                bail_config!(
                    "task {}: it has no point at which it is solved",
                    comparison.task.name()
                );
            }
            comparison.check()?;
        }
        Ok(())
    }

    /// Runs the comparisons from the shortest to the longest, each in its own folder, `length-25`,
    /// and writes `sweep.jsonl` and `maximum.jsonl`. `on_event` receives every event. `finished`
    /// receives the records and the folder of each finished length, for instance to write a report.
    ///
    /// Once `cancel` is set, finished runs are kept, and lengths that have not begun are left out.
    ///
    /// # Errors
    /// As for [`Sweep::check`]; the error of `finished`; if something cannot be written.
    pub fn run(
        &self,
        folder: &OutputDir,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(ComparisonEvent) + Sync),
        finished: &mut dyn FnMut(&Records, &OutputDir) -> Result<(), BoxError>,
    ) -> Result<Findings> {
        self.check()?;
        let mut all: Vec<RunRecord> = Vec::new();
        for comparison in &self.comparisons {
            if cancel.load(Ordering::Relaxed) {
                break;
            }
            let own = folder.inside(&format!("length-{}", comparison.task.length()))?;
            let records: Records = comparison.check()?.run(&own, cancel, on_event)?;
            finished(&records, &own).map_err(Error::Caller)?;
            all.extend(records.runs);
        }
        let names = self.comparisons.iter().flat_map(|comparison| &comparison.variants);
        let mut variants: Vec<&str> = Vec::new();
        for variant in names {
            if !variants.contains(&variant.name.as_str()) {
                variants.push(&variant.name);
            }
        }
        let findings = findings(&variants, all, self.probability);
        folder.write_lines("sweep.jsonl", &findings.rates)?;
        folder.write_lines("maximum.jsonl", &findings.maxima)?;
        Ok(findings)
    }
}
