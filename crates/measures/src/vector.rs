//! Norms and cosines of vectors.

/// The norm, scaled so that no square underflows or overflows.
pub(crate) fn norm(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let sum = |scale: f64| values.iter().map(|value| (value / scale).powi(2)).sum::<f64>().sqrt();
    if values.iter().any(|value| value.is_nan()) || largest == 0.0 || largest.is_infinite() {
        return sum(1.0);
    }
    largest * sum(largest)
}

/// The cosine of the angle between two vectors; `None` if one of them is zero or not finite.
pub(crate) fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    let (long, wide) = (norm(a), norm(b));
    let measurable = |norm: f64| norm > 0.0 && norm.is_finite();
    if !measurable(long) || !measurable(wide) {
        return None;
    }
    Some(a.iter().zip(b).map(|(a, b)| (a / long) * (b / wide)).sum())
}

/// `part` / `whole`; `None` if the whole is zero or the ratio not finite.
pub(crate) fn fraction(part: f64, whole: f64) -> Option<f64> {
    Some(part / whole).filter(|ratio| ratio.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_and_cosines_do_not_depend_on_the_scale() {
        for scale in [1e-300, 1.0, 1e300] {
            let (a, b) = ([3.0 * scale, 4.0 * scale], [4.0 / scale, 3.0 / scale]);
            assert!((norm(&a) / scale - 5.0).abs() < 1e-14);
            assert!((cosine(&a, &b).expect("both are finite") - 0.96).abs() < 1e-14);
        }
        assert_eq!(
            (norm(&[]), norm(&[0.0]), norm(&[1.0, f64::INFINITY])),
            (0.0, 0.0, f64::INFINITY)
        );
        assert!(norm(&[f64::NAN, 1.0]).is_nan());
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(
            (fraction(1.0, 0.0), fraction(0.0, 0.0), fraction(1.0, 4.0)),
            (None, None, Some(0.25))
        );
    }
}
