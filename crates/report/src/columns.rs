//! The columns of a comparison, for the table in a terminal and the one on the page.

use super::group::{Group, VariantRuns};
use super::numbers::{loss, percent, seconds, steps, Precision, Spread};
use super::run::RunView;
use super::trend::{rate, Phase, Trend};
use super::verdict::has_criterion;
use crate::record::{RunRecord, Status};

/// What stands where there is no number.
pub(super) const NONE: &str = "–";

/// A number over seeds: the median, and the range where it has a width.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Value {
    /// The median, or a word.
    pub(super) text: String,
    /// `low–high`, or a remark.
    pub(super) range: Option<String>,
}

impl Value {
    fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), range: None }
    }

    fn none() -> Self {
        Self::plain(NONE)
    }

    fn of(spread: Option<Spread>, text: impl Fn(f64) -> String + Copy) -> Self {
        spread.map_or_else(Self::none, |spread| Self {
            text: spread.median(text),
            range: spread.range(text),
        })
    }
}

/// A column: one value a variant, or two: at initialisation and after training.
pub(super) struct Column {
    /// Its heading.
    pub(super) heading: &'static str,
    /// What it says, with the unit, in a sentence.
    pub(super) meaning: String,
    /// A value for each variant, in order; the second is that after training.
    pub(super) values: Vec<(Value, Option<Value>)>,
}

impl Column {
    fn new(heading: &'static str, meaning: &str) -> Self {
        Self { heading, meaning: meaning.to_owned(), values: Vec::new() }
    }

