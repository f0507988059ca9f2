//! Going on with what a folder holds: its command, with the present options over it.

use crate::Invocation;
use anyhow::{bail, Context, Result};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, Parser};
use recurrent_tasks::usage::Usage;
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The options of the command that a folder's `comparison.json` names, with those that were given now in their place. Whether these ask for
/// something else, the comparison finds out.
pub(crate) fn options<A: Parser + CommandFactory>(
    folder: &Path,
    invocation: &Invocation,
) -> Result<A> {
    let there = matches::<A>(&command(folder, invocation)?)
        .with_context(|| format!("resume {}: its command cannot be read", folder.display()))?;
    let now = matches::<A>(&invocation.words)?;
    let given =
        |matches: &ArgMatches, id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut words = vec![OsString::from("resume")];
    for arg in A::command().get_arguments() {
        let (id, Some(long)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
        let from = if given(&now, id) { &now } else { &there };
        // Where it was written, and what that went on from, is no part of what was asked for.
        if !given(from, id) || (matches!(id, "out" | "resume") && !given(&now, id)) {
            continue;
        }
        let option = OsString::from(format!("--{long}"));
        if !arg.get_action().takes_values() {
            words.push(option);
            continue;
        }
        for value in from.get_raw(id).into_iter().flatten() {
            let equals = [option.as_os_str(), "=".as_ref(), value];
            words.push(equals.into_iter().collect());
        }
    }
    Ok(A::from_arg_matches(&A::command().try_get_matches_from(words).map_err(usage)?)?)
}

fn matches<A: CommandFactory>(words: &[OsString]) -> Result<ArgMatches> {
    let program = [OsString::from("resume")];
    A::command().try_get_matches_from(program.iter().chain(words)).map_err(usage)
}

fn usage(error: clap::Error) -> anyhow::Error {
    Usage::new(crate::one_line(&error)).into()
}

/// The options of the command by which a folder came about: of the comparison in it, or of one of those in folders inside.
fn command(folder: &Path, invocation: &Invocation) -> Result<Vec<OsString>> {
    let shown = folder.display();
    let entries =
        fs::read_dir(folder).map_err(|_| Usage::new(format!("resume {shown}: no such folder")))?;
    let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    inside.sort();
    let mut headers = std::iter::once(folder).chain(inside.iter().map(PathBuf::as_path));
    let Some(path) = headers
        .find_map(|folder| Some(folder.join("comparison.json")).filter(|path| path.is_file()))
    else {
        return Err(Usage::new(format!(
            "resume {shown}: expected comparison.json in it, found none"
        ))
        .into());
    };
    let header: Value = serde_json::from_slice(&fs::read(&path)?)
        .with_context(|| format!("{}: cannot be read back", path.display()))?;
    let words: Vec<String> = serde_json::from_value(header["command"].clone()).unwrap_or_default();
    let mut words = words.into_iter().skip(1);
    let program = words.next();
    if program.as_ref() != Some(&invocation.name) {
        bail!(Usage::new(format!(
            "resume {shown}: expected what {} began, found {}",
            invocation.name,
            program.as_deref().unwrap_or("no command")
        )));
    }
    Ok(words.map(OsString::from).collect())
}
