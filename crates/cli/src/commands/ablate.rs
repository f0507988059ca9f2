//! Which modifier helps? One variant with and without each of several modifiers, on the same seeds,
//! data and initial weights.
//!
//! ```text
//! recurrent ablate --variant lstm --modifiers clip,forget-bias=1,chrono,layernorm,residual
//! recurrent list --modifiers   # all modifiers
//! recurrent ablate --help
//! ```
//!
//! It prints the effect of every modifier on half-life, horizon, steps to solve and final loss,
//! each with a confidence interval and a verdict by a stated rule. It writes all records,
//! `ablation.jsonl` and `ablation.html` to a new folder below `runs/`. The base is trained without
//! any clipping unless --clip is given, because clipping is one of the modifiers. Exit codes and
//! Ctrl-C are those of `compare`.

use crate::commands::list;
use crate::export::Export;
use crate::options::{TaskLength, Training, NETWORKS, TRAINING};
use crate::output::{print, width};
use crate::{ended, interrupt, progress, resume, Invocation};
use anyhow::Result;
use clap::Parser;
use recurrent_harness::ablation::Ablation;
use recurrent_records::config::Clipping;
use recurrent_report as report;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// Clipping is one of the modifiers here, so nothing is clipped by default.
const CLIP: &str = "Bound on the global gradient norm [default: no bound, unlike compare]";

/// A verdict needs five pairs of runs.
const SEEDS: &str = "Runs of the base and of each modifier, one per seed; fewer than 5 give no \
    verdict [default: 5]";
const LIST: &str = "List all modifiers and exit";

/// Trains a recurrent network with and without each of several modifiers, and reports their
/// effects.
#[derive(Parser, Serialize, Deserialize)]
#[command(mut_arg("list", |list| list.help(LIST)))]
#[command(mut_arg("seeds", |seeds| seeds.help(SEEDS)))]
#[command(mut_arg("clip", |clip| clip.help(CLIP)))]
pub(crate) struct Args {
    /// The base, optionally with modifiers that all runs share: lstm+chrono
    #[arg(long, default_value = "lstm", help_heading = NETWORKS)]
    variant: String,
    /// Comma-separated modifiers, each switched on alone; a plus joins two of them:
    /// clip,chrono+layernorm
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "clip,forget-bias=1,chrono,layernorm,residual"
    , help_heading = NETWORKS)]
    modifiers: Vec<String>,
    #[command(flatten)]
    #[serde(flatten)]
    task: TaskLength,
    /// Comma-separated learning rates: base and modifiers each take their best, tried with other
    /// seeds
    #[arg(long, value_name = "X", value_delimiter = ',', help_heading = TRAINING)]
    #[arg(allow_negative_numbers = true)]
    lrs: Vec<f64>,
    /// Number of seeds with which --lrs are tried
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = TRAINING)]
    tuning_seeds: u64,
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
        return list::modifiers();
    }
    args.export.check()?;
    let task = args.training.task(args.task.length)?;
    let base = std::iter::once(args.variant.clone());
    let names: Vec<_> = base
        .chain(args.modifiers.iter().map(|modifier| format!("{}+{modifier}", args.variant)))
        .collect();
    let variants = invocation.variants.choose(&names, task.longest_lag())?;
    let seeds = *args.training.seeds.get_or_insert(5);
    let (clip, request) = (Clipping::Off, invocation.request(&args)?);
    let comparison = args.training.comparison(task, variants, seeds, clip, invocation, request)?;
    let ablation = Ablation { comparison, rates: args.lrs, tuning_seeds: args.tuning_seeds };
    let checked = ablation.check()?;
    let cancel = interrupt::flag(progress::interrupted)?;
    let folder = args.training.folder()?;
    let progress = args.training.progress();
    let findings = progress
        .during(&cancel, || checked.run(&folder, &cancel, &|event| progress.on_event(event)))?;
    report::write_ablation(&findings, &invocation.command(), &folder)?;
    args.export.write(&findings.records, &folder)?;
    print(report::ablation(&findings, width()).trim_end())?;
    print(&format!("\nrecords and report: {}", folder.path().join("ablation.html").display()))?;
    Ok(ended(&cancel, folder.path(), findings.records.runs.iter()))
}