    fn each<'a>(
        mut self,
        all: &[VariantRuns<'a>],
        value: impl Fn(&VariantRuns<'a>) -> Value,
    ) -> Self {
        self.values = all.iter().map(|variant| (value(variant), None)).collect();
        self
    }

    fn both<'a>(
        mut self,
        all: &[VariantRuns<'a>],
        value: impl Fn(&VariantRuns<'a>, Phase) -> Value,
    ) -> Self {
        let pair = |variant: &VariantRuns<'a>| {
            (value(variant, Phase::Init), Some(value(variant, Phase::Final)))
        };
        self.values = all.iter().map(pair).collect();
        self
    }

    /// Whether it has two values a variant.
    pub(super) fn paired(&self) -> bool {
        self.values.iter().any(|(_, after)| after.is_some())
    }
}

/// The columns after the variant's name. Those that no run can fill are left out.
pub(super) fn columns(comparison: &Group) -> Vec<Column> {
    let all = comparison.variants.as_slice();
    let precision = comparison.precision();
    let length = comparison.runs.iter().map(|run| run.length()).max().unwrap_or(0);
    let any = |is: fn(&RunRecord) -> bool| comparison.runs.iter().any(is);
    let mut columns = vec![
        Column::new("params", "The number of weights, read-out included.").each(all, |v| {
            Value::of(v.spread(|run| Some(run.config.model.params as f64)), |params| {
                format!("{params:.0}")
            })
        }),
        Column::new(
            "hidden",
            "Hidden units of a layer; with several layers, their number comes first.",
        )
        .each(all, |variant| Value::plain(hidden(variant.first()))),
    ];
    if any(has_criterion) {
        columns.push(
            Column::new("solved", "The seeds that solved the task, of all.").each(all, solved),
        );
        let meaning =
            "Training steps until the task was solved: median and range over seeds; a seed that did not \
                       solve it counts as more than the steps it had.";
        columns.push(Column::new("steps to solve", meaning).each(all, steps_to_solve));
    }
    let meaning = "Held-out loss at the end: median and range over the seeds that did not fail.";
    columns.push(
        Column::new("final loss", meaning)
            .each(all, |v| Value::of(v.sound_spread(|run| Some(run.outcome.final_loss)), loss)),
    );
    if any(|run| run.outcome.accuracy.is_some()) {
        let meaning =
            "Held-out accuracy at the end: median and range over the seeds that did not fail.";
        columns.push(
            Column::new("accuracy", meaning)
                .each(all, |v| Value::of(v.sound_spread(|run| run.outcome.accuracy), percent)),
        );
    }
    columns.extend(generalised(all));
    columns.push(
        Column::new(
            "half-life h",
            "Lags over which dL/dh halves, by a fit, top layer, in steps; “none” is no decay, “×2 in N” growth.",
        )
        .both(all, |variant, phase| half_life(variant, "h", phase, length)),
    );
    if any(|run| run.fit("c", Phase::Init).is_some() || run.half_life("c", Phase::Init).is_some()) {
        let meaning = "The same for dL/dc, the partial derivative with h held fixed.";
        columns.push(
            Column::new("half-life c", meaning)
                .both(all, |variant, phase| half_life(variant, "c", phase, length)),
        );
    }
    columns.push(
        Column::new(
            "horizon",
            "The last lag at which dL/dh is at least a thousandth of that at lag 0, in steps.",
        )
        .both(all, |variant, phase| {
            let horizon = variant.spread(|run| run.horizon(phase).map(|lag| lag as f64));
            Value::of(horizon, |lag| format!("{lag:.0}"))
        }),
    );
    columns.push(
        Column::new(
            "first/last",
            "First/last ratio: the norm of dL/dh at the first step over that at the last step.",
        )
        .both(all, |variant, phase| ratio(variant, phase, precision)),
    );
    columns.push(Column::new("seconds", "Wall time of a run, in seconds.").each(all, |v| Value {
        range: None,
        ..Value::of(v.spread(|run| Some(run.outcome.seconds)), seconds)
    }));
    columns
}

/// What the trained networks do on longer sequences, where that was asked for: the accuracy, or the loss where the task has none.
fn generalised(all: &[VariantRuns]) -> Vec<Column> {
    let longer = |run: &RunRecord, place: usize| run.outcome.generalisation.get(place).cloned();
    let headings = ["at twice T", "at 4 times T"].into_iter().enumerate();
    let column = |(place, heading)| {
        let runs =
            || all.iter().flat_map(|variant| &variant.runs).filter_map(|run| longer(run, place));
        let length = runs().next()?.length;
        let right = runs().any(|found| found.accuracy.is_some());
        let what = if right { "accuracy" } else { "loss" };
        let meaning =
            format!("Held-out {what} of the trained network on sequences of up to {length} steps.");
        Some(Column::new(heading, &meaning).each(all, |variant| match right {
            true => Value::of(variant.sound_spread(|run| longer(run, place)?.accuracy), percent),
            false => Value::of(variant.sound_spread(|run| Some(longer(run, place)?.loss)), loss),
        }))
    };
    headings.filter_map(column).collect()
}

/// `64`, or `2×64` with two layers.
pub(super) fn hidden(run: &RunRecord) -> String {
    if run.layers() > 1 {
        format!("{}×{}", run.layers(), run.hidden())
    } else {
        run.hidden().to_string()
    }
}

fn solved(variant: &VariantRuns) -> Value {
    let failed = variant.runs.len() - variant.sound().count();
    let range = (failed > 0).then(|| format!("{failed} failed"));
    Value { text: format!("{}/{}", variant.solved(), variant.runs.len()), range }
}

fn steps_to_solve(variant: &VariantRuns) -> Value {
    if !variant.runs.iter().any(|run| has_criterion(run)) {
        return Value::none();
    }
    let unsolved = || {
        variant
            .runs
            .iter()
            .filter(|run| !run.outcome.solved && !matches!(run.status, Status::Failed(_)))
    };
    if variant.solved() == 0 {
        let Some(done) = Spread::of(unsolved().map(|run| run.outcome.steps as f64)) else {
            return Value::plain("failed");
        };
        let whole = |steps: f64| format!("{steps:.0}");
        let done = done.range(whole).unwrap_or_else(|| done.median(whole));
        return Value::plain(format!("not solved in {done} steps"));
    }
    let least = unsolved().map(|run| run.outcome.steps).min().unwrap_or(0);
    let text =
        |steps: f64| if steps.is_finite() { format!("{steps:.0}") } else { format!(">{least}") };
    let steps =
        |run: &&RunRecord| run.outcome.steps_to_solve.map_or(f64::INFINITY, |steps| steps as f64);
    Value::of(Spread::of(variant.sound().map(|run| steps(&run))), text)
}

fn half_life(variant: &VariantRuns, part: &str, phase: Phase, length: usize) -> Value {
    let has = |run: &&RunRecord| {
        part == "h" || rate(run, part, phase).is_some() || run.fit(part, phase).is_some()
    };
    if !variant.runs.iter().any(has) {
        return Value::none();
    }
    let rates = variant.runs.iter().filter_map(|run| rate(run, part, phase));
    let Some(Spread { low, mid, high }) = Spread::of(rates) else {
        return Value::plain("too few points");
    };
    let short = |rate: f64| Trend::of(rate, length).short();
    let range = match (Trend::of(low, length), Trend::of(high, length)) {
        // The largest rate is the shortest half-life, the lowest the fastest growth.
        (Trend::Halves(long), Trend::Halves(brief)) => format!("{}–{}", steps(brief), steps(long)),
        (Trend::Doubles(fast), Trend::Doubles(slow)) => format!("{}–{}", steps(fast), steps(slow)),
        _ => format!("{} … {}", short(high), short(low)),
    };
    Value { text: short(mid), range: (short(low) != short(high)).then_some(range) }
}

fn ratio(variant: &VariantRuns, phase: Phase, precision: Precision) -> Value {
    let finite = variant.spread(|run| run.grad_ratio(phase).filter(|ratio| ratio.is_finite()));
    Value::of(finite, |ratio| precision.ratio(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Generalised;
    use crate::sample;

    fn cell<'a>(columns: &'a [Column], heading: &str, row: usize) -> &'a (Value, Option<Value>) {
        &columns.iter().find(|column| column.heading == heading).expect("a column").values[row]
    }

    fn value(text: &str, range: Option<&str>) -> Value {
        Value { text: text.to_owned(), range: range.map(str::to_owned) }
    }

    #[test]
    fn numbers() {
        let records = sample::compare(&sample::TEN);
        let columns = columns(&Group::new(&records));
        assert!(columns.iter().all(|column| column.values.len() == 10));
        let [vanilla, lstm, residual, over_time, layernorm] = [0, 2, 6, 7, 8];
        assert_eq!(cell(&columns, "params", lstm).0, value("4801", None));
        assert_eq!(cell(&columns, "hidden", residual).0, value("2×32", None));
        assert_eq!(cell(&columns, "solved", lstm).0, value("3/3", None));
        assert_eq!(cell(&columns, "steps to solve", lstm).0, value("1450", Some("1400–1700")));
        assert_eq!(
            cell(&columns, "steps to solve", vanilla).0,
            value("not solved in 2000 steps", None)
        );
        assert_eq!(cell(&columns, "solved", residual).0, value("2/3", None));
        assert_eq!(cell(&columns, "steps to solve", residual).0, value("1600", Some("1500–>2000")));
        assert_eq!(
            cell(&columns, "steps to solve", layernorm).0,
            value(">2000", Some("1900–>2000"))
        );
        let (before, after) = cell(&columns, "half-life h", lstm);
        assert_eq!(before, &value("2.2", Some("2.0–2.4")));
        assert_eq!(after.as_ref(), Some(&value("31", Some("28–34"))));
        assert_eq!(cell(&columns, "half-life h", over_time).0, value("×2 in 34", Some("31–37")));
        assert_eq!(cell(&columns, "half-life c", vanilla).0, value("–", None));
        assert_eq!(cell(&columns, "horizon", lstm).0.text, "21");
        assert_eq!(cell(&columns, "first/last", lstm).0.text, "2.8e-14");
        assert_eq!(cell(&columns, "seconds", lstm).0, value("14", None));
        assert!(!columns.iter().any(|column| column.heading == "accuracy"), "adding has none");
    }

    #[test]
    fn longer_sequences() {
        let mut records = sample::records();
        assert!(!columns(&Group::new(&records))
            .iter()
            .any(|column| column.heading == "at twice T"));
        for run in &mut records.runs {
            let found = |times: usize| Generalised {
                length: times * run.config.task.length,
                loss: 0.01 * (times as u64 + run.config.seed) as f64,
                accuracy: None,
                baseline: run.config.task.baseline,
            };
            run.outcome.generalisation = vec![found(2), found(4)];
        }
        let shown = columns(&Group::new(&records));
        assert_eq!(cell(&shown, "at twice T", 0).0, value("0.0400", Some("0.0300–0.0500")));
        assert_eq!(cell(&shown, "at 4 times T", 0).0, value("0.0600", Some("0.0500–0.0700")));
        records.runs.iter_mut().for_each(|run| run.outcome.generalisation[1].accuracy = Some(0.5));
        let shown = columns(&Group::new(&records));
        assert_eq!(cell(&shown, "at 4 times T", 0).0, value("50 %", None));
        let meaning = &shown
            .iter()
            .find(|column| column.heading == "at 4 times T")
            .expect("a column")
            .meaning;
        assert_eq!(
            meaning,
            "Held-out accuracy of the trained network on sequences of up to 400 steps."
        );
    }

    #[test]
    fn odd_runs() {
        let mut records = sample::records();
        records.runs[0].gradients.init.h.half_life = None;
        records.runs[0].gradients.init.h.fit = None;
        records.runs[0].gradients.trained.h.fit = None;
        records.runs.drain(1..3); // one seed of vanilla is left, without a fit
        records.runs[0].gradients.init.h.ratio = Some(0.0);
        let columns = columns(&Group::new(&records));
        assert_eq!(cell(&columns, "half-life h", 0).0, value("too few points", None));
        assert_eq!(cell(&columns, "first/last", 0).0, value("underflow", None));
        assert_eq!(cell(&columns, "solved", 4).0, value("0/3", Some("1 failed")));
        assert_eq!(
            cell(&columns, "steps to solve", 4).0,
            value("not solved in 310–2000 steps", None)
        );
        assert_eq!(cell(&columns, "final loss", 4).0.text, "0.167", "without the run that failed");
    }
}
