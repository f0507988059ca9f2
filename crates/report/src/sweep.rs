//! A sweep over lengths as a person reads it: a table, a plot, a page.

use super::chart::{Axis, Chart, Line};
use super::curve::Curve;
use super::escape::escape;
use super::figures::Figure;
use super::markup::{self, document};
use super::numbers::{percent, Spread};
use super::table::{aligned, wrap};
use crate::solve_rates::{Findings, MaximumLength, SolveRate};

/// Everything for a terminal `columns` columns wide.
pub(super) fn terminal(findings: &Findings, columns: usize) -> String {
    let Some(first) = findings.rates.first() else {
        return "no run has ended: there is nothing to show\n".to_owned();
    };
    let mut text = wrap(&headline(first, findings), columns, "");
    text.push('\n');
    text += &aligned(&rows(findings));
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

/// A row a variant: runs that solved the task, of all that count, at every length; and the longest.
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
            rate.map_or("–".to_owned(), |rate| format!("{}/{}", rate.solved, rate.runs))
        };
        let mut row = vec![maximum.variant.clone()];
        row.extend(lengths.iter().map(cell));
        row.push(longest(maximum));
        row
    };
    std::iter::once(head).chain(findings.maxima.iter().map(row)).collect()
}

fn longest(maximum: &MaximumLength) -> String {
    match (maximum.length, maximum.unsolved) {
        (None, _) => "none".to_owned(),
        (Some(length), Some(_)) => length.to_string(),
        (Some(length), None) => format!("{length} or more"),
    }
}

/// What is to be said of a variant.
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
    let unmeasured = |length| {
        findings
            .rates
            .iter()
            .any(|rate| rate.variant == maximum.variant && rate.length == length && rate.runs == 0)
    };
    match (maximum.length, maximum.unsolved) {
        (None, None) => "no run has ended.".to_owned(),
        (None, Some(shortest)) if unmeasured(shortest) => {
            format!("no run at T = {shortest} has ended.")
        }
        (None, Some(shortest)) => format!("not even T = {shortest} was solved{}.", at(shortest)),
        (Some(length), None) => {
            format!(
                "maximum dependency length {length} or more{}: every length was solved.",
                at(length)
            )
        }
        (Some(length), Some(next)) if unmeasured(next) => {
            format!("solved up to length {length}{}; no run at T = {next} has ended.", at(length))
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

/// The plot: the share of runs that solve the task over its length.
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
    let chart = Chart { title, along: "length T, in steps", up: "share", axis: Axis::Share, lines };
    Figure::chart("solve-rate", chart)
}

/// The whole page.
pub(super) fn page(findings: &Findings, command: &[String]) -> String {
    let Some(first) = findings.rates.first() else {
        return document(
            "No runs",
            &markup::header("how long may a lag be?", "No runs", command, &[]),
        );
    };
    let mut body = markup::header(
        "how long may a lag be?",
        &headline(first, findings),
        command,
        &cautions(findings),
    );
    let all = rows(findings);
    let cells = |row: &[String], tag: &str| -> String {
        let cell = |(place, text): (usize, &String)| match place {
            0 => format!(
                "<th scope=\"{}\">{}</th>",
                if tag == "th" { "col" } else { "row" },
                escape(text)
            ),
            _ => format!("<{tag}>{}</{tag}>", escape(text)),
        };
        row.iter().enumerate().map(cell).collect()
    };
    body += "<section id=\"table\">\n<div class=\"scroll\" tabindex=\"0\">\n<table class=\"summary\">\n";
    for (place, row) in all.iter().enumerate() {
        let line = |tag| format!("<tr>{}</tr>\n", cells(row, tag));
        body += &match place {
            0 => format!("<thead>\n{}</thead>\n<tbody>\n", line("th")),
            _ => line("td"),
        };
    }
    body += "</tbody>\n</table>\n</div>\n</section>\n";
    if let Some(figure) = figure(findings) {
        body += "<section id=\"rates\">\n<h2>How long a lag is bridged</h2>\n<p>The share of runs that solve the task within the steps allowed, with Wilson's 95 % \
                 interval as a band.</p>\n";
        body += &markup::grid("two", &[figure]);
        body += "</section>\n";
    }
    body += "<section id=\"words\">\n<h2>Maximum dependency length</h2>\n<p>The longest length such that it and all shorter ones were solved.</p>\n<ul>\n";
    for maximum in &findings.maxima {
        let said = words(maximum, findings);
        body +=
            &format!("<li><strong>{}</strong>: {}</li>\n", escape(&maximum.variant), escape(&said));
    }
    body += "</ul>\n</section>\n<section id=\"notes\">\n<h2>The runs</h2>\n<ul>\n";
    for length in lengths(findings) {
        body += &format!("<li><a href=\"length-{length}/report.html\">T = {length}</a></li>\n");
    }
    document(&format!("{} by length", first.task), &(body + "</ul>\n</section>\n"))
}
