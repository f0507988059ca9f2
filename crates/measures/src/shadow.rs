//! The loss of a gradient in f32, compared with the same gradient in f64.

use crate::state_gradients::{name, StateGradients};
use crate::vector::norm;
use candle_core::{bail, DType, Result};
use recurrent_core::{GradientTrace, LayerId};
use serde::{Deserialize, Serialize};

/// A trace in f32 beside its shadow, the trace of the same weights and the same batch in f64, lag
/// by lag.
///
/// It shows the part of the gradient that is zero because of f32 and not because of the network. An
/// element is lost if it is zero or subnormal in f32 and a normal number in f64. Losses by rounding
/// alone are in `error`.
///
/// Without a recorder, the kernels on the CPU set subnormal gradients to zero, so a training step
/// has zeros where the trace has subnormals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// Which layer, and which direction.
    pub layer_id: LayerId,
    /// Which field of the state.
    pub field: String,
    /// By lag, 0 to the length of the longest example.
    pub lags: Vec<ShadowLag>,
    /// The first lag of each kind of number.
    pub first: FirstLags,
    /// The largest of [`ShadowLag::error`]; infinite if a norm is not finite in f32, or if it is
    /// zero only in f64.
    pub error: f64,
}

/// The counts at one lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowLag {
    /// The number of elements.
    pub elements: usize,
    /// The number of exact zeros in f32.
    pub zeros: usize,
    /// The number of subnormals in f32.
    pub subnormals: usize,
    /// The number of NaN in f32.
    pub nans: usize,
    /// The number of infinities in f32.
    pub infinities: usize,
    /// The number of zeros that are normal in f64.
    pub lost_zeros: usize,
    /// The number of subnormals that are normal in f64.
    pub lost_subnormals: usize,
    /// The number of elements that are finite only in f64.
    pub overflowed: usize,
    /// The largest relative error of an example's norm: |‖g32‖ − ‖g64‖| / ‖g64‖; infinite as in
    /// [`Shadow::error`].
    pub error: f64,
}

/// The first lag of each kind of number; `None` if there is no such lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstLags {
    /// A zero.
    pub zero: Option<usize>,
    /// A subnormal.
    pub subnormal: Option<usize>,
    /// A NaN.
    pub nan: Option<usize>,
    /// An infinity.
    pub infinity: Option<usize>,
    /// A zero or subnormal that is normal in f64.
    pub lost: Option<usize>,
    /// An element that is finite only in f64.
    pub overflowed: Option<usize>,
}

/// Each trace of `single`, in f32, next to that of the same layer, direction and field in `double`,
/// in f64, both with their gradients.
///
/// # Errors
/// If the traces do not match, have no gradients, or have other dtypes, and those of candle.
pub fn shadow(single: &[GradientTrace], double: &[GradientTrace]) -> Result<Vec<Shadow>> {
    let pair = |trace: &GradientTrace| {
        let same =
            |other: &&GradientTrace| (other.layer_id, other.field) == (trace.layer_id, trace.field);
        match double.iter().find(same) {
            Some(other) => beside(trace, other),
            None => bail!("shadow: expected a trace of {} in f64, got none", name(trace)),
        }
    };
    single.iter().map(pair).collect()
}

fn beside(single: &GradientTrace, double: &GradientTrace) -> Result<Shadow> {
    let shape = |trace: &GradientTrace| {
        trace.gradients.as_ref().map(|gradients| (gradients.dims().to_vec(), gradients.dtype()))
    };
    let (narrow, wide) = (StateGradients::of(single)?, StateGradients::of(double)?);
    match (shape(single), shape(double)) {
        (Some((a, DType::F32)), Some((b, DType::F64)))
            if a == b && single.lengths == double.lengths => {}
        (found, shadow) => bail!(
            "shadow of {}: expected gradients of one batch in f32 and in f64, got {found:?} and \
            {shadow:?}",
            name(single)
        ),
    }
    let lags: Vec<_> = (0..single.lags()).map(|lag| counts(&narrow, &wide, lag)).collect();
    let first = |of: fn(&ShadowLag) -> usize| lags.iter().position(|lag| of(lag) > 0);
    Ok(Shadow {
        layer_id: single.layer_id,
        field: single.field.to_string(),
        first: FirstLags {
            zero: first(|lag| lag.zeros),
            subnormal: first(|lag| lag.subnormals),
            nan: first(|lag| lag.nans),
            infinity: first(|lag| lag.infinities),
            lost: first(|lag| lag.lost_zeros + lag.lost_subnormals),
            overflowed: first(|lag| lag.overflowed),
        },
        error: lags.iter().fold(0.0, |largest, lag| lag.error.max(largest)),
        lags,
    })
}

fn counts(narrow: &StateGradients, wide: &StateGradients, lag: usize) -> ShadowLag {
    let mut counts = ShadowLag::default();
    for (found, truth) in narrow.lag(lag).zip(wide.lag(lag)) {
        counts.error = counts.error.max(error(norm(found), norm(truth)));
        for (&found, truth) in found.iter().zip(truth) {
            let (zero, subnormal) = (found == 0.0, (found as f32).is_subnormal());
            counts.elements += 1;
            counts.zeros += usize::from(zero);
            counts.subnormals += usize::from(subnormal);
            counts.nans += usize::from(found.is_nan());
            counts.infinities += usize::from(found.is_infinite());
            counts.lost_zeros += usize::from(zero && truth.is_normal());
            counts.lost_subnormals += usize::from(subnormal && truth.is_normal());
            counts.overflowed += usize::from(!found.is_finite() && truth.is_finite());
        }
    }
    counts
}

/// The relative error of a norm.
fn error(found: f64, truth: f64) -> f64 {
    match (found - truth).abs() / truth {
        _ if found == truth => 0.0,
        error if error.is_finite() => error,
        _ => f64::INFINITY,
    }
}
