//! The verdict on a variant in plain words, computed from its numbers by stated rules.

use super::gradient::sentence;
use super::group::{Group, VariantRuns};
use super::numbers::{count, loss, percent, significant, Spread};
use super::run::RunView;
use super::run_verdict::RunVerdict;
use super::scale::plain;
use super::trend::{describe, rate, Phase};
use crate::record::{RunRecord, Status};
use crate::task::Criterion;

/// A half-life has changed if it is this many times longer or shorter, or if only one side is
/// growth ...
const CHANGED: f64 = 1.5;

/// ... and if the gradient at the far end of the sequence changes by at least this factor.
const CHANGED_FAR: f64 = 2.0;

/// A final loss above this share of the baseline counts as still at the baseline.
pub(super) const AT_BASELINE: f64 = 0.9;

/// A loss above this multiple of the baseline is worse than the baseline.
const ABOVE_BASELINE: f64 = 1.1;

/// A run whose final loss is above this multiple of the baseline has diverged.
pub(super) const DIVERGED: f64 = 10.0;

/// The sentences of the verdict: the gradient at initialisation, the effect of training on it, the
/// task, the relation of the two, and errors.
pub(super) fn sentences(variant: &VariantRuns) -> Vec<String> {
    let mut all = vec![sentence(&RunVerdict::all(variant))];
    all.extend(training(variant));
    all.extend(task(variant));
    all.extend(link(variant));
    all.extend(trouble(variant));
    all
}

/// All verdicts, in the order of the comparison.
pub(super) fn all(comparison: &Group) -> Vec<(String, String)> {
    let of = |variant: &VariantRuns| (variant.name.to_owned(), sentences(variant).join(" "));
    comparison.variants.iter().map(of).collect()
}

/// The effect of training on the decay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Weaker,
    Stronger,
    Same,
}

/// Compares two rates over a sequence of `length` steps.
fn change(before: f64, after: f64, length: usize) -> Change {
    let far = ((after - before) * length.saturating_sub(1) as f64).abs() >= CHANGED_FAR.ln();
    let same_sign = before > 0.0 && after > 0.0 || before < 0.0 && after < 0.0;
    let ratio = (after / before).abs().ln().abs();
    if !far || same_sign && ratio < CHANGED.ln() {
        Change::Same
    } else if after < before {
        Change::Weaker
    } else {
        Change::Stronger
    }
}

fn training(variant: &VariantRuns) -> Option<String> {
    let length = variant.first().length();
    let trained = || finished(variant).filter(|run| run.outcome.steps > 0);
    let pairs: Vec<(f64, f64)> = trained()
        .filter_map(|run| Some((rate(run, "h", Phase::Init)?, rate(run, "h", Phase::Final)?)))
        .collect();
    let runs: Vec<&RunRecord> = trained().collect();
    let Some(now) = describe(&runs, "h", Phase::Final) else {
        return trained()
            .any(|run| run.horizon(Phase::Final).is_some())
            .then(|| "After training too few lags hold a gradient to fit a half-life.".to_owned());
    };
    let horizon = |value: fn(&RunRecord) -> Option<usize>| {
        Spread::of(trained().filter_map(value).map(|lag| lag as f64))
            .map(|spread| format!("{:.0}", spread.mid))
    };
    let horizons =
        match (horizon(|run| run.horizon(Phase::Init)), horizon(|run| run.horizon(Phase::Final))) {
            (Some(before), Some(after)) if before == after => {
                format!("; horizon {after}, as before")
            }
            (Some(before), Some(after)) => format!("; horizon {before} before, {after} after"),
            _ => String::new(),
        };
    let changes: Vec<Change> =
        pairs.iter().map(|&(before, after)| change(before, after, length)).collect();
    let all = |wanted: Change| changes.iter().all(|&change| change == wanted);
    let signs = |before: f64, after: f64| {
        pairs.iter().all(|pair| pair.0 * before > 0.0 && pair.1 * after > 0.0)
    };
    let what = if changes.is_empty() {
        "After training the gradient of h has this course"
    } else if all(Change::Same) {
        "Training hardly changed that"
    } else if all(Change::Weaker) && signs(1.0, -1.0) {
        "Training turned the decay into growth"
    } else if all(Change::Weaker) && signs(-1.0, -1.0) {
        "Training made it grow faster"
    } else if all(Change::Stronger) && signs(-1.0, 1.0) {
        "Training turned the growth into a decay"
    } else if all(Change::Stronger) && signs(-1.0, -1.0) {
        "Training slowed the growth"
    } else if all(Change::Weaker) {
        "Training weakened the decay"
    } else if all(Change::Stronger) {
        "Training made the decay stronger"
    } else if !changes.contains(&Change::Stronger) {
        "Training weakened the decay with some seeds"
    } else if !changes.contains(&Change::Weaker) {
        "Training made the decay stronger with some seeds"
    } else {
        "The effect of training differs from seed to seed"
    };
    Some(format!("{what} ({now}{horizons})."))
}

