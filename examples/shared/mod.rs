//! What `compare`, `ablate` and `sweep` share: options, variants by name, and how a program ends.

#[allow(dead_code)] // not every example exports
pub(crate) mod export;
#[allow(dead_code)] // not every example can go on
pub(crate) mod resume;

use anyhow::{Context, Result};
use clap::{Args, Parser};
use recurrent::registry::{self, Entry};
use recurrent::remedy::{self, Remedy};
use recurrent_harness::compare::{cores, Comparison, Watch};
use recurrent_harness::config::{Budget, Clipping, Level, TrainingConfig, Width};
use recurrent_harness::folder::Folder;
use recurrent_harness::record::{number, RunRecord, Status};
use recurrent_harness::run::Interval;
use recurrent_harness::task::Task;
use recurrent_harness::usage::{exit_code, nearest, Usage};
use recurrent_harness::variant::{self, Variant};
use recurrent_harness::{device, interrupt, remedy as training, tasks};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{stdout, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// What is learnt, and how.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Training {
    /// adding, copy, temporal-order, mnist-rows ...; a name that is none shows all
    #[arg(long, default_value = "adding")]
    pub(crate) task: String,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed_offset: u64,
    /// Training steps at most [default: 3000 of a generated task]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Times through a data set [default: 2]
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    epochs: Option<u64>,
    /// Hidden units of every layer, instead of --params
    #[arg(long, value_name = "N")]
    hidden: Option<usize>,
    /// Weights of every network: its hidden units are chosen to come near [default: 5000, of a data set 10000, with --quick 2000]
    #[arg(long, value_name = "N", conflicts_with = "hidden")]
    params: Option<usize>,
    /// Examples a batch [default: 32]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Learning rate of AdamW [default: 0.005]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Bound of the global gradient norm, inf for none [default: 1; of ablate none]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    #[serde(with = "number::option")]
    clip: Option<f64>,
    /// f32 or f64
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Runs side by side, each on one thread [default: the number of cores, 1 on a GPU]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// How much is measured before and after training: profiles, gradients or dynamics
    #[arg(long, value_name = "TIER", default_value = "profiles")]
    measures: String,
    /// Folder or file with the data of a task that reads some: IDX files, a .ts or CSV file, a text
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Column of a CSV file to forecast [default: the last of two]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Season of the naive forecast to compare with, in rows [default: 1]
    #[arg(long, value_name = "N")]
    season: Option<usize>,
    /// Hold out a part of the training data instead of the test set: for a search
    #[arg(long)]
    validate: bool,
    /// Evaluate the trained networks on sequences of 2 and 4 times the length, too
    #[arg(long)]
    generalise: bool,
    /// Folder to write to, new or empty [default: runs/<task>-<time>]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Resume what a folder holds, with its options: what was interrupted or killed ends with the same records
    #[arg(long, value_name = "DIR")]
    pub(crate) resume: Option<PathBuf>,
    /// Training steps after which a run is saved, to go on from there [default: what is done in ten seconds]
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    /// A trial within half a minute, in which nothing is learnt
    #[arg(long)]
    pub(crate) quick: bool,
    /// Show progress in lines, also on a terminal
    #[arg(long)]
    plain: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl Training {
    /// The task, of that length if it is generated; shorter than usual for a trial.
    pub(crate) fn task(&self, length: Option<usize>) -> Result<Arc<dyn Task>> {
        let small_images = ["mnist", "fashion"].iter().any(|name| self.task.contains(name));
        let short = self.quick && self.data.is_none() && !small_images;
        let choice = tasks::Choice {
            length: length.or(short.then_some(30)),
            data: self.data.as_deref(),
            column: self.column.as_deref(),
            season: self.season,
        };
        let task = tasks::open(&self.task, &choice)?;
        match (self.validate, task.validating()) {
            (false, _) => Ok(task),
            (true, Some(validating)) => Ok(validating),
            (true, None) => {
                let why =
                    format!("validate: the task {} is generated and has no test set to spare", self.task);
                Err(Usage::new(why).into())
            }
        }
    }

    /// What is asked for, nothing of it started. `clip` holds where --clip does not say otherwise.
    pub(crate) fn comparison(
        &self,
        task: Arc<dyn Task>,
        variants: Vec<Variant>,
        seeds: u64,
        clip: Clipping,
        request: Value,
    ) -> Result<Comparison> {
        let base = match self.quick {
            true => TrainingConfig::quick(task.as_ref()),
            false => TrainingConfig::new(task.as_ref()),
        };
        let (steps, epochs) = (self.steps.map(Budget::Steps), self.epochs.map(Budget::Epochs));
        let (hidden, params) = (self.hidden.map(Width::Hidden), self.params.map(Width::Params));
        let training = TrainingConfig {
            budget: steps.or(epochs).unwrap_or(base.budget),
            width: hidden.or(params).unwrap_or(base.width),
            batch: self.batch.unwrap_or(base.batch),
            lr: self.lr.unwrap_or(base.lr),
            clip: match self.clip {
                None => clip,
                Some(f64::INFINITY) => Clipping::Off,
                Some(bound) => Clipping::GlobalNorm(bound),
            },
            measures: Level::by_name(&self.measures)?,
            generalise: self.generalise,
            dtype: device::dtype(&self.dtype)?,
            device: device::name(&device::by_name(&self.device)?),
            ..base
        };
        let jobs = self.jobs.unwrap_or(if training.device == "cpu" { cores() } else { 1 });
        let interval = self.checkpoint_every.map_or(Interval::default(), Interval::Steps);
        let watch = match (self.quiet, self.plain) {
            (true, _) => Watch::Nothing,
            (false, true) => Watch::Lines,
            (false, false) => Watch::Terminal,
        };
        let (seed_offset, command) = (self.seed_offset, command());
        Ok(Comparison {
            task,
            variants,
            training,
            seeds,
            seed_offset,
            jobs,
            interval,
            watch,
            command,
            request,
        })
    }

    /// The folder to write to.
    pub(crate) fn folder(&self) -> Result<Folder> {
        match (&self.resume, &self.out) {
            (Some(path), _) => Folder::reopen(path),
            (None, Some(path)) => Folder::create(path),
            (None, None) => Folder::create_default(&self.task),
        }
    }
}

/// The command as it was given, for the record.
pub(crate) fn command() -> Vec<String> {
    let mut words = std::env::args_os().map(|word| PathBuf::from(word).display().to_string());
    let program = words.next().map(PathBuf::from).unwrap_or_default();
    let program = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let cargo = ["cargo", "run", "--release", "--example", &program, "--"].map(String::from);
    cargo.into_iter().chain(words).collect()
}

/// Runs a program: one line for an error, and the exit code that belongs to it.
pub(crate) fn main<A: Parser>(run: fn(A) -> Result<ExitCode>) -> ExitCode {
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(help) if !help.use_stderr() => help.exit(),
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            return ExitCode::from(2);
        }
    };
    run(args).unwrap_or_else(|error| {
        eprintln!("error: {}", first_line(&format!("{error:#}")));
        ExitCode::from(exit_code(&error))
    })
}

