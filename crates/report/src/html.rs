//! The page.

use super::columns::{columns, Column, Value};
use super::escape::escape;
use super::figures;
use super::group::Group;
use super::heat;
use super::markup::{document, figure, grid, heading, preface, section, swatch, variant_id};
use super::measures;
use super::numbers::{count, seconds, significant};
use super::run::RunView;
use super::section::variant as about_variant;
use super::table;
use super::verdict::criterion;
use crate::config::OPTIMIZER;
use serde::Deserialize;
use std::fmt::Write;

/// What `comparison.json` knows besides the records.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct About {
    /// The command that asked for the comparison, word by word.
    pub(super) command: Vec<String>,
    /// When it started.
    pub(super) started: String,
    /// How long it took, in seconds.
    pub(super) seconds: Option<f64>,
    /// The number of runs side by side.
    pub(super) jobs: Option<usize>,
    /// Whether it was stopped before its end.
    pub(super) interrupted: bool,
    /// Where it ran.
    pub(super) machine: Machine,
}

/// A machine, as far as it is known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Machine {
    cores: usize,
    os: String,
    arch: String,
}

impl Machine {
    /// `, 4 cores, linux x86_64`, or nothing.
    pub(super) fn words(&self) -> String {
        match self.cores {
            0 => String::new(),
            cores => format!(", {}, {} {}", count(cores, "core"), self.os, self.arch),
        }
    }
}

/// The whole page: one file that needs no other.
pub(super) fn page(comparison: &Group, about: &About) -> String {
    document(&comparison.task(), &body(comparison, about))
}

/// What the page says of a comparison.
pub(super) fn body(comparison: &Group, about: &About) -> String {
    let mut body = head(comparison, about);
    if !comparison.runs.is_empty() {
        body += &summary(comparison);
        body += &explorer(comparison);
        body += &plots(comparison);
        body += &section(comparison, "variants");
        body += "<h2>Variant by variant</h2>\n";
        let (_, maps) = figures::heat_maps(comparison);
        for variant in &comparison.variants {
            body += &about_variant(comparison, variant, &maps);
        }
        body += "</section>\n";
        body += &notes(comparison);
    }
    body
}

/// Title, facts, the command, and what must be known before the numbers.
fn head(comparison: &Group, about: &About) -> String {
    let mut text =
        String::from("<header>\n<p class=\"kicker\">recurrent · do the gradients survive?</p>\n");
    text += &format!(
        "<h1>{}</h1>\n",
        escape(&if comparison.runs.is_empty() { "No runs".to_owned() } else { comparison.task() })
    );
    if !comparison.runs.is_empty() {
        text += "<dl class=\"facts\">\n";
        for (name, value) in facts(comparison, about) {
            text += &format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(&value));
        }
        text += "</dl>\n";
    }
    text += &preface(&about.command, &comparison.cautions());
    text + "</header>\n"
}

fn facts(comparison: &Group, about: &About) -> Vec<(&'static str, String)> {
    let one = |value: &dyn Fn(&crate::record::RunRecord) -> String| comparison.distinct(value);
    let seeds = comparison.seeds();
    let listed: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let listed = if seeds.len() > 8 {
        format!("{} to {}", listed[0], listed[listed.len() - 1])
    } else {
        listed.join(", ")
    };
    let mut facts = vec![
        (
            "Compared",
            format!(
                "{} × {}",
                count(comparison.variants.len(), "variant"),
                count(seeds.len(), "seed")
            ),
        ),
        ("Seeds", listed),
        (
            "Baseline",
            format!(
                "{} (best answer blind to the input)",
                one(&|run| significant(run.config.task.baseline, 4))
            ),
        ),
        ("Longest lag", format!("{} steps", one(&|run| run.longest_lag().to_string()))),
    ];
    if let Some(reference) = table::reference(comparison) {
        facts.push(("Beside it", format!("{reference} (a simple method that looks at the input)")));
    }
    if let Some(criterion) = comparison.runs.first().and_then(criterion) {
        facts.push(("Solved", criterion));
    }
    facts.push((
        "Training",
        format!(
            "at most {} steps of {} sequences, learning rate {}, {}",
            one(&|run| run.max_steps().to_string()),
            one(&|run| run.batch().to_string()),
            one(&|run| run.lr().to_string()),
            one(&|run| run.clip())
        ),
    ));
    facts.push(("Optimiser", OPTIMIZER.to_owned()));
    let changed = one(&|run| run.config.training.changed().join(", "));
    if !changed.is_empty() {
        facts.push(("Not the default", changed));
    }
    let threads = |run: &crate::record::RunRecord| count(run.outcome.threads, "thread");
    let device = format!(
        "{}, {}, {} a run",
        one(&|run| run.device().to_owned()),
        one(&|run| run.dtype().to_owned()),
        one(&threads)
    );
    facts.push((
        "Device",
        about
            .jobs
            .map_or(device.clone(), |jobs| format!("{device}, {} at once", count(jobs, "run"))),
    ));
    facts.push(("Version", format!("recurrent {}", one(&|run| run.config.version.clone()))));
    if !about.started.is_empty() {
        let took =
            about.seconds.map(|time| format!(", took {} s", seconds(time))).unwrap_or_default();
        facts.push(("Started", format!("{}{took}", about.started)));
    }
    facts
}

