//! The network of a finished run.

use super::Job;
use crate::config::{RunConfig, TrainingConfig, Width};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::record::{read_stored, RunRecord};
use crate::task::Task;
use crate::variant::Variant;
use candle_core::{safetensors, Device};
use std::path::{Path, PathBuf};

/// A finished run in its folder.
#[derive(Clone, Debug)]
pub struct SavedRun {
    /// `run.json`.
    pub record: RunRecord,
    folder: PathBuf,
}

impl SavedRun {
    /// The run in a folder that [`Run::write`](super::Run::write) has written.
    ///
    /// # Errors
    /// If its `run.json` cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        Ok(Self { record: read_stored(&folder.join("run.json"))?, folder: folder.to_path_buf() })
    }

    /// The trained network, on the CPU. `variant` is the one that the record names.
    ///
    /// # Errors
    /// If the run is one of another task or of other data; if its weights cannot be read or do not
    /// fit the variant.
    pub fn network(&self, variant: &Variant, task: &dyn Task) -> Result<Network> {
        let RunConfig { task: trained, model, training, seed, .. } = &self.record.config;
        let (folder, given) = (self.folder.display(), task.config());
        if trained.name != given.name {
            let (expected, found) = (given.name, &trained.name);
            let line = format!("{folder}: expected a run of the task {expected}, found {found}");
            return Err(Error::OtherRun(line));
        }
        // A run without a checksum may have been trained on any data.
        if trained.data.is_some() && trained.data != given.data {
            let line = format!("{folder}: expected the data of this run, found other data");
            return Err(Error::OtherRun(line));
        }
        let (width, device) = (Width::Hidden(model.hidden), "cpu".to_string());
        let training = TrainingConfig { width, device, ..training.clone() };
        let weights = safetensors::load(self.folder.join("weights.safetensors"), &Device::Cpu)?;
        Ok(Job::new(variant, task, &training, *seed)?.network(weights)?)
    }
}
