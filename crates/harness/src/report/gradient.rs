//! How far back a gradient reaches, by stated rules.

use super::group::{at, Variant};
use super::numbers::{significant, steps, Precision, Spread};
use super::trend::{describe, rate, Trend, When};
use crate::record::{ProfileRecord, RunRecord};
use std::mem::discriminant;

/// A gradient of which at least this share is left at the first step is kept.
pub(super) const KEPT: f64 = 0.1;

/// What becomes of a gradient on its way back through a sequence.
///
/// The state has parts, h and perhaps c, and what one has lost the other may still carry. So each part is measured
/// against its own norm at the end of the sequence, and the one that carries furthest decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    /// Nothing was recorded.
    Unknown,
    /// From this lag on it is not finite.
    NotFinite {
        /// The first such lag.
        lag: usize,
    },
    /// Before the first step less than the dtype's epsilon of it is left: a sum over all steps loses the rest.
    Vanishes {
        /// The last lag at which there is more.
        reach: usize,
        /// The first lag from which on it has underflowed altogether.
        underflow: Option<usize>,
    },
    /// It arrives at the first step, with less than [`KEPT`] of what it was.
    Fades,
    /// It arrives with at least [`KEPT`], and does not double within the sequence.
    Keeps,
    /// It doubles at least once within the sequence, by the fit.
    Grows,
}

/// A run, what becomes of its gradient, and the fitted decay.
#[derive(Clone, Copy)]
pub(super) struct Outcome<'a> {
    run: &'a RunRecord,
    /// What becomes of the gradient in the top layer at initialisation.
    pub(super) fate: Fate,
    /// Whether a profile says so, not only the line fitted to it.
    measured: bool,
    /// What is left at the first step of the gradient of h, relative to lag 0.
    h: Option<f64>,
    /// The same of c, relative to lag 1.
    c: Option<f64>,
}

impl<'a> Outcome<'a> {
    /// Of every run of a variant, for the top layer at initialisation.
    pub(super) fn all(variant: &Variant<'a>) -> Vec<Self> {
        let parts: Vec<_> =
            variant.parts().into_iter().map(|part| at(&variant.top_profiles(part), When::Init)).collect();
        let of = |run: &'a RunRecord| {
            let own =
                parts.iter().filter_map(|profiles| profiles.iter().find(|profile| profile.seed == run.seed));
            Self::new(run, &own.copied().collect::<Vec<_>>())
        };
        variant.runs.iter().copied().map(of).collect()
    }

    /// Judges one run by the profiles of the parts of its state; without any the fitted lines stand in for them.
    fn new(run: &'a RunRecord, profiles: &[&ProfileRecord]) -> Self {
        let fates: Vec<Fate> = profiles.iter().filter_map(|profile| measured(run, profile)).collect();
        let measured = !fates.is_empty();
        let fates =
            if measured { fates } else { ["h", "c"].iter().filter_map(|part| foretold(run, part)).collect() };
        let fate = fates.into_iter().reduce(further).unwrap_or(Fate::Unknown);
        let left =
            |part: &str| profiles.iter().find(|profile| profile.part == part).and_then(|own| left(run, own));
        Self { run, fate, measured, h: left("h").or(run.grad_ratio_init), c: left("c") }
    }
}

/// The fate that the profile of one part shows; `None` if it is empty.
fn measured(run: &RunRecord, profile: &ProfileRecord) -> Option<Fate> {
    let precision = Precision::of(&run.dtype);
    let (start, end) = span(run, &profile.part);
    let norms = || {
        let all = profile.lag.iter().copied().zip(profile.median.iter().copied());
        all.filter(move |(lag, _)| (start..=end).contains(lag))
    };
    if let Some((lag, _)) = norms().find(|(_, norm)| !norm.is_finite()) {
        return Some(Fate::NotFinite { lag });
    }
    let ((_, nearest), (end, farthest)) = (norms().next()?, norms().last()?);
    let last_above = |bound: f64| norms().filter(|&(_, norm)| norm >= bound).map(|(lag, _)| lag).last();
    let reach = last_above(precision.tiny.max(precision.epsilon * nearest)).unwrap_or(0);
    if reach < end {
        let underflow = last_above(precision.tiny).map_or(0, |lag| lag + 1);
        return Some(Fate::Vanishes { reach, underflow: Some(underflow).filter(|&lag| lag <= end) });
    }
    Some(arrives(run, &profile.part, farthest / nearest))
}

