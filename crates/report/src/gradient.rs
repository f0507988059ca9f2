//! The behaviour of a gradient in words.

use super::numbers::{significant, steps, Spread};
use super::run::RunView;
use super::run_verdict::{GradientVerdict, RunVerdict};
use super::trend::{describe, describe_rates, poor_fits, rate, Phase, Trend};
use crate::record::RunRecord;
use std::mem::discriminant;

/// The first sentence of a verdict: the behaviour of the gradient at initialisation, over all
/// seeds.
pub(super) fn sentence(verdicts: &[RunVerdict]) -> String {
    let mut groups: Vec<Vec<RunVerdict>> = Vec::new();
    for &verdict in verdicts {
        match groups.iter_mut().find(|group| alike(group[0].gradient, verdict.gradient)) {
            Some(group) => group.push(verdict),
            None => groups.push(vec![verdict]),
        }
    }
    let of = verdicts.len();
    let layer = verdicts.iter().any(|verdict| verdict.run.layers() > 1);
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

/// Whether one phrase describes both verdicts. A gradient that vanishes and one that fades differ
/// only by the length of the sequence.
fn alike(one: GradientVerdict, other: GradientVerdict) -> bool {
    let decays =
        |verdict| matches!(verdict, GradientVerdict::Vanishes { .. } | GradientVerdict::Fades);
    discriminant(&one) == discriminant(&other) || decays(one) && decays(other)
}

/// The description of a group of runs with similar verdicts.
fn phrase(group: &[RunVerdict]) -> String {
    let run = group[0].run;
    let (length, end) = (run.length(), run.last_lag());
    let arrived = || {
        group.iter().filter(|verdict| !matches!(verdict.gradient, GradientVerdict::Vanishes { .. }))
    };
    let precision = run.precision();
    let left =
        |share: Option<Spread>| share.map(|share| share.text(|ratio| precision.ratio(ratio)));
    let h = left(Spread::of(arrived().filter_map(|verdict| verdict.h)));
    let c = left(Spread::of(arrived().filter_map(|verdict| verdict.c)));
    let share = |times: &str| match (&h, &c) {
        (Some(h), Some(c)) => {
            format!(
                ": at lag {end}, dL/dh is {h} {times} that at lag 0, and dL/dc {c} {times} \
                that at lag 1"
            )
        }
        (Some(h), None) => format!(": at lag {end}, dL/dh is {h} {times} that at lag 0"),
        (None, Some(c)) => format!(": at lag {end}, dL/dc is {c} {times} that at lag 1"),
        (None, None) => String::new(),
    };
    let fit = fits(group).unwrap_or_else(|| "too few points to fit".to_owned());
    match group[0].gradient {
        GradientVerdict::Unknown => "is unknown: no profile was recorded".to_owned(),
        GradientVerdict::NotFinite { .. } => {
            let lag = |verdict| {
                if let GradientVerdict::NotFinite { lag } = verdict {
                    Some(lag)
                } else {
                    None
                }
            };
            format!("is not finite from lag {} on", lags(group, lag))
        }
        GradientVerdict::Vanishes { .. } | GradientVerdict::Fades => {
            decays(group, &share("of"), &fit)
        }
        GradientVerdict::Keeps => format!("is kept over all {length} steps ({fit}){}", share("of")),
        GradientVerdict::Grows => format!("grows ({fit}){}", share("times")),
    }
}

/// The phrase for runs whose gradients decay, some of them perhaps to zero.
fn decays(group: &[RunVerdict], share: &str, fit: &str) -> String {
    let run = group[0].run;
    let precision = run.precision();
    let vanishing: Vec<RunVerdict> = group
        .iter()
        .copied()
        .filter(|verdict| matches!(verdict.gradient, GradientVerdict::Vanishes { .. }))
        .collect();
    if vanishing.is_empty() {
        return format!("reaches all {} steps, but fades ({fit}){share}", run.length());
    }
    let mut text = match halving(group) {
        Some(times) => {
            let range = times.range(steps).map(|range| format!("{range} over seeds"));
            let c = typical(group, "c").map(|fit| format!("c {fit}"));
            let warning = poor_fits(&runs(group), "h", Phase::Init);
            let more: Vec<String> = range.into_iter().chain(c).chain(warning).collect();
            let more =
                if more.is_empty() { String::new() } else { format!(" ({})", more.join("; ")) };
            format!("halves every {} steps{more}: ", steps(times.mid))
        }
        None => format!("vanishes ({fit}): "),
    };
    let reach = |verdict| {
        if let GradientVerdict::Vanishes { reach, .. } = verdict {
            Some(reach)
        } else {
            None
        }
    };
    if !vanishing.iter().all(|verdict| verdict.measured) {
        text += "by the fit, ";
    }
    if vanishing.len() < group.len() {
        text += &format!("with {} of {} seeds ", vanishing.len(), group.len());
    }
    text += &format!(
        "nothing further back than {} steps reaches the weights in {} (less than its epsilon is \
         left, {} of the norm at the end)",
        lags(&vanishing, reach),
        run.dtype(),
        significant(precision.epsilon, 2)
    );
    let underflow = |verdict| {
        if let GradientVerdict::Vanishes { underflow, .. } = verdict {
            underflow
        } else {
            None
        }
    };
    if vanishing.iter().any(|verdict| underflow(verdict.gradient).is_some()) {
        text += &format!(
            "; from lag {} on it underflows ({})",
            lags(&vanishing, underflow),
            precision.below
        );
    }
    text
}

fn runs<'a>(group: &[RunVerdict<'a>]) -> Vec<&'a RunRecord> {
    group.iter().map(|verdict| verdict.run).collect()
}

