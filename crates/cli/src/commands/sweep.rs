//! How long may a lag be? The share of runs that solve a task, by its length, and the longest lag
//! that each variant bridges.
//!
//! ```text
//! recurrent sweep --variants lstm,lstm+chrono,gru --lengths 25,50,100,200 --seeds 5
//! recurrent sweep --help
//! ```
//!
//! It prints a table and the maximum dependency length of every variant: the longest task length
//! such that it and all shorter lengths are solved by the share of runs given by --probability. It
//! writes a comparison for every length, `sweep.jsonl`, `maximum.jsonl` and `sweep.html` to a new
//! folder below `runs/`. Exit codes and Ctrl-C are those of `compare`.

use crate::commands::list;
use crate::export::Export;
use crate::options::{Training, NETWORKS, TASK};
use crate::output::{print, width};
use crate::{ended, interrupt, progress, resume, Invocation};
use anyhow::Result;
use clap::Parser;
use recurrent_harness::sweep::Sweep;
use recurrent_records::config::TrainingConfig;
use recurrent_records::dir::OutputDir;
use recurrent_records::record::Records;
use recurrent_report as report;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

const SEEDS: &str =
    "Runs of each variant at each length, one per seed [default: 5, with --quick 1]";

/// Trains recurrent networks on a task of increasing length, and reports the longest that each of
/// them solves.
#[derive(Parser, Serialize, Deserialize)]
#[command(mut_arg("seeds", |seeds| seeds.help(SEEDS)))]
pub(crate) struct Args {
    /// Comma-separated names, optionally with modifiers: lstm+chrono+clip=0.5
    #[arg(long, value_delimiter = ',', default_value = "vanilla,lstm,lstm-chrono,gru", help_heading = NETWORKS)]
    variants: Vec<String>,
    /// Comma-separated, increasing lengths of a generated task in steps [default: 25,50,100,200,
    /// with --quick 10,20]
    #[arg(long, value_name = "T", value_delimiter = ',', help_heading = TASK)]
    lengths: Vec<usize>,
    /// The share of runs that must solve the task
    #[arg(long, value_name = "P", default_value_t = 0.8, help_heading = TASK)]
    #[arg(allow_negative_numbers = true)]
    probability: f64,
    #[command(flatten)]
    #[serde(flatten)]
    training: Training,
    #[command(flatten)]
    #[serde(flatten)]
    export: Export,
}

pub(crate) fn run(args: Args, invocation: &Invocation) -> Result<ExitCode> {
    let mut args = match &args.training.resume {
        Some(folder) => resume::options::<Args>(folder, invocation)?,
        None => args,
    };
    if args.training.list {
        return list::variants(invocation);
    }
    args.export.check()?;
    let quick = args.training.quick;
    if args.lengths.is_empty() {
        args.lengths = if quick { vec![10, 20] } else { vec![25, 50, 100, 200] };
    }
    let seeds = *args.training.seeds.get_or_insert(if quick { 1 } else { 5 });
    let (clip, request) = (TrainingConfig::default().clip, invocation.request(&args)?);
    let training = &args.training;
    let comparison = |length: &usize| {
        let task = training.task(Some(*length))?;
        let variants = invocation.variants.choose(&args.variants, task.longest_lag())?;
        training.comparison(task, variants, seeds, clip, invocation, request.clone())
    };
    let comparisons = args.lengths.iter().map(comparison).collect::<Result<_>>()?;
    let sweep = Sweep { comparisons, probability: args.probability };
    sweep.check()?;
    let cancel = interrupt::flag(progress::interrupted)?;
    let folder = training.folder()?;
    let progress = training.progress().with_length();
    let mut finished = |records: &Records, folder: &OutputDir| {
        report::write(records, folder)?;
        args.export.write(records, folder).map_err(Into::into)
    };
    let findings = progress.during(&cancel, || {
        sweep.run(&folder, &cancel, &|event| progress.on_event(event), &mut finished)
    })?;
    report::write_sweep(&findings, &invocation.command(), &folder)?;
    print(report::sweep(&findings, width()).trim_end())?;
    print(&format!("\nrecords and report: {}", folder.path().join("sweep.html").display()))?;
    Ok(ended(&cancel, folder.path(), findings.runs.iter()))
}