/// The first paragraphs of a mistake in the options, up to the usage: what is wrong, and a tip.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:")).map(str::trim);
    let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    text.strip_prefix("error: ").unwrap_or(&text).to_string()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
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

/// Prints lines. Somebody who has closed the pipe has read enough, and what was written stays.
pub(crate) fn print(lines: &str) -> Result<()> {
    write(&format!("{lines}\n")).map(drop)
}

/// Prints a part of a line, at once; gives whether there still is a reader.
pub(crate) fn write(text: &str) -> Result<bool> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        ended => ended.map(|()| true).context("the standard output cannot be written"),
    }
}

/// The number of columns to print: what the environment says, else those of the terminal, else 100.
pub(crate) fn width() -> usize {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    asked.or_else(terminal).unwrap_or(100)
}

/// Lists all variants, those that `compare` takes unless told otherwise with a star; or all remedies.
pub(crate) fn list(remedies: bool) -> Result<()> {
    if !remedies {
        for Entry { name, summary, default, .. } in registry::variants() {
            print(&format!("{} {name:<24} {summary}", if default { '*' } else { ' ' }))?;
        }
        return Ok(());
    }
    for [usage, what, source] in remedy::TABLE.iter().chain(training::TABLE) {
        let source = if source.is_empty() { String::new() } else { format!(" ({source})") };
        print(&format!("  {usage:<25} {what}{source}"))?;
    }
    Ok(())
}

/// The variants of these names, in this order: those of the registry, each with remedies behind it if wanted, `lstm+chrono+clip=0.5`.
pub(crate) fn variants(names: &[String], longest_lag: usize) -> Result<Vec<Variant>> {
    let entries = registry::variants();
    let mut known: Vec<_> =
        entries.iter().map(|entry| variant(entry, &[], longest_lag)).collect::<Result<_>>()?;
    for name in names {
        let Some((base, remedies)) = name.split_once('+') else { continue };
        variant::choose(&known, &[base])?;
        let remedies: Vec<&str> = remedies.split('+').collect();
        let entry = entries.iter().find(|entry| entry.name == base);
        known.extend(entry.map(|entry| variant(entry, &remedies, longest_lag)).transpose()?);
    }
    variant::choose(&known, names)
}

/// A named variant of the zoo with remedies, for the harness, which knows none of them.
fn variant(entry: &Entry, remedies: &[&str], longest_lag: usize) -> Result<Variant> {
    let (mut name, mut spec, mut overrides) = (entry.name.to_string(), entry.spec.clone(), Vec::new());
    for text in remedies {
        let usage = |error: candle::Error| Usage::new(first_line(&error.to_string()));
        match (Remedy::parse(text).map_err(usage)?, training::parse(text)?) {
            (Some(remedy), _) => spec = remedy.apply(&name, &spec).map_err(usage)?,
            (None, Some(one)) => overrides.push(one),
            (None, None) => return Err(unknown(text).into()),
        }
        name = format!("{name}+{text}");
    }
    let spec = spec.suited(longest_lag, 0);
    Ok(Variant {
        summary: [&[entry.summary], remedies].concat().join(" + "),
        name,
        init: spec.init_words(),
        options: spec.options(),
        overrides,
        build: Arc::new(move |size, vb| {
            spec.suited(size.longest_lag, size.seed).build(size.input, size.hidden, vb)
        }),
    })
}

fn unknown(text: &str) -> Usage {
    let name = |usage: &&'static str| usage.split(['=', '[']).next().unwrap_or_default();
    let names: Vec<&str> =
        remedy::TABLE.iter().chain(training::TABLE).map(|[usage, ..]| name(usage)).collect();
    let nearest = nearest(text.split('=').next().unwrap_or_default(), names).unwrap_or("none");
    Usage::new(format!("remedy {text}: no such remedy; the nearest is {nearest}, `ablate --list` shows all"))
}
