//! The horizon of a gradient.

/// The share of the reference norm that ends the gradient in [`horizon`].
pub const HORIZON: f64 = 1e-3;

/// First/last ratio, R = g(T − 1) / g(`reference`): the gradient of the first step's state over
/// that of the last.
///
/// `norms` are by lag, `steps` is T; `reference` is 0, or 1 for c
/// ([`Profile::reference`](super::Profile::reference)). 0 means that the norm at the first step
/// underflowed. `None` if a norm is missing or not finite, or that at the reference is zero, or the
/// sequence is too short to have both.
pub fn ratio(norms: &[f64], steps: usize, reference: usize) -> Option<f64> {
    let first = steps.checked_sub(1).filter(|&first| first > reference)?;
    let (first, last) = (*norms.get(first)?, *norms.get(reference)?);
    Some(first / last).filter(|ratio| ratio.is_finite())
}

/// The horizon, H = max { k : g(k) / g(`reference`) >= `epsilon` }: the largest lag at which the
/// gradient has at least that share of its reference norm. Take [`HORIZON`], or the machine epsilon
/// of the dtype, beyond which the gradient no longer changes a sum of both.
///
/// `None` if the norm at the reference is zero or not finite.
pub fn horizon(norms: &[f64], reference: usize, epsilon: f64) -> Option<usize> {
    let last = norms.get(reference).copied().filter(|norm| norm.is_finite() && *norm > 0.0)?;
    norms.iter().rposition(|norm| norm / last >= epsilon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_first_step_over_the_last() {
        let norms = [4.0, 2.0, 1.0, 0.5, 77.0]; // T = 4: the last is the initial carry
        assert_eq!(ratio(&norms, 4, 0), Some(0.125));
        assert_eq!(ratio(&norms, 4, 1), Some(0.25));
        assert_eq!(ratio(&[4.0, 0.0, 0.0], 2, 0), Some(0.0));
        for (norms, steps, reference) in [
            (&[0.0, 1.0, 1.0][..], 2, 0),
            (&[1.0, f64::NAN, 1.0], 2, 0),
            (&[1.0, 1.0], 1, 0),
            (&[1.0, 1.0, 1.0], 2, 1),
        ] {
            assert_eq!(ratio(norms, steps, reference), None, "{norms:?}");
        }
    }

    #[test]
    fn the_horizon_of_a_geometric_decay_is_known() {
        // Halving every 5 steps reaches 1e-3 after 5 log2(1000) = 49.83 steps, 2^-23 after 115.
        let norms: Vec<_> = (0..=200).map(|lag| 7.0 * 0.5f64.powf(f64::from(lag) / 5.0)).collect();
        assert_eq!(horizon(&norms, 0, HORIZON), Some(49));
        assert_eq!(horizon(&norms, 0, f64::from(f32::EPSILON) * (1.0 - 1e-9)), Some(115));
        assert_eq!(
            horizon(&norms, 1, HORIZON),
            Some(50),
            "measured from lag 1, it ends one lag later"
        );
        assert_eq!(horizon(&[0.0, 1.0], 0, HORIZON), None);
        assert_eq!(horizon(&[0.0, 1.0, 1e-4], 1, HORIZON), Some(1));
        let growth: Vec<_> = (0..=30).map(|lag| 1.1f64.powi(lag)).collect();
        assert_eq!(horizon(&growth, 0, HORIZON), Some(30), "to the end of the sequence");
    }
}
