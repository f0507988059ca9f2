//! Tasks over a data set whose examples carry a class.

use crate::error::{ensure, Result};
use crate::loss;
use crate::splits::Splits;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use candle_core::{DType, Device, Tensor};
use recurrent_core::Sequence;
use std::sync::Arc;

/// Properties of a data set.
#[derive(Clone, Copy, Debug)]
pub struct DataInfo {
    /// The name of the task.
    pub name: &'static str,
    /// The name of the random stream that shuffles the training examples.
    pub stream: &'static str,
    /// The length of the longest sequence, in steps.
    pub length: usize,
    /// The number of values of a step.
    pub features: usize,
    /// The number of classes.
    pub classes: usize,
}

/// A data set whose examples carry a class. It is a [`Task`]: the network names the class after the
/// last step, and the loss is the cross entropy in nats.
///
/// The held-out examples are the test set, and there is no criterion. [`Task::validation_split`]
/// holds out a tenth of the training examples instead, always the same. [`Task::baseline`] is the
/// entropy of the classes of the held-out examples.
pub trait LabelledData: Clone + Send + Sync + 'static {
    /// The properties of the data set.
    fn info(&self) -> DataInfo;

    /// The training and test examples.
    fn splits(&self) -> &Splits;

    /// The same data with other splits.
    fn with_splits(&self, splits: Splits) -> Self;

    /// The class of an example.
    fn label(&self, example: usize) -> usize;

    /// The inputs of a batch of examples.
    ///
    /// # Errors
    /// Those of candle.
    fn inputs(
        &self,
        examples: &[usize],
        key: BatchKey,
        dtype: DType,
        device: &Device,
    ) -> Result<Sequence>;

    /// A checksum of the data; `None` if they are generated.
    fn data_checksum(&self) -> Option<String>;
}

impl<T: LabelledData> Task for T {
    fn name(&self) -> &'static str {
        self.info().name
    }

    fn length(&self) -> usize {
        self.info().length
    }

    /// From the first step to the last.
    fn longest_lag(&self) -> usize {
        self.info().length - 1
    }

    fn input_size(&self) -> usize {
        self.info().features
    }

    fn output_size(&self) -> usize {
        self.info().classes
    }

    fn loss_target(&self) -> LossTarget {
        LossTarget::Last
    }

    /// The targets are classes, `(batch)` in u32.
    fn batch(&self, key: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        let DataInfo { name, stream, .. } = self.info();
        ensure!(key.batch > 0, "{name} batch: expected at least 1 example, got 0");
        let examples = self.splits().batch(stream, key);
        let classes: Vec<_> = examples.iter().map(|&example| self.label(example) as u32).collect();
        Ok(Batch {
            xs: self.inputs(&examples, key, dtype, device)?,
            targets: Tensor::from_vec(classes, examples.len(), device)?,
        })
    }

    /// The cross entropy, and whether the class is correct.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        let DataInfo { name, classes, .. } = self.info();
        loss::cross_entropy(name, outputs, batch, classes, 1)
    }

    /// The entropy of the classes of the held-out examples, in nats.
    fn baseline(&self) -> f64 {
        let labels = self.splits().test().iter().map(|&example| self.label(example));
        loss::entropy(labels, self.info().classes)
    }

    fn criterion(&self) -> Option<Criterion> {
        None
    }

    fn checksum(&self) -> Option<String> {
        self.data_checksum()
    }

    fn examples(&self) -> Option<usize> {
        Some(self.splits().train().len())
    }

    fn held_out(&self) -> usize {
        self.splits().test().len()
    }

    fn validation_split(&self) -> Option<Arc<dyn Task>> {
        Some(Arc::new(self.with_splits(self.splits().validation_split()?)))
    }

    fn is_validation(&self) -> bool {
        self.splits().is_validation()
    }
}
