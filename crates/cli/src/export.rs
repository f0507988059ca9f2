//! Records for other programs.

use anyhow::Result;
use clap::Args;
use recurrent_records::dir::OutputDir;
use recurrent_records::export;
use recurrent_records::record::Records;
use recurrent_tasks::usage::ConfigError;
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is written for other programs too.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Export {
    /// Write event files for TensorBoard too
    #[arg(long)]
    tensorboard: bool,
    /// Write all records as CSV too
    #[arg(long)]
    csv: bool,
    /// Write all records as Parquet too; needs cargo's --features parquet
    #[arg(long)]
    parquet: bool,
}

impl Export {
    /// Refuses what this program was not built for, before anything runs.
    pub(crate) fn check(&self) -> Result<()> {
        match self.parquet && !cfg!(feature = "parquet") {
            true => {
                Err(ConfigError::new("parquet: expected a program built with --features parquet")
                    .into())
            }
            false => Ok(()),
        }
    }

    /// Whether anything was asked for.
    pub(crate) fn any(&self) -> bool {
        self.tensorboard || self.csv || self.parquet
    }

    /// Writes what was asked for.
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
