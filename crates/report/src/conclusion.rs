//! The conclusion of a comparison in a few sentences, by a stated rule.

use super::group::{Group, VariantRuns};
use super::numbers::{count, loss, percent, Spread};
use super::run::RunView;
use super::trend::Phase;
use super::verdict::has_criterion;
use crate::record::Status;

/// The rule, for the notes of the page.
pub(super) const RULE: &str = "The sentences at the top follow a rule: how many networks solved \
    the task with every seed, with some, and with no seed; the fewest and the most median steps \
    among the networks that solved it with every seed; and how many networks solved it with every \
    seed among those whose median horizon at initialisation is shorter than the longest lag, and \
    among the others. On a task without a bound: the best and the worst median on held-out \
    examples.";

/// The number of names that are listed; if there are more, they are counted.
const NAMES: usize = 3;

/// The conclusion; empty if there is no run. Interrupted runs are not judged.
pub(super) fn sentences(group: &Group) -> Vec<String> {
    let Some(first) = group.runs.first() else { return Vec::new() };
    let interrupted = group.runs.iter().filter(|run| run.status == Status::Stopped).count();
    let solvable = has_criterion(first);
    let mut all = Vec::new();
    if interrupted > 0 {
        all.push(format!(
            "The comparison was interrupted; {} did not end.",
            count(interrupted, "run")
        ));
    }
    if interrupted < group.runs.len() {
        all.extend(if solvable { solved(group) } else { ranking(group).into_iter().collect() });
    }
    all.extend(reach(group, solvable && interrupted == 0));
    all
}

/// Which networks solved the task, and how fast.
fn solved(group: &Group) -> Vec<String> {
    let task = group.task().replace(", T =", " at T =");
    if let [only] = group.variants.as_slice() {
        let seeds = format!("{} of {}", only.solved(), count(only.ended().count(), "seed"));
        return vec![format!("{} solved {task} with {seeds}.", only.name)];
    }
    let every = part(group, |solved, runs| solved == runs);
    let some = part(group, |solved, runs| 0 < solved && solved < runs);
    let no = part(group, |solved, _| solved == 0);
    let one_seed = group.seeds().len() == 1;
    let with = if one_seed { "(one seed: an anecdote)" } else { "with every seed" };
    let judged = part(group, |_, _| true);
    let networks = count(judged.len(), "network");
    let mut text = format!("{} of {networks} solved {task} {with}", every.len());
    if !some.is_empty() {
        text += &format!("; {} with some seeds", names(&some, "others"));
    }
    if !no.is_empty() && no.len() < judged.len() {
        let no_seed = if one_seed { "did not" } else { "with no seed" };
        text += &format!("; {} {no_seed}", names(&no, "more"));
    }
    let mut all = vec![text + "."];
    let mut times: Vec<(&str, f64)> = every.iter().filter_map(|one| median_steps(one)).collect();
    times.sort_by(|a, b| a.1.total_cmp(&b.1));
    if let [fastest, .., slowest] = times.as_slice() {
        all.push(format!(
            "{} was the fastest, in {:.0} steps; {} the slowest, in {:.0}.",
            fastest.0, fastest.1, slowest.0, slowest.1
        ));
    }
    all
}

/// The name of a variant, and the median of its steps until the task was solved.
fn median_steps<'r>(variant: &VariantRuns<'r>) -> Option<(&'r str, f64)> {
    let steps = variant.spread(|run| run.outcome.steps_to_solve.map(|steps| steps as f64))?;
    Some((variant.name, steps.mid))
}

/// The variants with a run that ended, whose numbers of solved and of ended runs meet a condition.
fn part<'a, 'r>(
    group: &'a Group<'r>,
    wanted: fn(usize, usize) -> bool,
) -> Vec<&'a VariantRuns<'r>> {
    let is = |variant: &&VariantRuns| match variant.ended().count() {
        0 => false,
        runs => wanted(variant.solved(), runs),
    };
    group.variants.iter().filter(is).collect()
}

/// The best and the worst network of a task without a criterion.
fn ranking(group: &Group) -> Option<String> {
    let accuracy = group.runs.iter().any(|run| run.outcome.accuracy.is_some());
    let median = |variant: &VariantRuns| {
        variant.sound_spread(|run| match (&run.status, accuracy) {
            (Status::Stopped, _) => None,
            (_, true) => run.outcome.accuracy,
            (_, false) => Some(run.outcome.final_loss),
        })
    };
    let mut known: Vec<(&str, Spread)> = group
        .variants
        .iter()
        .filter_map(|variant| Some((variant.name, median(variant)?)))
        .collect();
    known.sort_by(|a, b| a.1.mid.total_cmp(&b.1.mid));
    if accuracy {
        known.reverse();
    }
    let shown = |(name, spread): &(&str, Spread)| match accuracy {
        true => format!("{name}: accuracy {}", spread.text(percent)),
        false => format!("{name}: loss {}", spread.text(loss)),
    };
    match known.as_slice() {
        [] => None,
        [only] => Some(format!("On held-out examples, {}.", shown(only))),
        [best, .., worst] => {
            Some(format!("Best on held-out examples is {}; worst {}.", shown(best), shown(worst)))
        }
    }
}