/// The table.
fn summary(comparison: &Group) -> String {
    let columns = columns(comparison);
    let heads =
        columns.iter().map(|column| (column.heading, column.paired(), column.meaning.as_str()));
    let mut text = format!(
        "<section id=\"{}\">\n<div class=\"scroll\" tabindex=\"0\">\n<table class=\"summary\">\n{}<tbody>\n",
        comparison.id("table"),
        heading("variant", heads)
    );
    for (row, variant) in comparison.variants.iter().enumerate() {
        let link = format!(
            "<a href=\"#{}\">{}</a>",
            variant_id(comparison, variant),
            escape(variant.name)
        );
        text += &format!(
            "<tr data-variant=\"{0}\"><th scope=\"row\">{1}{link}</th>",
            variant.index,
            swatch(variant.index)
        );
        for column in &columns {
            let (before, after) = &column.values[row];
            match after {
                Some(after) => text += &format!("{}{}", cell(before, "first"), cell(after, "")),
                None => {
                    let class = match column.heading {
                        "solved" => solved(variant),
                        _ if before.text.contains(' ') => "words",
                        _ => "",
                    };
                    text += &cell(before, class);
                }
            }
        }
        text += "</tr>\n";
    }
    text + &format!("</tbody>\n</table>\n</div>\n{}</section>\n", meanings(&columns))
}

/// The class of a cell that says how many seeds solved the task.
fn solved(variant: &super::group::VariantRuns) -> &'static str {
    match variant.solved() {
        0 => "none",
        solved if solved == variant.runs.len() => "all",
        _ => "some",
    }
}

/// A cell with the range in small print under the number.
fn cell(value: &Value, class: &str) -> String {
    let range = value.range.as_deref().map(|range| format!("<small>{}</small>", in_two(range)));
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<td{class}>{}{}</td>", escape(&value.text), range.unwrap_or_default())
}

/// A range in markup, broken in two lines if it is long.
fn in_two(range: &str) -> String {
    let middle = ["–", " … "].into_iter().find(|middle| range.contains(middle));
    match middle.and_then(|middle| Some((middle, range.split_once(middle)?))) {
        Some((middle, (low, high))) if range.chars().count() > 12 => {
            format!("{}{}<br>{}", escape(low), middle.trim_end(), escape(high))
        }
        _ => escape(range),
    }
}

/// What the columns mean.
fn meanings(columns: &[Column]) -> String {
    let mut text = String::from(
        "<details class=\"meanings\"><summary>What the columns mean</summary>\n<dl>\n\
         <div><dt>in small print</dt><dd>The range over seeds; the number above it is the median.</dd></div>\n",
    );
    for column in columns {
        text += &format!(
            "<div><dt>{}</dt><dd>{}</dd></div>\n",
            escape(column.heading),
            escape(&column.meaning)
        );
    }
    text + "</dl>\n</details>\n"
}

