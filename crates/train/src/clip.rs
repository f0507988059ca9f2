//! Clipping of gradients: by their global norm, by the norm of each tensor, element by element.

use candle_core::backprop::GradStore;
use candle_core::{bail, Result, Tensor, WithDType};
use serde::{Deserialize, Serialize};

use crate::norms::{global_norm, reduce, slice_norm, tensor_norms, Reduction};
use crate::params::Params;

/// The result of [`clip_global_norm`], [`clip_per_tensor`] or [`clip_value`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clip {
    /// Global norm of the gradients before the clip.
    pub before: f64,
    /// Global norm of the gradients after the clip, measured: in half precision it may miss
    /// `max_norm` slightly.
    pub after: f64,
    /// The factor by which the global norm was scaled, at most 1; exactly 1 if no gradient changed,
    /// and less otherwise. For [`clip_global_norm`] it is the factor of every element.
    pub scale: f64,
}

impl Clip {
    /// Whether a gradient changed.
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
/// Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063 v2, Algorithm 1). Deviation from PyTorch's
/// `clip_grad_norm_`: that divides by ‖g‖ + 1e-6, so it ends a little below `max_norm`. An infinite
/// `max_norm` only measures the norm.
///
/// Call it after the backward pass and before the optimiser's step, with
/// [`Optimizer::trainable`](crate::Optimizer::trainable): frozen parameters do not count then. A
/// parameter without gradient counts as 0. Clipping scales every gradient alike. It helps against
/// exploding gradients, not against vanishing ones.
///
/// ```
/// use candle_core::{Device, Var};
/// use recurrent_train::{clip_global_norm, Params};
///
/// # fn main() -> candle_core::Result<()> {
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
/// If `max_norm` is not positive, or if a gradient holds NaN or infinity: the message names these
/// parameters, and no gradient has changed.
pub fn clip_global_norm(params: &Params, grads: &mut GradStore, max_norm: f64) -> Result<Clip> {
    positive("max_norm", max_norm)?;
    let before = slice_norm(&finite_norms(params, grads)?);
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

/// Scales down the gradient of each parameter whose own norm exceeds `max_norm`.
///
/// ```text
/// g_i <- g_i max_norm / ‖g_i‖     for each parameter i with ‖g_i‖ > max_norm
/// ```
///
/// burn's `GradientClipping::Norm` and Keras's `clipnorm` do the same. Each parameter has its own
/// factor, so that the direction of the whole gradient changes: small gradients gain relative to
/// large ones. Everything else is as in [`clip_global_norm`].
///
/// ```
/// # use candle_core::{Device, Var};
/// # use recurrent_train::{clip_per_tensor, Params};
/// # fn main() -> candle_core::Result<()> {
/// let (a, b) = (Var::new(&[3f32, 4.0], &Device::Cpu)?, Var::new(&[1f32], &Device::Cpu)?);
/// let params = Params::new([("a".to_string(), a.clone()), ("b".to_string(), b.clone())])?;
/// // 2a, of norm 10, and 2b, of norm 2
/// let mut grads = (a.sqr()?.sum_all()? + b.sqr()?.sum_all()?)?.backward()?;
/// let clip = clip_per_tensor(&params, &mut grads, 5.0)?;
/// assert_eq!((clip.before, clip.after), (104f64.sqrt(), 29f64.sqrt()));
/// assert_eq!(grads.get(&a).expect("it has a gradient").to_vec1::<f32>()?, [3.0, 4.0]);
/// assert_eq!(grads.get(&b).expect("it has a gradient").to_vec1::<f32>()?, [2.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`clip_global_norm`].
pub fn clip_per_tensor(params: &Params, grads: &mut GradStore, max_norm: f64) -> Result<Clip> {
    positive("max_norm", max_norm)?;
    change(params, grads, |grad, norm| {
        (norm > max_norm).then(|| grad.detach() * (max_norm / norm)).transpose()
    })
}

/// Bounds every element of every gradient.
///
/// ```text
/// g_j <- min(max(g_j, -max_value), max_value)     for each element j
/// ```
///
/// PyTorch's `clip_grad_value_`, and burn's `GradientClipping::Value`. The direction changes: large
/// elements shrink, small ones stay. The bound is rounded to the dtype of the gradient. Everything
/// else is as in [`clip_global_norm`].
///
/// ```
/// # use candle_core::{Device, Var};
/// # use recurrent_train::{clip_value, Params};
/// # fn main() -> candle_core::Result<()> {
/// let w = Var::new(&[0.5f32, -4.0], &Device::Cpu)?;
/// let params = Params::new([("w".to_string(), w.clone())])?;
/// let mut grads = w.sqr()?.sum_all()?.backward()?; // 2w
/// let clip = clip_value(&params, &mut grads, 1.0)?;
/// assert_eq!((clip.before, clip.after), (65f64.sqrt(), 2f64.sqrt()));
/// assert_eq!(grads.get(&w).expect("it has a gradient").to_vec1::<f32>()?, [1.0, -1.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`clip_global_norm`].
pub fn clip_value(params: &Params, grads: &mut GradStore, max_value: f64) -> Result<Clip> {
    positive("max_value", max_value)?;
    change(params, grads, |grad, _| {
        reduce(grad, Exceeds(max_value))?
            .then(|| grad.detach().clamp(-max_value, max_value))
            .transpose()
    })
}

/// Replaces the gradients for which `rule` returns a new one, given the gradient and its norm. The
/// whole gradient shrinks, so the scale is less than 1, even if the norm changes by less than
/// rounding.
fn change(
    params: &Params,
    grads: &mut GradStore,
    rule: impl Fn(&Tensor, f64) -> Result<Option<Tensor>>,
) -> Result<Clip> {
    let norms = finite_norms(params, grads)?;
    let before = slice_norm(&norms);
    let mut changed = false;
    let with_gradient: Vec<_> = params.iter().filter(|(_, var)| grads.get(var).is_some()).collect();
    for ((_, var), norm) in with_gradient.into_iter().zip(norms) {
        if let Some(new) = grads.get(var).map(|grad| rule(grad, norm)).transpose()?.flatten() {
            grads.insert(var, new);
            changed = true;
        }
    }
    if !changed {
        return Ok(Clip { before, after: before, scale: 1.0 });
    }
    let after = global_norm(params, grads)?;
    Ok(Clip { before, after, scale: (after / before).min(1.0 - f64::EPSILON) })
}

fn positive(name: &str, bound: f64) -> Result<()> {
    if bound.is_nan() || bound <= 0.0 {
        bail!("clip {name}: expected a positive number or infinity, found {bound}");
    }
    Ok(())
}

/// The norms of all present gradients, in the order of the names of their parameters.
fn finite_norms(params: &Params, grads: &GradStore) -> Result<Vec<f64>> {
    let norms = tensor_norms(params, grads)?;
    let unfit: Vec<String> = norms
        .iter()
        .filter(|(_, norm)| norm.is_some_and(|norm| !norm.is_finite()))
        .map(|(name, _)| format!("'{name}'"))
        .collect();
    if !unfit.is_empty() {
        bail!(
            "clip grads: expected finite gradients, found NaN or infinity in {}",
            unfit.join(", ")
        );
    }
    Ok(norms.into_iter().filter_map(|(_, norm)| norm).collect())
}

/// Whether an element exceeds a bound that is rounded to its dtype.
struct Exceeds(f64);

impl Reduction for Exceeds {
    type Output = bool;
    fn reduce<T: WithDType>(self, values: &[T]) -> bool {
        let bound = T::from_f64(self.0).to_f64();
        values.iter().any(|value| value.to_f64().abs() > bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor, Var};

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
            assert_eq!(
                (clip.before, clip.after, clip.scale, clip.clipped()),
                (before, before, 1.0, false)
            );
            assert_eq!(grads.get(&b).expect("present").to_vec1::<f32>()?, [0.3; 4]);
        }
        Ok(())
    }

    #[test]
    fn above_the_threshold_the_direction_stays() -> Result<()> {
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
            let error = clip_global_norm(&params, &mut grads, max_norm)
                .expect_err("not positive")
                .to_string();
            assert!(
                error.contains("clip max_norm: expected a positive number or infinity"),
                "{error}"
            );
        }
        grads.insert(&b, Tensor::new(&[1f32, f32::NAN, 0.0, 0.0], &Device::Cpu)?);
        let error = clip_global_norm(&params, &mut grads, 1.0).expect_err("a NaN").to_string();
        assert!(error.contains("found NaN or infinity in 'b'"), "{error}");
        assert_eq!(grads.get(&a).expect("present").to_vec2::<f32>()?, [[1.0; 3]; 2]);
        Ok(())
    }