/// Whether the gradient spanned the longest lag before training, and the consequence.
fn reach(group: &Group, solvable: bool) -> Option<String> {
    let lag = group.runs.iter().map(|run| run.longest_lag().min(run.last_lag())).max()?;
    let horizon = |variant: &VariantRuns| {
        Some(
            variant.spread(|run| run.horizon(Phase::Init).map(|lag| lag as f64))?.mid >= lag as f64,
        )
    };
    let known: Vec<(bool, &VariantRuns)> =
        group.variants.iter().filter_map(|variant| Some((horizon(variant)?, variant))).collect();
    let part = |reaches: bool| -> Vec<&VariantRuns> {
        known.iter().filter(|(one, _)| *one == reaches).map(|(_, variant)| *variant).collect()
    };
    let (short, long) = (part(false), part(true));
    let solved =
        |part: &[&VariantRuns]| part.iter().filter(|one| one.solved() == one.runs.len()).count();
    let over = format!("the longest lag, {lag} steps");
    let before = "Before training the gradient";
    let networks = |part: &[&VariantRuns]| count(part.len(), "network");
    Some(match (short.is_empty(), long.is_empty()) {
        (true, true) => return None,
        (false, true) if known.len() == 1 => format!("{before} did not reach back over {over}."),
        (true, false) if known.len() == 1 => format!("{before} reached back over {over}."),
        (false, true) => format!("{before} of no network reached back over {over}."),
        (true, false) => format!("{before} of every network reached back over {over}."),
        (false, false) if solvable && solved(&short) + solved(&long) > 0 => format!(
            "{before} of {} did not reach back over {over}: {} of them solved the task{}, as did \
             {} of the {} whose gradient did.",
            networks(&short),
            solved(&short),
            if group.seeds().len() == 1 { "" } else { " with every seed" },
            solved(&long),
            long.len()
        ),
        (false, false) => format!(
            "{before} of {} did not reach back over {over}; that of {} did.",
            networks(&short),
            long.len()
        ),
    })
}

/// `vanilla and gru`, or `4 others`, with another word for `others`.
fn names(variants: &[&VariantRuns], others: &str) -> String {
    let all: Vec<&str> = variants.iter().map(|variant| variant.name).collect();
    match all.as_slice() {
        all if all.len() > NAMES => format!("{} {others}", all.len()),
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        all => all.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Records;
    use crate::sample;

    fn said(records: &Records) -> Vec<String> {
        sentences(&Group::new(records))
    }

    #[test]
    fn a_comparison_that_some_networks_solved() {
        assert_eq!(
            said(&sample::compare(&sample::TEN)),
            [
                "6 of 10 networks solved adding at T = 100 with every seed; residual-lstm and \
                 layernorm-lstm with some seeds; vanilla and vanilla-orthogonal with no seed.",
                "lstm-chrono was the fastest, in 500 steps; lstm the slowest, in 1450.",
                "Before training the gradient of 7 networks did not reach back over the longest \
                 lag, 99 steps: 4 of them solved the task with every seed, as did 2 of the 3 whose \
                 gradient did.",
            ]
        );
    }

    #[test]
    fn one_network_and_one_seed() {
        let mut records = sample::compare(&[sample::TEN[6]]);
        assert_eq!(
            said(&records),
            [
                "residual-lstm solved adding at T = 100 with 2 of 3 seeds.",
                "Before training the gradient did not reach back over the longest lag, 99 steps."
            ]
        );
        records = sample::compare(&[sample::TEN[0], sample::TEN[4]]);
        records.runs.retain(|run| run.config.seed == 1);
        assert_eq!(
            said(&records)[0],
            "1 of 2 networks solved adding at T = 100 (one seed: an anecdote); vanilla did not."
        );
        assert!(said(&Records::default()).is_empty());
    }

    #[test]
    fn interrupted_runs_are_not_judged() {
        let mut records = sample::compare(&[sample::TEN[0], sample::TEN[2], sample::TEN[4]]);
        records.runs[5].status = Status::Stopped;
        records.runs[6..].iter_mut().for_each(|run| run.status = Status::Stopped);
        records.runs[5..].iter_mut().for_each(|run| run.outcome.solved = false);
        let text = said(&records).join(" ");
        assert!(
            text.starts_with(
                "The comparison was interrupted; 4 runs did not end. 1 of 2 networks solved \
                 adding at T = 100 with every seed; vanilla with no seed. Before training"
            ),
            "{text}"
        );
        assert!(!text.contains("of them solved"), "{text}");
        records.runs.iter_mut().for_each(|run| run.status = Status::Stopped);
        let text = said(&records).join(" ");
        assert!(text.starts_with("The comparison was interrupted; 9 runs did not end. Before"));
        assert!(!text.contains("solve"), "{text}");
    }

    #[test]
    fn a_task_without_a_criterion() {
        let mut records = sample::compare(&[sample::TEN[2], sample::TEN[4]]);
        records.runs.iter_mut().for_each(|run| run.config.task.criterion = None);
        let losses = said(&records);
        assert!(losses[0].starts_with("Best on held-out examples is lstm"), "{losses:?}");
        assert!(losses[0].contains(": loss "), "{losses:?}");
        for (place, run) in records.runs.iter_mut().enumerate() {
            run.outcome.accuracy = Some(if place < 3 { 0.9 } else { 0.95 });
        }
        assert_eq!(
            said(&records)[0],
            "Best on held-out examples is lstm-chrono: accuracy 95 %; worst lstm: accuracy 90 %."
        );
    }
}
