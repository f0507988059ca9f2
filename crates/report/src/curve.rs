//! Curves over seeds: the median at every position, with the range as a band.

use super::group::VariantRuns;
use super::numbers::{ProfileScale, Spread};
use crate::record::{ProfileRecord, StepRecord};
use std::collections::{BTreeMap, BTreeSet};

/// The number of intervals over which the training loss is averaged.
const INTERVALS: u64 = 100;

/// A curve: positions in rising order, each with median and range over seeds. Negative infinity is
/// an underflow.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Curve(pub(super) Vec<(f64, Spread)>);

impl Curve {
    /// The curve of profiles at one moment: common logarithms of the median over examples, against
    /// lag.
    ///
    /// Non-finite values are left out. So is c at lag 0: the loss reads h, hence dL/dc there is
    /// zero by definition, which is not an underflow. The initial carry, one lag beyond the first
    /// step, is left out too: no weight produced it, and a normaliser inflates the gradient at its
    /// zeros.
    pub(super) fn of_profiles(
        profiles: &[&ProfileRecord],
        ProfileScale { precision, length }: ProfileScale,
    ) -> Self {
        let mut places: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for profile in profiles {
            for (&lag, &norm) in profile.lag.iter().zip(&profile.median) {
                let by_definition = profile.part != "h" && lag == 0 && norm == 0.0;
                if by_definition || lag >= length {
                    continue;
                }
                if let Some(log) = precision.log10(norm) {
                    places.entry(lag).or_default().push(log);
                }
            }
        }
        let spread = |(lag, logs): (usize, Vec<f64>)| Some((lag as f64, Spread::of(logs)?));
        Self(places.into_iter().filter_map(spread).collect())
    }

    /// The curve of series over training, one per seed. A finished run keeps its last value, so
    /// that a median does not jump when the best seed ends.
    pub(super) fn over_training(seeds: &[Vec<(u64, f64)>]) -> Self {
        let steps: BTreeSet<u64> = seeds.iter().flatten().map(|&(step, _)| step).collect();
        let latest = |seed: &Vec<(u64, f64)>, step: u64| {
            let known = seed.partition_point(|&(at, _)| at <= step);
            known.checked_sub(1).map(|last| seed[last].1)
        };
        let spread = |step: u64| {
            Some((step as f64, Spread::of(seeds.iter().filter_map(|seed| latest(seed, step)))?))
        };
        Self(steps.into_iter().filter_map(spread).collect())
    }

    /// The same curve with a rising function, such as the logarithm, applied to all values.
    pub(super) fn map(mut self, function: impl Fn(f64) -> f64) -> Self {
        for (_, spread) in &mut self.0 {
            let Spread { low, mid, high } = *spread;
            *spread = Spread { low: function(low), mid: function(mid), high: function(high) };
        }
        self
    }

    /// The smallest and the largest finite value, bands included.
    pub(super) fn bounds(&self) -> Option<(f64, f64)> {
        let ends = || self.0.iter().flat_map(|(_, spread)| [spread.low, spread.mid, spread.high]);
        let finite = || ends().filter(|value| value.is_finite());
        let low = finite().min_by(f64::total_cmp)?;
        Some((low, finite().max_by(f64::total_cmp)?))
    }
}

/// The held-out losses of a variant over training.
pub(super) fn held_out(variant: &VariantRuns) -> Curve {
    let seeds: Vec<_> = variant
        .evals
        .values()
        .map(|evals| {
            evals
                .iter()
                .map(|eval| (eval.step, eval.loss))
                .filter(|(_, loss)| loss.is_finite())
                .collect()
        })
        .collect();
    Curve::over_training(&seeds)
}

/// The held-out accuracies, if the task has them.
pub(super) fn accuracy(variant: &VariantRuns) -> Curve {
    let seeds: Vec<_> = variant
        .evals
        .values()
        .map(|evals| evals.iter().filter_map(|eval| Some((eval.step, eval.accuracy?))).collect())
        .collect();
    Curve::over_training(&seeds)
}

/// The number of training steps to average, so that `steps` of them give about a hundred values.
pub(super) fn interval(steps: u64) -> u64 {
    steps.div_ceil(INTERVALS).max(1)
}

/// The training losses, averaged over intervals of `width` steps and placed at the last step of
/// each.
pub(super) fn training(variant: &VariantRuns, width: u64) -> Curve {
    let seeds: Vec<_> = variant.steps.values().map(|steps| training_of(steps, width)).collect();
    Curve::over_training(&seeds)
}

/// The same of one run.
pub(super) fn training_of(steps: &[&StepRecord], width: u64) -> Vec<(u64, f64)> {
    let mut intervals: BTreeMap<u64, (f64, f64, u64)> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.loss.is_finite()) {
        let (sum, number, last) = intervals.entry(step.step.div_ceil(width)).or_default();
        *sum += step.loss;
        *number += 1.0;
        *last = step.step;
    }
    intervals.into_values().map(|(sum, number, last)| (last, sum / number)).collect()
}