    type ClipFunction = fn(&Params, &mut GradStore, f64) -> Result<Clip>;
    const RULES: [ClipFunction; 3] = [clip_global_norm, clip_per_tensor, clip_value];

    /// The gradients of both, one after the other.
    fn flat(a: &Var, b: &Var, grads: &GradStore) -> Result<Vec<f64>> {
        let of = |var| {
            grads.get(var).expect("present").to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()
        };
        Ok([of(a)?, of(b)?].concat())
    }

    /// a: ±6 and 0.25 thrice each, b: 0.5, -1.5, 3, 1e-3.
    fn uneven(a: &Var, b: &Var, dtype: DType) -> Result<GradStore> {
        let mut grads = grads_of(a, b, (1.0, 1.0))?;
        let values = [6f32, 0.25, -6.0, 0.25, 6.0, 0.25];
        grads.insert(a, Tensor::from_slice(&values, (2, 3), &Device::Cpu)?.to_dtype(dtype)?);
        grads.insert(b, Tensor::new(&[0.5f32, -1.5, 3.0, 1e-3], &Device::Cpu)?.to_dtype(dtype)?);
        Ok(grads)
    }

    #[test]
    fn only_the_global_clip_keeps_the_direction_and_all_only_shrink() -> Result<()> {
        let (params, a, b) = two()?;
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            for (index, rule) in RULES.iter().enumerate() {
                let mut grads = uneven(&a, &b, dtype)?;
                let before = flat(&a, &b, &grads)?;
                let clip = rule(&params, &mut grads, 0.7)?;
                let after = flat(&a, &b, &grads)?;
                assert!(after
                    .iter()
                    .zip(&before)
                    .all(|(after, before)| after.abs() <= before.abs()));
                assert!(after.iter().zip(&before).all(|(after, before)| after * before >= 0.0));
                assert!((clip.before - slice_norm(&before)).abs() < 1e-9 && clip.clipped());
                assert!((clip.after - slice_norm(&after)).abs() < 1e-9 && clip.scale < 1.0);
                let dot: f64 =
                    before.iter().zip(&after).map(|(before, after)| before * after).sum();
                let off = 1.0 - dot / (slice_norm(&before) * slice_norm(&after));
                assert_eq!(off < 1e-4, index == 0, "rule {index}, {dtype:?}: 1 - cos {off}");
            }
        }
        Ok(())
    }

    #[test]
    fn each_tensor_has_its_own_norm() -> Result<()> {
        let (params, a, b) = two()?;
        let mut grads = grads_of(&a, &b, (3.0, 0.25))?; // norms sqrt(54) and 0.5
        let clip = clip_per_tensor(&params, &mut grads, 0.9)?;
        assert_eq!(grads.get(&b).expect("present").to_vec1::<f32>()?, [0.25; 4], "below the bound");
        let scaled = 0.9 / 6f64.sqrt(); // six equal elements of norm 0.9
        let found = flat(&a, &b, &grads)?;
        assert!(found[..6].iter().all(|value| (value - scaled).abs() < 1e-7), "{found:?}");
        assert!(
            (clip.before - 54.25f64.sqrt()).abs() < 1e-12
                && (clip.after - 1.06f64.sqrt()).abs() < 1e-7
        );
        assert!((clip.scale - (1.06f64 / 54.25).sqrt()).abs() < 1e-7);
        Ok(())
    }

    #[test]
    fn each_element_has_the_bound() -> Result<()> {
        let (params, a, b) = two()?;
        let mut grads = uneven(&a, &b, DType::F32)?;
        let clip = clip_value(&params, &mut grads, 1.0)?;
        let expected = [1.0, 0.25, -1.0, 0.25, 1.0, 0.25, 0.5, -1.0, 1.0, f64::from(1e-3f32)];
        assert_eq!(flat(&a, &b, &grads)?, expected);
        // 3·36 + 3/16 + 1/4 + 9/4 + 9 + 1e-6, and 3 + 3/16 + 1/4 + 2 + 1e-6
        assert!((clip.before - 119.687_501f64.sqrt()).abs() < 1e-9);
        assert!(
            (clip.after - 5.437_501f64.sqrt()).abs() < 1e-9
                && clip.scale == clip.after / clip.before
        );
        Ok(())
    }

    #[test]
    fn clipping_twice_equals_clipping_once() -> Result<()> {
        let (params, a, b) = two()?;
        for (index, rule) in RULES.iter().enumerate() {
            let mut grads = uneven(&a, &b, DType::F32)?;
            rule(&params, &mut grads, 0.1)?; // which f32 rounds up
            let once = flat(&a, &b, &grads)?;
            let clip = rule(&params, &mut grads, 0.1)?;
            let apart =
                once.iter().zip(flat(&a, &b, &grads)?).map(|(once, twice)| (once - twice).abs());
            assert!(apart.fold(0.0, f64::max) < 1e-8 && clip.scale > 1.0 - 1e-7, "rule {index}");
            assert!(index < 2 || !clip.clipped(), "a bounded element is within the bound");
        }
        Ok(())
    }

    #[test]
    fn a_change_too_small_for_the_norm_counts() -> Result<()> {
        let a = Var::from_vec(vec![1.0; 5], 5, &Device::Cpu)?;
        let params = Params::new([("a".to_string(), a.clone())])?;
        let mut grads = (a.as_tensor() * 1.0)?.sum_all()?.backward()?;
        grads.insert(&a, Tensor::new(&[1.0, 1.0, 1.0, 1.0, 1.0 + f64::EPSILON], &Device::Cpu)?);
        let clip = clip_value(&params, &mut grads, 1.0)?;
        assert_eq!(grads.get(&a).expect("present").to_vec1::<f64>()?, [1.0; 5]);
        assert!(clip.clipped() && clip.scale > 1.0 - 1e-15, "{clip:?}");
        assert!(!clip_value(&params, &mut grads, 1.0)?.clipped());
        Ok(())
    }

    #[test]
    fn all_clips_refuse_the_same_input() -> Result<()> {
        let (params, a, b) = two()?;
        for rule in RULES {
            let mut grads = grads_of(&a, &b, (1.0, 1.0))?;
            for bound in [0.0, -1.0, f64::NAN] {
                let error = rule(&params, &mut grads, bound).expect_err("not positive").to_string();
                assert!(error.contains("expected a positive number or infinity"), "{error}");
            }
            assert!(!rule(&params, &mut grads, f64::INFINITY)?.clipped());
            grads.insert(&a, Tensor::full(f32::INFINITY, (2, 3), &Device::Cpu)?);
            let error = rule(&params, &mut grads, 0.5).expect_err("infinity").to_string();
            assert!(error.contains("found NaN or infinity in 'a'"), "{error}");
            assert_eq!(
                grads.get(&b).expect("present").to_vec1::<f32>()?,
                [1.0; 4],
                "nothing was changed"
            );
        }
        Ok(())
    }
}