/// What the script makes of the records. Without it the section stays hidden, and all that follows says the same.
fn explorer(comparison: &Group) -> String {
    format!(
        "<section class=\"explore\" id=\"{}\" hidden>\n<h2>Explore</h2>\n<p>Switch variants and seeds on and off, here and in all \
         that follows; move over a plot, or press an arrow key in it, to read values. The heads of the tables sort.</p>\n\
         <script type=\"application/json\">{}</script>\n</section>\n",
        comparison.id("explore"),
        super::data::json(comparison)
    )
}

/// The plots of all variants.
fn plots(comparison: &Group) -> String {
    let mut text = String::new();
    let profiles = figures::profiles(comparison);
    if !profiles.is_empty() {
        text += &section(comparison, "profiles");
        text += "<h2>How far back the gradient reaches</h2>\n<p>The norm of the loss's gradient \
                 with respect to the state, against the lag: how many steps before the end of the sequence that state \
                 lies. Top layer; median over held-out examples, then over seeds, with the range over seeds as a band. A \
                 straight line falls by the same factor at every step. What lies deeper than the axis, or has underflowed, \
                 runs in the strip below it.</p>\n";
        text += &grid("two", &profiles);
        text += "</section>\n";
    }
    let learning = figures::learning(comparison);
    if !learning.is_empty() {
        text += &section(comparison, "loss");
        text += "<h2>What was learnt</h2>\n<p>Median over seeds, with the range as a band. A run that \
                 has ended keeps its last value; a dot marks where the last run of a variant ended. The baseline is the \
                 loss of the best answer that does not look at the input.</p>\n";
        text += &grid("two", &learning);
        text += "</section>\n";
    }
    let (range, maps) = figures::heat_maps(comparison);
    if let Some(range) = range {
        text += &section(comparison, "heat");
        text += "<h2>What training does to the gradient</h2>\n<p>The norm of dL/dh in the top layer \
                 by lag (upward) and training step (to the right; the steps are not evenly spaced), median over seeds. A \
                 run that has ended keeps its last profile.</p>\n";
        text += &format!(
            "<div class=\"scale\">{}</div>\n",
            heat::legend(&comparison.id("heat-legend"), range).inline("scale of colours")
        );
        text += "<div class=\"figures four\">\n";
        for map in maps.iter().filter(|map| map.main) {
            let Some(variant) = comparison.variants.get(map.variant) else { continue };
            let caption = format!("{}{}", swatch(variant.index), escape(variant.name));
            let heat = format!(" data-heat data-variant=\"{}\"", variant.index);
            text += &figure(&map.figure, &caption, &heat);
        }
        text += "</div>\n</section>\n";
    }
    text
}

/// How the numbers were found.
fn notes(comparison: &Group) -> String {
    let precision = comparison.precision();
    let mut text = section(comparison, "notes");
    text += "<h2>How the numbers were found</h2>\n<ul>\n";
    let notes = [
        "Lag k is k steps before the end of the sequence; dL/dc is the partial derivative with h held fixed, and \
         is zero at lag 0 by definition, where its curve does not begin."
            .to_owned(),
        "Lags end at the first step. One further lies the initial carry, which no weight has made: it is in \
         profiles.jsonl, not in the plots."
            .to_owned(),
        "A norm is that of one example's own gradient, in the median over held-out examples.".to_owned(),
        "The half-life is ln 2 / ρ of the line ln g(k) = a − ρ k, fitted to the lags of a window that leaves out both \
         ends and all norms below 1e-30."
            .to_owned(),
        format!(
            "An underflow is a norm {}, the smallest normal number of {}: smaller ones lose their digits and then \
             vanish.",
            precision.below,
            comparison.distinct(|run| run.dtype().to_owned())
        ),
        format!(
            "Verdicts follow rules: a gradient is said to be lost where its norm is less than {} (the dtype's epsilon) of \
             that at lag 0, kept where at least a tenth arrives at the first step, and to grow where it doubles within \
             the sequence; training has changed a half-life if it is 1.5 times longer or shorter and the far end has \
             thereby changed by a factor of 2; a loss above 0.9 of the baseline has not left it.",
            significant(precision.epsilon, 2)
        ),
    ];
    let notes = notes.into_iter().chain(measures::cost(comparison));
    for note in notes {
        let _ = writeln!(text, "<li>{}</li>", escape(&note)); // writing to a string cannot fail
    }
    text + "</ul>\n</section>\n"
}
