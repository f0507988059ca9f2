//! Resuming a folder: the options with which it was started, and those given now.

use crate::Invocation;
use anyhow::{Context, Result};
use clap::parser::ValueSource;
use clap::Parser;
use recurrent_harness::compare::stored_request;
use recurrent_tasks::usage::ConfigError;
use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Options that affect how a program runs, but not its results. They may differ when it is resumed.
const RUNTIME: [&str; 10] = [
    "checkpoint_every",
    "csv",
    "jobs",
    "list",
    "out",
    "parquet",
    "plain",
    "quiet",
    "resume",
    "tensorboard",
];

/// The options with which a folder was started. Runtime options given now replace the stored ones;
/// other options may only repeat them.
///
/// # Errors
/// A [`ConfigError`] if the folder holds nothing that this program began, or if an option given now
/// contradicts it.
pub(crate) fn options<A>(folder: &Path, invocation: &Invocation) -> Result<A>
where
    A: Parser + Serialize + DeserializeOwned,
{
    options_in(folder, folder, invocation)
}

/// The same of a folder whose comparisons are in `comparisons`, which is inside it.
///
/// # Errors
/// As for [`options`].
pub(crate) fn options_in<A>(folder: &Path, comparisons: &Path, invocation: &Invocation) -> Result<A>
where
    A: Parser + Serialize + DeserializeOwned,
{
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(ConfigError::new(format!("resume {shown}: no such folder")).into());
    }
    let first = first(comparisons).ok_or_else(|| {
        let expected = format!("expected a folder of {}", invocation.name);
        ConfigError::new(format!("resume {shown}: {expected}, found no comparison.json in it"))
    })?;
    let mut stored = stored_request(&first)?;
    let (program, found) =
        (&invocation.name, stored["program"].as_str().unwrap_or("another program"));
    if found != program {
        let line = format!("resume {shown}: expected a folder of {program}, found one of {found}");
        return Err(ConfigError::new(line).into());
    }
    let words = [&[OsString::from(program)], &invocation.words[..]].concat();
    let command = A::command();
    let matches = A::command().try_get_matches_from(words).map_err(usage)?;
    let now = serde_json::to_value(A::from_arg_matches(&matches).map_err(usage)?)?;
    let mut options = stored["options"].take();
    (options["resume"], options["out"]) = (Value::Null, Value::Null);
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        let given = matches.value_source(id) == Some(ValueSource::CommandLine);
        if !given || options[id] == now[id] {
            continue;
        }
        let (name, conflicts) = (argument.get_long().unwrap_or(id), !RUNTIME.contains(&id));
        // An option left at its default may still request the same; the comparison checks that.
        if conflicts && !options[id].is_null() {
            let (expected, got) = (option_text(&options[id]), option_text(&now[id]));
            let line =
                format!("resume {shown}: expected --{name} {expected} as at its start, got {got}");
            return Err(ConfigError::new(line).into());
        }
        let others = command.get_arg_conflicts_with(argument).into_iter().filter(|_| conflicts);
        for other in others.map(|other| other.get_id().as_str()) {
            if !options[other].is_null() {
                let other_name = other.replace('_', "-");
                let (expected, got) = (option_text(&options[other]), option_text(&now[id]));
                let line = format!(
                    "resume {shown}: expected --{other_name} {expected} as at its start, got \
                     --{name} {got}"
                );
                return Err(ConfigError::new(line).into());
            }
        }
        options[id] = now[id].clone();
    }
    serde_json::from_value(options)
        .with_context(|| format!("resume {shown}: its options cannot be read back"))
}

/// The value of an option as on the command line: `lstm,gru`.
fn option_text(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().map(option_text).collect::<Vec<_>>().join(","),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn usage(error: clap::Error) -> anyhow::Error {
    ConfigError::new(crate::one_line(&error)).into()
}

/// The folder itself, or the first folder inside it that holds a comparison.
fn first(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    inside.sort();
    inside.insert(0, folder.to_path_buf());
    let holds = |folder: &PathBuf| folder.join("comparison.json").is_file();
    inside.into_iter().find(holds)
}
