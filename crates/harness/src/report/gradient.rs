//! What becomes of a gradient, in words.

use super::fate::{Fate, Outcome};
use super::numbers::{significant, steps, Precision, Spread};
use super::trend::{describe, rate, Trend, When};
use std::mem::discriminant;

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
    let layer = outcomes.iter().any(|outcome| outcome.run.config.model.layers > 1);
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
    let (length, end) = (run.config.task.length, run.config.task.length.saturating_sub(1));
    let arrived = || group.iter().filter(|outcome| !matches!(outcome.fate, Fate::Vanishes { .. }));
    let precision = Precision::of(run.config.training.dtype.as_str());
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
    let precision = Precision::of(run.config.training.dtype.as_str());
    let vanishing: Vec<Outcome> =
        group.iter().copied().filter(|outcome| matches!(outcome.fate, Fate::Vanishes { .. })).collect();
    if vanishing.is_empty() {
        return format!("reaches all {} steps, but fades ({fit}){share}", run.config.task.length);
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
        run.config.training.dtype.as_str(),
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
    let time = |rate: f64| match Trend::of(rate, group[0].run.config.task.length) {
        Trend::Halves(time) => Some(time),
        _ => None,
    };
    Spread::of(rates(group, "h").into_iter().map(time).collect::<Option<Vec<f64>>>()?)
}

/// The fits of h, and of c where there are any.
fn fits(group: &[Outcome]) -> Option<String> {
    let length = group[0].run.config.task.length;
    match (describe(&rates(group, "h"), length), typical(group, "c")) {
        (Some(h), Some(c)) => Some(format!("h {h}; c {c}")),
        (Some(fit), None) => Some(fit),
        (None, Some(c)) => Some(format!("h too few points to fit; c {c}")),
        (None, None) => None,
    }
}

/// The fit of a part in the median over runs.
fn typical(group: &[Outcome], part: &str) -> Option<String> {
    describe(&[Spread::of(rates(group, part))?.mid], group[0].run.config.task.length)
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
    use crate::report::sample::exact;

    #[test]
    fn sentences() {
        let say = |half_life: f64| {
            let (run, profile) = exact("h", half_life);
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
            let made: Vec<_> = half_lives.iter().map(|&half_life| exact("h", half_life)).collect();
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

    #[test]
    fn both_parts_of_a_state_are_told() {
        let ((run, h), (_, c)) = (exact("h", 2.0), exact("c", 80.0));
        let said = sentence(&[Outcome::new(&run, &[&h, &c])]);
        assert!(
            said.ends_with("dL/dh is 1.3e-15 of that at lag 0, and dL/dc 0.43 of that at lag 1."),
            "{said}"
        );
        let said = sentence(&[Outcome::new(&run, &[])]);
        assert!(
            said.contains("halves every 2.0 steps: by the fit, nothing further back than 46 steps"),
            "{said}"
        );
    }
}
