//! Clipping of gradients by their global norm.

use candle::backprop::GradStore;
use candle::{bail, Result};
use serde::{Deserialize, Serialize};

use crate::norm::{global_norm, slice_norm, tensor_norms};
use crate::params::Params;

/// What [`clip_global_norm`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clip {
    /// Global norm of the gradients as they came.
    pub before: f64,
    /// Global norm of the gradients as they are now, measured: in half precision it may miss `max_norm` a little.
    pub after: f64,
    /// The factor that was applied, at most 1; exactly 1 if nothing was changed.
    pub scale: f64,
}

impl Clip {
    /// Whether the gradients were scaled down.
    pub fn clipped(&self) -> bool {
        self.scale < 1.0
    }
}

/// Scales the gradients of `params` down if their global norm exceeds `max_norm`.
///
/// ```text
/// g <- g max_norm / ‖g‖     if ‖g‖ > max_norm
/// ```
///
/// Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063 v2, Algorithm 1). Deviation from PyTorch's `clip_grad_norm_`:
/// that divides by ‖g‖ + 1e-6, so it ends a little below `max_norm`. With `max_norm` infinite the norm is measured
/// and nothing is changed.
///
/// Call it after the backward pass and before the optimiser's step, with
/// [`Optimizer::trainable`](crate::Optimizer::trainable): frozen parameters do not count then. A parameter without
/// gradient counts as 0. Clipping scales every gradient alike. It helps against exploding gradients; it does
/// nothing for vanishing ones.
///
/// ```
/// use candle::{Device, Var};
/// use recurrent_train::{clip_global_norm, Params};
///
/// # fn main() -> candle::Result<()> {
/// let w = Var::new(&[3f32, 4.0], &Device::Cpu)?;
/// let params = Params::new([("w".to_string(), w.clone())])?;
/// let mut grads = w.sqr()?.sum_all()?.backward()?; // 2w
/// let clip = clip_global_norm(&params, &mut grads, 5.0)?;
/// assert_eq!((clip.before, clip.after, clip.scale), (10.0, 5.0, 0.5));
/// assert_eq!(grads.get(&w).expect("w has a gradient").to_vec1::<f32>()?, [3.0, 4.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// If `max_norm` is not positive, or if a gradient holds NaN or infinity: the message names these parameters, and
/// no gradient was changed.
pub fn clip_global_norm(params: &Params, grads: &mut GradStore, max_norm: f64) -> Result<Clip> {
    if max_norm.is_nan() || max_norm <= 0.0 {
        bail!("clip max_norm: expected a positive number or infinity, found {max_norm}");
    }
    let norms = tensor_norms(params, grads)?;
    let unfit: Vec<String> = norms
        .iter()
        .filter(|(_, norm)| norm.is_some_and(|norm| !norm.is_finite()))
        .map(|(name, _)| format!("'{name}'"))
        .collect();
    if !unfit.is_empty() {
        bail!("clip grads: expected finite gradients, found NaN or infinity in {}", unfit.join(", "));
    }
    let norms: Vec<f64> = norms.into_iter().filter_map(|(_, norm)| norm).collect();
    let before = slice_norm(&norms);
    if before <= max_norm {
        return Ok(Clip { before, after: before, scale: 1.0 });
    }
    let scale = max_norm / before;
    for (_, var) in params.iter() {
        if let Some(grad) = grads.get(var) {
            let scaled = (grad.detach() * scale)?;
            grads.insert(var, scaled);
        }
    }
    Ok(Clip { before, after: global_norm(params, grads)?, scale })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{DType, Device, Tensor, Var};

    fn two() -> Result<(Params, Var, Var)> {
        let a = Var::zeros((2, 3), DType::F32, &Device::Cpu)?;
        let b = Var::zeros(4, DType::F32, &Device::Cpu)?;
        let params = Params::new([("b".to_string(), b.clone()), ("a".to_string(), a.clone())])?;
        Ok((params, a, b))
    }

    fn grads_of(a: &Var, b: &Var, values: (f32, f32)) -> Result<GradStore> {
        let a = (a.as_tensor() * f64::from(values.0))?.sum_all()?;
        let b = (b.as_tensor() * f64::from(values.1))?.sum_all()?;
        (a + b)?.backward()
    }

    #[test]
    fn below_the_threshold_no_bit_changes() -> Result<()> {
        let (params, a, b) = two()?;
        let mut grads = grads_of(&a, &b, (0.1, 0.3))?;
        let before = global_norm(&params, &grads)?;
        for max_norm in [before, f64::INFINITY] {
            let clip = clip_global_norm(&params, &mut grads, max_norm)?;
            assert_eq!((clip.before, clip.after, clip.scale, clip.clipped()), (before, before, 1.0, false));
            assert_eq!(grads.get(&b).expect("present").to_vec1::<f32>()?, [0.3; 4]);
        }
        Ok(())
    }

    #[test]
    fn above_it_the_direction_stays() -> Result<()> {
        let (params, a, b) = two()?;
        let mut grads = grads_of(&a, &b, (3.0, 4.0))?; // norm sqrt(6 * 9 + 4 * 16)
        let clip = clip_global_norm(&params, &mut grads, 0.5)?;
        assert!((clip.before - 118f64.sqrt()).abs() < 1e-12);
        assert!((clip.after - 0.5).abs() < 1e-7 && clip.clipped());
        let scale = 0.5 / 118f64.sqrt();
        let a = grads.get(&a).expect("present").flatten_all()?.to_vec1::<f32>()?;
        let b = grads.get(&b).expect("present").to_vec1::<f32>()?;
        assert!(a.iter().all(|value| (f64::from(*value) - 3.0 * scale).abs() < 1e-7), "{a:?}");
        assert!(b.iter().all(|value| (f64::from(*value) - 4.0 * scale).abs() < 1e-7), "{b:?}");
        Ok(())
    }

    #[test]
    fn only_the_given_parameters_count_and_change() -> Result<()> {
        let (params, a, b) = two()?;
        let mut grads = grads_of(&a, &b, (1000.0, 4.0))?;
        let clip = clip_global_norm(&params.with_prefix("b"), &mut grads, 1.0)?;
        assert_eq!(clip.before, 8.0);
        assert_eq!(grads.get(&a).expect("present").to_vec2::<f32>()?, [[1000.0; 3]; 2]);
        assert_eq!(grads.get(&b).expect("present").to_vec1::<f32>()?, [0.5; 4]);
        Ok(())
    }

    #[test]
    fn bad_thresholds_and_bad_gradients_are_refused() -> Result<()> {
        let (params, a, b) = two()?;
        let mut grads = grads_of(&a, &b, (1.0, 1.0))?;
        for max_norm in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            let error =
                clip_global_norm(&params, &mut grads, max_norm).expect_err("not positive").to_string();
            assert!(error.contains("clip max_norm: expected a positive number or infinity"), "{error}");
        }
        grads.insert(&b, Tensor::new(&[1f32, f32::NAN, 0.0, 0.0], &Device::Cpu)?);
        let error = clip_global_norm(&params, &mut grads, 1.0).expect_err("a NaN").to_string();
        assert!(error.contains("found NaN or infinity in 'b'"), "{error}");
        assert_eq!(grads.get(&a).expect("present").to_vec2::<f32>()?, [[1.0; 3]; 2]);
        Ok(())
    }
}
