//! Norms of gradients, summed in f64 in a fixed order.

use candle_core::backprop::GradStore;
use candle_core::{bail, CpuStorage, Device, Result, Storage, Tensor, WithDType};

use crate::params::Params;

/// The Euclidean norm of all gradients of `params` taken together.
///
/// Summed in f64 within each tensor, and over the tensors in the order of their names, so that the
/// same gradients give the same bits. Large and small values neither overflow nor underflow: f64
/// gradients of 1e-200 have a norm of that size, not 0. A parameter without gradient counts as 0;
/// NaN and infinity in a gradient make the norm NaN or infinite. Gradients on another device are
/// copied to the host.
///
/// # Errors
///
/// If a gradient has a dtype that a parameter cannot have, or the device fails.
pub fn global_norm(params: &Params, grads: &GradStore) -> Result<f64> {
    let norms = tensor_norms(params, grads)?;
    let norms: Vec<f64> = norms.into_iter().filter_map(|(_, norm)| norm).collect();
    Ok(slice_norm(&norms))
}

/// The Euclidean norm of each gradient, by name in sorted order; `None` for a parameter without
/// gradient.
///
/// ```
/// use candle_core::{Device, Var};
/// use recurrent_train::{global_norm, tensor_norms, Params};
///
/// # fn main() -> candle_core::Result<()> {
/// let a = Var::new(&[1.5f32, 2.0], &Device::Cpu)?;
/// let b = Var::new(&[6.0f32], &Device::Cpu)?;
/// let c = Var::new(&[0.0f32], &Device::Cpu)?;
/// let named = [("a", &a), ("b", &b), ("c", &c)];
/// let params = Params::new(named.map(|(name, var)| (name.to_string(), var.clone())))?;
///
/// let grads = (a.sqr()?.sum_all()? + b.sqr()?.sum_all()?)?.backward()?; // 2a and 2b
/// let norms = tensor_norms(&params, &grads)?;
/// let values = norms.iter().map(|(name, norm)| (name.as_str(), *norm)).collect::<Vec<_>>();
/// assert_eq!(values, [("a", Some(5.0)), ("b", Some(12.0)), ("c", None)]);
/// assert_eq!(global_norm(&params, &grads)?, 13.0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`global_norm`].
pub fn tensor_norms(params: &Params, grads: &GradStore) -> Result<Vec<(String, Option<f64>)>> {
    params
        .iter()
        .map(|(name, var)| Ok((name.to_string(), grads.get(var).map(tensor_norm).transpose()?)))
        .collect()
}

/// The Euclidean norm of one tensor on any device.
pub(crate) fn tensor_norm(tensor: &Tensor) -> Result<f64> {
    reduce(tensor, EuclideanNorm)
}

/// A reduction over the elements of a tensor of any dtype.
pub(crate) trait Reduction {
    type Output;
    fn reduce<T: WithDType>(self, values: &[T]) -> Self::Output;
}

/// Reduces the elements of a tensor, in row-major order.
pub(crate) fn reduce<R: Reduction>(tensor: &Tensor, reduction: R) -> Result<R::Output> {
    let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let range = layout.start_offset()..layout.start_offset() + layout.shape().elem_count();
    let Storage::Cpu(storage) = &*storage else {
        bail!("norm: expected a tensor on the cpu after a copy to it")
    };
    Ok(match storage {
        CpuStorage::F64(values) => reduction.reduce(&values[range]),
        CpuStorage::F32(values) => reduction.reduce(&values[range]),
        CpuStorage::F16(values) => reduction.reduce(&values[range]),
        CpuStorage::BF16(values) => reduction.reduce(&values[range]),
        _ => bail!("norm: expected dtype f16, bf16, f32 or f64, found {}", tensor.dtype().as_str()),
    })
}

struct EuclideanNorm;

impl Reduction for EuclideanNorm {
    type Output = f64;
    fn reduce<T: WithDType>(self, values: &[T]) -> f64 {
        slice_norm(values)
    }
}

