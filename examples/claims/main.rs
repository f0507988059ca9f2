//! What is true of what articles say about vanishing gradients?
//!
//! ```text
//! cargo run --release --example claims                       # every claim, five seeds
//! cargo run --release --example claims -- --only forget-gate # one of them
//! cargo run --release --example claims -- --full             # twenty seeds, and longer lags
//! cargo run --release --example claims -- --help
//! ```
//!
//! Takes each claim, states what would be measured if it were true, measures it, and lets a rule that stands beside the claim make
//! the verdict of the numbers. Prints and writes `claims.jsonl`, `claims.html` and `claims.md` to a new folder below `runs/`, with the records of
//! every training run. The exit code is 2 for a mistake in the options, 1 for a failure, 130 after Ctrl-C, which keeps the claims that are finished.

mod experiments;
mod finding;
mod lab;
mod numbers;
mod page;
#[path = "../shared/mod.rs"]
#[allow(dead_code)] // every example uses a part of it
mod shared;

use anyhow::Result;
use clap::Parser;
use experiments::Experiment;
use finding::{Finding, Verdict};
use lab::Lab;
use recurrent_harness::compare::cores;
use recurrent_harness::folder::Folder;
use recurrent_harness::interrupt;
use recurrent_harness::usage::{nearest, Usage};
use serde::{Deserialize, Serialize};
use shared::print;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Puts what articles say about vanishing gradients to the test.
#[derive(Parser, Serialize, Deserialize)]
#[command(version)]
struct Args {
    /// Names of claims with commas between them [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// List all claims, and end
    #[arg(long)]
    list: bool,
    /// Seeds [default: 5, with --full 20, with --quick 3]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// More seeds, and training on sequences of twice the length for twice as many steps
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// A trial that shows that everything runs, and decides nothing
    #[arg(long)]
    quick: bool,
    /// Runs side by side, each on one thread [default: the number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Folder to write to, new or empty [default: runs/claims-<time>]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Resume what a folder holds, with its options: no training run that has ended is repeated
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
}

/// The folder of all training runs, in that of the claims.
const RUNS: &str = "runs";

fn main() -> ExitCode {
    shared::main(claims)
}

fn claims(args: Args) -> Result<ExitCode> {
    let mut args = match &args.resume {
        Some(folder) => shared::resume::options::<Args>("claims", &folder.join(RUNS))?,
        None => args,
    };
    let all = experiments::all();
    if args.list {
        for Experiment { claim, .. } in &all {
            print(&format!("{:<22} {}", claim.id, claim.claim))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose(&all, &args.only)?;
    let seeds = *args.seeds.get_or_insert(match (args.full, args.quick) {
        (true, _) => 20,
        (_, true) => 3,
        _ => 5,
    });
    if !(3..=1000).contains(&seeds) {
        let line = format!("seeds: expected 3 to 1000, since an interval needs some, got {seeds}");
        return Err(Usage::new(line).into());
    }
    let jobs = args.jobs.unwrap_or_else(cores);
    if !(1..=1024).contains(&jobs) {
        return Err(Usage::new(format!("jobs: expected 1 to 1024, got {jobs}")).into());
    }
    let cancel = interrupt::flag()?;
    let folder = match (&args.resume, &args.out) {
        (Some(path), _) => Folder::reopen(path)?,
        (None, Some(path)) => Folder::create(path)?,
        (None, None) => Folder::create_default("claims")?,
    };
    let request = shared::resume::request("claims", &args)?;
    let lab = Lab {
        request,
        seeds,
        jobs,
        quick: args.quick,
        full: args.full,
        folder: folder.inside(RUNS)?,
        cancel: &cancel,
    };
    let about = page::About { seeds, quick: args.quick, full: args.full };
    let mut findings = Vec::new();
    for (index, experiment) in chosen.iter().enumerate() {
        let Some(finding) = measure(experiment, &lab, &args)? else { break };
        print(&page::terminal(index + 1, chosen.len(), &finding, shared::width()))?;
        findings.push(finding);
        folder.write_lines("claims.jsonl", &findings)?;
        folder.write("claims.html", page::html(&findings, &about).as_bytes())?;
        folder.write("claims.md", page::markdown(&findings, &about).as_bytes())?;
    }
    print(&page::summary(&findings))?;
    print(&format!("records and report: {}", folder.path().join("claims.html").display()))?;
    if cancel.load(Ordering::Relaxed) {
        return Ok(ExitCode::from(interrupt::INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

/// One claim; nothing if it was interrupted.
fn measure(experiment: &Experiment, lab: &Lab, args: &Args) -> Result<Option<Finding>> {
    let start = Instant::now();
    let outcome = match (experiment.run)(lab) {
        Err(_) if lab.cancel.load(Ordering::Relaxed) => return Ok(None),
        outcome => outcome?,
    };
    let id = experiment.claim.id;
    let mut command = format!("cargo run --release --example claims -- --only {id} --seeds {}", lab.seeds);
    command += if args.quick {
        " --quick"
    } else if args.full {
        " --full"
    } else {
        ""
    };
    let (verdict, because) = match (lab.quick, outcome.verdict.word()) {
        (true, word) => {
            (Verdict::Open, format!("a trial, by whose numbers it would be “{word}”: {}", outcome.because))
        }
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

fn choose<'a>(all: &'a [Experiment], names: &[String]) -> Result<Vec<&'a Experiment>> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let Some(experiment) = all.iter().find(|experiment| experiment.claim.id == name) else {
            let known = all.iter().map(|experiment| experiment.claim.id);
            let nearest = nearest(name, known).unwrap_or("none");
            return Err(Usage::new(format!(
                "claim {name}: no such claim; the nearest is {nearest}, --list shows all"
            ))
            .into());
        };
        if chosen.iter().any(|other: &&Experiment| other.claim.id == name) {
            return Err(Usage::new(format!("claim {name}: expected once, got twice")).into());
        }
        chosen.push(experiment);
    }
    Ok(chosen)
}
