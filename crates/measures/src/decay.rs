//! The decay of a profile.

use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Norms up to this count as underflowed: below it, the slope is an effect of rounding and flushing
/// to zero.
const FLOOR: f64 = 1e-30;

/// Two points always lie on a line.
const FEWEST: usize = 3;

/// A line fitted to the logarithm of a profile: ln g(k) = a − ρ k.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// ρ, the decay per step; negative for growth.
    pub decay: f64,
    /// R², the share of variance explained.
    pub r2: f64,
    /// The number of lags used.
    pub points: usize,
    /// The number of lags in the window without a point, since their norm is below 1e-30.
    pub underflowed: usize,
}

/// The line through the logarithm of a profile, by least squares over the lags of [`window`]: ln
/// g(k) = a − ρ k.
///
/// `norms` are by lag, `steps` is the length T of the sequence. The fit follows the bound of
/// Bengio, Simard and Frasconi 1994, ‖ds_t/ds_{t-k}‖ <= η^k. Norms of 1e-30 or less are left out
/// and counted. R² = 1 − (squared residuals) / (squared deviations from the mean); where all points
/// are equal to rounding, ρ is 0 and R² 1.
///
/// `None` if fewer than three points remain, or a norm within the window is not finite.
pub fn decay(norms: &[f64], steps: usize) -> Option<Fit> {
    let window = window(steps);
    let inside: Vec<(f64, f64)> =
        window.filter_map(|lag| norms.get(lag).map(|&norm| (lag as f64, norm))).collect();
    if inside.iter().any(|(_, norm)| !norm.is_finite()) {
        return None;
    }
    let points: Vec<_> = inside
        .iter()
        .filter(|(_, norm)| *norm > FLOOR)
        .map(|(lag, norm)| (lag, norm.ln()))
        .collect();
    if points.len() < FEWEST {
        return None;
    }
    let count = points.len() as f64;
    let lags = points.iter().map(|(lag, _)| **lag).sum::<f64>() / count;
    let logs = points.iter().map(|(_, log)| log).sum::<f64>() / count;
    let (mut along, mut across, mut total) = (0.0, 0.0, 0.0);
    for (lag, log) in &points {
        along += (*lag - lags).powi(2);
        across += (*lag - lags) * (log - logs);
        total += (log - logs).powi(2);
    }
    let underflowed = inside.len() - points.len();
    // The mean of equal logarithms is rounded `count` times, which bounds their deviation.
    if total <= count * (count * f64::EPSILON * logs).powi(2) {
        return Some(Fit { decay: 0.0, r2: 1.0, points: points.len(), underflowed });
    }
    let slope = across / along;
    let residual: f64 =
        points.iter().map(|(lag, log)| (log - logs - slope * (*lag - lags)).powi(2)).sum();
    Some(Fit { decay: -slope, r2: 1.0 - residual / total, points: points.len(), underflowed })
}

/// The lags that [`decay`] uses for sequences of `steps` steps: 10 to T − 10. This leaves out the
/// ends, where the read-out and the first inputs show.
///
/// For short sequences, with T of 25 or less, it leaves out the first and the last fifth instead.
pub fn window(steps: usize) -> RangeInclusive<usize> {
    let margin = if steps > 25 { 10 } else { steps / 5 };
    margin..=steps - margin
}

impl Fit {
    /// The number of steps in which the gradient halves: ln 2 / ρ; `None` if it does not decay.
    pub fn half_life(&self) -> Option<f64> {
        (self.decay > 0.0).then(|| std::f64::consts::LN_2 / self.decay)
    }

    /// The number of steps in which the gradient doubles: −ln 2 / ρ; `None` if it does not grow.
    pub fn doubling_time(&self) -> Option<f64> {
        (self.decay < 0.0).then(|| -std::f64::consts::LN_2 / self.decay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometric(first: f64, factor: f64, lags: usize) -> Vec<f64> {
        (0..lags).map(|lag| first * factor.powi(lag as i32)).collect()
    }

    fn close(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() <= 1e-12 * expected.abs().max(1.0),
            "{found}, expected {expected}"
        );
    }

    #[test]
    fn exact_decay_and_growth_are_found() {
        for half_life in [1.5, 2.2, 40.0, 1000.0] {
            let fit = decay(&geometric(3.0, 0.5f64.powf(1.0 / half_life), 101), 100)
                .expect("many points");
            close(fit.half_life().expect("it decays") / half_life, 1.0);
            close(fit.r2, 1.0);
            assert_eq!((fit.points, fit.underflowed, fit.doubling_time()), (81, 0, None));
        }
        let fit = decay(&geometric(1e-3, 2f64.powf(1.0 / 7.0), 101), 100).expect("many points");
        close(fit.doubling_time().expect("it grows"), 7.0);
        assert_eq!(fit.half_life(), None);
    }

    #[test]
    fn a_constant_profile_neither_decays_nor_grows() {
        for level in [1.0, 0.37, 1e-20] {
            let fit = decay(&vec![level; 61], 60).expect("many points");
            assert_eq!((fit.decay, fit.r2, fit.points), (0.0, 1.0, 41));
            assert_eq!((fit.half_life(), fit.doubling_time()), (None, None));
        }
    }

    #[test]
    fn the_tail_that_underflowed_is_left_out_and_counted() {
        // Halving every step: above 1e-30 up to lag 99, zero from lag 120.
        let norms: Vec<_> =
            (0..=200).map(|lag| if lag < 120 { 0.5f64.powi(lag) } else { 0.0 }).collect();
        let fit = decay(&norms, 200).expect("90 points");
        close(fit.half_life().expect("it decays"), 1.0);
        assert_eq!((fit.points, fit.underflowed), (90, 91));
        assert_eq!(decay(&vec![0.0; 201], 200), None);
    }

    #[test]
    fn r2_and_slope_are_those_of_the_normal_equations() {
        // ln g = 0, 1, 0, -3 at lags 1 to 4 of T = 5: slope -1, intercept 2; residuals -1, 1, 1,
        // -1; mean -1/2.
        let norms = [9.0, 1.0, 1f64.exp(), 1.0, (-3f64).exp(), 9.0];
        let fit = decay(&norms, 5).expect("four points");
        close(fit.decay, 1.0);
        close(fit.r2, 1.0 - 4.0 / 9.0);
        assert_eq!(fit.points, 4);
    }

    #[test]
    fn windows() {
        for (steps, expected) in
            [(200, 10..=190), (26, 10..=16), (25, 5..=20), (10, 2..=8), (4, 0..=4), (1, 0..=1)]
        {
            assert_eq!(window(steps), expected, "{steps} steps");
        }
        assert_eq!(decay(&[1.0, 0.5], 1), None, "two points are no fit");
    }

    #[test]
    fn norms_that_are_not_finite_have_no_fit() {
        let mut norms = geometric(1.0, 1.5, 101);
        norms[50] = f64::INFINITY;
        assert_eq!(decay(&norms, 100), None);
        norms[50] = f64::NAN;
        assert_eq!(decay(&norms, 100), None);
    }
}
