//! Dropout with reproducible masks.

use crate::{named_rng, ForwardContext, LayerId, Sequence, StepKey};
use candle_core::{Result, Tensor};
use rand::Rng;

/// Sets each value to zero with probability `p` and scales the others by `1 / (1 - p)` (Srivastava
/// et al. 2014) in a training pass; returns `xs` in evaluation. The mask depends on the key and the
/// position of the layer only.
///
/// # Errors
/// Those of candle.
pub fn dropout(xs: &Sequence, p: f64, context: &ForwardContext) -> Result<Sequence> {
    let (Some(key), true) = (context.key, p > 0.0) else { return Ok(xs.clone()) };
    let values = xs.values();
    xs.with_values((values * mask(key, "dropout", context.layer_id, p, values.dims(), values)?)?)
}

/// Zeros with probability `p` and else `1 / (1 - p)`, with the device and dtype of `like`.
pub(crate) fn mask(
    key: StepKey,
    kind: &str,
    layer_id: LayerId,
    p: f64,
    dims: &[usize],
    like: &Tensor,
) -> Result<Tensor> {
    let mut rng = named_rng(key.seed, &format!("{kind} {} {}", key.step, layer_id.suffix()));
    let scale = 1.0 / (1.0 - p);
    let mask: Vec<_> =
        (0..dims.iter().product()).map(|_| if rng.random_bool(p) { 0.0 } else { scale }).collect();
    Tensor::from_vec(mask, dims, like.device())?.to_dtype(like.dtype())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn the_key_determines_the_mask() -> Result<()> {
        let xs = Sequence::new(Tensor::ones((10, 50, 20), DType::F64, &Device::Cpu)?)?;
        let drop = |context: &ForwardContext| {
            dropout(&xs, 0.25, context)?.values().flatten_all()?.to_vec1::<f64>()
        };
        let first = drop(&ForwardContext::train(1, 1))?;
        assert_eq!(first, drop(&ForwardContext::train(1, 1))?);
        assert_ne!(first, drop(&ForwardContext::train(1, 2))?);
        assert_ne!(first, drop(&ForwardContext::train(1, 1).offset_layer(1))?);
        assert!(
            drop(&ForwardContext::default())?.iter().all(|&value| value == 1.0),
            "evaluation drops nothing"
        );
        let dropped = first.iter().filter(|&&value| value == 0.0).count() as f64 / 1e4;
        assert!((dropped - 0.25).abs() < 0.02, "{dropped}");
        assert!(first.iter().all(|&value| value == 0.0 || (value - 4.0 / 3.0).abs() < 1e-6));
        Ok(())
    }
}
