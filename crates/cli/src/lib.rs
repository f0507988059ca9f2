//! The program `recurrent`: which recurrent networks keep their gradient alive over a long lag, and
//! which of them learn the task?
//!
//! ```text
//! recurrent compare              # the adding problem over 100 steps, ten variants, three seeds
//! recurrent compare --quick      # a trial of some seconds, too short to solve the task
//! recurrent ablate               # which modifier helps?
//! recurrent sweep                # how long may a lag be?
//! recurrent report DIR DIR       # one page of several folders
//! recurrent claims               # what articles say, put to the test
//! recurrent list                 # all variants, or all modifiers
//! ```
//!
//! The exit code is 2 for a mistake in the options, 1 for a failure, and 130 after Ctrl-C, which
//! keeps finished runs.

#![forbid(unsafe_code)]

mod commands;
mod export;
pub mod interrupt;
mod modifiers;
mod options;
mod output;
mod progress;
mod resume;
mod variants;

use anyhow::{Context, Result};
use clap::error::{ContextKind, ErrorKind};
use clap::{Parser, Subcommand};
use output::first_line;
use recurrent_harness::compare::cores;
use recurrent_records::record::{RunRecord, Status};
use recurrent_tasks::usage::ConfigError;
use serde::Serialize;
use serde_json::{json, Value};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

pub use output::{print, write};
pub use variants::{from_entry, Variants};

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
    Completions(commands::generate::Completions),
    /// Print the man page, in roff
    Man,
}

/// The call of the program: a subcommand with its arguments, and the known variants.
struct Invocation {
    program: String,
    name: String,
    words: Vec<OsString>,
    variants: Variants,
}

impl Invocation {
    /// The options as `comparison.json` stores them, so that the program can resume with them.
    fn request<A: Serialize>(&self, options: &A) -> Result<Value> {
        let options = serde_json::to_value(options).context("the options cannot be written")?;
        Ok(json!({ "program": self.name, "options": options }))
    }

    /// The command as words, for the reader of the record.
    fn command(&self) -> Vec<String> {
        let words = self.words.iter().map(|word| PathBuf::from(word).display().to_string());
        [self.program.clone(), self.name.clone()].into_iter().chain(words).collect()
    }
}

/// Runs the program with the arguments of the command line.
pub fn main() -> ExitCode {
    main_with(Variants::registry())
}

/// The same with variants of your own. They get the program's options, `--resume`, modifiers of
/// training, exports and report.
///
/// ```no_run
/// use recurrent::{Layer, Lstm, LstmConfig};
/// use recurrent_cli::{main_with, Variants};
///
/// fn main() -> std::process::ExitCode {
///     let summary = "an LSTM of my own";
///     main_with(Variants::registry().and("mine", summary, |size, vb| {
///         Ok(Box::new(Lstm::new(size.input, size.hidden, &LstmConfig::default(), vb)?))
///     }))
/// }
/// ```
///
/// That program takes `compare --variants mine,mine+clip=0.5,lstm`.
pub fn main_with(variants: Variants) -> ExitCode {
    run(std::env::args_os().skip(1).collect(), variants)
}

/// The name of the program that knows these variants: a program with variants of its own has its
/// file's name.
fn program_name(variants: &Variants) -> String {
    let file = std::env::args_os().next().map(PathBuf::from);
    let own = file.as_deref().and_then(Path::file_stem).filter(|_| variants.has_own());
    own.map_or("recurrent".to_string(), |name| name.to_string_lossy().into_owned())
}

/// Runs a subcommand with the arguments of the command line: `compare --quick` for the arguments
/// `--quick` of a program named `compare`.
pub fn subcommand(name: &str) -> ExitCode {
    let words = [name.into()].into_iter().chain(std::env::args_os().skip(1)).collect();
    run(words, Variants::registry())
}

/// Runs another program: an error is printed in one line and gives its exit code.
pub fn program<A: Parser>(run: fn(A) -> Result<ExitCode>) -> ExitCode {
    match parsed::<A>(std::env::args_os().collect()) {
        Ok(args) => ended_with(run(args)),
        Err(code) => code,
    }
}

