//! The share of the weights' gradient that comes from large lags.

use crate::objective::NamedGradients;
use crate::vector::{cosine, fraction, norm};
use crate::{LossReads, Objective};
use candle_core::{bail, DType, Result};
use recurrent_core::{Bptt, Record};
use serde::{Deserialize, Serialize};

/// The long-range share of the gradient of the weights, lag by lag.
///
/// ```text
/// S(τ) = ‖Σ_{k >= τ} (dL/dW)_k‖ / ‖dL/dW‖
/// ```
///
/// (dL/dW)_k is the part of dL/dW from the use of W at lag k, in the step that computes s_{T-k}
/// (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063v2, split the gradient in this way). S is the
/// part of the optimiser's gradient from τ or more steps before the end. The parts may cancel, so S
/// is not the share of a sum: it may exceed 1, and need not fall with τ. It does not show whether
/// the part from large lags is useful; the cosine shows whether it points in the direction of the
/// whole.
///
/// A gradient that ends τ steps before the end ([`Bptt::last`]) is exactly the part of lags below
/// τ, if the loss reads the ends alone ([`LossReads::Ends`]): a gradient of lag k >= τ must cross
/// the border at τ. So S costs one backward pass per lag, and S(T) is the share of the initial
/// carry, if that is learned. Each direction counts lags from its own end.
///
/// With a loss at every step ([`LossReads::Steps`]) there is no single distance between a weight
/// and the loss: the gradient at lag k mixes long paths with reads at that step. S is then the part
/// that crosses the border: the gradient at lags of τ or more *from reads at lags below* τ. Reads
/// beyond the border count as near, with all their effects at larger lags.
///
/// Weights outside of the recurrence: those below (an embedding) are split in the same way. Those
/// above (a read-out) have no part that crosses, and only add to the whole. Choose the weights
/// accordingly, or read S weight by weight.
///
/// The part is a difference of two gradients. Below [`LongRange::resolution`] it is rounding error;
/// measure in f64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LongRange {
    /// The outputs that the loss reads, which decides the meaning of S.
    pub reads: LossReads,
    /// ‖dL/dW‖ over all weights, of the batch's mean loss.
    pub norm: f64,
    /// The machine epsilon of the weights' dtype, a lower bound of the resolution of S.
    pub resolution: f64,
    /// S and its cosine, in the order of the requested lags.
    pub shares: Vec<LagShare>,
}

/// The long-range share at one lag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LagShare {
    /// τ.
    pub lag: usize,
    /// Over all weights together.
    pub all: GradientPart,
    /// Weight by weight, by name.
    pub weights: Vec<(String, GradientPart)>,
}

/// A part of a gradient against the whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradientPart {
    /// ‖part‖ / ‖whole‖; `None` if the whole is zero or not finite.
    pub share: Option<f64>,
    /// The cosine between the part and the whole; `None` if one of them is zero or not finite.
    pub cosine: Option<f64>,
}

/// The long-range share at each of `lags`; see [`LongRange`].
///
/// # Errors
/// If a lag is 0 (S(0) is 1), there is no weight, or the network ignores
/// [`recurrent_core::ForwardContext::bptt`]. The recorder detects a layer that ignores it: the
/// layer has no trace, or its gradient does not end at the border. If only a layer below ignores
/// it, the error cannot always be distinguished from [`LossReads::Steps`]. With
/// [`LossReads::Ends`], bidirectional layers on top of each other are refused, since the upper ones
/// read the lower ones far from their ends.
pub fn long_range_share(objective: &Objective, lags: &[usize]) -> Result<LongRange> {
    if lags.contains(&0) {
        bail!("long-range share lags: expected at least 1 each, got {lags:?}")
    }
    let whole = objective.backward(Bptt::default(), Record::Norms)?;
    let share = |&lag: &usize| {
        let flow = Bptt::last(lag);
        let near = objective.backward(flow, Record::Norms)?;
        objective.check_flow(flow, &whole.traces, &near.traces)?;
        let far = whole.weights.minus(&near.weights);
        Ok(LagShare {
            lag,
            all: GradientPart::of(&far.flat(), &whole.weights.flat()),
            weights: far.against(&whole.weights),
        })
    };
    Ok(LongRange {
        reads: objective.reads,
        norm: whole.weights.norm(),
        resolution: resolution(objective)?,
        shares: lags.iter().map(share).collect::<Result<_>>()?,
    })
}

impl GradientPart {
    fn of(part: &[f64], whole: &[f64]) -> Self {
        Self { share: fraction(norm(part), norm(whole)), cosine: cosine(part, whole) }
    }
}

impl NamedGradients {
    fn against(&self, whole: &Self) -> Vec<(String, GradientPart)> {
        let pairs = self.0.iter().zip(&whole.0);
        pairs
            .map(|((name, part), (_, whole))| (name.clone(), GradientPart::of(part, whole)))
            .collect()
    }
}

fn resolution(objective: &Objective) -> Result<f64> {
    let Some((_, weight)) = objective.weights.first() else {
        bail!("objective weights: expected at least one, got none")
    };
    Ok(match weight.dtype() {
        DType::F64 => f64::EPSILON,
        DType::F32 => f64::from(f32::EPSILON),
        DType::BF16 => 2f64.powi(-7),
        DType::F16 => 2f64.powi(-10),
        dtype => bail!("objective weights: expected f64, f32, bf16 or f16, got {dtype:?}"),
    })
}
