//! Information in the folder of a comparison besides its records.

use super::numbers::count;
use crate::usage::bail_config;
use recurrent_records::Result;
use serde::Deserialize;
use std::path::Path;

/// The fields of `comparison.json` that the report shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct About {
    /// The command that started the comparison, as words.
    pub(super) command: Vec<String>,
    /// The time of the start.
    pub(super) started: String,
    /// The duration, in seconds.
    pub(super) seconds: Option<f64>,
    /// The number of runs side by side.
    pub(super) jobs: Option<usize>,
    /// Whether it was stopped before the end.
    pub(super) interrupted: bool,
    /// The machine on which it ran.
    pub(super) machine: Machine,
}

/// A machine, as far as known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Machine {
    cores: usize,
    os: String,
    arch: String,
}

impl About {
    /// Reads the `comparison.json` of a folder. Without that file, all fields are empty.
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
    /// `4 cores, linux x86_64`; empty if unknown.
    pub(super) fn describe(&self) -> String {
        match self.cores {
            0 => String::new(),
            cores => format!("{}, {} {}", count(cores, "core"), self.os, self.arch),
        }
    }
}