/// Squares below this lose digits in f64, squares above the other bound overflow when many are
/// summed.
const SAFE: std::ops::Range<f64> = 1e-280..1e280;

pub(crate) fn slice_norm<T: WithDType>(values: &[T]) -> f64 {
    let sum = sum_of_squares(values, 1.0);
    if SAFE.contains(&sum) || sum.is_nan() {
        return sum.sqrt();
    }
    let largest = values.iter().fold(0f64, |largest, value| largest.max(value.to_f64().abs()));
    if largest == 0.0 || largest.is_infinite() {
        return largest;
    }
    largest * sum_of_squares(values, largest).sqrt()
}

/// Eight running sums, added in a fixed order: faster than one sum, and as deterministic.
fn sum_of_squares<T: WithDType>(values: &[T], unit: f64) -> f64 {
    let mut sums = [0f64; 8];
    let chunks = values.chunks_exact(8);
    let rest = chunks.remainder();
    if unit == 1.0 {
        for chunk in chunks {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                let value = value.to_f64();
                *sum += value * value;
            }
        }
    } else {
        for chunk in chunks {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                let value = value.to_f64() / unit;
                *sum += value * value;
            }
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        let value = value.to_f64() / unit;
        *sum += value * value;
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() <= 1e-14 * right.abs(), "{left} against {right}");
    }

    #[test]
    fn every_length_is_summed_to_the_end() {
        for length in 0..40 {
            let values: Vec<f64> = (1..=length).map(f64::from).collect();
            let n = f64::from(length);
            close(slice_norm(&values), (n * (n + 1.0) * (2.0 * n + 1.0) / 6.0).sqrt());
        }
    }

    #[test]
    fn large_and_small_values_neither_overflow_nor_underflow() {
        for unit in [1e-320, 1e-200, 1e-140, 1.0, 1e140, 1e200, 1e300] {
            let norm = slice_norm(&[3.0 * unit, -4.0 * unit, 0.0]);
            let tolerance = if unit < 1e-300 { 1e-3 } else { 1e-14 };
            assert!((norm / (5.0 * unit) - 1.0).abs() < tolerance, "{unit}: {norm}");
        }
        close(slice_norm(&[f32::MAX, f32::MAX]), f64::from(f32::MAX) * 2f64.sqrt());
        let tiny = f32::from_bits(1); // the smallest subnormal
        close(slice_norm(&[tiny; 4]), 2.0 * f64::from(tiny));
    }

    #[test]
    fn zero_nan_and_infinity_are_preserved() {
        assert_eq!(slice_norm(&[0.0; 11]), 0.0);
        assert_eq!(slice_norm::<f64>(&[]), 0.0);
        assert_eq!(slice_norm(&[1.0, f64::NEG_INFINITY]), f64::INFINITY);
        assert!(slice_norm(&[1.0, f64::NAN, f64::INFINITY]).is_nan());
    }

    #[test]
    fn views_and_half_precision_are_read_correctly() -> Result<()> {
        let tensor = Tensor::arange(0f64, 12.0, &Device::Cpu)?.reshape((3, 4))?;
        let column = tensor.narrow(1, 1, 1)?; // 1, 5, 9
        close(tensor_norm(&column)?, 107f64.sqrt());
        let row = tensor.narrow(0, 2, 1)?; // 8, 9, 10, 11, contiguous with an offset
        close(tensor_norm(&row)?, 366f64.sqrt());
        for dtype in [DType::F16, DType::BF16, DType::F32] {
            close(tensor_norm(&column.to_dtype(dtype)?)?, 107f64.sqrt());
        }
        let integer =
            tensor_norm(&tensor.to_dtype(DType::U8)?).expect_err("an integer tensor").to_string();
        assert!(integer.contains("expected dtype f16, bf16, f32 or f64, found u8"), "{integer}");
        Ok(())
    }
}
