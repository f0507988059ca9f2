//! A sweep over lengths for readers: a table, a plot, a page.

use super::chart::{Axis, Chart, Line};
use super::columns::NOT_MEASURED;
use super::curve::Curve;
use super::figures::{Figure, Source};
use super::numbers::{count, percent, Spread};
use super::page::{self, Cell, Facts, FigureView, Head, Link, Row, Table, TableHead, Terms};
use super::run::RunView;
use super::table::{aligned, wrap};
use super::verdict::criterion;
use crate::record::RunRecord;
use crate::solve_rates::{Findings, MaximumLength, SolveRate};
use askama::Template;
use std::collections::BTreeSet;

/// The whole output for a terminal `columns` columns wide.
pub(super) fn terminal(findings: &Findings, columns: usize) -> String {
    let Some(first) = findings.rates.first() else {
        return "no run has ended: there is nothing to show\n".to_owned();
    };
    let mut text = wrap(&headline(first, findings), columns, "");
    text.push('\n');
    text += &aligned(&rows(findings), columns);
    text.push('\n');
    for maximum in &findings.maxima {
        text += &wrap(&format!("{}: {}", maximum.variant, words(maximum, findings)), columns, "  ");
    }
    for caution in cautions(findings) {
        text += &wrap(&format!("! {caution}"), columns, "  ");
    }
    text
}

fn headline(first: &SolveRate, findings: &Findings) -> String {
    let share = findings.maxima.first().map_or(1.0, |maximum| maximum.probability);
    format!(
        "{} · at most {} steps · solved if {} of the runs solve it",
        first.task,
        first.max_steps,
        percent(share)
    )
}

