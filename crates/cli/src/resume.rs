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
    let shown = folder.display();
    let mut stored = stored_request(&first(folder)?)?;
    let (program, found) =
        (&invocation.name, stored["program"].as_str().unwrap_or("nothing known"));
    if found != program {
        let line = format!("resume {shown}: expected what {program} began, found {found}");
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
            let line =
                format!("resume {shown}: --{name}: {} there, {} asked for", options[id], now[id]);
            return Err(ConfigError::new(line).into());
        }
        let others = command.get_arg_conflicts_with(argument).into_iter().filter(|_| conflicts);
        for other in others.map(|other| other.get_id().as_str()) {
            if !options[other].is_null() {
                let other_name = other.replace('_', "-");
                let line = format!(
                    "resume {shown}: --{name} {}: there is --{other_name} {}",
                    now[id], options[other]
                );
                return Err(ConfigError::new(line).into());
            }
        }
        options[id] = now[id].clone();
    }
    serde_json::from_value(options)
        .with_context(|| format!("resume {shown}: its options cannot be read back"))
}

fn usage(error: clap::Error) -> anyhow::Error {
    ConfigError::new(crate::one_line(&error)).into()
}

/// The folder itself, or the first folder inside it that holds a comparison.
fn first(folder: &Path) -> Result<PathBuf> {
    let shown = folder.display();
    let entries = fs::read_dir(folder)
        .map_err(|_| ConfigError::new(format!("resume {shown}: no such folder")))?;
    let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    inside.sort();
    inside.insert(0, folder.to_path_buf());
    let holds = |folder: &PathBuf| folder.join("comparison.json").is_file();
    inside.into_iter().find(holds).ok_or_else(|| {
        ConfigError::new(format!("resume {shown}: expected comparison.json in it, found none"))
            .into()
    })
}
