//! What is trained: recurrent layers with a linear read-out.

use crate::task::{Reads, Task};
use crate::variant::{Size, Variant};
use candle::{DType, Device, Module, Result, Tensor};
use candle_nn::{Linear, VarBuilder, VarMap};
use recurrent_core::{init, Layer, Pass, Sequence};
use recurrent_train::Params;

/// The recurrent layers of a variant with a linear read-out, for one task.
///
/// ```text
/// y = W h + b      of the last state of each example, or of every step's output
/// ```
///
/// The weights of the layers lie under `rnn` and those of the read-out, `weight` (output, hidden) and `bias` (output),
/// under `readout`. The latter begin as in `torch.nn.Linear`.
pub struct Network {
    rnn: Box<dyn Layer>,
    readout: Linear,
    reads: Reads,
}

impl Network {
    /// The network of a variant for a task, its weights out of `vb`.
    ///
    /// # Errors
    /// Those of the variant.
    pub fn new(variant: &Variant, size: Size, task: &dyn Task, vb: &VarBuilder) -> Result<Self> {
        let rnn = (variant.build)(size, vb.pp("rnn"))?;
        let readout = init::linear(size.seed, rnn.output_size(), task.output_size(), &vb.pp("readout"))?;
        Ok(Self { rnn, readout, reads: task.reads() })
    }

    /// The network with new weights that can be trained, and these.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn trainable(
        variant: &Variant,
        size: Size,
        task: &dyn Task,
        dtype: DType,
        device: &Device,
    ) -> Result<(Self, Params)> {
        let map = VarMap::new();
        let network = Self::new(variant, size, task, &VarBuilder::from_varmap(&map, dtype, device))?;
        Ok((network, Params::from_varmap(&map)?))
    }

    /// The network over the present weights, outside of any graph: what it computes keeps nothing for a backward pass.
    ///
    /// # Errors
    /// As [`Network::new`]; if there is no weight.
    pub fn frozen(variant: &Variant, size: Size, task: &dyn Task, params: &Params) -> Result<Self> {
        let Some((_, first)) = params.iter().next() else {
            candle::bail!("network: expected weights, got none")
        };
        let tensors = params.iter().map(|(name, var)| (name.to_string(), var.detach())).collect();
        Self::new(variant, size, task, &VarBuilder::from_tensors(tensors, first.dtype(), first.device()))
    }

    /// The number of weights of the network at a size, read-out included.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn count(variant: &Variant, size: Size, task: &dyn Task) -> Result<usize> {
        let network = Self::new(variant, size, task, &VarBuilder::zeros(DType::F32, &Device::Cpu))?;
        let recurrent: usize = network.rnn.params().iter().map(|(_, weight)| weight.elem_count()).sum();
        Ok(recurrent + (network.rnn.output_size() + 1) * task.output_size())
    }

    /// The outputs that the task's loss reads: `(batch, output)`, or `(batch, time, output)` for all steps, where what
    /// stands in the padding means nothing.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, xs: &Sequence, pass: &Pass) -> Result<Tensor> {
        match self.reads {
            Reads::Last => self.readout.forward(&self.rnn.last(xs, None, pass)?.0),
            Reads::Every => self.readout.forward(self.rnn.run(xs, None, pass)?.0.values()),
        }
    }

    /// The recurrent layers.
    pub fn rnn(&self) -> &dyn Layer {
        self.rnn.as_ref()
    }
}