/// What is left of a part at the first step; `None` if it is not finite.
fn left(run: &RunRecord, profile: &ProfileRecord) -> Option<f64> {
    let (start, end) = span(run, &profile.part);
    let norm = |wanted: usize| Some(profile.median[profile.lag.iter().position(|&lag| lag == wanted)?]);
    Some(norm(end)? / norm(start)?).filter(|share| share.is_finite())
}

/// The first and the last lag of a part: dL/dc at lag 0 is zero by definition, and the lag of the first step is T − 1,
/// beyond which lies the initial carry.
fn span(run: &RunRecord, part: &str) -> (usize, usize) {
    (usize::from(part != "h"), run.length.saturating_sub(1))
}

/// The fate that the fitted line of one part foretells.
fn foretold(run: &RunRecord, part: &str) -> Option<Fate> {
    let rate = rate(run, part, When::Init)?;
    let end = run.length.saturating_sub(1) as f64;
    let reach = if rate > 0.0 { -Precision::of(&run.dtype).epsilon.ln() / rate } else { f64::INFINITY };
    if reach < end {
        return Some(Fate::Vanishes { reach: reach as usize, underflow: None });
    }
    Some(arrives(run, part, (-rate * end).exp()))
}

/// The fate of a part of which `share` arrives at the first step.
fn arrives(run: &RunRecord, part: &str, share: f64) -> Fate {
    match rate(run, part, When::Init).map(|rate| Trend::of(rate, run.length)) {
        Some(Trend::Doubles(time)) if time <= run.length as f64 => Fate::Grows,
        _ if share >= KEPT => Fate::Keeps,
        _ => Fate::Fades,
    }
}

/// The fate of the part that carries further; what is not finite comes before all.
fn further(one: Fate, other: Fate) -> Fate {
    let rank = |fate: Fate| match fate {
        Fate::Unknown => 0,
        Fate::Vanishes { .. } => 1,
        Fate::Fades => 2,
        Fate::Keeps => 3,
        Fate::Grows => 4,
        Fate::NotFinite { .. } => 5,
    };
    match (one, other) {
        (Fate::Vanishes { reach: a, underflow: b }, Fate::Vanishes { reach: c, underflow: d }) => {
            let underflow = b.zip(d).map(|(b, d)| b.max(d));
            Fate::Vanishes { reach: a.max(c), underflow }
        }
        _ if rank(other) > rank(one) => other,
        _ => one,
    }
}

/// The first sentence of a verdict: what becomes of the gradient at initialisation, over all seeds.
pub(super) fn sentence(outcomes: &[Outcome]) -> String {
    let mut groups: Vec<Vec<Outcome>> = Vec::new();
    for &outcome in outcomes {
        match groups.iter_mut().find(|group| alike(group[0].fate, outcome.fate)) {
            Some(group) => group.push(outcome),
            None => groups.push(vec![outcome]),
        }
    }
    let of = outcomes.len();
    let layer = outcomes.iter().any(|outcome| outcome.run.layers > 1);
    let gradient = if layer { "the gradient of the top layer" } else { "the gradient" };
    match groups.as_slice() {
        [] => "No run has ended.".to_owned(),
        [all] => format!("At initialisation {gradient} {}.", phrase(all)),
        _ => {
            let each: Vec<String> = groups
                .iter()
                .map(|group| format!("with {} of {of} it {}", group.len(), phrase(group)))
                .collect();
            format!("At initialisation the seeds disagree about {gradient}: {}.", each.join("; "))
        }
    }
}

