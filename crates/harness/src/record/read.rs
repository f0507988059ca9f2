//! Records as a comparison's folder holds them.

use super::Records;
use crate::usage::mistake;
use anyhow::Result;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

impl Records {
    /// Reads the files of a comparison that has ended, or was interrupted. `measures.jsonl` may be missing: versions before 0.1.0 wrote none.
    ///
    /// # Errors
    /// A [`Usage`](crate::usage::Usage) error that names the folder, or the file and the line, and says what was expected.
    pub fn read(folder: &Path) -> Result<Self> {
        let shown = folder.display();
        if !folder.is_dir() {
            let found = if folder.exists() { "a file" } else { "nothing" };
            mistake!("{shown}: expected a folder that a comparison has written, found {found}");
        }
        if !folder.join("runs.jsonl").is_file() {
            let why = match (folder.join("sweep.jsonl").is_file(), folder.join("comparison.json").is_file()) {
                (true, _) => "that of a sweep; its folders length-* hold comparisons",
                (_, true) => "a comparison that did not come to its end",
                _ => "no runs.jsonl",
            };
            mistake!("{shown}: expected a folder that a comparison has written, found {why}");
        }
        let records = Self {
            runs: lines(folder, "runs.jsonl")?,
            steps: lines(folder, "steps.jsonl")?,
            evals: lines(folder, "evals.jsonl")?,
            profiles: lines(folder, "profiles.jsonl")?,
            measures: if folder.join("measures.jsonl").exists() {
                lines(folder, "measures.jsonl")?
            } else {
                Vec::new()
            },
        };
        if records.runs.is_empty() {
            mistake!("{shown}: expected runs, found an empty runs.jsonl");
        }
        Ok(records)
    }
}

fn lines<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Vec<T>> {
    let path = folder.join(name);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            mistake!("{}: expected a file of a comparison, found nothing", path.display())
        }
        Err(error) => mistake!("{}: cannot be read: {error}", path.display()),
    };
    let mut records = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        match serde_json::from_str(line) {
            Ok(record) => records.push(record),
            Err(error) => {
                mistake!("{}, line {}: expected a record, found {error}", path.display(), index + 1)
            }
        }
    }
    Ok(records)
}
