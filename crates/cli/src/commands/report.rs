//! One report on several comparisons: results of different machines, days, variants and tasks.
//!
//! ```text
//! recurrent report runs/adding-20250131-142233 runs/adding-20250201-091500 --out runs/both
//! recurrent report --help
//! ```
//!
//! It takes folders of `compare`, `ablate` and `sweep`, prints the tables and verdicts of each
//! task, and writes `report.html` and its plots to a new folder. With --csv, --parquet or
//! --tensorboard it also writes the records of each folder for other programs. A variant that
//! occurs in several folders is named after its folder too. The exit code is 2 for a folder that
//! holds something else.

use crate::export::Export;
use crate::output::{print, width};
use crate::Invocation;
use anyhow::Result;
use clap::Parser;
use recurrent_records::dir::OutputDir;
use recurrent_report as report;
use std::path::PathBuf;
use std::process::ExitCode;

/// Merges several comparisons into one report.
#[derive(Parser)]
pub(crate) struct Args {
    /// Folders written by compare, ablate or sweep
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Folder to write to, new or empty [default: runs/report-<time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    export: Export,
}

pub(crate) fn run(args: Args, invocation: &Invocation) -> Result<ExitCode> {
    args.export.check()?;
    let sources = report::sources(&args.folders)?;
    let folder = match &args.out {
        Some(path) => OutputDir::create(path)?,
        None => OutputDir::create_default("report")?,
    };
    report::write_merged(&sources, &invocation.command(), &folder)?;
    for source in sources.iter().filter(|_| args.export.any()) {
        args.export.write(&source.records, &folder.inside(&source.label.replace('/', "-"))?)?;
    }
    print(report::merged(&sources, width()).trim_end())?;
    print(&format!("\nreport: {}", folder.path().join("report.html").display()))?;
    Ok(ExitCode::SUCCESS)
}