/// Profiles over training: for each training step with profiles, the curve over lags, and finally
/// that of the last profiles. A run that ended before a step keeps its last profile there.
pub(super) fn history(profiles: &[&ProfileRecord], scale: ProfileScale) -> Vec<(String, Curve)> {
    let mut seeds: BTreeMap<u64, BTreeMap<u64, &ProfileRecord>> = BTreeMap::new();
    for profile in profiles {
        seeds.entry(profile.seed).or_default().insert(profile.step, profile);
    }
    let on_the_way = |profile: &&&ProfileRecord| !profile.last || profile.step == 0;
    let steps: BTreeSet<u64> =
        profiles.iter().filter(on_the_way).map(|profile| profile.step).collect();
    let until = |step: u64| {
        let latest = seeds.values().filter_map(|seed| seed.range(..=step).next_back());
        Curve::of_profiles(&latest.map(|(_, profile)| *profile).collect::<Vec<_>>(), scale)
    };
    let mut moments: Vec<(String, Curve)> =
        steps.iter().map(|&step| (step.to_string(), until(step))).collect();
    if profiles.iter().any(|profile| profile.last && profile.step > 0) {
        moments.push(("end".to_owned(), until(u64::MAX)));
    }
    moments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{at, Group};
    use crate::numbers::Precision;
    use crate::sample;
    use crate::trend::Phase;

    const F32: ProfileScale = ProfileScale {
        precision: Precision { epsilon: 1.2e-7, tiny: 1.2e-38, below: "below 1e-38" },
        length: 4,
    };

    fn profile(part: &str, seed: u64, step: u64, median: &[f64]) -> ProfileRecord {
        let mut profile = sample::profile("lstm", part, seed, step, 1.0);
        profile.lag = (0..median.len()).collect();
        profile.median = median.to_vec();
        profile
    }

    #[test]
    fn profiles_of_three_seeds() {
        let all = [
            profile("h", 1, 0, &[1.0, 1e-2, 1e-40, f64::NAN]),
            profile("h", 2, 0, &[10.0, 1e-3, 0.0, 0.0]),
            profile("h", 3, 0, &[100.0, 1e-4, 1e-5, 0.0]),
        ];
        let curve = Curve::of_profiles(&all.each_ref(), F32);
        assert_eq!(curve.0[0], (0.0, Spread { low: 0.0, mid: 1.0, high: 2.0 }));
        assert_eq!(curve.0[1].1, Spread { low: -4.0, mid: -3.0, high: -2.0 });
        assert_eq!(
            (curve.0[2].1.low, curve.0[2].1.mid, curve.0[2].1.high),
            (f64::NEG_INFINITY, f64::NEG_INFINITY, -5.0)
        );
        assert_eq!(curve.bounds(), Some((-5.0, 2.0)));
    }

    #[test]
    fn the_structural_zero_of_c_is_not_an_underflow() {
        let c = profile("c", 1, 0, &[0.0, 1e-2, 0.0]);
        let curve = Curve::of_profiles(&[&c], F32);
        assert_eq!(curve.0[0].0, 1.0, "the curve of c begins at lag 1");
        let h = profile("h", 1, 0, &[0.0, 1e-2]);
        assert_eq!(Curve::of_profiles(&[&h], F32).0[0].1.mid, f64::NEG_INFINITY);
    }

    #[test]
    fn the_initial_carry_is_not_a_step() {
        let h = profile("h", 1, 0, &[1.0, 1.0, 1.0, 1.0, 1e9]);
        let curve = Curve::of_profiles(&[&h], F32);
        assert_eq!((curve.0.len(), curve.bounds()), (4, Some((0.0, 0.0))));
    }

    #[test]
    fn a_finished_run_keeps_its_last_value() {
        let curve = Curve::over_training(&[
            vec![(0, 8.0), (10, 1.0)],
            vec![(0, 6.0), (10, 5.0), (20, 4.0)],
        ]);
        assert_eq!(curve.0[2], (20.0, Spread { low: 1.0, mid: 2.5, high: 4.0 }));
        let mut profiles = [
            profile("h", 1, 0, &[1.0]),
            profile("h", 2, 0, &[1.0]),
            profile("h", 1, 7, &[1e-2]),
            profile("h", 2, 8, &[1e-4]),
            profile("h", 2, 9, &[1e-6]),
        ];
        (profiles[2].last, profiles[4].last) = (true, true);
        let history = history(&profiles.each_ref(), F32);
        let mids: Vec<_> =
            history.iter().map(|(step, curve)| (step.as_str(), curve.0[0].1.mid)).collect();
        assert_eq!(mids, [("0", 0.0), ("8", -3.0), ("end", -4.0)]);
    }

    #[test]
    fn training_losses_are_averaged() {
        let records = sample::records();
        let comparison = Group::new(&records);
        let lstm = &comparison.variants[1];
        assert_eq!(interval(2000), 20);
        assert_eq!([interval(0), interval(99), interval(101)], [1, 1, 2]);
        let curve = training(lstm, 20);
        let first: f64 = lstm.steps[&1][..20].iter().map(|step| step.loss).sum::<f64>() / 20.0;
        assert_eq!(curve.0[0].0, 20.0);
        assert!(curve.0[0].1.low <= first && first <= curve.0[0].1.high);
        assert!(!held_out(lstm).0.is_empty());
        assert!(accuracy(lstm).0.is_empty(), "the adding problem has no accuracy");
        assert_eq!(at(&lstm.top_profiles("h"), Phase::Init).len(), 3);
    }
}
