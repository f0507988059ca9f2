//! One run before it starts.

use crate::config::{ModelConfig, RunConfig, TrainingConfig};
use crate::device;
use crate::error::Result;
use crate::network::Network;
use crate::size::solve;
use crate::task::Task;
use crate::variant::{Size, Variant};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

/// One run before it starts: its configuration, and the variant, task and device that belong to it.
#[derive(Clone)]
pub struct Job<'a> {
    /// The network.
    pub variant: &'a Variant,
    /// The task.
    pub task: &'a dyn Task,
    /// The configuration.
    pub config: RunConfig,
    /// The device that the configuration names.
    pub device: Device,
}

impl<'a> Job<'a> {
    /// The run of a variant on a task: finds its width, applies its overrides, and opens the
    /// device.
    ///
    /// # Errors
    /// If the variant cannot be built at that width, or the device is not there.
    pub fn new(
        variant: &'a Variant,
        task: &'a dyn Task,
        training: &TrainingConfig,
        seed: u64,
    ) -> Result<Self> {
        let training = training.with(&variant.overrides);
        let (hidden, params) = solve(training.width, variant, task, training.readout)?;
        let model = ModelConfig {
            variant: variant.name.clone(),
            summary: variant.summary.clone(),
            init: variant.init.clone(),
            options: variant.options.clone(),
            hidden,
            layers: 0,
            params,
        };
        let version = env!("CARGO_PKG_VERSION").to_string();
        let device = device::by_name(&training.device)?;
        let config = RunConfig { version, task: task.config(), model, training, seed };
        let mut job = Self { variant, task, config, device };
        job.config.model.layers = job.untrained()?.rnn().depth();
        Ok(job)
    }

    /// The same run with another seed.
    #[must_use]
    pub fn with_seed(&self, seed: u64) -> Self {
        Self { config: RunConfig { seed, ..self.config.clone() }, ..self.clone() }
    }

    /// The network with weights by name: those of a run's `weights.safetensors`, or of
    /// [`Run::weights`](crate::run::Run::weights).
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn network(
        &self,
        weights: impl IntoIterator<Item = (String, Tensor)>,
    ) -> candle_core::Result<Network> {
        let TrainingConfig { dtype, readout, .. } = self.config.training;
        let weights = weights.into_iter().collect();
        let vb = VarBuilder::from_tensors(weights, dtype, &self.device);
        Network::new(self.variant, self.size(), self.task, readout, &vb)
    }

    /// The network with weights of zero.
    pub(crate) fn untrained(&self) -> candle_core::Result<Network> {
        let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
        Network::new(self.variant, self.size(), self.task, self.config.training.readout, &vb)
    }

    /// The name of the folder of the run.
    pub(crate) fn folder(&self) -> String {
        self.variant.folder(self.config.seed)
    }

    /// The size for which the variant is built.
    pub fn size(&self) -> Size {
        Size {
            input: self.task.input_size(),
            hidden: self.config.model.hidden,
            longest_lag: self.task.longest_lag(),
        }
    }
}