/// Whether two fates are told in one phrase. To vanish and to fade differ by where the sequence happens to end.
fn alike(one: Fate, other: Fate) -> bool {
    let decays = |fate| matches!(fate, Fate::Vanishes { .. } | Fate::Fades);
    discriminant(&one) == discriminant(&other) || decays(one) && decays(other)
}

/// What a group of runs with like fates have in common.
fn phrase(group: &[Outcome]) -> String {
    let run = group[0].run;
    let (length, end) = (run.length, run.length.saturating_sub(1));
    let arrived = || group.iter().filter(|outcome| !matches!(outcome.fate, Fate::Vanishes { .. }));
    let precision = Precision::of(&run.dtype);
    let left = |share: Option<Spread>| share.map(|share| share.text(|ratio| precision.ratio(ratio)));
    let h = left(Spread::of(arrived().filter_map(|outcome| outcome.h)));
    let c = left(Spread::of(arrived().filter_map(|outcome| outcome.c)));
    let share = |times: &str| match (&h, &c) {
        (Some(h), Some(c)) => {
            format!(": at lag {end}, dL/dh is {h} {times} that at lag 0, and dL/dc {c} {times} that at lag 1")
        }
        (Some(h), None) => format!(": at lag {end}, dL/dh is {h} {times} that at lag 0"),
        (None, Some(c)) => format!(": at lag {end}, dL/dc is {c} {times} that at lag 1"),
        (None, None) => String::new(),
    };
    let fit = fits(group).unwrap_or_else(|| "too few points to fit".to_owned());
    match group[0].fate {
        Fate::Unknown => "is unknown: no profile was recorded".to_owned(),
        Fate::NotFinite { .. } => {
            let lag = |fate| if let Fate::NotFinite { lag } = fate { Some(lag) } else { None };
            format!("is not finite from lag {} on", lags(group, lag))
        }
        Fate::Vanishes { .. } | Fate::Fades => decays(group, &share("of"), &fit),
        Fate::Keeps => format!("is kept over all {length} steps ({fit}){}", share("of")),
        Fate::Grows => format!("grows ({fit}){}", share("times")),
    }
}

/// The phrase of runs whose gradients decay, some of them perhaps to nothing.
fn decays(group: &[Outcome], share: &str, fit: &str) -> String {
    let run = group[0].run;
    let precision = Precision::of(&run.dtype);
    let vanishing: Vec<Outcome> =
        group.iter().copied().filter(|outcome| matches!(outcome.fate, Fate::Vanishes { .. })).collect();
    if vanishing.is_empty() {
        return format!("reaches all {} steps, but fades ({fit}){share}", run.length);
    }
    let mut text = match halving(group) {
        Some(times) => {
            let range = times.range(steps).map(|range| format!("{range} over seeds"));
            let c = typical(group, "c").map(|fit| format!("c {fit}"));
            let more: Vec<String> = range.into_iter().chain(c).collect();
            let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join("; ")) };
            format!("halves every {} steps{more}: ", steps(times.mid))
        }
        None => format!("vanishes ({fit}): "),
    };
    let reach = |fate| if let Fate::Vanishes { reach, .. } = fate { Some(reach) } else { None };
    if !vanishing.iter().all(|outcome| outcome.measured) {
        text += "by the fit, ";
    }
    if vanishing.len() < group.len() {
        text += &format!("with {} of {} seeds ", vanishing.len(), group.len());
    }
    text += &format!(
        "nothing further back than {} steps reaches the weights in {} (less than its epsilon is left, {} of the norm at \
         the end)",
        lags(&vanishing, reach),
        run.dtype,
        significant(precision.epsilon, 2)
    );
    let underflow = |fate| if let Fate::Vanishes { underflow, .. } = fate { underflow } else { None };
    if vanishing.iter().any(|outcome| underflow(outcome.fate).is_some()) {
        text += &format!("; from lag {} on it underflows ({})", lags(&vanishing, underflow), precision.below);
    }
    text
}

