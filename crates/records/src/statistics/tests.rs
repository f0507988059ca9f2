use super::*;

#[test]
fn distributions_match_tables() {
    // scipy.stats.norm.sf and scipy.stats.t.ppf(0.975, ν)
    for (x, tail) in [
        (Z, 0.025),
        (1.0, 0.158_655_253_931_457),
        (3.0, 0.001_349_898_031_630),
        (6.0, 9.865_876_450_377e-10),
    ] {
        assert!((normal_tail(x) / tail - 1.0).abs() < 1e-10, "{x}: {}", normal_tail(x));
    }
    for (freedom, quantile) in [
        (1, 12.706_204_736_2),
        (2, 4.302_652_729_7),
        (3, 3.182_446_305_3),
        (4, 2.776_445_105_2),
        (9, 2.262_157_162_8),
        (30, 2.042_272_456_3),
    ] {
        assert!((student(freedom) - quantile).abs() < 1e-8, "{freedom}: {}", student(freedom));
    }
}

#[test]
fn means_and_medians() {
    assert_eq!((median(&[]), mean(&[])), (None, None));
    assert_eq!((median(&[3.0, 1.0, 8.0]), median(&[4.0, 1.0, 2.0, 9.0])), (Some(3.0), Some(3.0)));
    assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
    assert_eq!(median(&[1.0, f64::INFINITY, f64::INFINITY, 2.0]), Some(f64::INFINITY));
}

/// By hand: the 27 resamples of three values have the sums 0 (once), 1, 2 and so on. Their counts
/// are the coefficients of (1 + x + x^3)^3.
#[test]
fn three_values_are_enumerated() {
    let sums: Vec<f64> =
        means(&[0.0, 1.0, 3.0], 0).iter().map(|mean| (mean * 3.0).round()).collect();
    let counts: Vec<usize> =
        (0..=9).map(|sum| sums.iter().filter(|other| **other == f64::from(sum)).count()).collect();
    assert_eq!(counts, [1, 3, 3, 4, 6, 3, 3, 3, 0, 1]);
    assert_eq!(
        [
            quantile(&sums, 0.5),
            quantile(&sums, 0.01),
            quantile(&sums, 1.0),
            quantile(&sums, 4.0 / 27.0)
        ],
        [4.0, 0.0, 9.0, 1.0]
    );
    let interval = mean_interval(&[3.0, 0.0, 1.0], 5).expect("three values");
    assert_eq!(interval, Interval { low: 0.0, high: 3.0 }, "α is 7e-8: the lowest and the highest");
    assert_eq!(mean_interval(&[1.0, 2.0], 0), None);
}

#[test]
fn drawn_resamples_depend_on_the_seed_alone() {
    let values: Vec<f64> = (0..8).map(|value| f64::from(value * value)).collect();
    assert_eq!(means(&values, 3), means(&values, 3));
    assert_ne!(means(&values, 3), means(&values, 4));
    assert_eq!(means(&values, 3).len(), RESAMPLES);
    let five: Vec<f64> = values[..5].to_vec();
    assert_eq!((means(&five, 0).len(), means(&five, 0)), (3125, means(&five, 1)), "all of them");
}

fn normal(rng: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// How often the interval of `n` normal values around 1 contains 1, in 2,000 trials. The standard
/// error is 0.5 %.
fn coverage(n: usize) -> f64 {
    let mut rng = named_rng(1, "coverage");
    let holds = |trial: u64, rng: &mut _| {
        let values: Vec<f64> = (0..n).map(|_| 1.0 + normal(rng)).collect();
        mean_interval(&values, trial)
            .is_some_and(|interval| interval.low <= 1.0 && 1.0 <= interval.high)
    };
    (0..2000).filter(|&trial| holds(trial, &mut rng)).count() as f64 / 2000.0
}

#[test]
fn intervals_contain_the_mean_about_as_often_as_stated() {
    let (three, five, eight) = (coverage(3), coverage(5), coverage(8));
    assert!((0.72..0.78).contains(&three), "{three}: 3/4 is the most that three values can say");
    assert!((0.91..0.96).contains(&five), "{five}");
    assert!((0.92..0.97).contains(&eight), "{eight}");
}

#[test]
fn flips_are_counted() {
    let p = |values: &[f64]| sign_flip(values, 0).expect("values");
    assert_eq!(p(&[1.0, 2.0, 3.0, 4.0, 5.0]), Probability { p: 2.0 / 32.0, exact: true });
    assert_eq!(p(&[1.0, 1.0, -1.0]).p, 1.0, "the sums ±1 and ±3 are all as far");
    assert_eq!(p(&[3.0, 1.0, -1.0]).p, 6.0 / 8.0, "all but ±(3 - 1 - 1)");
    assert_eq!(p(&[0.0; 4]).p, 1.0);
    assert_eq!(sign_flip(&[], 0), None);
    let many = p(&[1.0; 20]);
    assert!(!many.exact && many.p < 0.001, "{many:?}");
}

#[test]
fn shares_have_wilsons_interval() {
    // statsmodels.stats.proportion.proportion_confint(k, n, method="wilson")
    for (successes, trials, low, high) in [
        (0, 5, 0.0, 0.434_482_4),
        (5, 5, 0.565_517_6, 1.0),
        (3, 5, 0.230_724_2, 0.882_379_1),
        (8, 10, 0.490_162_5, 0.943_317_8),
    ] {
        let found = wilson(successes, trials);
        assert!(
            (found.low - low).abs() < 1e-4 && (found.high - high).abs() < 1e-4,
            "{found:?}, expected {low} to {high}"
        );
    }
    assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
}
