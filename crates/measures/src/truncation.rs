//! The bias of truncated backpropagation through time.

use crate::objective::NamedGradients;
use crate::vector::{cosine, fraction, norm};
use crate::Objective;
use candle_core::Result;
use recurrent_core::{Bptt, Record};
use serde::{Deserialize, Serialize};

/// The bias of a truncated gradient: windows of `window` steps against the full gradient.
///
/// ```text
/// bias = ‖g_TBPTT − g_full‖ / ‖g_full‖
/// ```
///
/// Tallec and Ollivier 2017 (arXiv:1705.08209); Aicher, Foti and Fox 2019 (arXiv:1905.07473). It is
/// the relative error of the gradient that training with such windows follows. The windows begin at
/// the first step ([`Bptt::truncated`]): a loss that reads the end alone sees the last of them,
/// which is short if `window` does not divide the length. It does not show the effect on training:
/// a biased gradient whose cosine is near 1 has the same direction with another step length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TruncationBias {
    /// The number of steps of a window.
    pub window: usize,
    /// Over all weights together.
    pub all: Deviation,
    /// Weight by weight, by name.
    pub weights: Vec<(String, Deviation)>,
}

/// The deviation of a gradient from the true one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deviation {
    /// The norm of the difference, over that of the true gradient; `None` if that is zero or not
    /// finite.
    pub bias: Option<f64>,
    /// The cosine between the two; `None` if one of them is zero or not finite.
    pub cosine: Option<f64>,
    /// The norm of the truncated gradient, over that of the true one; `None` as `bias`.
    pub length: Option<f64>,
}

/// The bias of truncated backpropagation through time for each of `windows`; see
/// [`TruncationBias`]. One backward pass per window.
///
/// # Errors
/// If a window is 0, or the network ignores [`recurrent_core::ForwardContext::bptt`], as far as
/// recorders detect it; see [`crate::long_range_share`].
pub fn truncation(objective: &Objective, windows: &[usize]) -> Result<Vec<TruncationBias>> {
    let full = objective.backward(Bptt::default(), Record::Norms)?;
    let bias = |&window: &usize| {
        let flow = Bptt::truncated(window);
        let truncated = objective.backward(flow, Record::Norms)?;
        objective.check_flow(flow, &full.traces, &truncated.traces)?;
        Ok(TruncationBias {
            window,
            all: Deviation::of(&truncated.weights.flat(), &full.weights.flat()),
            weights: deviations(&truncated.weights, &full.weights),
        })
    };
    windows.iter().map(bias).collect()
}

fn deviations(found: &NamedGradients, truth: &NamedGradients) -> Vec<(String, Deviation)> {
    let pairs = found.0.iter().zip(&truth.0);
    pairs.map(|((name, found), (_, truth))| (name.clone(), Deviation::of(found, truth))).collect()
}

impl Deviation {
    fn of(found: &[f64], truth: &[f64]) -> Self {
        let difference: Vec<_> = found.iter().zip(truth).map(|(a, b)| a - b).collect();
        Self {
            bias: fraction(norm(&difference), norm(truth)),
            cosine: cosine(found, truth),
            length: fraction(norm(found), norm(truth)),
        }
    }
}