fn rates(group: &[Outcome], part: &str) -> Vec<f64> {
    group.iter().filter_map(|outcome| rate(outcome.run, part, When::Init)).collect()
}

/// The half-lives of h, if all of the rates are decays.
fn halving(group: &[Outcome]) -> Option<Spread> {
    let time = |rate: f64| match Trend::of(rate, group[0].run.length) {
        Trend::Halves(time) => Some(time),
        _ => None,
    };
    Spread::of(rates(group, "h").into_iter().map(time).collect::<Option<Vec<f64>>>()?)
}

/// The fits of h, and of c where there are any.
fn fits(group: &[Outcome]) -> Option<String> {
    let length = group[0].run.length;
    match (describe(&rates(group, "h"), length), typical(group, "c")) {
        (Some(h), Some(c)) => Some(format!("h {h}; c {c}")),
        (Some(fit), None) => Some(fit),
        (None, Some(c)) => Some(format!("h too few points to fit; c {c}")),
        (None, None) => None,
    }
}

/// The fit of a part in the median over runs.
fn typical(group: &[Outcome], part: &str) -> Option<String> {
    describe(&[Spread::of(rates(group, part))?.mid], group[0].run.length)
}

/// A lag, or `40 to 48`.
fn lags(group: &[Outcome], lag: impl Fn(Fate) -> Option<usize>) -> String {
    let found: Vec<usize> = group.iter().filter_map(|outcome| lag(outcome.fate)).collect();
    match (found.iter().min(), found.iter().max()) {
        (Some(low), Some(high)) if low < high => format!("{low} to {high}"),
        (Some(low), _) => low.to_string(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FitRecord;
    use crate::report::sample;

    fn judged(part: &str, half_life: f64) -> (RunRecord, ProfileRecord) {
        let mut run = sample::run("gru", 1);
        run.half_life_h_init = (half_life > 0.0).then_some(half_life);
        let decay = std::f64::consts::LN_2 / half_life;
        run.fits.insert("h_init".to_owned(), FitRecord { decay, r2: 0.9, points: 80, underflowed: 0 });
        run.grad_ratio_init = None; // the profile has it
        let mut profile = sample::profile("gru", part, 1, 0, half_life);
        for (lag, norm) in profile.lag.iter().zip(profile.median.iter_mut()) {
            *norm = f64::from((-decay * *lag as f64).exp() as f32); // without the ripple
        }
        (run, profile)
    }

    fn fate(half_life: f64) -> Fate {
        let (run, profile) = judged("h", half_life);
        Outcome::new(&run, &[&profile]).fate
    }

    #[test]
    fn the_borders_between_fates() {
        // f32's epsilon is 2^-23: it is met after 23 half-lives, and the first step is at lag 99.
        assert_eq!(fate(2.0), Fate::Vanishes { reach: 46, underflow: None });
        assert_eq!(fate(0.5), Fate::Vanishes { reach: 11, underflow: Some(64) }); // 2^-126 is the smallest normal
        assert_eq!(fate(99.0 / 23.1), Fate::Vanishes { reach: 98, underflow: None });
        assert_eq!(fate(99.0 / 22.9), Fate::Fades);
        // A tenth is left after log2(10) = 3.3219 half-lives.
        assert_eq!(fate(99.0 / 3.323), Fate::Fades);
        assert_eq!(fate(99.0 / 3.321), Fate::Keeps);
        assert_eq!(fate(1e6), Fate::Keeps);
        assert_eq!(fate(-100.5), Fate::Keeps, "doubles, but not within the sequence");
        assert_eq!(fate(-99.5), Fate::Grows);
    }

    #[test]
    fn a_profile_decides_over_the_fit_and_the_fit_over_nothing() {
        let (run, mut profile) = judged("h", 2.0);
        assert_eq!(Outcome::new(&run, &[]).fate, Fate::Vanishes { reach: 46, underflow: None });
        assert!(sentence(&[Outcome::new(&run, &[])]).contains("by the fit, nothing further"));
        profile.median.fill(1.0);
        assert_eq!(Outcome::new(&run, &[&profile]).fate, Fate::Keeps);
        profile.median[7] = f64::INFINITY;
        assert_eq!(Outcome::new(&run, &[&profile]).fate, Fate::NotFinite { lag: 7 });
        profile.median.fill(0.0);
        assert_eq!(Outcome::new(&run, &[&profile]).fate, Fate::Vanishes { reach: 0, underflow: Some(0) });
        let bare = RunRecord { half_life_h_init: None, fits: Default::default(), ..run };
        assert_eq!(Outcome::new(&bare, &[]).fate, Fate::Unknown);
    }

    #[test]
    fn what_h_has_lost_c_may_still_carry() {
        let ((run, h), (_, mut c)) = (judged("h", 2.0), judged("c", 80.0));
        c.median[0] = 0.0; // by definition
        c.median.iter_mut().for_each(|norm| *norm *= 1e-3);
        let kept = Outcome::new(&run, &[&h, &c]);
        assert_eq!(kept.fate, Fate::Keeps);
        assert!(sentence(&[kept]).ends_with("is 1.3e-15 of that at lag 0, and dL/dc 0.43 of that at lag 1."));
        let (_, short) = judged("c", 3.0);
        assert_eq!(Outcome::new(&run, &[&h, &short]).fate, Fate::Vanishes { reach: 70, underflow: None });
        let (_, gone) = judged("c", 0.5);
        assert_eq!(Outcome::new(&run, &[&h, &gone]).fate, Fate::Vanishes { reach: 46, underflow: None });
    }

    #[test]
    fn sentences() {
        let say = |half_life: f64| {
            let (run, profile) = judged("h", half_life);
            sentence(&[Outcome::new(&run, &[&profile])])
        };
        assert_eq!(
            say(2.2),
            "At initialisation the gradient halves every 2.2 steps: nothing further back than 50 steps reaches the \
             weights in f32 (less than its epsilon is left, 1.2e-7 of the norm at the end)."
        );
        assert!(say(0.5).ends_with("; from lag 64 on it underflows (below 1e-38)."), "{}", say(0.5));
        assert_eq!(
            say(89.0),
            "At initialisation the gradient is kept over all 100 steps (half-life 89): at lag 99, dL/dh is 0.46 of that \
             at lag 0."
        );
        assert_eq!(
            say(-34.0),
            "At initialisation the gradient grows (doubling every 34 steps): at lag 99, dL/dh is 7.5 times that at lag 0."
        );
    }

    #[test]
    fn seeds_that_disagree_are_said_to() {
        let say = |half_lives: &[f64]| {
            let made: Vec<_> = half_lives.iter().map(|&half_life| judged("h", half_life)).collect();
            sentence(&made.iter().map(|(run, profile)| Outcome::new(run, &[profile])).collect::<Vec<_>>())
        };
        let said = say(&[89.0, 70.0, -34.0]);
        assert!(said.contains("the seeds disagree"), "{said}");
        assert!(
            said.contains("with 2 of 3 it is kept over all 100 steps (half-life 78, 70–89 over seeds)"),
            "{said}"
        );
        assert!(said.contains("with 1 of 3 it grows (doubling every 34 steps):"), "{said}");
        let said = say(&[4.0, 4.5, 5.0]);
        assert!(said.contains("halves every 4.5 steps (4.0–5.0 over seeds): with 1 of 3 seeds nothing further back than 92 steps"), "{said}");
    }
}