/// The lengths, in order.
fn lengths(findings: &Findings) -> Vec<usize> {
    let mut lengths: Vec<usize> = findings.rates.iter().map(|rate| rate.length).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// One row per variant: at every length, the runs that solved the task of all that count; and the
/// longest length.
fn rows(findings: &Findings) -> Vec<Vec<String>> {
    let lengths = lengths(findings);
    let mut head = vec!["variant".to_owned()];
    head.extend(lengths.iter().map(|length| format!("T = {length}")));
    head.push("longest".to_owned());
    let row = |maximum: &MaximumLength| {
        let cell = |length: &usize| {
            let rate = findings
                .rates
                .iter()
                .find(|rate| rate.variant == maximum.variant && rate.length == *length);
            match rate.filter(|rate| rate.runs > 0) {
                Some(rate) => format!("{}/{}", rate.solved, rate.runs),
                None => NOT_MEASURED.to_owned(),
            }
        };
        let mut row = vec![maximum.variant.clone()];
        row.extend(lengths.iter().map(cell));
        row.push(longest(maximum, findings));
        row
    };
    std::iter::once(head).chain(findings.maxima.iter().map(row)).collect()
}

/// Whether any run of a variant at a length has ended.
fn measured(variant: &str, length: usize, findings: &Findings) -> bool {
    let of = |rate: &&SolveRate| rate.variant == variant && rate.length == length;
    findings.rates.iter().find(of).is_some_and(|rate| rate.runs > 0)
}

fn longest(maximum: &MaximumLength, findings: &Findings) -> String {
    let known = |length: usize| measured(&maximum.variant, length, findings);
    match (maximum.length, maximum.unsolved) {
        (None, None) => NOT_MEASURED.to_owned(),
        (None, Some(shortest)) if !known(shortest) => NOT_MEASURED.to_owned(),
        (None, Some(shortest)) => format!("below {shortest}"),
        (Some(length), Some(next)) if known(next) => length.to_string(),
        (Some(length), _) => format!("{length} or more"),
    }
}

/// The description of a variant.
fn words(maximum: &MaximumLength, findings: &Findings) -> String {
    let at = |length: usize| {
        let rate = findings
            .rates
            .iter()
            .find(|rate| rate.variant == maximum.variant && rate.length == length);
        rate.map_or(String::new(), |rate| {
            format!(
                " ({} of {}, 95 % interval {}–{})",
                rate.solved,
                rate.runs,
                percent(rate.low),
                percent(rate.high)
            )
        })
    };
    match (maximum.length, maximum.unsolved) {
        (None, None) => "no run has ended.".to_owned(),
        (None, Some(shortest)) if !measured(&maximum.variant, shortest, findings) => {
            format!("T = {shortest} was not measured.")
        }
        (None, Some(shortest)) => format!("not even T = {shortest} was solved{}.", at(shortest)),
        (Some(length), None) => {
            format!(
                "maximum dependency length {length} or more{}: every length measured was solved.",
                at(length)
            )
        }
        (Some(length), Some(next)) if !measured(&maximum.variant, next, findings) => {
            format!(
                "maximum dependency length {length} or more{}; T = {next} was not measured.",
                at(length)
            )
        }
        (Some(length), Some(next)) => {
            format!(
                "maximum dependency length {length}{}; T = {next} was not solved{}.",
                at(length),
                at(next)
            )
        }
    }
}

fn cautions(findings: &Findings) -> Vec<String> {
    let name = |rate: &SolveRate| format!("{} at T = {}", rate.variant, rate.length);
    let odd = |count: fn(&SolveRate) -> usize| {
        let of = findings.rates.iter().filter(|rate| count(rate) > 0);
        of.map(|rate| format!("{} of {}", count(rate), name(rate))).collect::<Vec<_>>().join(", ")
    };
    let (failed, stopped) = (odd(|rate| rate.failed), odd(|rate| rate.stopped));
    let mut cautions = Vec::new();
    if !failed.is_empty() {
        cautions.push(format!("Runs that failed count as not solved: {failed}."));
    }
    if !stopped.is_empty() {
        cautions.push(format!("Runs that were interrupted do not count: {stopped}."));
    }
    let again = |maximum: &&MaximumLength| {
        maximum.unsolved.is_some_and(|unsolved| {
            let later =
                |rate: &SolveRate| rate.variant == maximum.variant && rate.length > unsolved;
            let enough =
                |rate: &SolveRate| rate.rate.is_some_and(|share| share >= maximum.probability);
            findings.rates.iter().any(|rate| later(rate) && enough(rate))
        })
    };
    for maximum in findings.maxima.iter().filter(again) {
        cautions.push(format!(
            "{} solved a longer task than one that it did not solve: read its maximum with care.",
            maximum.variant
        ));
    }
    cautions
}

/// The plot: the share of runs that solve the task, against its length.
pub(super) fn figure(findings: &Findings) -> Option<Figure> {
    let line = |(index, maximum): (usize, &MaximumLength)| {
        let of = findings.rates.iter().filter(|rate| rate.variant == maximum.variant);
        let points = of.filter_map(|rate| {
            Some((rate.length as f64, Spread { low: rate.low, mid: rate.rate?, high: rate.high }))
        });
        Line::new(&maximum.variant, index, Curve(points.collect()))
    };
    let mut lines: Vec<Line> = findings.maxima.iter().enumerate().map(line).collect();
    lines.retain(|line| !line.curve.0.is_empty());
    let lengths = lengths(findings);
    if let (Some(maximum), Some(first), Some(last)) =
        (findings.maxima.first(), lengths.first(), lengths.last())
    {
        let label = format!("solved: {}", percent(maximum.probability));
        lines.push(Line::level(label, maximum.probability, (*first as f64, *last as f64)));
    }
    let title = "Share of runs that solve the task";
    let along = "length T, in steps";
    let chart = Chart { title, along, key: "length", up: "share", axis: Axis::Share, lines };
    Figure::chart("solve-rate", Source::Embedded, &chart)
}

#[derive(Template)]
#[template(path = "sweep.html")]
struct SweepPage {
    head: Head,
    table: Table,
    words: Vec<(String, String)>,
    figures: Vec<FigureView>,
    lengths: Vec<usize>,
    terms: Terms,
}

/// The whole page, with its plot.
pub(super) fn page(findings: &Findings, figure: Option<&Figure>, command: &[String]) -> String {
    let question = "how long may a lag be?";
    let command = command.join(" ");
    let Some(first) = findings.rates.first() else {
        let title = "No runs".to_owned();
        let head = Head { question, title: title.clone(), command, ..Head::default() };
        return page::page(&title, &page::render(&head));
    };
    let section = |(target, name): (&str, &str)| Link::new("", target, name);
    let mut contents = vec![section(("table", "Results"))];
    contents.extend(figure.map(|_| section(("rates", "How long a lag is bridged"))));
    contents.extend([("runs", "The runs"), ("terms", "Terms")].map(section));
    let all = SweepPage {
        head: Head {
            question,
            title: headline(first, findings),
            conclusion: conclusion(findings),
            cautions: cautions(findings),
            contents,
            facts: facts(findings),
            command,
        },
        table: table(findings),
        words: findings
            .maxima
            .iter()
            .map(|maximum| (maximum.variant.clone(), words(maximum, findings)))
            .collect(),
        figures: figure.map(|figure| figure.view(&figure.title)).into_iter().collect(),
        lengths: lengths(findings),
        terms: Terms::default(),
    };
    page::page(&format!("{} by length", first.task), &page::render(&all))
}

/// The conclusion: which variant bridges the longest lag, and which the shortest.
fn conclusion(findings: &Findings) -> Vec<String> {
    let mut known: Vec<&MaximumLength> = findings.maxima.iter().collect();
    known.sort_by_key(|maximum| std::cmp::Reverse((maximum.length, maximum.unsolved.is_none())));
    let text =
        |maximum: &MaximumLength| format!("{}: {}", maximum.variant, longest(maximum, findings));
    match known.as_slice() {
        [] => Vec::new(),
        [only] => vec![format!("Longest length that was solved by {}.", text(only))],
        [best, .., worst] if best.length == worst.length => {
            let length =
                best.length.map_or("no length".to_owned(), |length| format!("T = {length}"));
            vec![format!("Every network has the same longest length that was solved: {length}.")]
        }
        [best, .., worst] => {
            vec![format!(
                "Longest length that was solved: most by {}, least by {}.",
                text(best),
                text(worst)
            )]
        }
    }
}

/// The configuration and the machine.
fn facts(findings: &Findings) -> Facts {
    let mut facts = Facts::default();
    let Some(run) = findings.runs.first() else { return facts };
    let names = |value: &dyn Fn(&RunRecord) -> String| {
        let all: BTreeSet<String> = findings.runs.iter().map(value).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    };
    facts.push("Variants", count(findings.maxima.len(), "variant"));
    facts.explain(
        "Seeds",
        names(&|run| run.seed().to_string()),
        "a seed fixes the initial weights and the data",
    );
    if let Some(criterion) = criterion(run) {
        facts.explain("Solved", criterion, "a run stops then");
    }
    facts.push(
        "Training",
        format!(
            "at most {} steps of {} sequences, learning rate {}, {}",
            names(&|run| run.max_steps().to_string()),
            names(&|run| run.batch().to_string()),
            names(&|run| run.lr().to_string()),
            names(&|run| run.clip())
        ),
    );
    facts.push("Device", names(&|run| format!("{}, {}", run.device(), run.dtype())));
    facts.push("Version", format!("recurrent {}", names(&|run| run.config.version.clone())));
    facts
}

fn table(findings: &Findings) -> Table {
    let mut rows = rows(findings).into_iter();
    let heads = rows.next().unwrap_or_default();
    let row = |cells: Vec<String>| {
        let mut cells = cells.into_iter();
        let name = cells.next().unwrap_or_default();
        Row {
            name,
            cells: cells.map(|cell| Cell::new(cell).with_class("")).collect(),
            ..Row::default()
        }
    };
    Table {
        class: "summary",
        caption: "runs that solved the task by length, one row per variant".to_owned(),
        first: "variant",
        heads: heads.iter().skip(1).map(|name| TableHead::plain(name)).collect(),
        rows: rows.map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RunRecord, Status};
    use crate::sample;
    use recurrent_records::solve_rates::findings;

    #[test]
    fn a_length_that_was_not_measured_is_not_called_unsolved() {
        let run = |length: usize, status: Status| {
            let mut run = RunRecord { status, ..sample::run("lstm", 1) };
            run.config.task.length = length;
            run
        };
        let solved = run(25, Status::Finished);
        let stopped = run(50, Status::Stopped);
        let all = findings(&["lstm"], vec![solved, stopped.clone()], 0.5);
        let text = terminal(&all, 200);
        assert!(text.contains("T = 50 was not measured") && !text.contains("0 of 0"), "{text}");
        let text = terminal(&findings(&["lstm"], vec![stopped], 0.5), 100);
        assert!(text.contains("T = 50 was not measured") && !text.contains("not even"), "{text}");
    }
}
