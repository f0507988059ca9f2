//! The trained network: recurrent layers with a read-out.

mod attention;

use crate::config::Readout;
use crate::task::{LossTarget, Task};
use crate::variant::{Size, Variant};
use attention::Attention;
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{Linear, VarBuilder, VarMap};
use recurrent_core::{init, Carry, ForwardContext, Layer, Sequence};
use recurrent_train::Params;

/// The recurrent layers of a variant with a read-out, for one task.
///
/// ```text
/// y_t = W h_t + b                         of each example's last step, or of every step
/// y_t = W h_t + W_c Σ_s a_ts h_s + b      with attention, a_ts = softmax_s((W_q h_t) · (W_k h_s) / √d) over the steps s <= t
/// ```
///
/// Attention gives the gradient a path around the recurrence: dL/dh_s has a part for every step
/// that is read, whatever lies between. With [`Readout::AttentionDetached`] the h_s in keys and sum
/// are detached from the graph, so that the gradient of the same answer passes through the
/// recurrence alone.
///
/// The weights of the layers have the prefix `rnn`, those of the read-out the prefix `readout`:
/// `weight` (output, d) and `bias` (output), for d output features of the layers, and with
/// attention `query.weight` and `key.weight` (d, d) and `context.weight` (output, d). They are
/// initialised as in `torch.nn.Linear`, each drawn by its own name, so that networks with and
/// without attention begin with the same W. If every step is read, attention takes batch × time ×
/// time scores.
pub struct Network {
    rnn: Box<dyn Layer>,
    readout: Linear,
    attention: Option<Attention>,
    reads: LossTarget,
}

impl Network {
    /// The network of a variant for a task, with weights from `vb`.
    ///
    /// # Errors
    /// Those of the variant.
    pub fn new(
        variant: &Variant,
        size: Size,
        task: &dyn Task,
        readout: Readout,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let rnn = (variant.build)(size, vb.pp("rnn"))?;
        let (hidden, output, vb) = (rnn.output_size(), task.output_size(), vb.pp("readout"));
        let attention = |detached| Attention::new(hidden, output, detached, &vb);
        let attention = match readout {
            Readout::Plain => None,
            Readout::Attention => Some(attention(false)?),
            Readout::AttentionDetached => Some(attention(true)?),
        };
        let readout = init::linear(hidden, output, &vb)?;
        Ok(Self { rnn, readout, attention, reads: task.loss_target() })
    }

    /// The network with new trainable weights, drawn from `seed`, and these weights.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn trainable(
        variant: &Variant,
        size: Size,
        task: &dyn Task,
        readout: Readout,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<(Self, Params)> {
        let map = VarMap::new();
        let vb = init::seeded(&map, seed, dtype, device);
        let network = Self::new(variant, size, task, readout, &vb)?;
        Ok((network, Params::from_varmap(&map)?))
    }

    /// The network with the present weights detached from any graph: its computations keep nothing
    /// for a backward pass.
    ///
    /// # Errors
    /// As [`Network::new`]; if there are no weights.
    pub fn frozen(
        variant: &Variant,
        size: Size,
        task: &dyn Task,
        readout: Readout,
        params: &Params,
    ) -> Result<Self> {
        let Some((_, first)) = params.iter().next() else {
            candle_core::bail!("network: expected weights, got none")
        };
        let tensors = params.iter().map(|(name, var)| (name.to_string(), var.detach())).collect();
        let vb = VarBuilder::from_tensors(tensors, first.dtype(), first.device());
        Self::new(variant, size, task, readout, &vb)
    }

    /// The number of weights of the network at a size, read-out included.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn count(
        variant: &Variant,
        size: Size,
        task: &dyn Task,
        readout: Readout,
    ) -> Result<usize> {
        let network =
            Self::new(variant, size, task, readout, &VarBuilder::zeros(DType::F32, &Device::Cpu))?;
        let recurrent: usize =
            network.rnn.params().iter().map(|(_, weight)| weight.elem_count()).sum();
        let attention = network.attention.as_ref().map_or(0, Attention::count);
        Ok(recurrent + (network.rnn.output_size() + 1) * task.output_size() + attention)
    }

    /// The outputs that the task's loss reads: `(batch, output)`, or `(batch, time, output)` for
    /// all steps, where values in the padding have no meaning.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, xs: &Sequence, context: &ForwardContext) -> Result<Tensor> {
        Ok(self.forward_from(xs, None, context)?.0)
    }

    /// As [`Network::forward`], but from the states in `carry`, and with the final states.
    /// Attention sees the steps of `xs` alone.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward_from(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Tensor, Carry)> {
        if self.attention.is_none() && self.reads == LossTarget::Last {
            let (last, carry) = self.rnn.last(xs, carry, context)?;
            return Ok((self.readout.forward(&last)?, carry));
        }
        let (ys, carry) = self.rnn.run(xs, carry, context)?;
        let h = match self.reads {
            LossTarget::Last => ys.ends(self.rnn.reversed_size())?,
            LossTarget::Every => ys.values().clone(),
        };
        let outputs = self.readout.forward(&h)?;
        let outputs = match &self.attention {
            Some(attention) => (outputs + attention.answer(&h, &ys, self.reads)?)?,
            None => outputs,
        };
        Ok((outputs, carry))
    }

    /// The recurrent layers.
    pub fn rnn(&self) -> &dyn Layer {
        self.rnn.as_ref()
    }
}
