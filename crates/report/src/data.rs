//! The data from which the page's script draws: the records to four digits, thinned to the visible
//! resolution.

use super::curve::{interval, training_of};
use super::figures::parts;
use super::group::{Group, VariantRuns};
use super::palette;
use super::run::RunView;
use crate::record::{ProfileRecord, RunRecord};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The largest number of lags, evenly spaced: a chart is not much wider in pixels.
const LAGS: usize = 400;

/// All data of a comparison for the script.
#[derive(Serialize)]
struct Data<'a> {
    /// The parts of the state, `h` first.
    parts: Vec<&'a str>,
    /// The lags of all norms.
    lags: Vec<usize>,
    /// The loss of the best answer that ignores the input.
    baseline: f64,
    /// The title of the training losses.
    training: String,
    variants: Vec<VariantData<'a>>,
}

#[derive(Serialize)]
struct VariantData<'a> {
    name: &'a str,
    /// The classes of its line and of the fill of its band.
    line: String,
    fill: String,
    runs: Vec<RunData<'a>>,
}

/// One run. A number that is missing or not finite is `null`.
#[derive(Serialize)]
struct RunData<'a> {
    /// A string, because JavaScript has no integers beyond 2^53.
    seed: String,
    /// The profiles of the top layer, by part of the state.
    profiles: BTreeMap<&'a str, Profiles>,
    held_out: Series,
    training: Series,
    accuracy: Series,
}

/// Profiles over training; the last one is at the end.
#[derive(Serialize)]
struct Profiles {
    steps: Vec<u64>,
    /// By step, then by lag. Underflows are 0; values that are zero by definition are null.
    norms: Vec<Vec<Option<f64>>>,
}

#[derive(Serialize)]
struct Series {
    steps: Vec<u64>,
    values: Vec<f64>,
}

/// The data as JSON for a `script` element: no character in it has a meaning in HTML.
pub(super) fn json(group: &Group) -> String {
    let scale = group.profile_scale();
    let all: BTreeSet<usize> = group
        .variants
        .iter()
        .flat_map(|variant| variant.top_profiles("h"))
        .flat_map(|profile| profile.lag.iter().copied())
        .filter(|&lag| lag < scale.length)
        .collect();
    let lags: Vec<usize> = all.iter().copied().step_by(all.len().div_ceil(LAGS).max(1)).collect();
    let width = interval(group.runs.iter().map(|run| run.outcome.steps).max().unwrap_or(0));
    let profiles = |run: &RunRecord, variant: &VariantRuns, part: &str| {
        let top =
            variant.top_profiles(part).into_iter().filter(|profile| profile.seed == run.seed());
        let (steps, norms) = top
            .map(|profile| (profile.step, norms(profile, &lags, scale.precision.tiny)))
            .unzip::<_, _, Vec<_>, Vec<_>>();
        Profiles { steps, norms }
    };
    let run = |variant: &VariantRuns<'_>, run: &RunRecord| {
        let evals = variant.evals.get(&run.seed()).map_or(&[][..], Vec::as_slice);
        let steps = variant.steps.get(&run.seed()).map_or(&[][..], Vec::as_slice);
        RunData {
            seed: run.seed().to_string(),
            profiles: parts(group)
                .into_iter()
                .filter(|part| variant.parts().contains(part))
                .map(|part| (part, profiles(run, variant, part)))
                .collect(),
            held_out: Series::of(evals.iter().map(|eval| (eval.step, eval.loss))),
            training: Series::of(training_of(steps, width).into_iter()),
            accuracy: Series::of(evals.iter().filter_map(|eval| Some((eval.step, eval.accuracy?)))),
        }
    };
    let variants = group.variants.iter().map(|variant| VariantData {
        name: variant.name,
        line: palette::line(variant.index),
        fill: palette::fill(variant.index),
        runs: variant.runs.iter().map(|one| run(variant, one)).collect(),
    });
    let data = Data {
        parts: parts(group),
        lags: lags.clone(),
        baseline: group.runs.first().map_or(0.0, |run| run.config.task.baseline),
        training: format!("Training loss, mean of {width} steps"),
        variants: variants.collect(),
    };
    let text = serde_json::to_string(&data).expect("strings, and numbers that are finite");
    text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