fn rates(group: &[RunVerdict], part: &str) -> Vec<f64> {
    group.iter().filter_map(|verdict| rate(verdict.run, part, Phase::Init)).collect()
}

/// The half-lives of h, if all rates are decays.
fn halving(group: &[RunVerdict]) -> Option<Spread> {
    let time = |rate: f64| match Trend::of(rate, group[0].run.length()) {
        Trend::Halves(time) => Some(time),
        _ => None,
    };
    Spread::of(rates(group, "h").into_iter().map(time).collect::<Option<Vec<f64>>>()?)
}

/// The fits of h, and of c if there are any.
fn fits(group: &[RunVerdict]) -> Option<String> {
    match (describe(&runs(group), "h", Phase::Init), typical(group, "c")) {
        (Some(h), Some(c)) => Some(format!("h {h}; c {c}")),
        (Some(fit), None) => Some(fit),
        (None, Some(c)) => Some(format!("h too few points to fit; c {c}")),
        (None, None) => None,
    }
}

/// The median fit of a part over the runs.
fn typical(group: &[RunVerdict], part: &str) -> Option<String> {
    describe_rates(&[Spread::of(rates(group, part))?.mid], group[0].run.length())
}

/// A lag, or `40 to 48`.
fn lags(group: &[RunVerdict], lag: impl Fn(GradientVerdict) -> Option<usize>) -> String {
    let found: Vec<usize> = group.iter().filter_map(|verdict| lag(verdict.gradient)).collect();
    match (found.iter().min(), found.iter().max()) {
        (Some(low), Some(high)) if low < high => format!("{low} to {high}"),
        (Some(low), _) => low.to_string(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::exact;

    #[test]
    fn sentences() {
        let say = |half_life: f64| {
            let (run, profile) = exact("h", half_life);
            sentence(&[RunVerdict::new(&run, &[&profile])])
        };
        assert_eq!(
            say(2.2),
            "At initialisation the gradient halves every 2.2 steps: nothing further back than 50 \
             steps reaches the weights in f32 (less than its epsilon is left, 1.2e-7 of the norm \
             at the end)."
        );
        assert!(
            say(0.5).ends_with("; from lag 64 on it underflows (below 1e-38)."),
            "{}",
            say(0.5)
        );
        assert_eq!(
            say(89.0),
            "At initialisation the gradient is kept over all 100 steps (half-life 89): at lag 99, \
             dL/dh is 0.46 of that at lag 0."
        );
        assert_eq!(
            say(-34.0),
            "At initialisation the gradient grows (doubling every 34 steps): at lag 99, dL/dh is \
             7.5 times that at lag 0."
        );
    }

    #[test]
    fn disagreeing_seeds_are_named() {
        let say = |half_lives: &[f64]| {
            let made: Vec<_> = half_lives.iter().map(|&half_life| exact("h", half_life)).collect();
            sentence(
                &made
                    .iter()
                    .map(|(run, profile)| RunVerdict::new(run, &[profile]))
                    .collect::<Vec<_>>(),
            )
        };
        let said = say(&[89.0, 70.0, -34.0]);
        assert!(said.contains("the seeds disagree"), "{said}");
        assert!(
            said.contains(
                "with 2 of 3 it is kept over all 100 steps (half-life 78, 70–89 over seeds)"
            ),
            "{said}"
        );
        assert!(said.contains("with 1 of 3 it grows (doubling every 34 steps):"), "{said}");
        let said = say(&[4.0, 4.5, 5.0]);
        assert!(
            said.contains(
                "halves every 4.5 steps (4.0–5.0 over seeds): with 1 of 3 seeds \
            nothing further back than 92 steps"
            ),
            "{said}"
        );
    }

    #[test]
    fn both_parts_of_a_state_are_described() {
        let ((run, h), (_, c)) = (exact("h", 2.0), exact("c", 80.0));
        let said = sentence(&[RunVerdict::new(&run, &[&h, &c])]);
        assert!(
            said.ends_with("dL/dh is 1.3e-15 of that at lag 0, and dL/dc 0.43 of that at lag 1."),
            "{said}"
        );
        let said = sentence(&[RunVerdict::new(&run, &[])]);
        assert!(
            said.contains("halves every 2.0 steps: by the fit, nothing further back than 46 steps"),
            "{said}"
        );
    }
}
