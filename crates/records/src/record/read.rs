//! Reads the records in a comparison's folder.

use super::{check_schema, Records, RunRecord};
use crate::error::Result;
use crate::usage::bail_config;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The file of the runs.
const RUNS: &str = "runs.jsonl";

impl Records {
    /// Reads the files of a finished or an interrupted comparison.
    ///
    /// # Errors
    /// A [`ConfigError`](crate::usage::ConfigError) that names the folder, or the file and the
    /// line, and the expected content.
    pub fn read(folder: &Path) -> Result<Self> {
        let shown = folder.display();
        if !folder.is_dir() {
            let found = if folder.exists() { "a file" } else { "nothing" };
            bail_config!("{shown}: expected a folder that a comparison has written, found {found}");
        }
        if !folder.join("runs.jsonl").is_file() {
            let why = match (
                folder.join("sweep.jsonl").is_file(),
                folder.join("comparison.json").is_file(),
            ) {
                (true, _) => "that of a sweep; its folders length-* hold comparisons",
                (_, true) => "an unfinished comparison; its program continues it with --resume",
                _ => "no runs.jsonl",
            };
            bail_config!("{shown}: expected a folder that a comparison has written, found {why}");
        }
        let records = Self {
            runs: runs(folder)?,
            steps: lines(folder, "steps.jsonl")?,
            evals: lines(folder, "evals.jsonl")?,
            profiles: lines(folder, "profiles.jsonl")?,
            measures: lines(folder, "measures.jsonl")?,
        };
        if records.runs.is_empty() {
            bail_config!("{shown}: expected runs, found an empty runs.jsonl");
        }
        records.are_whole(folder)?;
        Ok(records)
    }

    /// Refuses duplicate runs, and lines of runs that `runs.jsonl` lacks.
    fn are_whole(&self, folder: &Path) -> Result<()> {
        let mut runs = BTreeSet::new();
        for (index, run) in self.runs.iter().enumerate() {
            if !runs.insert((run.config.model.variant.as_str(), run.config.seed)) {
                let (path, line) = (folder.join("runs.jsonl"), index + 1);
                bail_config!(
                    "{}, run {line}: {} with seed {} is there twice",
                    path.display(),
                    run.config.model.variant,
                    run.config.seed
                );
            }
        }
        let steps = self.steps.iter().map(|line| ("steps.jsonl", &line.variant, line.seed));
        let evals = self.evals.iter().map(|line| ("evals.jsonl", &line.variant, line.seed));
        let profiles =
            self.profiles.iter().map(|line| ("profiles.jsonl", &line.variant, line.seed));
        let measures =
            self.measures.iter().map(|line| ("measures.jsonl", &line.variant, line.seed));
        let mut lines = steps.chain(evals).chain(profiles).chain(measures);
        if let Some((name, variant, seed)) =
            lines.find(|(_, variant, seed)| !runs.contains(&(variant.as_str(), *seed)))
        {
            let path = folder.join(name);
            bail_config!(
                "{}: has lines of {variant} with seed {seed}, a run that runs.jsonl lacks",
                path.display()
            );
        }
        Ok(())
    }
}

/// The runs, all of this version of the format.
fn runs(folder: &Path) -> Result<Vec<RunRecord>> {
    for stored in lines::<Value>(folder, RUNS)? {
        check_schema(&folder.join(RUNS), &stored)?;
    }
    lines(folder, RUNS)
}

fn lines<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Vec<T>> {
    let path = folder.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail_config!("{}: expected a file of a comparison, found nothing", path.display())
        }
        Err(error) => bail_config!("{}: cannot be read: {error}", path.display()),
    };
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let line =
                1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            bail_config!("{}, line {line}: expected UTF-8, found another byte", path.display())
        }
    };
    let mut records = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        match serde_json::from_str(line) {
            Ok(record) => records.push(record),
            Err(error) => {
                let (place, line, column) = (path.display(), index + 1, error.column());
                let (error, at) = (error.to_string(), format!(" at line 1 column {column}"));
                let what = error.strip_suffix(&at).unwrap_or(&error);
                bail_config!(
                    "{place}, line {line}, column {column}: expected a record, found {what}"
                )
            }
        }
    }
    Ok(records)
}