/// Whether the loss of a run grew far beyond the baseline.
pub(super) fn diverged(run: &RunRecord) -> bool {
    run.config.task.baseline > 0.0 && run.outcome.final_loss > DIVERGED * run.config.task.baseline
}

/// Whether the loss of a run is still at the baseline.
fn at_baseline(run: &RunRecord) -> bool {
    run.outcome.final_loss > AT_BASELINE * run.config.task.baseline && !diverged(run)
}

/// The runs that neither failed nor were interrupted. The others are not judged.
fn finished<'a>(variant: &VariantRuns<'a>) -> impl Iterator<Item = &'a RunRecord> {
    variant.runs.clone().into_iter().filter(|run| run.status == Status::Finished)
}

fn task(variant: &VariantRuns) -> Option<String> {
    let runs: Vec<&RunRecord> = finished(variant).collect();
    let first = runs.first()?;
    let done = Spread::of(runs.iter().map(|run| run.outcome.steps as f64))?;
    let whole = |steps: f64| format!("{steps:.0}");
    let done =
        done.range(whole).map_or_else(|| done.median(whole), |range| range.replace('–', " to "));
    let measured = |runs: &[&RunRecord]| {
        let losses = runs.iter().map(|run| run.outcome.final_loss).filter(|loss| loss.is_finite());
        Spread::of(losses).map_or("not finite".to_owned(), |spread| spread.text(loss))
    };
    let baseline = significant(first.config.task.baseline, 4);
    if !has_criterion(first) {
        let accuracy = Spread::of(runs.iter().filter_map(|run| run.outcome.accuracy));
        let accuracy = accuracy
            .map(|spread| format!("accuracy {} and ", spread.text(percent)))
            .unwrap_or_default();
        let losses = measured(&runs);
        return Some(format!(
            "On held-out examples: {accuracy}loss {losses} after {done} steps (baseline \
             {baseline})."
        ));
    }
    let steps = Spread::of(
        runs.iter().filter_map(|run| run.outcome.steps_to_solve).map(|steps| steps as f64),
    );
    let in_steps = steps.map(|steps| steps.text(|steps| format!("{steps:.0}"))).unwrap_or_default();
    let rest: Vec<&RunRecord> = runs.iter().copied().filter(|run| !run.outcome.solved).collect();
    let (of, solved) = (runs.len(), runs.len() - rest.len());
    if rest.is_empty() {
        let seeds = if of == 1 {
            "(one seed: an anecdote)".to_owned()
        } else {
            format!("with all {of} seeds")
        };
        return Some(format!("It solved the task {seeds} in {in_steps} steps."));
    }
    let lost: Vec<&RunRecord> = rest.iter().copied().filter(|run| diverged(run)).collect();
    let stuck = rest.iter().filter(|run| at_baseline(run)).count();
    let above =
        rest.iter().any(|run| run.outcome.final_loss > ABOVE_BASELINE * run.config.task.baseline);
    let losses = measured(&rest);
    let where_to = match (stuck == rest.len(), stuck) {
        _ if !lost.is_empty() => divergence(&lost, rest.len()),
        (true, _) if above => format!(
            "did not get below the baseline (loss {losses}, baseline \
            {baseline})"
        ),
        (true, _) => format!("stayed at the baseline (loss {losses}, baseline {baseline})"),
        (false, 0) => format!(
            "left the baseline without solving it (loss {losses}, baseline \
            {baseline})"
        ),
        _ => format!(
            "did not get below the baseline with {stuck} of {} (loss {losses}, baseline \
             {baseline})",
            rest.len()
        ),
    };
    Some(if solved == 0 {
        let seeds = if of == 1 { " (one seed: an anecdote)" } else { "" };
        format!("It did not solve the task in {done} steps{seeds} and {where_to}.")
    } else {
        let allowed = first.max_steps();
        format!(
            "It solved the task with {solved} of {of} seeds, in {in_steps} steps; in {allowed} \
            steps the rest {where_to}."
        )
    })
}

