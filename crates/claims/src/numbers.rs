//! Turns numbers by seed into a measured value with its interval.

use crate::experiment::Trained;
use crate::finding::Measured;
use recurrent_records::statistics::{self, Interval};

/// The median over seeds, and their range.
pub(crate) fn median(what: impl Into<String>, unit: &'static str, values: &[f64]) -> Measured {
    let value = statistics::median(values).unwrap_or(f64::NAN);
    let low = values.iter().copied().min_by(f64::total_cmp).unwrap_or(f64::NAN);
    let high = values.iter().copied().max_by(f64::total_cmp).unwrap_or(f64::NAN);
    Measured {
        what: what.into(),
        unit,
        value,
        low,
        high,
        kind: "median and range",
        seeds: values.len(),
    }
}

/// The mean over seeds of the paired difference `with` minus `without`, and its 95 % interval.
pub(crate) fn more(
    what: impl Into<String>,
    unit: &'static str,
    with: &[f64],
    without: &[f64],
) -> Measured {
    let differences: Vec<_> =
        with.iter().zip(without).map(|(with, without)| with - without).collect();
    Measured {
        kind: "mean of paired differences and bootstrap interval, 95 %",
        ..mean(what, unit, &differences)
    }
}

/// The mean over seeds, and its 95 % interval. There are at least three seeds.
pub(crate) fn mean(what: impl Into<String>, unit: &'static str, values: &[f64]) -> Measured {
    let interval = statistics::mean_interval(values, 0);
    let Interval { low, high } = interval.unwrap_or(Interval { low: f64::NAN, high: f64::NAN });
    let value = statistics::mean(values).unwrap_or(f64::NAN);
    let kind = "mean and bootstrap interval, 95 %";
    Measured { what: what.into(), unit, value, low, high, kind, seeds: values.len() }
}

/// The share of seeds that solved the task, and its interval.
pub(crate) fn solved(trained: &Trained) -> Measured {
    let (solved, runs) = (trained.solved(), trained.runs.len());
    let interval = statistics::wilson(solved, runs);
    Measured {
        what: format!("solved by {}", trained.name),
        unit: "of the seeds",
        value: solved as f64 / runs as f64,
        low: if solved == 0 { 0.0 } else { interval.low }, // rounding would leave a value near it
        high: if solved == runs { 1.0 } else { interval.high },
        kind: "share and Wilson interval, 95 %",
        seeds: runs,
    }
}

/// The training steps until the task was solved, or all allowed steps if it was not.
pub(crate) fn steps_to_solve(trained: &Trained) -> Measured {
    median(format!("steps to solve, {}", trained.name), "steps", &trained.steps())
}

impl Measured {
    /// Whether the whole interval lies above `bound`.
    pub(crate) fn above(&self, bound: f64) -> bool {
        self.low > bound
    }

    /// Whether the whole interval lies below `bound`.
    pub(crate) fn below(&self, bound: f64) -> bool {
        self.high < bound
    }
}
