//! Resuming what a folder holds: the options that it was started with, and those given now.

use anyhow::{Context, Result};
use clap::parser::ValueSource;
use clap::{CommandFactory, Parser};
use recurrent_harness::compare::stored_request;
use recurrent_harness::usage::Usage;
use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::{json, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// Options that say how a program runs, not what it computes. They may differ when it is resumed.
const RUNTIME: [&str; 10] =
    ["checkpoint_every", "csv", "jobs", "list", "out", "parquet", "plain", "quiet", "resume", "tensorboard"];

/// The options of a program as `comparison.json` keeps them, with every default filled in that depends on others.
pub(crate) fn request<A: Serialize>(program: &str, options: &A) -> Result<Value> {
    let options = serde_json::to_value(options).context("the options cannot be written")?;
    Ok(json!({ "program": program, "options": options }))
}

/// The options that a folder was started with. Runtime options that are given now take their place; others
/// may only repeat what is there.
pub(crate) fn options<A>(program: &str, folder: &Path) -> Result<A>
where
    A: Parser + CommandFactory + Serialize + DeserializeOwned,
{
    let shown = folder.display();
    let mut stored = stored_request(&first(folder)?)?;
    let found = stored["program"].as_str().unwrap_or("no program");
    if found != program {
        let line = format!("resume {shown}: expected what {program} began, found {found}");
        return Err(Usage::new(line).into());
    }
    let matches = A::command().try_get_matches().map_err(usage)?;
    let now = serde_json::to_value(A::from_arg_matches(&matches).map_err(usage)?)?;
    let options = &mut stored["options"];
    options["resume"] = Value::Null;
    options["out"] = Value::Null;
    let command = A::command();
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        let given =
            matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine);
        if !given || options[id] == now[id] {
            continue;
        }
        // An option that was left to its default may still ask for the same: the comparison finds out.
        if !RUNTIME.contains(&id) && !options[id].is_null() {
            let name = argument.get_long().unwrap_or(id);
            let line = format!("resume {shown}: --{name}: {} there, {} asked for", options[id], now[id]);
            return Err(Usage::new(line).into());
        }
        for other in command.get_arg_conflicts_with(argument) {
            let other = other.get_id().as_str();
            if !options[other].is_null() && !RUNTIME.contains(&other) {
                let (name, with) = (argument.get_long().unwrap_or(id), other.replace('_', "-"));
                let line =
                    format!("resume {shown}: --{name} {}: there is --{with} {}", now[id], options[other]);
                return Err(Usage::new(line).into());
            }
        }
        options[id] = now[id].clone();
    }
    let options = stored["options"].take();
    serde_json::from_value(options)
        .with_context(|| format!("resume {shown}: its options cannot be read back"))
}

fn usage(error: clap::Error) -> anyhow::Error {
    Usage::new(super::one_line(&error)).into()
}

/// The folder itself, or the first inside it, that holds a comparison.
fn first(folder: &Path) -> Result<PathBuf> {
    let shown = folder.display();
    let entries = fs::read_dir(folder).map_err(|_| Usage::new(format!("resume {shown}: no such folder")))?;
    let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    inside.sort();
    inside.insert(0, folder.to_path_buf());
    let holds = |folder: &PathBuf| folder.join("comparison.json").is_file();
    inside.into_iter().find(holds).ok_or_else(|| {
        Usage::new(format!("resume {shown}: expected comparison.json in it, found none")).into()
    })
}
