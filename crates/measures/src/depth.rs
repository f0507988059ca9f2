//! Whether a gradient vanishes along depth, along time, or both.

use crate::objective::NamedGradients;
use crate::profile::quantile;
use crate::vector::{fraction, norm};
use crate::{decay, Fit, Objective, Profile};
use candle_core::Result;
use recurrent_core::{Bptt, GradientTrace, LayerId, Record};
use serde::{Deserialize, Serialize};

/// The gradient along the layers of a network, from one backward pass. It separates vanishing along
/// depth, [`DepthProfile::along_depth`], from vanishing along time, [`LayerDepth::half_life`].
///
/// It does not show the reason: the layers above may not need a layer with a small gradient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DepthProfile {
    /// Every layer, direction and field, bottom first.
    pub layers: Vec<LayerDepth>,
    /// The bottom layer against the top one, in each direction, of the output h; empty for a single
    /// layer.
    pub along_depth: Vec<AlongDepth>,
    /// The norm of the gradient of weights outside the layers: embeddings, read-outs.
    pub other_weights: f64,
}

/// The gradient at one layer. Norms of states are medians over examples of the norm of the
/// example's own gradient, as in [`Profile`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerDepth {
    /// Which layer, and which direction.
    pub layer_id: LayerId,
    /// Which field of the state.
    pub field: String,
    /// ‖dL/ds_T‖ at the reference lag: 0 for h, 1 for other fields ([`Profile::reference`]).
    pub end: f64,
    /// sqrt(Σ_k ‖dL/ds_{T-k}‖²) over all lags of the example's states, without the initial carry:
    /// the gradient that reaches the layer at any time.
    pub pooled: f64,
    /// The slope along time, fitted as [`decay`] does; `None` if there are too few lags.
    pub decay: Option<Fit>,
    /// The number of steps in which the gradient halves; `None` if it grows, or has no fit.
    pub half_life: Option<f64>,
    /// The number of steps in which it doubles; `None` if it decays, or has no fit.
    pub doubling_time: Option<f64>,
    /// The norm of the gradient of the batch's mean loss with respect to the weights of this layer
    /// and direction, whose names end in [`LayerId::suffix`]; `None` without such weights. The same
    /// for every field.
    pub weights: Option<f64>,
}

/// The bottom layer against the top layer, in one direction: below 1, the gradient shrinks from top
/// to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlongDepth {
    /// Whether this is the direction in reverse.
    pub reverse: bool,
    /// The number of layers − 1.
    pub layers: usize,
    /// The ratio of the norms at the last step. If the loss reads the last step alone, the top
    /// layer gets its gradient from the read-out and the layer below through the top layer's last
    /// step, so that this is the gain of one step of each layer.
    pub end: Option<f64>,
    /// The ratio of the norms pooled over lags, which does not depend on decay along time.
    pub pooled: Option<f64>,
    /// The ratio of the norms of the weights' gradients.
    pub weights: Option<f64>,
}

impl AlongDepth {
    /// The factor per layer: the root of `ratio` of order [`AlongDepth::layers`].
    pub fn factor(&self, ratio: f64) -> f64 {
        ratio.powf(1.0 / self.layers as f64)
    }
}

/// The gradient along the layers of a network; see [`DepthProfile`].
///
/// # Errors
/// Those of the network; if a layer records nothing.
pub fn depth(objective: &Objective) -> Result<DepthProfile> {
    let backward = objective.backward(Bptt::default(), Record::Norms)?;
    Ok(DepthProfile::of(&backward.traces, &backward.weights))
}

impl DepthProfile {
    fn of(traces: &[GradientTrace], weights: &NamedGradients) -> Self {
        let layers: Vec<_> = traces.iter().map(|trace| LayerDepth::of(trace, weights)).collect();
        let named =
            |name: &str| traces.iter().any(|trace| name.ends_with(&trace.layer_id.suffix()));
        Self {
            along_depth: [false, true]
                .into_iter()
                .filter_map(|reverse| AlongDepth::of(&layers, reverse))
                .collect(),
            other_weights: weights.of(|name| !named(name)).unwrap_or(0.0),
            layers,
        }
    }
}

impl LayerDepth {
    fn of(trace: &GradientTrace, weights: &NamedGradients) -> Self {
        let profile = Profile::from_trace(trace);
        let decay = decay(&profile.median, profile.steps);
        let suffix = trace.layer_id.suffix();
        Self {
            layer_id: trace.layer_id,
            field: trace.field.to_string(),
            end: profile.median.get(profile.reference()).copied().unwrap_or(f64::NAN),
            pooled: pooled(trace),
            decay,
            half_life: decay.and_then(|fit| fit.half_life()),
            doubling_time: decay.and_then(|fit| fit.doubling_time()),
            weights: weights.of(|name| name.ends_with(&suffix)),
        }
    }
}

/// The median over examples of the norm over all their states but the initial carry.
pub(crate) fn pooled(trace: &GradientTrace) -> f64 {
    let own = |(row, &len): (usize, &usize)| {
        let norms: Vec<_> = (0..len).map(|lag| trace.norms[lag * trace.batch + row]).collect();
        norm(&norms) * trace.batch as f64
    };
    let mut norms: Vec<_> = trace.lengths.iter().enumerate().map(own).collect();
    norms.sort_by(f64::total_cmp);
    quantile(&norms, 0.5)
}

impl AlongDepth {
    fn of(layers: &[LayerDepth], reverse: bool) -> Option<Self> {
        let mut outputs =
            layers.iter().filter(|layer| layer.layer_id.reverse == reverse && layer.field == "h");
        let bottom = outputs.next()?;
        let top = outputs.next_back()?;
        let weights = bottom.weights.zip(top.weights);
        Some(Self {
            reverse,
            layers: top.layer_id.layer - bottom.layer_id.layer,
            end: fraction(bottom.end, top.end),
            pooled: fraction(bottom.pooled, top.pooled),
            weights: weights.and_then(|(bottom, top)| fraction(bottom, top)),
        })
    }
}

impl NamedGradients {
    /// The norm over the weights with these names; `None` without such weights.
    fn of(&self, is: impl Fn(&str) -> bool) -> Option<f64> {
        let values: Vec<_> =
            self.0.iter().filter(|(name, _)| is(name)).map(|(_, values)| norm(values)).collect();
        (!values.is_empty()).then(|| norm(&values))
    }
}
