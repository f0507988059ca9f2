//! Exports of the records.

use crate::options::RUNNING;
use anyhow::Result;
use clap::Args;
use recurrent_records::dir::OutputDir;
use recurrent_records::export;
use recurrent_records::record::Records;
use recurrent_tasks::usage::ConfigError;
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

/// Exports of the records for other programs.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Export {
    /// Also write event files for TensorBoard
    #[arg(long, help_heading = RUNNING)]
    tensorboard: bool,
    /// Also write all records as CSV
    #[arg(long, help_heading = RUNNING)]
    csv: bool,
    /// Also write all records as Parquet; needs cargo's --features parquet
    #[arg(long, help_heading = RUNNING)]
    parquet: bool,
}

impl Export {
    /// Refuses an export that this program was not built with, before anything runs.
    pub(crate) fn check(&self) -> Result<()> {
        match self.parquet && !cfg!(feature = "parquet") {
            true => {
                Err(ConfigError::new("parquet: expected a program built with --features parquet")
                    .into())
            }
            false => Ok(()),
        }
    }

    /// Whether an export is requested.
    pub(crate) fn any(&self) -> bool {
        self.tensorboard || self.csv || self.parquet
    }

    /// Writes the exports.
    pub(crate) fn write(&self, records: &Records, folder: &OutputDir) -> Result<()> {
        if !self.any() {
            return Ok(());
        }
        if self.tensorboard {
            let now =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
            let longest = records.runs.iter().map(|run| run.outcome.seconds).fold(0.0, f64::max);
            export::tensorboard(records, folder, (now - longest).floor())?;
        }
        if self.csv {
            export::csv(records, folder)?;
        }
        #[cfg(feature = "parquet")]
        if self.parquet {
            export::parquet(records, folder)?;
        }
        Ok(())
    }
}
