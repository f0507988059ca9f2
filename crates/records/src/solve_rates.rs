//! The findings of a sweep: how often a task is solved at each length, and up to which length.

use crate::record::{RunRecord, Status};
use crate::statistics::{median, wilson, LEVEL};
use serde::{Deserialize, Serialize};

/// How often a variant solved the task at a length: one line of `sweep.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SolveRate {
    /// The variant.
    pub variant: String,
    /// The task's name.
    pub task: String,
    /// The length of the task's sequences, in steps.
    pub length: usize,
    /// The number of weights, read-out included.
    pub params: usize,
    /// The number of hidden units of each layer.
    pub hidden: usize,
    /// The training steps that were allowed.
    pub max_steps: u64,
    /// The runs that ended by themselves: they solved the task, used up the budget, or failed.
    pub runs: usize,
    /// The runs that solved it.
    pub solved: usize,
    /// The runs that failed; they count as not solved.
    pub failed: usize,
    /// Runs that were interrupted, which do not count.
    pub stopped: usize,
    /// The share that solved it, 0 to 1; null if no run counts.
    pub rate: Option<f64>,
    /// The lower end of Wilson's interval of that share.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The confidence level of the interval.
    pub level: f64,
    /// The median number of training steps to solve it, over all runs that count; null if half of
    /// them did not solve it.
    pub steps_to_solve: Option<f64>,
    /// The median held-out loss at the end, of the runs that did not fail.
    pub final_loss: Option<f64>,
    /// The loss of the best answer that does not depend on the input.
    pub baseline: f64,
}

/// The maximum dependency length of a variant: one line of `maximum.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaximumLength {
    /// The variant.
    pub variant: String,
    /// The share of runs that had to solve the task.
    pub probability: f64,
    /// The longest length for which that share of runs solved it and all shorter lengths that were
    /// tried; null if the shortest was not solved.
    pub length: Option<usize>,
    /// The runs that solved it at that length.
    pub solved: usize,
    /// The runs that count at that length.
    pub runs: usize,
    /// The shortest length that was not solved by that share; null if all were, so that the maximum
    /// may lie beyond them.
    pub unsolved: Option<usize>,
}

/// The findings of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// All runs, by length.
    pub runs: Vec<RunRecord>,
    /// By variant, then by length.
    pub rates: Vec<SolveRate>,
    /// By variant.
    pub maxima: Vec<MaximumLength>,
}

/// The findings for some variants, from runs of several lengths.
pub fn findings(variants: &[&str], runs: Vec<RunRecord>, probability: f64) -> Findings {
    let mut lengths: Vec<usize> = runs.iter().map(|run| run.config.task.length).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let mut findings = Findings::default();
    for variant in variants {
        let of = |length: &usize| -> Vec<&RunRecord> {
            runs.iter()
                .filter(|run| {
                    run.config.model.variant == *variant && run.config.task.length == *length
                })
                .collect()
        };
        let rates: Vec<SolveRate> = lengths.iter().filter_map(|length| rate(&of(length))).collect();
        findings.maxima.push(maximum(variant, &rates, probability));
        findings.rates.extend(rates);
    }
    Findings { runs, ..findings }
}

fn rate(runs: &[&RunRecord]) -> Option<SolveRate> {
    let first = runs.first()?;
    let counted: Vec<&RunRecord> =
        runs.iter().copied().filter(|run| run.status != Status::Stopped).collect();
    let failed = |run: &&&RunRecord| matches!(run.status, Status::Failed(_));
    let solved = counted.iter().filter(|run| run.outcome.solved).count();
    let interval = wilson(solved, counted.len());
    let steps =
        |run: &&RunRecord| run.outcome.steps_to_solve.map_or(f64::INFINITY, |steps| steps as f64);
    let losses: Vec<f64> =
        counted.iter().map(|run| run.outcome.final_loss).filter(|loss| loss.is_finite()).collect();
    Some(SolveRate {
        variant: first.config.model.variant.clone(),
        task: first.config.task.name.clone(),
        length: first.config.task.length,
        params: first.config.model.params,
        hidden: first.config.model.hidden,
        max_steps: first.config.max_steps(),
        runs: counted.len(),
        solved,
        failed: counted.iter().filter(failed).count(),
        stopped: runs.len() - counted.len(),
        rate: (!counted.is_empty()).then(|| solved as f64 / counted.len() as f64),
        low: interval.low,
        high: interval.high,
        level: LEVEL,
        steps_to_solve: median(&counted.iter().map(steps).collect::<Vec<_>>())
            .filter(|steps| steps.is_finite()),
        final_loss: median(&losses),
        baseline: first.config.task.baseline,
    })
}

