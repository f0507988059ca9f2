//! Merges the files of runs into those of their comparison.

use crate::dir::OutputDir;
use crate::error::{Context, Result};
use crate::record::Records;
use serde::de::DeserializeOwned;

/// Merges the files in the runs' folders, in their order and byte by byte, and reads the result.
///
/// # Errors
/// If a file cannot be read or written.
pub fn merge(folder: &OutputDir, runs: &[&OutputDir]) -> Result<Records> {
    Ok(Records {
        runs: merged(folder, runs, "run.json", "runs.jsonl")?,
        steps: merged(folder, runs, "steps.jsonl", "steps.jsonl")?,
        evals: merged(folder, runs, "evals.jsonl", "evals.jsonl")?,
        profiles: merged(folder, runs, "profiles.jsonl", "profiles.jsonl")?,
        measures: merged(folder, runs, "measures.jsonl", "measures.jsonl")?,
    })
}

fn merged<T: DeserializeOwned>(
    folder: &OutputDir,
    runs: &[&OutputDir],
    from: &str,
    to: &str,
) -> Result<Vec<T>> {
    let mut lines = Vec::new();
    for run in runs {
        lines.extend(run.read(from)?);
    }
    folder.write(to, &lines)?;
    let records = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice);
    records.collect::<serde_json::Result<_>>().with_context(|| format!("{to}: cannot be read back"))
}