impl Series {
    fn of(pairs: impl Iterator<Item = (u64, f64)>) -> Self {
        let finite = pairs.filter(|(_, value)| value.is_finite());
        let (steps, values) = finite.map(|(step, value)| (step, rounded(value))).unzip();
        Self { steps, values }
    }
}

fn norms(profile: &ProfileRecord, lags: &[usize], tiny: f64) -> Vec<Option<f64>> {
    let known: BTreeMap<usize, f64> =
        profile.lag.iter().copied().zip(profile.median.iter().copied()).collect();
    let norm = |lag: &usize| {
        let norm = *known.get(lag)?;
        let by_definition = profile.part != "h" && *lag == 0 && norm == 0.0;
        let norm = if norm < tiny { 0.0 } else { rounded(norm) };
        (norm.is_finite() && !by_definition).then_some(norm)
    };
    lags.iter().map(norm).collect()
}

/// Rounds to four significant digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use serde_json::Value;

    #[test]
    fn the_data_match_the_records() {
        let records = sample::records();
        let group = Group::new(&records);
        let data: Value = serde_json::from_str(&json(&group)).expect("it parses");
        assert_eq!(data["lags"].as_array().map(Vec::len), Some(100), "without the initial carry");
        let close = |value: &Value, exact: f64| {
            let value = value.as_f64().expect("a number");
            assert!((value - exact).abs() <= 5.1e-4 * exact.abs(), "{value} for {exact}");
        };
        let mut compared = 0;
        for variant in data["variants"].as_array().expect("variants") {
            for run in variant["runs"].as_array().expect("runs") {
                let of = |name: &str, seed: u64| {
                    variant["name"] == *name && run["seed"] == *seed.to_string()
                };
                let evals: Vec<_> = records
                    .evals
                    .iter()
                    .filter(|e| of(&e.variant, e.seed) && e.loss.is_finite())
                    .collect();
                let values = run["held_out"]["values"].as_array().expect("losses");
                assert_eq!(values.len(), evals.len());
                values.iter().zip(&evals).for_each(|(value, eval)| close(value, eval.loss));
                for (part, profiles) in run["profiles"].as_object().expect("parts") {
                    let (steps, norms) = (&profiles["steps"], &profiles["norms"]);
                    for (place, step) in steps.as_array().expect("steps").iter().enumerate() {
                        let top = group.variants.iter().find(|v| variant["name"] == *v.name);
                        let top = top.expect("a variant of that name").top_profiles(part);
                        let record = top.iter().find(|p| of(&p.variant, p.seed) && *step == p.step);
                        let record = record.expect("a profile of that step");
                        for (lag, norm) in
                            norms[place].as_array().expect("norms").iter().enumerate()
                        {
                            match record.median[lag] {
                                zero if zero == 0.0 && part == "c" && lag == 0 => {
                                    assert!(norm.is_null())
                                }
                                small if small < f64::from(f32::MIN_POSITIVE) => {
                                    assert_eq!(*norm, 0.0)
                                }
                                exact => close(norm, exact),
                            }
                            compared += 1;
                        }
                    }
                }
            }
        }
        assert!(compared > 5000, "{compared}");
    }

    #[test]
    fn no_text_ends_the_script() {
        let mut records = sample::records();
        records.runs[0].config.model.variant = "</script><!--&".to_owned();
        let text = json(&Group::new(&records));
        assert!(!text.contains(['<', '>', '&']), "{text}");
        let data: Value = serde_json::from_str(&text).expect("it parses");
        assert_eq!(data["variants"][0]["name"], "</script><!--&");
    }

    #[test]
    fn long_sequences_are_thinned() {
        let mut records = sample::records();
        records.runs.iter_mut().for_each(|run| run.config.task.length = 5000);
        for profile in &mut records.profiles {
            profile.lag = (0..=5000).collect();
            profile.median = vec![0.5; 5001];
        }
        let data: Value = serde_json::from_str(&json(&Group::new(&records))).expect("it parses");
        let lags = data["lags"].as_array().expect("lags");
        assert!((300..=LAGS).contains(&lags.len()), "{}", lags.len());
        assert_eq!(data["variants"][0]["runs"][0]["profiles"]["h"]["norms"][0][7], 0.5);
    }
}
