//! Gradients against finite differences.

use crate::close::{norm, values};
use crate::noise;
use crate::Result;
use anyhow::ensure;
use candle_core::{DType, Tensor};

/// The step of a difference. Of fourth order, its truncation error is about h⁴/30 times the fifth
/// derivative, 1e-17 of it; its rounding error is about 1e-16/h times the loss, 1e-12 of it.
const STEP: f64 = 1e-4;

/// The largest error of a gradient, relative to the typical derivative in a random direction. The
/// difference itself is off by some 1e-10; more than 1e-6 is a wrong gradient.
pub const TOLERANCE: f64 = 1e-6;

/// The derivative of `f` at 0, by central differences of fourth order.
///
/// # Errors
/// Those of `f`.
pub fn derivative(mut f: impl FnMut(f64) -> Result<f64>) -> Result<f64> {
    let mut difference = |step: f64| Ok::<_, anyhow::Error>(f(step)? - f(-step)?);
    Ok((8.0 * difference(STEP)? - difference(2.0 * STEP)?) / (12.0 * STEP))
}

/// Checks `gradient`, of a loss at `at`, in f64: in a random direction, and in `coordinates` of its
/// elements.
///
/// # Errors
/// Those of `loss`; or if a derivative is off by more than [`TOLERANCE`] of itself plus the root
/// mean square of `gradient`, which is the typical derivative in a direction of norm 1.
pub fn check(
    what: &str,
    at: &Tensor,
    gradient: &Tensor,
    coordinates: usize,
    mut loss: impl FnMut(&Tensor) -> Result<f64>,
) -> Result<()> {
    let (count, dims) = (at.elem_count(), at.dims());
    let elements = values(gradient)?;
    let typical = norm(&elements) / (count as f64).sqrt();
    let random = values(&noise(&format!("direction of {what}"), dims)?)?;
    let length = norm(&random);
    let mut directions =
        vec![("a random direction".to_string(), random.iter().map(|v| v / length).collect())];
    for turn in 0..coordinates.min(count) {
        let index = (turn * count + count / 2) / coordinates.min(count); // spread over the tensor
        let mut unit = vec![0.0; count];
        unit[index] = 1.0;
        directions.push((format!("element {index} of {count}"), unit));
    }
    for (name, direction) in directions {
        let expected: f64 = elements.iter().zip(&direction).map(|(g, v)| g * v).sum();
        let direction = Tensor::from_vec(direction, dims, at.device())?.to_dtype(DType::F64)?;
        let found = derivative(|step| loss(&(at + (&direction * step)?)?))?;
        let error = (found - expected).abs() / (expected.abs() + typical);
        ensure!(
            error <= TOLERANCE,
            "{what}, along {name}: the gradient says {expected:e}, differences say {found:e}; \
             off by {error:.1e}, allowed: {TOLERANCE:e}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// The sum of x⁴ over all elements. Its gradient is 4x³.
    fn loss(x: &Tensor) -> Result<f64> {
        Ok(x.sqr()?.sqr()?.sum_all()?.to_scalar()?)
    }

    #[test]
    fn a_correct_gradient_passes_and_a_slightly_wrong_one_does_not() -> Result<()> {
        let x = Tensor::new(&[[0.5, -1.0, 2.0], [0.1, 0.3, 1.0]], &Device::Cpu)?;
        let gradient = ((x.sqr()? * &x)? * 4.0)?;
        check("x", &x, &gradient, 3, loss)?;
        let error = check("x", &x, &(&gradient * (1.0 + 1e-5))?, 0, loss)
            .expect_err("must fail")
            .to_string();
        assert!(error.starts_with("x, along a random direction: the gradient says"), "{error}");
        let mut one = values(&gradient)?;
        one[3] += 1e-4; // one coordinate only
        let one = Tensor::from_vec(one, (2, 3), &Device::Cpu)?;
        let error = check("x", &x, &one, 6, loss).expect_err("must fail").to_string();
        assert!(error.contains("random direction") || error.contains("element 3 of 6"), "{error}");
        Ok(())
    }
}
