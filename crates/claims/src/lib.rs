//! Claims from articles about vanishing gradients, tested.
//!
//! Each claim has a prediction, an experiment that measures it, and a rule that derives the verdict
//! from the measured numbers alone.

#![forbid(unsafe_code)]

mod error;
mod experiment;
mod experiments;
mod finding;
mod numbers;
mod page;

pub use error::{Error, Result};

use experiment::Experiment;
use experiments::ClaimTest;
use finding::{ClaimVerdict, Finding};
use recurrent_harness::compare::{cores, ComparisonEvent};
use recurrent_records::dir::OutputDir;
use recurrent_tasks::usage::{nearest, ConfigError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The claims to test, and the form of the test.
#[derive(Clone, Debug, Default)]
pub struct ClaimOptions {
    /// The names of the claims; all claims if empty.
    pub only: Vec<String>,
    /// The number of seeds. Default: 5; 20 in the full form; 3 in a trial.
    pub seeds: Option<u64>,
    /// More seeds, and training on sequences of twice the length for twice as many steps.
    pub full: bool,
    /// A trial that shows that everything runs but decides nothing.
    pub quick: bool,
    /// The number of runs side by side. Default: the number of cores.
    pub jobs: Option<usize>,
    /// The command that started the test, to be written beside the results; empty if there was
    /// none.
    pub command: Vec<String>,
    /// What a program needs to resume the test, as in
    /// [`Comparison`](recurrent_harness::compare::Comparison).
    pub request: serde_json::Value,
}

/// Claims to test; the options have been checked.
pub struct ClaimPlan {
    chosen: Vec<ClaimTest>,
    seeds: u64,
    jobs: usize,
    options: ClaimOptions,
}

/// Callbacks while claims are tested.
pub struct ClaimObserver<'a> {
    /// Called when a claim begins, with its number, the number of claims, and its name.
    pub on_claim: &'a dyn Fn(usize, usize, &str),
    /// Called with the events of its comparisons.
    pub on_event: &'a (dyn Fn(ComparisonEvent) + Sync),
    /// Called with the lines to print about a finished claim.
    pub print: &'a mut dyn FnMut(&str) -> Result<()>,
}

/// The subfolder for all training runs.
pub const RUNS: &str = "runs";

/// All claims: name and text.
pub fn list() -> Vec<(&'static str, &'static str)> {
    experiments::all()
        .iter()
        .map(|experiment| (experiment.claim.id, experiment.claim.claim))
        .collect()
}

impl ClaimOptions {
    /// Checks the options before anything is written or trained.
    ///
    /// # Errors
    /// A [`ConfigError`] error in one line.
    pub fn check(self) -> Result<ClaimPlan> {
        let chosen = choose(experiments::all(), &self.only)?;
        let seeds = self.seeds.unwrap_or(match (self.full, self.quick) {
            (true, _) => 20,
            (_, true) => 3,
            _ => 5,
        });
        if !(3..=1000).contains(&seeds) {
            let line =
                format!("seeds: expected 3 to 1000, since an interval needs some, got {seeds}");
            return Err(ConfigError::new(line).into());
        }
        let jobs = self.jobs.unwrap_or_else(cores);
        if !(1..=1024).contains(&jobs) {
            return Err(ConfigError::new(format!("jobs: expected 1 to 1024, got {jobs}")).into());
        }
        Ok(ClaimPlan { chosen, seeds, jobs, options: self })
    }
}

impl ClaimPlan {
    /// Measures one claim after the other, and writes `claims.jsonl`, `claims.html` and
    /// `claims.md`, with the records of every training run in the folder [`RUNS`]. The observer
    /// receives lines on each claim, at most `width` columns wide, and all verdicts at the end.
    ///
    /// Once `cancel` is set, finished claims are kept. Training runs that the folder already holds
    /// are not repeated.
    ///
    /// # Errors
    /// The error of the observer; if something cannot be run or written.
    pub fn run(
        &self,
        folder: &OutputDir,
        cancel: &AtomicBool,
        width: usize,
        activations: ClaimObserver,
    ) -> Result<()> {
        let ClaimOptions { quick, full, ref command, ref request, .. } = self.options;
        let experiment = Experiment {
            seeds: self.seeds,
            jobs: self.jobs,
            quick,
            full,
            folder: folder.inside(RUNS)?,
            cancel,
            command: command.clone(),
            request: request.clone(),
            on_event: activations.on_event,
        };
        let about =
            page::PageInfo { seeds: self.seeds, quick, full, only: self.options.only.join(",") };
        let mut findings = Vec::new();
        for (index, test) in self.chosen.iter().enumerate() {
            (activations.on_claim)(index + 1, self.chosen.len(), test.claim.id);
            let Some(finding) = measure(test, &experiment)? else { break };
            (activations.print)(&page::terminal(index + 1, self.chosen.len(), &finding, width))?;
            findings.push(finding);
            folder.write_lines("claims.jsonl", &findings)?;
            folder.write("claims.html", page::html(&findings, &about).as_bytes())?;
            folder.write("claims.md", page::markdown(&findings, &about).as_bytes())?;
        }
        (activations.print)(&page::summary(&findings))
    }
}

/// Measures one claim; `None` if it was interrupted.
fn measure(test: &ClaimTest, experiment: &Experiment) -> Result<Option<Finding>> {
    let start = Instant::now();
    let outcome = match (test.run)(experiment) {
        Err(_) if experiment.cancel.load(Ordering::Relaxed) => return Ok(None),
        outcome => outcome?,
    };
    let id = test.claim.id;
    let mut command =
        format!("cargo run --release --example claims -- --only {id} --seeds {}", experiment.seeds);
    command += if experiment.quick {
        " --quick"
    } else if experiment.full {
        " --full"
    } else {
        ""
    };
    let (verdict, because) = match (experiment.quick, outcome.verdict.word()) {
        (true, word) => (
            ClaimVerdict::Open,
            format!("a trial, by whose numbers it would be “{word}”: {}", outcome.because),
        ),
        (false, _) => (outcome.verdict, outcome.because),
    };
    Ok(Some(Finding {
        claim: test.claim.clone(),
        command,
        seeds: experiment.all().collect(),
        measured: outcome.measured,
        verdict,
        because,
        unsolved: outcome.runs.unsolved,
        failed: outcome.runs.failed,
        seconds: start.elapsed().as_secs_f64(),
        version: env!("CARGO_PKG_VERSION"),
    }))
}

fn choose(mut all: Vec<ClaimTest>, names: &[String]) -> Result<Vec<ClaimTest>> {
    if names.is_empty() {
        return Ok(all);
    }
    let known: Vec<_> = all.iter().map(|test| test.claim.id).collect();
    let mut chosen = Vec::new();
    for name in names {
        if let Some(place) = all.iter().position(|test| test.claim.id == name) {
            chosen.push(all.remove(place));
            continue;
        }
        if known.contains(&name.as_str()) {
            return Err(ConfigError::new(format!("claim {name}: expected once, got twice")).into());
        }
        let nearest = nearest(name, known);
        let line = format!("claim {name}: no such claim; {nearest}--list shows all");
        return Err(ConfigError::new(line).into());
    }
    Ok(chosen)
}
