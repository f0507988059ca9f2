//! The fate of a gradient in the backward pass, by stated rules.

use super::group::{at, VariantRuns};
use super::run::RunView;
use super::trend::{rate, Phase, Trend};
use crate::record::{ProfileRecord, RunRecord};

/// A gradient is kept if at least this share of it is left at the first step.
pub(super) const KEPT: f64 = 0.1;

/// The fate of a gradient in the backward pass through a sequence.
///
/// The state has parts, h and perhaps c, and one may still carry a gradient that the other has
/// lost. So each part is measured against its own norm at the end of the sequence, and the part
/// that carries furthest decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum GradientVerdict {
    /// No gradient was recorded.
    Unknown,
    /// It is not finite from this lag on.
    NotFinite {
        /// The first such lag.
        lag: usize,
    },
    /// Less than the dtype's epsilon of it is left before the first step: a sum over all steps
    /// loses the rest.
    Vanishes {
        /// The last lag at which more is left.
        reach: usize,
        /// The first lag from which on all of it has underflowed.
        underflow: Option<usize>,
    },
    /// It reaches the first step, but with less than [`KEPT`] of its size.
    Fades,
    /// It reaches the first step with at least [`KEPT`] of its size, and does not double within the
    /// sequence.
    Keeps,
    /// It doubles at least once within the sequence, by the fit.
    Grows,
}

/// A run, the fate of its gradient, and the fitted decay.
#[derive(Clone, Copy)]
pub(super) struct RunVerdict<'a> {
    /// The run.
    pub(super) run: &'a RunRecord,
    /// The fate of the gradient in the top layer at initialisation.
    pub(super) gradient: GradientVerdict,
    /// Whether a profile shows it, not only the fitted line.
    pub(super) measured: bool,
    /// The share of the gradient of h at the first step, relative to lag 0.
    pub(super) h: Option<f64>,
    /// The same for c, relative to lag 1.
    pub(super) c: Option<f64>,
}

impl<'a> RunVerdict<'a> {
    /// The verdicts on all runs of a variant, for the top layer at initialisation.
    pub(super) fn all(variant: &VariantRuns<'a>) -> Vec<Self> {
        let parts: Vec<_> = variant
            .parts()
            .into_iter()
            .map(|part| at(&variant.top_profiles(part), Phase::Init))
            .collect();
        let of = |run: &'a RunRecord| {
            let own = parts
                .iter()
                .filter_map(|profiles| profiles.iter().find(|profile| profile.seed == run.seed()));
            Self::new(run, &own.copied().collect::<Vec<_>>())
        };
        variant.runs.iter().copied().map(of).collect()
    }

    /// Judges one run by the profiles of the parts of its state, or by the fitted lines if there
    /// are no profiles.
    pub(super) fn new(run: &'a RunRecord, profiles: &[&ProfileRecord]) -> Self {
        let verdicts: Vec<GradientVerdict> =
            profiles.iter().filter_map(|profile| measured(run, profile)).collect();
        let measured = !verdicts.is_empty();
        let verdicts = if measured {
            verdicts
        } else {
            ["h", "c"].iter().filter_map(|part| foretold(run, part)).collect()
        };
        let gradient = verdicts.into_iter().reduce(further).unwrap_or(GradientVerdict::Unknown);
        let left = |part: &str| {
            profiles.iter().find(|profile| profile.part == part).and_then(|own| left(run, own))
        };
        Self { run, gradient, measured, h: left("h").or(run.grad_ratio(Phase::Init)), c: left("c") }
    }
}

/// The verdict that the profile of one part shows; `None` if it is empty.
fn measured(run: &RunRecord, profile: &ProfileRecord) -> Option<GradientVerdict> {
    let precision = run.precision();
    let (start, end) = span(run, &profile.part);
    let norms = || {
        let all = profile.lag.iter().copied().zip(profile.median.iter().copied());
        all.filter(move |(lag, _)| (start..=end).contains(lag))
    };
    if let Some((lag, _)) = norms().find(|(_, norm)| !norm.is_finite()) {
        return Some(GradientVerdict::NotFinite { lag });
    }
    let ((_, nearest), (end, farthest)) = (norms().next()?, norms().next_back()?);
    let last_above =
        |bound: f64| norms().filter(|&(_, norm)| norm >= bound).map(|(lag, _)| lag).next_back();
    let reach = last_above(precision.tiny.max(precision.epsilon * nearest)).unwrap_or(0);
    if reach < end {
        let underflow = last_above(precision.tiny).map_or(0, |lag| lag + 1);
        return Some(GradientVerdict::Vanishes {
            reach,
            underflow: Some(underflow).filter(|&lag| lag <= end),
        });
    }
    Some(arrives(run, &profile.part, farthest / nearest))
}

/// The share of a part that is left at the first step; `None` if it is not finite.
fn left(run: &RunRecord, profile: &ProfileRecord) -> Option<f64> {
    let (start, end) = span(run, &profile.part);
    let norm =
        |wanted: usize| Some(profile.median[profile.lag.iter().position(|&lag| lag == wanted)?]);
    Some(norm(end)? / norm(start)?).filter(|share| share.is_finite())
}

/// The first and the last lag of a part. dL/dc at lag 0 is zero by definition. The lag of the first
/// step is T − 1, and beyond it lies the initial carry.
fn span(run: &RunRecord, part: &str) -> (usize, usize) {
    (usize::from(part != "h"), run.last_lag())
}

