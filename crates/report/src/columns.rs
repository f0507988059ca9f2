//! The columns of a comparison, for the table in a terminal and the one on the page.

use super::group::{Group, VariantRuns};
use super::numbers::{loss, percent, seconds, steps, Precision, Spread};
use super::run::RunView;
use super::trend::{poor_fit, rate, Phase, Trend};
use super::verdict::has_criterion;
use crate::record::{RunRecord, Status};

/// Shown if a number has no meaning: the half-life of c in a network without c.
pub(super) const INAPPLICABLE: &str = "n/a";

/// Shown if no run measured the number, for instance because all were stopped before.
pub(super) const NOT_MEASURED: &str = "not measured";

/// Shown if all runs were interrupted.
const INTERRUPTED: &str = "interrupted";

/// Marks a half-life whose fitted line fits badly.
pub(super) const MARK: &str = "*";

/// A number over seeds: the median, and the range unless it has no width.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Value {
    /// The median, or a word.
    pub(super) text: String,
    /// `low–high`, or a remark.
    pub(super) range: Option<String>,
    /// Whether the fitted line fits badly for at least one seed.
    pub(super) poor_fit: bool,
}

impl Value {
    fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    fn of(spread: Option<Spread>, text: impl Fn(f64) -> String + Copy) -> Self {
        let Some(spread) = spread else { return Self::plain(NOT_MEASURED) };
        Self { text: spread.median(text), range: spread.range(text), poor_fit: false }
    }

    /// The same over the runs that did not fail; `failed` if all of them failed.
    fn sound(
        variant: &VariantRuns,
        value: impl Fn(&RunRecord) -> Option<f64>,
        text: impl Fn(f64) -> String + Copy,
    ) -> Self {
        match variant.sound_spread(value) {
            None if variant.sound().next().is_none() => Self::plain("failed"),
            spread => Self::of(spread, text),
        }
    }

    /// The text with its mark.
    pub(super) fn marked(&self) -> String {
        format!("{}{}", self.text, if self.poor_fit { MARK } else { "" })
    }
}

/// A column: one value per variant, or two, at initialisation and after training.
pub(super) struct Column {
    /// Its heading.
    pub(super) heading: &'static str,
    /// Its meaning with the unit, in plain words.
    pub(super) meaning: String,
    /// A value for each variant, in order; the second is that after training.
    pub(super) values: Vec<(Value, Option<Value>)>,
}

impl Column {
    fn new(heading: &'static str, meaning: impl Into<String>) -> Self {
        Self { heading, meaning: meaning.into(), values: Vec::new() }
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
        let pair = |variant| (value(variant, Phase::Init), Some(value(variant, Phase::Final)));
        self.values = all.iter().map(pair).collect();
        self
    }

    /// Whether it has two values per variant.
    pub(super) fn paired(&self) -> bool {
        self.values.iter().any(|(_, after)| after.is_some())
    }
}

/// The columns after the variant's name. Columns without a value in any run are left out.
pub(super) fn columns(group: &Group) -> Vec<Column> {
    let all = group.variants.as_slice();
    let mut columns = vec![
        Column::new("params", "The number of trainable weights, read-out included.").each(
            all,
            |variant| {
                let params = variant.spread(|run| Some(run.config.model.params as f64));
                Value::of(params, |params| format!("{params:.0}"))
            },
        ),
        Column::new(
            "hidden",
            "Hidden units of a layer. 2×64 means two layers on top of each other.",
        )
        .each(all, |variant| Value::plain(hidden(variant.first()))),
    ];
    columns.extend(outcome(group));
    columns.extend(generalised(all));
    columns.extend(gradient(group));
    columns.push(Column::new("seconds", "Wall time of a run in seconds, median over seeds.").each(
        all,
        |variant| {
            let time = Value::of(variant.spread(|run| Some(run.outcome.seconds)), seconds);
            Value { range: None, ..time }
        },
    ));
    columns
}

