//! How long may a lag be? The share of runs that solve a task, over its length, and the longest that each variant bridges.
//!
//! ```text
//! cargo run --release --example sweep -- --variants lstm,lstm+chrono,gru --lengths 25,50,100,200 --seeds 5
//! cargo run --release --example sweep -- --help
//! ```
//!
//! It prints a table and the maximum dependency length of every variant: the longest task such that it and all shorter ones are solved by the share
//! of runs that --probability says. It writes a comparison for every length, `sweep.jsonl`, `maximum.jsonl` and `sweep.html` to a new folder
//! below `runs/`. Exit codes and Ctrl-C are those of `compare`.

mod shared;

use anyhow::Result;
use clap::Parser;
use recurrent_harness::config::TrainingConfig;
use recurrent_harness::sweep::Sweep;
use recurrent_harness::{interrupt, report};
use serde::{Deserialize, Serialize};
use shared::resume;
use shared::{command, list, print, variants, Training};
use std::process::ExitCode;

/// Trains recurrent networks on a task of rising length, and reports the longest that each of them solves.
#[derive(Parser, Serialize, Deserialize)]
#[command(version)]
struct Args {
    /// Names with commas between them, with remedies if wanted: lstm+chrono+clip=0.5
    #[arg(long, value_delimiter = ',', default_value = "vanilla,lstm,lstm-chrono,gru")]
    variants: Vec<String>,
    /// List all variants, and end
    #[arg(long)]
    list: bool,
    /// Lengths of a generated task in steps, rising, with commas between them [default: 25,50,100,200, with --quick 10,20]
    #[arg(long, value_name = "T", value_delimiter = ',')]
    lengths: Vec<usize>,
    /// The share of runs that has to solve the task
    #[arg(long, value_name = "P", default_value_t = 0.8, allow_negative_numbers = true)]
    probability: f64,
    /// Runs of each variant at each length, with seeds of their own [default: 5, with --quick 1]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    #[command(flatten)]
    training: Training,
}

fn main() -> ExitCode {
    shared::main(sweep)
}

fn sweep(args: Args) -> Result<ExitCode> {
    let mut args = match &args.training.resume {
        Some(folder) => resume::options::<Args>("sweep", folder)?,
        None => args,
    };
    if args.list {
        list(false)?;
        return Ok(ExitCode::SUCCESS);
    }
    let quick = args.training.quick;
    if args.lengths.is_empty() {
        args.lengths = if quick { vec![10, 20] } else { vec![25, 50, 100, 200] };
    }
    let seeds = *args.seeds.get_or_insert(if quick { 1 } else { 5 });
    let request = resume::request("sweep", &args)?;
    let training = &args.training;
    let comparison = |length: &usize| {
        let task = training.task(Some(*length))?;
        let variants = variants(&args.variants, task.longest_lag())?;
        training.comparison(task, variants, seeds, TrainingConfig::default().clip, request.clone())
    };
    let comparisons = args.lengths.iter().map(comparison).collect::<Result<_>>()?;
    let sweep = Sweep { comparisons, probability: args.probability };
    sweep.check()?;
    let cancel = interrupt::flag()?;
    let folder = training.folder()?;
    let findings = sweep.run(&folder, &cancel)?;
    report::write_sweep(&findings, &command(), &folder)?;
    print(report::sweep(&findings, shared::width()).trim_end())?;
    print(&format!("\nrecords and report: {}", folder.path().join("sweep.html").display()))?;
    Ok(shared::ended(&cancel, folder.path(), findings.runs.iter()))
}