/// The sentence on the runs `lost` of `of` runs, whose loss grew far beyond the baseline.
fn divergence(lost: &[&RunRecord], of: usize) -> String {
    let seeds =
        if lost.len() < of { format!(" with {} of {of}", lost.len()) } else { String::new() };
    let losses =
        Spread::of(lost.iter().map(|run| run.outcome.final_loss).filter(|loss| loss.is_finite()));
    let losses = losses.map_or("not finite".to_owned(), |spread| spread.text(loss));
    let run = lost[0];
    format!(
        "diverged{seeds} (loss {losses}, baseline {}): try a learning rate below {}, or a tighter \
         clip",
        significant(run.config.task.baseline, 4),
        run.lr()
    )
}

/// The criterion by which the task of a run counts as solved, in words; `None` without a criterion.
pub(super) fn criterion(run: &RunRecord) -> Option<String> {
    let words = match run.config.task.criterion? {
        Criterion::LossBelow(bound) => format!("a held-out loss below {}", plain(bound)),
        Criterion::AccuracyAtLeast(bound) => {
            format!("a held-out accuracy of at least {}", percent(bound))
        }
    };
    Some(format!("{words} in three evaluations in a row"))
}

/// Whether the task has a criterion.
pub(super) fn has_criterion(run: &RunRecord) -> bool {
    criterion(run).is_some()
}

/// The relation of horizon and outcome, where they clearly agree or disagree.
fn link(variant: &VariantRuns) -> Option<String> {
    let runs: Vec<&RunRecord> = finished(variant).collect();
    let first = *runs.first()?;
    if !has_criterion(first) {
        return None;
    }
    if runs.iter().any(|run| diverged(run)) {
        return None; // the horizon does not explain a divergence
    }
    let lag = first.longest_lag().min(first.last_lag());
    let horizons =
        runs.iter().map(|run| run.horizon(Phase::Init)).collect::<Option<Vec<usize>>>()?;
    let spread =
        Spread::of(horizons.iter().map(|&lag| lag as f64))?.text(|lag| format!("{lag:.0}"));
    let short = horizons.iter().all(|&horizon| horizon < lag);
    let long = horizons.iter().all(|&horizon| horizon >= lag);
    let none = runs.iter().all(|run| !run.outcome.solved);
    let all = runs.iter().all(|run| run.outcome.solved);
    let trained =
        runs.iter().all(|run| run.horizon(Phase::Final).is_some_and(|horizon| horizon >= lag));
    Some(if none && short {
        let and = if runs.iter().all(|run| at_baseline(run)) {
            "did not leave the baseline"
        } else {
            "did not solve the task"
        };
        format!(
            "Its horizon at initialisation, {spread} steps, is shorter than the task's longest \
            lag, {lag}, and it {and}."
        )
    } else if none && long {
        format!(
            "Its horizon at initialisation spans the task's longest lag, {lag}: that alone was \
            not enough here."
        )
    } else if all && long {
        format!("Its horizon at initialisation spans the task's longest lag, {lag}.")
    } else if all && short {
        let after = if trained { "; after training the horizon spans that lag" } else { "" };
        format!(
            "Its horizon at initialisation, {spread} steps, is shorter than the task's longest \
            lag, {lag}, and yet it solved the task{after}."
        )
    } else {
        return None;
    })
}

