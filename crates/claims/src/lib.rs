//! What is true of what articles say about vanishing gradients?
//!
//! Takes each claim, states what would be measured if it were true, measures it, and lets a rule that stands beside the claim make
//! the verdict of the numbers.

#![forbid(unsafe_code)]

mod experiments;
mod finding;
mod lab;
mod numbers;
mod page;

use anyhow::Result;
use experiments::Experiment;
use finding::{Finding, Verdict};
use lab::Lab;
use recurrent_harness::compare::cores;
use recurrent_records::dir::OutputDir;
use recurrent_tasks::usage::{nearest, ConfigError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Which claims are put to the test, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The names of claims; all if there are none.
    pub only: Vec<String>,
    /// The number of seeds, by default 5, in the full form 20, in a trial 3.
    pub seeds: Option<u64>,
    /// More seeds, and training on sequences of twice the length for twice as many steps.
    pub full: bool,
    /// A trial that shows that everything runs, and decides nothing.
    pub quick: bool,
    /// The number of runs side by side, by default that of the cores.
    pub jobs: Option<usize>,
    /// The command that asked for it, to be written beside the results; empty if there was none.
    pub command: Vec<String>,
    /// What a program needs to ask for it again, as in [`Comparison`](recurrent_harness::compare::Comparison).
    pub request: serde_json::Value,
}

/// Claims that can be put to the test: everything that was asked for has been looked at.
pub struct ClaimsPlan {
    chosen: Vec<Experiment>,
    seeds: u64,
    jobs: usize,
    options: Options,
}

/// The folder of all training runs, in that of the claims.
pub const RUNS: &str = "runs";

/// All claims: the name of each, and what articles say.
pub fn list() -> Vec<(&'static str, &'static str)> {
    experiments::all()
        .iter()
        .map(|experiment| (experiment.claim.id, experiment.claim.claim))
        .collect()
}

impl Options {
    /// Looks at everything before anything is written or trained.
    ///
    /// # Errors
    /// A [`ConfigError`] error in one line.
    pub fn check(self) -> Result<ClaimsPlan> {
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
        Ok(ClaimsPlan { chosen, seeds, jobs, options: self })
    }
}

impl ClaimsPlan {
    /// Measures one claim after the other, and writes `claims.jsonl`, `claims.html` and `claims.md`, with the records of every training run in
    /// the folder [`RUNS`]. `said` gets lines on each, at most `width` columns wide, and at the end all verdicts.
    ///
    /// Once `cancel` is set, the claims that are finished are kept. Training runs that the folder holds already are not repeated.
    ///
    /// # Errors
    /// That of `said`; if something cannot be run or written.
    pub fn run(
        &self,
        folder: &OutputDir,
        cancel: &AtomicBool,
        width: usize,
        said: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let Options { quick, full, ref command, ref request, .. } = self.options;
        let lab = Lab {
            seeds: self.seeds,
            jobs: self.jobs,
            quick,
            full,
            folder: folder.inside(RUNS)?,
            cancel,
            command: command.clone(),
            request: request.clone(),
        };
        let about = page::About { seeds: self.seeds, quick, full };
        let mut findings = Vec::new();
        for (index, experiment) in self.chosen.iter().enumerate() {
            let Some(finding) = measure(experiment, &lab)? else { break };
            said(&page::terminal(index + 1, self.chosen.len(), &finding, width))?;
            findings.push(finding);
            folder.write_lines("claims.jsonl", &findings)?;
            folder.write("claims.html", page::html(&findings, &about).as_bytes())?;
            folder.write("claims.md", page::markdown(&findings, &about).as_bytes())?;
        }
        said(&page::summary(&findings))
    }
}

/// One claim; nothing if it was interrupted.
fn measure(experiment: &Experiment, lab: &Lab) -> Result<Option<Finding>> {
    let start = Instant::now();
    let outcome = match (experiment.run)(lab) {
        Err(_) if lab.cancel.load(Ordering::Relaxed) => return Ok(None),
        outcome => outcome?,
    };
    let id = experiment.claim.id;
    let mut command =
        format!("cargo run --release --example claims -- --only {id} --seeds {}", lab.seeds);
    command += if lab.quick {
        " --quick"
    } else if lab.full {
        " --full"
    } else {
        ""
    };
    let (verdict, because) = match (lab.quick, outcome.verdict.word()) {
        (true, word) => (
            Verdict::Open,
            format!("a trial, by whose numbers it would be “{word}”: {}", outcome.because),
        ),
        (false, _) => (outcome.verdict, outcome.because),
    };
    Ok(Some(Finding {
        claim: experiment.claim.clone(),
        command,
        seeds: lab.all().collect(),
        measured: outcome.measured,
        verdict,
        because,
        unsolved: outcome.runs.unsolved,
        failed: outcome.runs.failed,
        seconds: start.elapsed().as_secs_f64(),
        version: env!("CARGO_PKG_VERSION"),
    }))
}

fn choose(mut all: Vec<Experiment>, names: &[String]) -> Result<Vec<Experiment>> {
    if names.is_empty() {
        return Ok(all);
    }
    let known: Vec<_> = all.iter().map(|experiment| experiment.claim.id).collect();
    let mut chosen = Vec::new();
    for name in names {
        if let Some(place) = all.iter().position(|experiment| experiment.claim.id == name) {
            chosen.push(all.remove(place));
            continue;
        }
        if known.contains(&name.as_str()) {
            return Err(ConfigError::new(format!("claim {name}: expected once, got twice")).into());
        }
        let nearest = nearest(name, known).unwrap_or("none");
        let line =
            format!("claim {name}: no such claim; the nearest is {nearest}, --list shows all");
        return Err(ConfigError::new(line).into());
    }
    Ok(chosen)
}
