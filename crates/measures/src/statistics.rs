//! Medians, with the two conventions for an even count. Their names are those of Python's
//! `statistics`.

/// The median: of an even count the mean of the two values in the middle, which is infinite if one
/// of them is. `None` without values. NaN sorts after infinity.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let high = *sorted.get(sorted.len() / 2)?;
    let low = sorted[(sorted.len() - 1) / 2];
    Some(if low == high { low } else { 0.5 * low + 0.5 * high })
}

/// The high median: of an even count the larger of the two values in the middle, so that it is
/// always one of the values. `None` without values.
pub fn median_high(values: &[f64]) -> Option<f64> {
    sorted(values).get(values.len() / 2).copied()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(
            (median(&[3.0, 1.0, 2.0]), median_high(&[3.0, 1.0, 2.0])),
            (Some(2.0), Some(2.0))
        );
        let even = [4.0, 1.0, 3.0, 2.0];
        assert_eq!((median(&even), median_high(&even)), (Some(2.5), Some(3.0)));
        assert_eq!((median(&[]), median_high(&[])), (None, None));
    }

    #[test]
    fn infinities_in_the_middle() {
        let infinite = f64::INFINITY;
        assert_eq!(median(&[1.0, infinite]), Some(infinite));
        assert_eq!(median(&[-infinite, 1.0]), Some(-infinite));
        assert_eq!(median(&[1.0, infinite, infinite, infinite]), Some(infinite));
        assert_eq!(median(&[f64::MAX, f64::MAX, 1.0, f64::MAX]), Some(f64::MAX));
    }
}
