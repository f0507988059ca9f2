//! Clipping of the gradient of the weights.

use crate::config::Clipping;
use candle_core::backprop::GradStore;
use recurrent_train::{clip_global_norm, clip_per_tensor, clip_value, Clip, Params};

/// Clips the gradients.
pub(super) fn clip(
    clipping: Clipping,
    params: &Params,
    grads: &mut GradStore,
) -> candle_core::Result<Clip> {
    match clipping {
        Clipping::Off => clip_global_norm(params, grads, f64::INFINITY),
        Clipping::GlobalNorm(bound) => clip_global_norm(params, grads, bound),
        Clipping::PerTensor(bound) => clip_per_tensor(params, grads, bound),
        Clipping::Value(bound) => clip_value(params, grads, bound),
    }
}
