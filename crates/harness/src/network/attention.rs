//! Attention over the outputs of the recurrent layers.

use crate::task::LossTarget;
use candle_core::{Device, Module, Result, Tensor, D};
use candle_nn::{ops::softmax, Linear, VarBuilder};
use recurrent_core::{init, Sequence};

/// Dot-product attention over the outputs h_s of all steps up to t, the step that is read.
///
/// ```text
/// q_t = W_q h_t,   k_s = W_k h_s
/// a_ts = softmax_s(q_t · k_s / √d)      over the steps s <= t of the example
/// y_t += W_c Σ_s a_ts h_s
/// ```
///
/// Luong, Pham and Manning 2015 (arXiv:1508.04025) attend to the states of a recurrent network by
/// products with the present state. The scale is that of Vaswani et al. 2017 (arXiv:1706.03762).
/// With `LossTarget::Every` attention takes `(batch, time, time)` scores.
///
/// | weight | shape | begins as |
/// |---|---|---|
/// | `query.weight`, `key.weight` | (d, d) | uniform ± 1/√d |
/// | `context.weight` | (output, d) | uniform ± 1/√d, as the read-out of h_t |
pub(super) struct Attention {
    query: Linear,
    key: Linear,
    context: Linear,
    detached: bool,
}

impl Attention {
    pub(super) fn new(
        hidden: usize,
        output: usize,
        detached: bool,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let weight = |name: &str, rows| -> Result<Linear> {
            Ok(Linear::new(init::linear_weight(hidden, rows, "weight", &vb.pp(name))?, None))
        };
        Ok(Self {
            query: weight("query", hidden)?,
            key: weight("key", hidden)?,
            context: weight("context", output)?,
            detached,
        })
    }

    /// The number of weights.
    pub(super) fn count(&self) -> usize {
        [&self.query, &self.key, &self.context].iter().map(|map| map.weight().elem_count()).sum()
    }

    /// The term that attention adds to the answer read from `h`. Here `h` is `(batch, hidden)` at
    /// the last step of each example of `ys`, or `(batch, time, hidden)`, its outputs at all steps.
    pub(super) fn answer(&self, h: &Tensor, ys: &Sequence, reads: LossTarget) -> Result<Tensor> {
        let outputs = if self.detached { ys.values().detach() } else { ys.values().clone() };
        let h = match reads {
            LossTarget::Last => h.unsqueeze(1)?, // (batch, 1, hidden)
            LossTarget::Every => h.clone(),
        };
        let scale = 1.0 / (h.dim(D::Minus1)? as f64).sqrt();
        let (query, key) = (self.query.forward(&h)?, self.key.forward(&outputs)?);
        let scores = (query.matmul(&key.t()?)? * scale)?; // (batch, read, time)
        let hidden = unseen(ys, reads, scores.device())?.to_dtype(scores.dtype())?;
        let context = softmax(&scores.broadcast_add(&hidden)?, D::Minus1)?.matmul(&outputs)?;
        let answer = self.context.forward(&context)?;
        match reads {
            LossTarget::Last => answer.squeeze(1),
            LossTarget::Every => Ok(answer),
        }
    }
}

/// −∞ for the steps that are masked out, 0 for the others: `(batch, 1, time)`, or
/// `(batch or 1, time, time)` if every step is read.
fn unseen(ys: &Sequence, reads: LossTarget, device: &Device) -> Result<Tensor> {
    let (_, time, _) = ys.values().dims3()?;
    let full = [time];
    let lengths = ys.lengths().map_or(&full[..], |lengths| lengths.as_slice());
    let ends = match reads {
        LossTarget::Last => time..time + 1,
        LossTarget::Every => 1..time + 1,
    };
    let value = |seen| if seen { 0f32 } else { f32::NEG_INFINITY };
    let row = |len: usize, end: usize| (0..time).map(move |s| value(s < len.min(end)));
    let values: Vec<f32> =
        lengths.iter().flat_map(|&len| ends.clone().flat_map(move |end| row(len, end))).collect();
    Tensor::from_vec(values, (lengths.len(), ends.len(), time), device)
}
