//! Comparisons whose errors show what differs, where, and by how much.

use crate::{Result, TensorMap};
use anyhow::{bail, ensure};
use candle_core::{DType, Tensor};

/// How close two tensors must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// The same bits. Zeros of different sign differ.
    Bits,
    /// The norm of the difference is at most this factor of the norm of the expected tensor.
    Norm(f64),
    /// No element differs by more than this factor of the largest expected element, or of 1 if all
    /// are smaller.
    Max(f64),
}

/// Checks that `found` is `expected`, within `tolerance`. NaN is never close, except under
/// [`Tolerance::Bits`].
///
/// # Errors
/// If shapes or dtypes differ, or values differ by more; the message has the largest difference and
/// its index.
pub fn close(what: &str, found: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Result<()> {
    let (dims, wanted) = (found.dims(), expected.dims());
    ensure!(dims == wanted, "{what}: expected the shape {wanted:?}, got {dims:?}");
    let (dtype, wanted) = (found.dtype(), expected.dtype());
    ensure!(dtype == wanted, "{what}: expected {wanted:?}, got {dtype:?}");
    let (a, b) = (values(found)?, values(expected)?);
    let fine = match tolerance {
        Tolerance::Bits => a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()),
        Tolerance::Norm(bound) => relative(&a, &b) <= bound,
        Tolerance::Max(bound) => {
            let bound = bound * largest(&b).max(1.0);
            a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= bound)
        }
    };
    ensure!(fine, "{what}: {}, allowed: {tolerance:?}", describe(&a, &b, expected.dims()));
    Ok(())
}

/// Applies [`close`] to every tensor of two collections with the same names.
///
/// # Errors
/// As [`close`], or if a name is missing on one side.
pub fn all_close(
    what: &str,
    found: &TensorMap,
    expected: &TensorMap,
    tolerance: Tolerance,
) -> Result<()> {
    let names = |named: &TensorMap| named.keys().cloned().collect::<Vec<_>>();
    let (has, wanted) = (names(found), names(expected));
    ensure!(has == wanted, "{what}: expected {wanted:?}, got {has:?}");
    let mut pairs = found.iter().zip(expected.values());
    pairs.try_for_each(|((name, found), expected)| {
        close(&format!("{what}, {name}"), found, expected, tolerance)
    })
}

/// The norm of the difference, relative to the norm of `expected`; 0 if the tensors are equal, even
/// to zero.
///
/// # Errors
/// Those of candle.
pub fn relative_error(found: &Tensor, expected: &Tensor) -> Result<f64> {
    Ok(relative(&values(found)?, &values(expected)?))
}

/// Checks that the result is an error whose first line begins with `expected`.
///
/// # Errors
/// If it is not an error, or another one.
pub fn expect_error<T>(what: &str, result: candle_core::Result<T>, expected: &str) -> Result<()> {
    let Err(error) = result else { bail!("{what}: expected the error {expected:?}, got none") };
    let found = first_line(error);
    ensure!(found.starts_with(expected), "{what}: expected the error {expected:?}, got {found:?}");
    Ok(())
}

/// The first line of an error's message; candle may append a backtrace.
pub fn first_line(error: impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_string()
}

/// The values of a float tensor as f64, which is exact.
pub(crate) fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

pub(crate) fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

fn relative(a: &[f64], b: &[f64]) -> f64 {
    let difference = norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>());
    if difference == 0.0 {
        0.0
    } else {
        difference / norm(b)
    }
}

/// The number of differences, and the largest with its index.
fn describe(a: &[f64], b: &[f64], dims: &[usize]) -> String {
    // A NaN against a number is the largest difference; zeros of different sign are the smallest.
    let gap = |at: usize| match (a[at] - b[at]).abs() {
        gap if gap.is_nan() && a[at].to_bits() != b[at].to_bits() => f64::INFINITY,
        gap if gap == 0.0 && a[at].to_bits() != b[at].to_bits() => f64::MIN_POSITIVE,
        gap => gap,
    };
    let worst = (0..a.len()).max_by(|&left, &right| gap(left).total_cmp(&gap(right))).unwrap_or(0);
    let differing = (0..a.len()).filter(|&at| a[at].to_bits() != b[at].to_bits()).count();
    let mut rest = worst;
    let mut layer_id =
        dims.iter().rev().map(|size| (rest % size, rest /= size).0).collect::<Vec<_>>();
    layer_id.reverse();
    format!(
        "{differing} of {} differ, most at {layer_id:?}: expected {:e}, got {:e}; \
         the difference is {:.1e} of the norm",
        a.len(),
        b[worst],
        a[worst],
        relative(a, b)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn tensor(values: [f64; 4]) -> Tensor {
        Tensor::new(&values, &Device::Cpu).and_then(|t| t.reshape((2, 2))).expect("four values")
    }

    #[test]
    fn tolerances_are_applied_as_documented() {
        let b = tensor([3.0, 4.0, 0.0, 0.0]);
        let passes = |a: [f64; 4], tolerance| close("t", &tensor(a), &b, tolerance).is_ok();
        assert!(passes([3.0, 4.0, 0.0, 0.05], Tolerance::Norm(0.011)));
        assert!(!passes([3.0, 4.0, 0.0, 0.05], Tolerance::Norm(0.009)));
        assert!(passes([3.0, 4.0, 0.0, 0.05], Tolerance::Max(0.013)));
        assert!(!passes([3.0, 4.0, 0.0, 0.05], Tolerance::Max(0.012)));
        assert!(passes([3.0, 4.0, 0.0, 0.0], Tolerance::Bits));
        assert!(!passes([3.0, 4.0, 0.0, -0.0], Tolerance::Bits));
        for tolerance in [Tolerance::Norm(1e9), Tolerance::Max(1e9), Tolerance::Bits] {
            assert!(!passes([3.0, 4.0, 0.0, f64::NAN], tolerance), "{tolerance:?}");
        }
        let zero = tensor([0.0; 4]);
        assert!(close("t", &zero, &zero, Tolerance::Norm(0.0)).is_ok());
        assert!(
            close("t", &b, &zero, Tolerance::Norm(1e9)).is_err(),
            "nothing is close to zero, relatively"
        );
    }

    #[test]
    fn the_message_names_the_place() {
        let (a, b) = (tensor([1.0, 2.0, 3.5, 4.0]), tensor([1.0, 2.0, 3.0, 4.0]));
        let error =
            close("dL/dxs", &a, &b, Tolerance::Norm(1e-3)).expect_err("must fail").to_string();
        assert_eq!(
            error,
            "dL/dxs: 1 of 4 differ, most at [1, 0]: expected 3e0, got 3.5e0; \
             the difference is 9.1e-2 of the norm, allowed: Norm(0.001)"
        );
    }
}