/// The results of the trained networks.
fn outcome(group: &Group) -> Vec<Column> {
    let all = group.variants.as_slice();
    let solvable = group.runs.iter().any(has_criterion);
    let mut columns = Vec::new();
    if solvable {
        let meaning = "How many seeds solved the task, of all. A seed fixes weights and data.";
        columns.push(Column::new("solved", meaning).each(all, solved));
        let meaning =
            "Training steps until the task was solved. A seed that did not solve it counts \
                       as more than all its steps (“>”).";
        columns.push(Column::new("steps to solve", meaning).each(all, steps_to_solve));
    }
    let stop = if solvable {
        " A run stops after three good evaluations in a row, so the final losses of solved runs \
         belong to different numbers of steps: they do not say who would get lower."
    } else {
        ""
    };
    let meaning = format!(
        "Loss on held-out examples (not used for training) at the last evaluation, without the \
         runs that failed.{stop}"
    );
    let final_loss =
        |variant: &VariantRuns| Value::sound(variant, |run| Some(run.outcome.final_loss), loss);
    columns.push(Column::new("final loss", meaning).each(all, final_loss));
    if group.runs.iter().any(|run| run.outcome.accuracy.is_some()) {
        let meaning =
            "Share of right answers on held-out examples at the last evaluation, without \
                       the runs that failed.";
        let accuracy =
            |variant: &VariantRuns| Value::sound(variant, |run| run.outcome.accuracy, percent);
        columns.push(Column::new("accuracy", meaning).each(all, accuracy));
    }
    columns
}

/// The behaviour of the gradients.
fn gradient(group: &Group) -> Vec<Column> {
    let all = group.variants.as_slice();
    let precision = group.precision();
    let length = group.runs.iter().map(|run| run.length()).max().unwrap_or(0);
    let half_life = |part: &'static str| {
        move |variant: &VariantRuns, phase: Phase| half_life(variant, part, phase, length)
    };
    let has_c = |run: &RunRecord| {
        run.fit("c", Phase::Init).is_some() || run.half_life("c", Phase::Init).is_some()
    };
    let meaning = "Steps back in time over which dL/dh, the gradient of the loss with respect to \
                   the hidden state, halves (ln 2/ρ of a fitted exponential, top layer). Short: \
                   the network can hardly learn from distant inputs. “×2 in N” means that it \
                   doubles every N steps instead.";
    let mut columns = vec![Column::new("half-life h", meaning).both(all, half_life("h"))];
    if group.runs.iter().any(has_c) {
        let meaning =
            "The same for dL/dc, the gradient with respect to the cell state of an LSTM, \
                       with h held fixed.";
        columns.push(Column::new("half-life c", meaning).both(all, half_life("c")));
    }
    let meaning = "How many steps back dL/dh still has a thousandth of its size at the last step.";
    columns.push(Column::new("horizon", meaning).both(all, |variant, phase| {
        let horizon = variant.spread(|run| run.horizon(phase).map(|lag| lag as f64));
        Value::of(horizon, |lag| format!("{lag:.0}"))
    }));
    let meaning = "Size of dL/dh at the first step of the sequence, divided by that at the last: \
                   how much of the gradient arrives.";
    columns.push(
        Column::new("first/last", meaning)
            .both(all, |variant, phase| ratio(variant, phase, precision)),
    );
    columns
}

