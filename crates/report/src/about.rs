//! What the folder of a comparison knows besides its records.

use super::numbers::count;
use crate::usage::bail_config;
use recurrent_records::Result;
use serde::Deserialize;
use std::path::Path;

/// What `comparison.json` says for the report.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct About {
    /// The command that asked for the comparison, word by word.
    pub(super) command: Vec<String>,
    /// When it started.
    pub(super) started: String,
    /// How long it took, in seconds.
    pub(super) seconds: Option<f64>,
    /// The number of runs side by side.
    pub(super) jobs: Option<usize>,
    /// Whether it was stopped before its end.
    pub(super) interrupted: bool,
    /// Where it ran.
    pub(super) machine: Machine,
}

/// A machine, as far as it is known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Machine {
    cores: usize,
    os: String,
    arch: String,
}

impl About {
    /// Reads the `comparison.json` of a folder. Without that file nothing is known.
    ///
    /// # Errors
    /// If the file is damaged.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("comparison.json");
        match std::fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(about) => Ok(about),
                Err(error) => bail_config!("{}: cannot be read: {error}", path.display()),
            },
            Err(_) => Ok(Self::default()),
        }
    }
}

impl Machine {
    /// `4 cores, linux x86_64`; empty if it is not known.
    pub(super) fn describe(&self) -> String {
        match self.cores {
            0 => String::new(),
            cores => format!("{}, {} {}", count(cores, "core"), self.os, self.arch),
        }
    }
}
