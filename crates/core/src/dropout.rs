//! Dropout whose masks can be drawn again.

use crate::{stream, Pass, Sequence};
use candle::{Result, Tensor};
use rand::Rng;

/// Sets each value to zero with probability `p` and scales the others by `1 / (1 - p)` (Srivastava et al. 2014) in a
/// training pass; leaves `xs` alone in evaluation. The mask depends on the pass's draw and place, on nothing else.
///
/// # Errors
/// Those of candle.
pub fn dropout(xs: &Sequence, p: f64, pass: &Pass) -> Result<Sequence> {
    let (Some(draw), true) = (pass.draw, p > 0.0) else { return Ok(xs.clone()) };
    let values = xs.values();
    let mut rng = stream(draw.seed, &format!("dropout {} {}", draw.step, pass.place.suffix()));
    let scale = (1.0 / (1.0 - p)) as f32;
    let mask: Vec<_> =
        (0..values.elem_count()).map(|_| if rng.random_bool(p) { 0.0 } else { scale }).collect();
    let mask = Tensor::from_vec(mask, values.shape(), values.device())?.to_dtype(values.dtype())?;
    xs.with_values((values * mask)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{DType, Device};

    #[test]
    fn the_draw_decides_the_mask() -> Result<()> {
        let xs = Sequence::new(Tensor::ones((10, 50, 20), DType::F64, &Device::Cpu)?)?;
        let drop = |pass: &Pass| dropout(&xs, 0.25, pass)?.values().flatten_all()?.to_vec1::<f64>();
        let first = drop(&Pass::train(1, 1))?;
        assert_eq!(first, drop(&Pass::train(1, 1))?);
        assert_ne!(first, drop(&Pass::train(1, 2))?);
        assert_ne!(first, drop(&Pass::train(1, 1).above(1))?);
        assert!(drop(&Pass::default())?.iter().all(|&value| value == 1.0), "evaluation drops nothing");
        let dropped = first.iter().filter(|&&value| value == 0.0).count() as f64 / 1e4;
        assert!((dropped - 0.25).abs() < 0.02, "{dropped}");
        assert!(first.iter().all(|&value| value == 0.0 || (value - 4.0 / 3.0).abs() < 1e-6));
        Ok(())
    }
}
