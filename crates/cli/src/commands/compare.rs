//! Which recurrent networks keep their gradient alive over a long lag, and which of them learn the
//! task?
//!
//! ```text
//! recurrent compare              # the adding problem over 100 steps, ten variants, three seeds
//! recurrent compare --quick      # a trial of some seconds, too short to solve the task
//! recurrent compare --resume runs/adding-20250131-142233   # continues a killed or interrupted one
//! recurrent compare --help
//! ```
//!
//! It prints a table, a plot of the gradient norms against the lag, and a verdict on every variant,
//! and writes all records and `report.html` to a new folder below `runs/`. It ends within 8 minutes
//! on two cores. The exit code is 2 for a mistake in the options, 1 for a failure, and 130 after
//! Ctrl-C, which keeps finished runs and still writes the report. `--resume` continues the rest,
//! and the final records are those of an uninterrupted comparison.

use crate::commands::list;
use crate::export::Export;
use crate::options::{TaskLength, Training, NETWORKS};
use crate::output::{print, width};
use crate::{ended, interrupt, progress, resume, Invocation};
use anyhow::Result;
use clap::Parser;
use recurrent_records::config::TrainingConfig;
use recurrent_report as report;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// Trains recurrent networks side by side and reports whether their gradients survive.
#[derive(Parser, Serialize, Deserialize)]
pub(crate) struct Args {
    #[command(flatten)]
    #[serde(flatten)]
    task: TaskLength,
    /// Comma-separated names, optionally with modifiers: lstm+chrono+clip=0.5 [default: those
    /// marked in --list]
    #[arg(long, value_delimiter = ',', help_heading = NETWORKS)]
    variants: Vec<String>,
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
    let task = args.training.task(args.task.length)?;
    if args.variants.is_empty() {
        args.variants = invocation.variants.defaults();
    }
    let variants = invocation.variants.choose(&args.variants, task.longest_lag())?;
    let seeds = *args.training.seeds.get_or_insert(if args.training.quick { 1 } else { 3 });
    let (clip, request) = (TrainingConfig::default().clip, invocation.request(&args)?);
    let comparison = args.training.comparison(task, variants, seeds, clip, invocation, request)?;
    let checked = comparison.check()?;
    let cancel = interrupt::flag(progress::interrupted)?;
    let folder = args.training.folder()?;
    let progress = args.training.progress();
    let records = progress
        .during(&cancel, || checked.run(&folder, &cancel, &|event| progress.on_event(event)))?;
    report::write(&records, &folder)?;
    args.export.write(&records, &folder)?;
    print(report::terminal(&records, width()).trim_end())?;
    print(&format!("\nrecords and report: {}", folder.path().join("report.html").display()))?;
    Ok(ended(&cancel, folder.path(), records.runs.iter()))
}