fn run(words: Vec<OsString>, variants: Variants) -> ExitCode {
    settle_threads();
    let program = match parsed::<Program>([&["recurrent".into()], &words[..]].concat()) {
        Ok(program) => program,
        Err(code) => return code,
    };
    let name = words.first().map_or(String::new(), |word| word.to_string_lossy().into_owned());
    let words = words.into_iter().skip(1).collect();
    let invocation = Invocation { program: program_name(&variants), name, words, variants };
    let ended = match program.command {
        Command::Compare(args) => commands::compare::run(args, &invocation),
        Command::Ablate(args) => commands::ablate::run(args, &invocation),
        Command::Sweep(args) => commands::sweep::run(args, &invocation),
        Command::Report(args) => commands::report::run(args, &invocation),
        Command::Claims(args) => commands::claims::run(args, &invocation),
        Command::List(args) => commands::list::run(args, &invocation),
        Command::Completions(args) => commands::generate::completions(args),
        Command::Man => commands::generate::man(),
    };
    ended_with(ended)
}

/// Sets the number of threads once. Otherwise candle reads /proc/cpuinfo before every matrix
/// product, which takes longer than the product of a small network. Results do not depend on it.
fn settle_threads() {
    const THREADS: &str = "RAYON_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() {
        // No other thread runs yet that could read the environment.
        std::env::set_var(THREADS, cores().to_string());
    }
}

/// The options, or the exit code of a mistake in them, which is printed in one line.
fn parsed<A: Parser>(words: Vec<OsString>) -> Result<A, ExitCode> {
    A::try_parse_from(words).map_err(|error| {
        if !error.use_stderr() {
            error.exit(); // help is not a mistake
        }
        match error.kind() {
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => eprint!("{error}"),
            ErrorKind::InvalidSubcommand => {
                let command = A::command();
                let known: Vec<_> = command.get_subcommands().map(|one| one.get_name()).collect();
                eprintln!("error: {}; there are {}", one_line(&error), known.join(", "));
            }
            _ => eprintln!("error: {}", one_line(&error)),
        }
        ExitCode::from(2)
    })
}

/// Prints an error in one line, and returns its exit code.
fn ended_with(ended: Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|error| {
        eprintln!("error: {}", first_line(&format!("{error:#}")));
        ExitCode::from(exit_code(&error))
    })
}

/// The exit code of a program that ends with this error: 2 for a mistake of the user, 1 for all
/// other errors.
fn exit_code(error: &anyhow::Error) -> u8 {
    let config = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<ConfigError>()
            || cause.downcast_ref::<recurrent_tasks::Error>().is_some_and(|it| it.is_config())
            || cause.downcast_ref::<recurrent_records::Error>().is_some_and(|it| it.is_config())
            || cause.downcast_ref::<recurrent_harness::Error>().is_some_and(|it| it.is_config())
            || cause.downcast_ref::<recurrent_claims::Error>().is_some_and(|it| it.is_config())
    };
    if error.chain().any(config) {
        2
    } else {
        1
    }
}

/// A mistake in the options in one line. A value that is no number reads like the errors of the
/// library; of other mistakes these are clap's first paragraphs, the mistake and a tip.
fn one_line(error: &clap::Error) -> String {
    if let Some(line) = not_a_number(error) {
        return line;
    }
    let text = error.to_string();
    let tail = |line: &&str| line.starts_with("Usage:") || line.starts_with("For more information");
    let lines = text.lines().take_while(|line| !tail(line)).map(str::trim);
    let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let text = text.replace(":; ", ": ");
    text.strip_prefix("error: ").unwrap_or(&text).to_string()
}

/// `lr: expected a number, got abc`; `None` for another mistake.
fn not_a_number(error: &clap::Error) -> Option<String> {
    use std::num::{ParseFloatError, ParseIntError};
    let source = std::error::Error::source(error)?;
    let expected = if source.is::<ParseFloatError>() {
        "a number"
    } else if source.is::<ParseIntError>() {
        "a whole number"
    } else {
        return None;
    };
    let text = |kind| error.get(kind).map(ToString::to_string);
    let (argument, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    let name = argument.trim_start_matches('-').split(' ').next()?;
    Some(format!("{name}: expected {expected}, got {value}"))
}

/// The exit code of a program that has run: interrupted, with failed runs, or successful. An
/// interrupted program can be resumed from `folder`.
pub(crate) fn ended<'a>(
    cancel: &AtomicBool,
    folder: &Path,
    runs: impl Iterator<Item = &'a RunRecord>,
) -> ExitCode {
    if cancel.load(Ordering::Relaxed) {
        eprintln!("interrupted; continue with --resume {}", folder.display());
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
