//! The program `recurrent`: which recurrent networks keep their gradient alive over a long lag, and which of them learn the task?
//!
//! ```text
//! recurrent compare              # the adding problem over 100 steps, ten variants, three seeds
//! recurrent compare --quick      # does everything run? within half a minute
//! recurrent ablate               # which remedy helps?
//! recurrent sweep                # how long may a lag be?
//! recurrent report DIR DIR       # one page of several folders
//! recurrent claims               # what articles say, put to the test
//! recurrent list                 # all variants, or all remedies
//! ```
//!
//! The exit code is 2 for a mistake in the options, 1 for a failure, 130 after Ctrl-C, which keeps what is finished.

#![forbid(unsafe_code)]

mod commands;
mod export;
pub mod interrupt;
mod options;
mod output;
mod progress;
mod resume;
mod variants;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use output::first_line;
use recurrent_records::record::{RunRecord, Status};
use recurrent_tasks::usage::ConfigError;
use serde::Serialize;
use serde_json::{json, Value};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

pub use output::{print, write};
pub use variants::variants;

/// Trains recurrent networks side by side and reports whether their gradients survive.
#[derive(Parser)]
#[command(name = "recurrent", version, propagate_version = true)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compare(commands::compare::Args),
    Ablate(commands::ablate::Args),
    Sweep(commands::sweep::Args),
    Report(commands::report::Args),
    Claims(commands::claims::Args),
    List(commands::list::Args),
}

/// How the program was called: a subcommand with its own words.
struct Invocation {
    name: String,
    words: Vec<OsString>,
}

impl Invocation {
    /// The options as `comparison.json` keeps them, so that the program can be resumed by them.
    fn request<A: Serialize>(&self, options: &A) -> Result<Value> {
        let options = serde_json::to_value(options).context("the options cannot be written")?;
        Ok(json!({ "program": self.name, "options": options }))
    }

    /// The command in words, for the reader of the record.
    fn command(&self) -> Vec<String> {
        let words = self.words.iter().map(|word| PathBuf::from(word).display().to_string());
        ["recurrent".to_string(), self.name.clone()].into_iter().chain(words).collect()
    }
}

/// Runs the program with the words of the command line.
pub fn main() -> ExitCode {
    run(std::env::args_os().skip(1).collect())
}

/// Runs a subcommand with the words of the command line: `compare --quick` for the words `--quick` of a program named `compare`.
pub fn subcommand(name: &str) -> ExitCode {
    run([name.into()].into_iter().chain(std::env::args_os().skip(1)).collect())
}

/// Runs a program of one's own: one line for an error, and the exit code that belongs to it.
pub fn program<A: Parser>(run: fn(A) -> Result<ExitCode>) -> ExitCode {
    match parsed::<A>(std::env::args_os().collect()) {
        Ok(args) => ended_with(run(args)),
        Err(code) => code,
    }
}

fn run(words: Vec<OsString>) -> ExitCode {
    let program = match parsed::<Program>([&["recurrent".into()], &words[..]].concat()) {
        Ok(program) => program,
        Err(code) => return code,
    };
    let name = words.first().map_or(String::new(), |word| word.to_string_lossy().into_owned());
    let invocation = Invocation { name, words: words.into_iter().skip(1).collect() };
    let ended = match program.command {
        Command::Compare(args) => commands::compare::run(args, &invocation),
        Command::Ablate(args) => commands::ablate::run(args, &invocation),
        Command::Sweep(args) => commands::sweep::run(args, &invocation),
        Command::Report(args) => commands::report::run(args, &invocation),
        Command::Claims(args) => commands::claims::run(args, &invocation),
        Command::List(args) => commands::list::run(args),
    };
    ended_with(ended)
}

/// The options, or the exit code of a mistake in them, which is said in one line.
fn parsed<A: Parser>(words: Vec<OsString>) -> Result<A, ExitCode> {
    A::try_parse_from(words).map_err(|error| {
        if !error.use_stderr() {
            error.exit(); // help, which is no mistake
        }
        eprintln!("error: {}", one_line(&error));
        ExitCode::from(2)
    })
}

/// One line for an error, and the exit code that belongs to it.
fn ended_with(ended: Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|error| {
        eprintln!("error: {}", first_line(&format!("{error:#}")));
        ExitCode::from(exit_code(&error))
    })
}

/// The exit code of a program that ends with this error: 2 for a mistake of the user, 1 for everything else.
fn exit_code(error: &anyhow::Error) -> u8 {
    let config = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<ConfigError>()
            || cause.downcast_ref::<recurrent_tasks::Error>().is_some_and(|it| it.is_config())
            || cause.downcast_ref::<recurrent_records::Error>().is_some_and(|it| it.is_config())
            || cause.downcast_ref::<recurrent_harness::Error>().is_some_and(|it| it.is_config())
    };
    if error.chain().any(config) {
        2
    } else {
        1
    }
}

/// The first paragraphs of a mistake in the options, up to the usage: what is wrong, and a tip.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:")).map(str::trim);
    let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    text.strip_prefix("error: ").unwrap_or(&text).to_string()
}

/// How a program ends that was not refused: as interrupted, with failed runs, or well. What was interrupted is in `folder`, and goes on from there.
pub(crate) fn ended<'a>(
    cancel: &AtomicBool,
    folder: &Path,
    runs: impl Iterator<Item = &'a RunRecord>,
) -> ExitCode {
    if cancel.load(Ordering::Relaxed) {
        eprintln!("interrupted; go on with --resume {}", folder.display());
        return ExitCode::from(interrupt::INTERRUPTED);
    }
    let (mut all, mut failed) = (0, 0);
    for run in runs {
        all += 1;
        failed += usize::from(matches!(run.status, Status::Failed(_)));
    }
    if failed > 0 {
        eprintln!("error: {failed} of {all} runs failed, see above");
    }
    ExitCode::from(u8::from(failed > 0))
}
