//! Runs the program, and reads its output and files.

use anyhow::{Context, Result};
use recurrent_testkit::program;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use recurrent_testkit::program::Ended;

/// The features of this build.
pub(crate) const CUDA: bool = cfg!(feature = "cuda");
pub(crate) const METAL: bool = cfg!(feature = "metal");

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_recurrent");

/// The command `before recurrent compare args` in a folder.
pub(crate) fn command(before: &str, folder: &Path, args: &str) -> Command {
    command_of("compare", before, folder, args)
}

fn command_of(name: &str, before: &str, folder: &Path, args: &str) -> Command {
    let mut words = before.split_whitespace().map(PathBuf::from).collect::<Vec<_>>();
    words.extend([PROGRAM.into(), name.into()]);
    program::command(&words, folder, args)
}

/// Runs `compare args` in a folder.
pub(crate) fn compare(folder: &Path, args: &str) -> Result<Ended> {
    Ended::of(&mut command("", folder, args))
}

/// Runs `ablate args` in a folder.
pub(crate) fn ablate(folder: &Path, args: &str) -> Result<Ended> {
    Ended::of(&mut command_of("ablate", "", folder, args))
}

/// The command `before recurrent claims args` in a folder.
pub(crate) fn claims_command(before: &str, folder: &Path, args: &str) -> Command {
    command_of("claims", before, folder, args)
}

/// Runs `claims args` in a folder.
pub(crate) fn claims(folder: &Path, args: &str) -> Result<Ended> {
    Ended::of(&mut claims_command("", folder, args))
}

/// Runs `sweep args` in a folder.
pub(crate) fn sweep(folder: &Path, args: &str) -> Result<Ended> {
    Ended::of(&mut command_of("sweep", "", folder, args))
}

/// Asserts that each of these arguments is refused in this line, and that no file is written.
pub(crate) fn refuses(run: fn(&Path, &str) -> Result<Ended>, cases: &[(&str, &str)]) -> Result<()> {
    let temp = tempfile::tempdir()?;
    for (args, expected) in cases {
        let ended = run(temp.path(), &format!("{args} --out out"))?;
        let expected = (Some(2), "", format!("error: {expected}\n"));
        assert_eq!((ended.code, ended.out.as_str(), ended.err), expected, "{args}");
        assert!(tree(temp.path())?.is_empty(), "{args}: something was left behind");
    }
    Ok(())
}

/// Every file below a folder by its name, with its content, and every folder, whose name ends with
/// a slash.
pub(crate) fn tree(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().context("expected a name")?.to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(
                tree(&path)?.into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)),
            );
            found.insert(name + "/", Vec::new());
        } else {
            found.insert(name, fs::read(path)?);
        }
    }
    Ok(found)
}

/// Like [`tree`], without anything that depends on time or on parts: reports, `seconds`, the
/// sessions of a comparison.
pub(crate) fn timeless(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = tree(folder)?;
    found.retain(|name, _| !name.ends_with(".html"));
    for (name, bytes) in &mut found {
        let times: &[&str] = match name.rsplit('/').next() {
            Some("run.json" | "runs.jsonl") => &["seconds", "measure_seconds"],
            Some("comparison.json") => &[
                "command",
                "request",
                "started",
                "seconds",
                "interrupted",
                "jobs",
                "machine",
                "resumed",
                "notes",
            ],
            _ => continue,
        };
        let mut timeless = Vec::new();
        let values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
        for value in values {
            let mut value = value.with_context(|| name.clone())?;
            without(&mut value, times);
            timeless.extend(serde_json::to_vec(&value)?);
            timeless.push(b'\n');
        }
        *bytes = timeless;
    }
    Ok(found)
}

/// Removes fields of these names at any depth.
pub(crate) fn without(value: &mut Value, fields: &[&str]) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, _| !fields.contains(&name.as_str()));
        object.values_mut().for_each(|value| without(value, fields));
    }
}

/// The JSON values of a file, one per line.
pub(crate) fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let values = text.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>();
    values.with_context(|| path.display().to_string())
}

/// The JSON value of a file.
pub(crate) fn value(path: &Path) -> Result<Value> {
    serde_json::from_slice(&fs::read(path)?).with_context(|| path.display().to_string())
}