/// The results of the trained networks on longer sequences, if measured: the accuracy, or the loss
/// if the task has no accuracy.
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
        Some(Column::new(heading, meaning).each(all, |variant| match right {
            true => Value::sound(variant, |run| longer(run, place)?.accuracy, percent),
            false => Value::sound(variant, |run| Some(longer(run, place)?.loss), loss),
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
    let ended = variant.ended().count();
    let interrupted = variant.runs.len() - ended;
    if ended == 0 {
        return Value::plain(INTERRUPTED);
    }
    let odd = [(failed, "failed"), (interrupted, INTERRUPTED)];
    let odd = odd.iter().filter(|(runs, _)| *runs > 0);
    let odd = odd.map(|(runs, how)| format!("{runs} {how}")).collect::<Vec<_>>().join(", ");
    let range = Some(odd).filter(|odd| !odd.is_empty());
    Value { text: format!("{}/{ended}", variant.solved()), range, poor_fit: false }
}

fn steps_to_solve(variant: &VariantRuns) -> Value {
    if !variant.runs.iter().any(|run| has_criterion(run)) {
        return Value::plain(INAPPLICABLE);
    }
    let finished = || variant.ended().filter(|run| run.status == Status::Finished);
    let unsolved = || finished().filter(|run| !run.outcome.solved);
    if variant.ended().next().is_none() {
        return Value::plain(INTERRUPTED);
    }
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
        |run: &RunRecord| run.outcome.steps_to_solve.map_or(f64::INFINITY, |steps| steps as f64);
    Value::of(Spread::of(finished().map(steps)), text)
}

fn half_life(variant: &VariantRuns, part: &str, phase: Phase, length: usize) -> Value {
    let has = |run: &&RunRecord| {
        part == "h" || rate(run, part, phase).is_some() || run.fit(part, phase).is_some()
    };
    if !variant.runs.iter().any(has) {
        return Value::plain(INAPPLICABLE);
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
    let poor_fit = variant.runs.iter().any(|run| poor_fit(run, part, phase).is_some());
    Value { text: short(mid), range: (short(low) != short(high)).then_some(range), poor_fit }
}

fn ratio(variant: &VariantRuns, phase: Phase, precision: Precision) -> Value {
    let finite = variant.spread(|run| run.grad_ratio(phase).filter(|ratio| ratio.is_finite()));
    Value::of(finite, |ratio| precision.ratio(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Generalised;
    use crate::run::set_r2;
    use crate::sample;

    fn cell<'a>(columns: &'a [Column], heading: &str, row: usize) -> &'a (Value, Option<Value>) {
        &columns.iter().find(|column| column.heading == heading).expect("a column").values[row]
    }

    fn value(text: &str, range: Option<&str>) -> Value {
        Value { text: text.to_owned(), range: range.map(str::to_owned), poor_fit: false }
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
        assert_eq!(cell(&columns, "half-life c", vanilla).0, value("n/a", None));
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
    fn a_bad_fit_is_marked() {
        let mut records = sample::compare(&[sample::TEN[2]]);
        set_r2(&mut records.runs[1], Phase::Final, 0.49);
        let marked = columns(&Group::new(&records));
        let (before, after) = cell(&marked, "half-life h", 0);
        assert_eq!(
            (before.marked(), after.as_ref().map(Value::marked)),
            ("2.2".into(), Some("31*".into()))
        );
    }

    #[test]
    fn three_reasons_for_a_missing_number_differ() {
        let mut records = sample::compare(&[sample::TEN[0], sample::TEN[2]]);
        for run in &mut records.runs {
            run.status = Status::Failed("no gradient".to_owned());
        }
        records.runs[5].status = Status::Stopped;
        records.runs[5].outcome.final_loss = f64::NAN;
        let columns = columns(&Group::new(&records));
        assert_eq!(cell(&columns, "final loss", 0).0, value("failed", None));
        assert_eq!(cell(&columns, "final loss", 1).0, value("not measured", None));
        assert_eq!(cell(&columns, "half-life c", 0).0, value("n/a", None));
    }

    #[test]
    fn unusual_runs() {
        let mut records = sample::records();
        records.runs[0].gradients.init.h.half_life = None;
        records.runs[0].gradients.init.h.fit = None;
        records.runs[0].gradients.trained.h.fit = None;
        records.runs.drain(1..3); // one seed of vanilla is left, without a fit
        records.runs[0].gradients.init.h.ratio = Some(0.0);
        let columns = columns(&Group::new(&records));
        assert_eq!(cell(&columns, "half-life h", 0).0, value("too few points", None));
        assert_eq!(cell(&columns, "first/last", 0).0, value("underflow", None));
        assert_eq!(cell(&columns, "solved", 4).0, value("0/2", Some("1 failed, 1 interrupted")));
        assert_eq!(cell(&columns, "steps to solve", 4).0, value("not solved in 2000 steps", None));
        assert_eq!(cell(&columns, "final loss", 4).0.text, "0.167", "without the run that failed");
        records.runs.iter_mut().for_each(|run| run.status = Status::Stopped);
        let columns = super::columns(&Group::new(&records));
        for heading in ["solved", "steps to solve"] {
            assert_eq!(cell(&columns, heading, 4).0, value("interrupted", None));
        }
    }
}
