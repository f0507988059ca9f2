//! Statistics of a few paired differences: what a handful of seeds can show, and what it cannot.

pub use recurrent_measures::statistics::median;

use rand::Rng;
use recurrent_core::named_rng;

/// The confidence level of every interval.
pub const LEVEL: f64 = 0.95;

/// The number of resamples, and of sign flips, where not all of them are enumerated.
pub const RESAMPLES: usize = 10_000;

/// The quantile of the standard normal distribution at (1 + [`LEVEL`]) / 2.
const Z: f64 = 1.959_963_984_540_054;

/// The largest number of values whose sign flips are all enumerated: 65,536 of them.
const FLIPPED: usize = 16;

/// An interval, ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// A two-sided p-value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probability {
    /// The value.
    pub p: f64,
    /// Whether all sign flips were enumerated; otherwise the value is an estimate.
    pub exact: bool,
}

/// The mean; `None` for no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// A confidence interval of the mean by the bootstrap; `None` for fewer than three values.
///
/// The distribution of the mean of n values drawn with replacement is enumerated if it has at most
/// [`RESAMPLES`] outcomes (n^n, so up to n = 5). Otherwise [`RESAMPLES`] means are drawn. The ends
/// are its quantiles at α and 1 − α:
///
/// ```text
/// α = Φ(−√(n / (n − 1)) t)        t: Student's quantile with n − 1 degrees of freedom at (1 + LEVEL) / 2
/// ```
///
/// This is the "expanded" percentile interval of Hesterberg (2015, arXiv:1411.5279). Plain
/// percentiles are those of a normal interval with n instead of n − 1 below the root, which is too
/// narrow by a fifth or more for a handful of values. For n = 3 and 4 the ends are the lowest and
/// the highest value. They hold the mean of a symmetric distribution with a probability of at most
/// 1 − 2^(1−n): 75 % and 87.5 %.
pub fn mean_interval(values: &[f64], seed: u64) -> Option<Interval> {
    let n = values.len();
    if n < 3 {
        return None;
    }
    let alpha = normal_tail((n as f64 / (n - 1) as f64).sqrt() * student(n - 1));
    let means = means(values, seed);
    Some(Interval { low: quantile(&means, alpha), high: quantile(&means, 1.0 - alpha) })
}

/// The means of the resamples, sorted.
fn means(values: &[f64], seed: u64) -> Vec<f64> {
    let n = values.len();
    let all = u32::try_from(n)
        .ok()
        .and_then(|power| n.checked_pow(power))
        .filter(|all| *all <= RESAMPLES);
    let mut rng = named_rng(seed, "bootstrap");
    let mut means: Vec<f64> = match all {
        Some(all) => {
            (0..all).map(|resample| digits(resample, n).map(|at| values[at]).sum::<f64>()).collect()
        }
        None => {
            let mut drawn = || (0..n).map(|_| values[rng.random_range(0..n)]).sum::<f64>();
            (0..RESAMPLES).map(|_| drawn()).collect()
        }
    };
    means.iter_mut().for_each(|sum| *sum /= n as f64);
    means.sort_by(f64::total_cmp);
    means
}

/// The `n` digits of a number in base `n`.
fn digits(mut number: usize, n: usize) -> impl Iterator<Item = usize> {
    (0..n).map(move |_| {
        let digit = number % n;
        number /= n;
        digit
    })
}

/// The smallest of the sorted values at which their distribution reaches `share`.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted[place.clamp(1, sorted.len()) - 1]
}

/// The p-value of Fisher's randomisation test of paired differences: the probability that a sum of
/// the differences lies at least as far from zero if each sign is equally likely; `None` for no
/// values. For n values it is at least 2^(1−n): 0.0625 for five.
pub fn sign_flip(values: &[f64], seed: u64) -> Option<Probability> {
    let n = values.len();
    let seen = values.iter().sum::<f64>().abs();
    // Sums in another order differ by rounding.
    let slack = 1e-12 * values.iter().map(|value| value.abs()).sum::<f64>();
    let as_far = |sum: f64| sum.abs() >= seen - slack;
    if n == 0 {
        return None;
    }
    if n <= FLIPPED {
        let flipped = |signs: usize| -> f64 {
            let sign = |at: usize| if signs >> at & 1 == 1 { -1.0 } else { 1.0 };
            values.iter().enumerate().map(|(at, value)| sign(at) * value).sum()
        };
        let count = (0..1 << n).filter(|&signs| as_far(flipped(signs))).count();
        return Some(Probability { p: count as f64 / (1 << n) as f64, exact: true });
    }
    let mut rng = named_rng(seed, "sign flips");
    let mut flipped =
        || values.iter().map(|value| if rng.random() { *value } else { -value }).sum::<f64>();
    let count = (0..RESAMPLES).filter(|_| as_far(flipped())).count();
    // The sample itself counts, so that the value is never zero.
    Some(Probability { p: (count + 1) as f64 / (RESAMPLES + 1) as f64, exact: false })
}

/// Wilson's interval (1927) of a share of `successes` in `trials`, within 0 and 1; the whole range
/// without a trial.
pub fn wilson(successes: usize, trials: usize) -> Interval {
    if trials == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, share) = (trials as f64, successes as f64 / trials as f64);
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    Interval { low: ((middle - half) / whole).max(0.0), high: ((middle + half) / whole).min(1.0) }
}

/// Φ(−x) for x of 1 or more, by the continued fraction of Mills' ratio (Laplace): φ(x) / (x + 1/(x
/// + 2/(x + 3/...))).
fn normal_tail(x: f64) -> f64 {
    let fraction = (1..=200).rev().fold(x, |below, k| x + f64::from(k) / below);
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt() / fraction
}

/// Student's quantile at (1 + [`LEVEL`]) / 2.
fn student(freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, 20.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        *(if within(middle, freedom) < LEVEL { &mut low } else { &mut high }) = middle;
    }
    0.5 * (low + high)
}

/// The probability that Student's t lies within ±`t`: the finite sums of Abramowitz and Stegun
/// (1964), 26.7.3 and 26.7.4.
fn within(t: f64, freedom: usize) -> f64 {
    let angle = (t / (freedom as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let odd = freedom % 2;
    // 1 + (1/2) cos² + (1·3)/(2·4) cos⁴ + ... if even, cos + (2/3) cos³ + ... if odd, up to the
    // power `freedom` − 2.
    let (mut term, mut sum) = (if odd == 1 { cosine } else { 1.0 }, 0.0);
    for power in (odd..freedom.saturating_sub(1)).step_by(2) {
        sum += term;
        term *= cosine * cosine * (power + 1) as f64 / (power + 2) as f64;
    }
    if odd == 1 {
        std::f64::consts::FRAC_2_PI * (angle + sine * sum)
    } else {
        sine * sum
    }
}

#[cfg(test)]
mod tests;