/// The verdict that the fitted line of one part predicts.
fn foretold(run: &RunRecord, part: &str) -> Option<GradientVerdict> {
    let rate = rate(run, part, Phase::Init)?;
    let end = run.last_lag() as f64;
    let reach = if rate > 0.0 { -run.precision().epsilon.ln() / rate } else { f64::INFINITY };
    if reach < end {
        return Some(GradientVerdict::Vanishes { reach: reach as usize, underflow: None });
    }
    Some(arrives(run, part, (-rate * end).exp()))
}

/// The verdict on a part whose `share` reaches the first step.
fn arrives(run: &RunRecord, part: &str, share: f64) -> GradientVerdict {
    match rate(run, part, Phase::Init).map(|rate| Trend::of(rate, run.length())) {
        Some(Trend::Doubles(time)) if time <= run.length() as f64 => GradientVerdict::Grows,
        _ if share >= KEPT => GradientVerdict::Keeps,
        _ => GradientVerdict::Fades,
    }
}

/// The verdict on the part that carries further. A non-finite gradient takes precedence.
fn further(one: GradientVerdict, other: GradientVerdict) -> GradientVerdict {
    let rank = |verdict: GradientVerdict| match verdict {
        GradientVerdict::Unknown => 0,
        GradientVerdict::Vanishes { .. } => 1,
        GradientVerdict::Fades => 2,
        GradientVerdict::Keeps => 3,
        GradientVerdict::Grows => 4,
        GradientVerdict::NotFinite { .. } => 5,
    };
    match (one, other) {
        (
            GradientVerdict::Vanishes { reach: a, underflow: b },
            GradientVerdict::Vanishes { reach: c, underflow: d },
        ) => {
            let underflow = b.zip(d).map(|(b, d)| b.max(d));
            GradientVerdict::Vanishes { reach: a.max(c), underflow }
        }
        _ if rank(other) > rank(one) => other,
        _ => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::exact;

    fn verdict(half_life: f64) -> GradientVerdict {
        let (run, profile) = exact("h", half_life);
        RunVerdict::new(&run, &[&profile]).gradient
    }

    #[test]
    fn the_borders_between_verdicts() {
        // f32's epsilon is 2^-23. It is reached after 23 half-lives; the first step is at lag 99.
        assert_eq!(verdict(2.0), GradientVerdict::Vanishes { reach: 46, underflow: None });
        // 2^-126 is the smallest normal
        assert_eq!(verdict(0.5), GradientVerdict::Vanishes { reach: 11, underflow: Some(64) });
        assert_eq!(verdict(99.0 / 23.1), GradientVerdict::Vanishes { reach: 98, underflow: None });
        assert_eq!(verdict(99.0 / 22.9), GradientVerdict::Fades);
        // A tenth is left after log2(10) = 3.3219 half-lives.
        assert_eq!(verdict(99.0 / 3.323), GradientVerdict::Fades);
        assert_eq!(verdict(99.0 / 3.321), GradientVerdict::Keeps);
        assert_eq!(verdict(1e6), GradientVerdict::Keeps);
        assert_eq!(verdict(-100.5), GradientVerdict::Keeps, "doubles, but not within the sequence");
        assert_eq!(verdict(-99.5), GradientVerdict::Grows);
    }

    #[test]
    fn a_profile_overrides_the_fit() {
        let (run, mut profile) = exact("h", 2.0);
        assert_eq!(
            RunVerdict::new(&run, &[]).gradient,
            GradientVerdict::Vanishes { reach: 46, underflow: None }
        );
        profile.median.fill(1.0);
        assert_eq!(RunVerdict::new(&run, &[&profile]).gradient, GradientVerdict::Keeps);
        profile.median[7] = f64::INFINITY;
        assert_eq!(
            RunVerdict::new(&run, &[&profile]).gradient,
            GradientVerdict::NotFinite { lag: 7 }
        );
        profile.median.fill(0.0);
        assert_eq!(
            RunVerdict::new(&run, &[&profile]).gradient,
            GradientVerdict::Vanishes { reach: 0, underflow: Some(0) }
        );
        let bare = RunRecord { gradients: Default::default(), ..run };
        assert_eq!(RunVerdict::new(&bare, &[]).gradient, GradientVerdict::Unknown);
    }

    #[test]
    fn c_may_carry_a_gradient_that_h_has_lost() {
        let ((run, h), (_, mut c)) = (exact("h", 2.0), exact("c", 80.0));
        c.median[0] = 0.0; // by definition
        c.median.iter_mut().for_each(|norm| *norm *= 1e-3);
        let kept = RunVerdict::new(&run, &[&h, &c]);
        assert_eq!(kept.gradient, GradientVerdict::Keeps);
        assert_eq!(kept.c.map(|share| (share * 1000.0).round()), Some(428.0), "relative to lag 1");
        let (_, short) = exact("c", 3.0);
        assert_eq!(
            RunVerdict::new(&run, &[&h, &short]).gradient,
            GradientVerdict::Vanishes { reach: 70, underflow: None }
        );
        let (_, gone) = exact("c", 0.5);
        assert_eq!(
            RunVerdict::new(&run, &[&h, &gone]).gradient,
            GradientVerdict::Vanishes { reach: 46, underflow: None }
        );
    }
}