/// The maximum from rates in the order of their lengths. A length without a run that counts ends
/// the search, like one that was not solved.
fn maximum(variant: &str, rates: &[SolveRate], probability: f64) -> MaximumLength {
    let enough = |rate: &&SolveRate| rate.rate.is_some_and(|share| share >= probability);
    let reached = rates.iter().take_while(enough).last();
    MaximumLength {
        variant: variant.to_string(),
        probability,
        length: reached.map(|rate| rate.length),
        solved: reached.map_or(0, |rate| rate.solved),
        runs: reached.map_or(0, |rate| rate.runs),
        unsolved: rates.iter().find(|rate| !enough(rate)).map(|rate| rate.length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// Runs of one variant: a length, and how often each outcome occurred.
    fn runs(outcomes: &[(usize, usize, usize)]) -> Vec<RunRecord> {
        let mut all = Vec::new();
        for &(length, solved, unsolved) in outcomes {
            for seed in 0..solved + unsolved {
                let done = (seed < solved).then_some(100 * (seed as u64 + 1));
                let mut run = sample::run("lstm", 1);
                (run.config.task.length, run.config.seed) = (length, seed as u64);
                (run.outcome.solved, run.outcome.steps_to_solve) = (done.is_some(), done);
                all.push(run);
            }
        }
        all
    }

    #[test]
    fn the_maximum_ends_at_the_first_length_that_is_not_solved() {
        let runs = runs(&[(25, 5, 0), (50, 4, 1), (100, 3, 2), (200, 5, 0)]);
        let of = |probability| findings(&["lstm"], runs.clone(), probability);
        let found = of(0.8);
        assert_eq!(
            found
                .rates
                .iter()
                .map(|rate| (rate.length, rate.solved, rate.runs))
                .collect::<Vec<_>>(),
            [(25, 5, 5), (50, 4, 5), (100, 3, 5), (200, 5, 5)]
        );
        assert_eq!(
            (found.maxima[0].length, found.maxima[0].unsolved),
            (Some(50), Some(100)),
            "200 is luck"
        );
        assert_eq!((found.maxima[0].solved, found.maxima[0].runs), (4, 5));
        assert_eq!((of(0.6).maxima[0].length, of(0.6).maxima[0].unsolved), (Some(200), None));
        assert_eq!(of(1.0).maxima[0].length, Some(25));
        assert_eq!(
            found.rates[2].steps_to_solve,
            Some(300.0),
            "of 100, 200, 300 and two without end"
        );
        assert!((found.rates[0].low - 0.5655).abs() < 1e-4 && found.rates[0].high == 1.0);
        let none = findings(&["lstm"], self::runs(&[(25, 0, 3)]), 0.5);
        assert_eq!((none.maxima[0].length, none.maxima[0].unsolved), (None, Some(25)));
        assert_eq!(none.rates[0].steps_to_solve, None);
    }

    #[test]
    fn failed_runs_count_and_interrupted_ones_do_not() {
        let mut runs = runs(&[(25, 2, 2)]);
        runs[2].status = Status::Failed("NaN".to_string());
        runs[3].status = Status::Stopped;
        let rate = &findings(&["lstm"], runs.clone(), 0.5).rates[0];
        assert_eq!((rate.runs, rate.solved, rate.failed, rate.stopped), (3, 2, 1, 1));
        runs.iter_mut().for_each(|run| run.status = Status::Stopped);
        let none = findings(&["lstm", "gru"], runs, 0.5);
        assert_eq!(
            (none.rates[0].rate, none.maxima[0].length, none.maxima[0].unsolved),
            (None, None, Some(25))
        );
        assert_eq!((none.rates.len(), none.maxima[1].length), (1, None), "gru has no run");
    }
}
