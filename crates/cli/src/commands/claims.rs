//! Which claims about vanishing gradients in articles are true?
//!
//! ```text
//! recurrent claims                       # every claim, five seeds
//! recurrent claims --only forget-gate # one of them
//! recurrent claims --full             # twenty seeds, and longer lags
//! recurrent claims --help
//! ```
//!
//! For each claim, it states a prediction, measures it, and applies a rule stated beside the claim,
//! which derives the verdict from the numbers alone. It prints and writes `claims.jsonl`,
//! `claims.html` and `claims.md` to a new folder below `runs/`, with the records of every training
//! run. The exit code is 2 for a mistake in the options, 1 for a failure, and 130 after Ctrl-C,
//! which keeps the finished claims.

use crate::output::{print, width};
use crate::progress::{self, Progress, ProgressMode};
use crate::{interrupt, resume, Invocation};
use anyhow::Result;
use clap::Parser;
use recurrent_claims::{ClaimObserver, ClaimOptions, RUNS};
use recurrent_harness::compare::ComparisonEvent;
use recurrent_records::dir::OutputDir;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

/// Tests claims from articles about vanishing gradients.
#[derive(Parser, Serialize, Deserialize)]
pub(crate) struct Args {
    /// Comma-separated names of claims [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// List all claims and exit
    #[arg(long)]
    list: bool,
    /// Seeds [default: 5, with --full 20, with --quick 3]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// More seeds, and training on sequences of twice the length for twice as many steps
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// A trial that shows that everything runs but decides nothing
    #[arg(long)]
    quick: bool,
    /// Runs side by side, each on one thread [default: the number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Folder to write to, new or empty [default: runs/claims-<time>]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Resume the claims in a folder, with its options; finished training runs are not repeated
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Show progress as lines, even on a terminal
    #[arg(long)]
    plain: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

pub(crate) fn run(args: Args, invocation: &Invocation) -> Result<ExitCode> {
    let args = match &args.resume {
        Some(folder) if folder.join("comparison.json").is_file() => {
            resume::options::<Args>(folder, invocation)? // refused: it is of another program
        }
        Some(folder) => resume::options_in::<Args>(folder, &folder.join(RUNS), invocation)?,
        None => args,
    };
    if args.list {
        for (name, claim) in recurrent_claims::list() {
            print(&format!("{name:<22} {claim}"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (command, request) = (invocation.command(), invocation.request(&args)?);
    let Args { only, seeds, full, quick, jobs, .. } = args;
    let mode = match (args.quiet, args.plain) {
        (true, _) => ProgressMode::Nothing,
        (false, true) => ProgressMode::Lines,
        (false, false) => ProgressMode::Bars,
    };
    let checked = ClaimOptions { only, seeds, full, quick, jobs, command, request }.check()?;
    let cancel = interrupt::flag(progress::interrupted)?;
    let folder = match (&args.resume, &args.out) {
        (Some(path), _) => OutputDir::reopen(path)?,
        (None, Some(path)) => OutputDir::create(path)?,
        (None, None) => OutputDir::create_default("claims")?,
    };
    let progress = Progress::new(mode);
    let mut lines =
        |text: &str| print(text).map_err(|error| recurrent_claims::Error::Caller(error.into()));
    progress.during(&cancel, || {
        let on_claim = |number: usize, of: usize, name: &str| {
            progress.remark(&format!("claim {number} of {of}: {name}"));
        };
        let on_event = |event: ComparisonEvent| progress.on_event(event);
        let activations =
            ClaimObserver { on_claim: &on_claim, on_event: &on_event, print: &mut lines };
        checked.run(&folder, &cancel, width(), activations)
    })?;
    let page = folder.path().join("claims.html");
    if page.exists() {
        print(&format!("records and report: {}", page.display()))?;
    }
    if cancel.load(Ordering::Relaxed) {
        eprintln!("interrupted; continue with --resume {}", folder.path().display());
        return Ok(ExitCode::from(interrupt::INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}