fn trouble(variant: &VariantRuns) -> Vec<String> {
    let mut all = Vec::new();
    for run in &variant.runs {
        match &run.status {
            Status::Finished => {}
            Status::Stopped => all.push(format!(
                "The run of seed {} was interrupted after {} of {} steps and is not judged.",
                run.seed(),
                run.outcome.steps,
                run.max_steps()
            )),
            Status::Failed(why) => all.push(format!(
                "The run of seed {} failed after {}: {why}.",
                run.seed(),
                count(run.outcome.steps as usize, "step")
            )),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Records;
    use crate::run::set_r2;
    use crate::sample;
    use crate::trend::POOR_FIT;
    use std::f64::consts::LN_2;

    fn said(records: &Records, name: &str) -> String {
        let verdicts = all(&Group::new(records));
        verdicts
            .into_iter()
            .find(|(variant, _)| variant == name)
            .map(|(_, text)| text)
            .expect("a verdict")
    }

    #[test]
    fn whole_verdicts() {
        let records = sample::compare(&sample::TEN);
        assert_eq!(
            said(&records, "vanilla-orthogonal"),
            "At initialisation the gradient reaches all 100 steps, but fades (half-life 12, 11–13 \
             over seeds): at lag 99, dL/dh is 0.0029 (0.0017–0.0049) of that at lag 0. Training \
             hardly changed that (half-life 9.0, 8.1–9.9 over seeds; horizon 99 before, 89 \
             after). It did not solve the task in 2000 steps and stayed at the baseline (loss \
             0.167, baseline 0.1667). Its horizon at initialisation spans the task's longest lag, \
             99: that alone was not enough here."
        );
        let lstm = said(&records, "lstm");
        assert!(
            lstm.contains(
                "halves every 2.2 steps (2.0–2.4 over seeds; c half-life 2.2): \
            nothing further back than 46 to 56 steps"
            ),
            "{lstm}"
        );
        assert!(
            lstm.contains(
                "Training weakened the decay (half-life 31, 28–34 over seeds; horizon 21 before, \
                 99 after)."
            ),
            "{lstm}"
        );
        assert!(
            lstm.contains("It solved the task with all 3 seeds in 1450 (1400–1700) steps."),
            "{lstm}"
        );
        assert!(
            lstm.contains(
                "21 (19–24) steps, is shorter than the task's longest lag, 99, and \
            yet it solved the task; after training the horizon spans that lag."
            ),
            "{lstm}"
        );
        let vanilla = said(&records, "vanilla");
        assert!(
            vanilla.contains(
                "7 (7–8) steps, is shorter than the task's longest lag, 99, and \
            it did not leave the baseline."
            ),
            "{vanilla}"
        );
        let some = said(&records, "residual-lstm");
        assert!(
            some.contains(
                "It solved the task with 2 of 3 seeds, in 1550 (1500–1600) steps; in \
            2000 steps the rest stayed at the baseline"
            ),
            "{some}"
        );
        let grows = said(&records, "residual-vanilla");
        assert!(grows.contains("grows (doubling every 34 steps, 31–37 over seeds)"), "{grows}");
        assert!(grows.contains("Training turned the growth into a decay (half-life 70"), "{grows}");
        assert!(
            grows.contains("Its horizon at initialisation spans the task's longest lag, 99."),
            "{grows}"
        );
    }

    #[test]
    fn failures_are_described() {
        let text = said(&sample::records(), "broken & <b>");
        assert!(
            text.contains(
                "It did not solve the task in 2000 steps (one seed: an anecdote) and stayed"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "The run of seed 2 was interrupted after 310 of 2000 steps and is not judged."
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "The run of seed 3 failed after 40 steps: the loss is not a number at step 40."
            ),
            "{text}"
        );
        assert!(!text.contains("NaN"), "{text}");
    }

    #[test]
    fn the_borders_of_a_change() {
        let rate = |half_life: f64| LN_2 / half_life;
        let of = |before: f64, after: f64| change(rate(before), rate(after), 100);
        assert!(of(10.0, 14.9) == Change::Same);
        assert!(of(10.0, 15.1) == Change::Weaker);
        assert!(of(15.1, 10.0) == Change::Stronger);
        assert!(of(200.0, 1000.0) == Change::Same, "the far end changes by a factor of 1.3 only");
        assert!(of(300.0, -300.0) == Change::Same);
        assert!(of(100.0, -100.0) == Change::Weaker, "from decay to growth");
        let mut records = sample::compare(&[sample::TEN[2]]);
        for (run, half_life) in records.runs.iter_mut().zip([2.2, 9.0, 9.0]) {
            run.gradients.trained.h.half_life = Some(half_life);
        }
        assert!(said(&records, "lstm")
            .contains("Training weakened the decay with some seeds (half-life 9.0, 2.2–9.0"));
        records.runs[1].gradients.trained.h.half_life = Some(0.5);
        assert!(said(&records, "lstm")
            .contains("The effect of training differs from seed to seed (half-life 2.2"));
    }

    #[test]
    fn at_and_off_the_baseline() {
        let mut records = sample::compare(&[sample::TEN[0]]);
        records
            .runs
            .iter_mut()
            .for_each(|run| run.outcome.final_loss = 0.901 * run.config.task.baseline);
        assert!(said(&records, "vanilla").contains("and stayed at the baseline"));
        records.runs[0].outcome.final_loss = 0.899 * records.runs[0].config.task.baseline;
        let text = said(&records, "vanilla");
        assert!(text.contains("did not get below the baseline with 2 of 3 (loss"), "{text}");
        assert!(text.contains("and it did not solve the task."), "{text}");
        records.runs[0].outcome.final_loss = 1.11 * records.runs[0].config.task.baseline;
        assert!(said(&records, "vanilla")
            .contains("and did not get below the baseline (loss 0.150 (0.150–0.185)"));
        records.runs.iter_mut().for_each(|run| run.outcome.final_loss = 0.05);
        assert!(said(&records, "vanilla")
            .contains("and left the baseline without solving it (loss 0.0500"));
    }

    #[test]
    fn a_divergence_is_not_explained_by_the_horizon() {
        let mut records = sample::compare(&[sample::TEN[0]]);
        records.runs[0].outcome.final_loss = 10.1 * records.runs[0].config.task.baseline;
        let text = said(&records, "vanilla");
        assert!(
            text.contains(
                "and diverged with 1 of 3 (loss 1.68, baseline 0.1667): try a learning rate below \
                 0.005"
            ),
            "{text}"
        );
        assert!(!text.contains("Its horizon"), "{text}");
        records.runs.iter_mut().for_each(|run| run.outcome.final_loss = 4.67e17);
        let text = said(&records, "vanilla");
        assert!(text.contains("and diverged (loss 4.67e17, baseline 0.1667)"), "{text}");
        records
            .runs
            .iter_mut()
            .for_each(|run| run.outcome.final_loss = 9.9 * run.config.task.baseline);
        assert!(said(&records, "vanilla").contains("and did not get below the baseline"));
    }

    #[test]
    fn a_bad_fit_is_mentioned() {
        let mut records = sample::compare(&[sample::TEN[2]]);
        let set = |records: &mut Records, run: usize, r2: f64| {
            set_r2(&mut records.runs[run], Phase::Final, r2)
        };
        set(&mut records, 0, 0.05);
        let text = said(&records, "lstm");
        assert!(
            text.contains(
                "(half-life 31, 28–34 over seeds; the line fits badly: R² 0.05; horizon 21 before"
            ),
            "{text}"
        );
        set(&mut records, 1, 0.21);
        assert!(said(&records, "lstm").contains("the line fits badly: R² 0.05–0.21;"));
        set(&mut records, 2, POOR_FIT);
        assert!(said(&records, "lstm").contains("the line fits badly: R² 0.05–0.21;"));
    }

    #[test]
    fn a_single_seed_is_an_anecdote() {
        let mut records = sample::compare(&[sample::TEN[0], sample::TEN[4]]);
        records.runs.retain(|run| run.config.seed == 1);
        assert!(said(&records, "vanilla").contains("in 2000 steps (one seed: an anecdote)"));
        let text = said(&records, "lstm-chrono");
        assert!(
            text.contains("It solved the task (one seed: an anecdote) in 500 steps."),
            "{text}"
        );
        assert!(!text.contains("over 1 seed"), "{text}");
    }

    #[test]
    fn interrupted_runs_are_not_judged() {
        let mut records = sample::compare(&[sample::TEN[0]]);
        let interrupt = |run: &mut RunRecord| {
            (run.status, run.outcome.steps) = (Status::Stopped, 147);
        };
        interrupt(&mut records.runs[0]);
        let text = said(&records, "vanilla");
        assert!(text.contains("did not solve the task in 2000 steps and stayed"), "{text}");
        records.runs.iter_mut().for_each(interrupt);
        let text = said(&records, "vanilla");
        assert!(text.starts_with("At initialisation the gradient "), "{text}");
        assert!(
            text.contains("The run of seed 1 was interrupted after 147 of 2000 steps and is not"),
            "{text}"
        );
        for judged in ["solve", "Training", "horizon", "baseline"] {
            assert!(!text.contains(judged), "{judged}: {text}");
        }
    }

    #[test]
    fn real_data_has_no_criterion() {
        let mut records = sample::compare(&[sample::TEN[4]]);
        for (run, accuracy) in records.runs.iter_mut().zip([0.95, 0.961, 0.97]) {
            (run.config.task.name, run.config.task.criterion) = ("mnist-rows".to_owned(), None);
            (run.outcome.solved, run.outcome.steps_to_solve, run.outcome.accuracy) =
                (false, None, Some(accuracy));
        }
        let text = said(&records, "lstm-chrono");
        assert!(
            text.contains("On held-out examples: accuracy 96.1 % (95–97 %) and loss"),
            "{text}"
        );
        assert!(!text.contains("solve"), "{text}");
    }
}
