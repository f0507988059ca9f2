//! What is to be run.

use crate::settings::Settings;
use crate::task::Task;
use crate::treatment::Treatment;
use crate::variant::{Size, Variant};

/// What is to be run.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The network.
    pub variant: &'a Variant,
    /// What it is to learn.
    pub task: &'a dyn Task,
    /// How it is trained.
    pub settings: &'a Settings,
    /// The number of hidden units of each layer.
    pub hidden: usize,
    /// The seed of weights and data.
    pub seed: u64,
}

impl Job<'_> {
    /// What is done to the gradient: that of the settings, with the changes of the variant.
    pub fn treatment(&self) -> Treatment {
        self.settings.treatment.with(&self.variant.changes)
    }

    /// The name of the folder of the run.
    pub(crate) fn folder(&self) -> String {
        self.variant.folder(self.seed)
    }

    /// What the variant is built for.
    pub fn size(&self) -> Size {
        Size {
            input: self.task.input_size(),
            hidden: self.hidden,
            longest_lag: self.task.longest_lag(),
            seed: self.seed,
        }
    }
}
