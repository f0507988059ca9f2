//! The page of a comparison: the group of its records as pieces of the page.

use super::about::About;
use super::columns::{columns, hidden, Column, Value};
use super::conclusion;
use super::data;
use super::figures::{Figure, Figures};
use super::group::{Group, VariantRuns};
use super::heat;
use super::measures;
use super::numbers::{count, loss, percent, seconds, significant};
use super::page::{
    render, swatch, Cell, Facts, FigureView, Head, Link, Row, Table, TableHead, Terms,
};
use super::run::RunView;
use super::table;
use super::trend::{poor_fit, rate, Phase, Trend, POOR_FIT};
use super::verdict::{criterion, has_criterion, sentences};
use crate::config::OPTIMIZER;
use crate::record::{RunRecord, Status};
use askama::Template;
use std::collections::BTreeSet;

/// The part of a page about one comparison.
#[derive(Template)]
#[template(path = "comparison.html")]
pub(super) struct ComparisonView {
    /// The prefix of its ids.
    pub(super) prefix: String,
    head: Head,
    /// Whether this part contains the introduction of the page.
    introduced: bool,
    table: Table,
    poor_fit: String,
    poor_fit_bound: f64,
    columns: Vec<Column>,
    data: String,
    dtype: String,
    profiles: Vec<FigureView>,
    learning: Vec<FigureView>,
    heat: Vec<FigureView>,
    legend: String,
    variants: Vec<VariantView>,
    notes: Vec<String>,
}

/// The section of a variant.
#[derive(Template)]
#[template(path = "variant.html")]
struct VariantView {
    id: String,
    index: usize,
    swatch: String,
    name: String,
    summary: String,
    headline: String,
    verdict: String,
    warnings: Vec<String>,
    facts: Facts,
    lead: Option<FigureView>,
    runs: Table,
    profiles: Vec<FigureView>,
    maps: Vec<FigureView>,
    measures: Option<Table>,
}

impl ComparisonView {
    /// The part of a comparison with its plots. With `introduced`, it contains the introduction of
    /// the page.
    pub(super) fn new(group: &Group, figures: &Figures, about: &About, introduced: bool) -> Self {
        let columns = columns(group);
        let titled = |one: &Figure| one.view(&one.title);
        let legend = figures.range.map(|range| heat::legend(&group.id("heat-legend"), range));
        let maps = figures.maps.iter().filter(|map| map.main);
        let heat = maps.filter_map(|map| {
            let variant = group.variants.get(map.variant)?;
            let mut view = map.figure.view(variant.name);
            view.swatch = swatch(variant.index);
            view.attributes.push(("data-heat", String::new()));
            view.attributes.push(("data-variant", variant.index.to_string()));
            Some(view)
        });
        let mut view = Self {
            prefix: group.prefix.clone(),
            head: head(group, about),
            introduced,
            table: summary(group, &columns),
            poor_fit: table::poor_fit_note(),
            poor_fit_bound: POOR_FIT,
            columns,
            data: data::json(group),
            dtype: group.distinct(|run| run.dtype().to_owned()),
            profiles: figures.profiles.iter().map(titled).collect(),
            learning: figures.learning.iter().map(titled).collect(),
            heat: heat.collect(),
            legend: legend.map_or(String::new(), |legend| legend.inline("scale of colours")),
            variants: group.variants.iter().map(|one| variant(group, one, figures)).collect(),
            notes: notes(group),
        };
        view.head.contents = view.contents();
        view
    }

    /// Links to the sections.
    fn contents(&self) -> Vec<Link> {
        if self.variants.is_empty() {
            return Vec::new();
        }
        let link = |target: &str, name: &str| Link::new(&self.prefix, target, name);
        let script = |target: &str, name: &str| Link { script: true, ..link(target, name) };
        let mut all = vec![link("table", "Results"), script("explore", "Explore")];
        if self.introduced {
            all.insert(0, Link::new("", "reading", "How to read this page"));
        }
        if self.variants.len() > 1 {
            all.push(script("compare", "Compare two"));
        }
        let sections = [
            (!self.profiles.is_empty(), "profiles", "How far back the gradient reaches"),
            (!self.learning.is_empty(), "loss", "Learning curves"),
            (!self.heat.is_empty(), "heat", "The gradient during training"),
            (true, "variants", "Variant by variant"),
            (true, "notes", "How the numbers were found"),
        ];
        all.extend(
            sections.iter().filter(|one| one.0).map(|&(_, target, name)| link(target, name)),
        );
        all.push(Link::new("", "terms", "Terms"));
        all
    }
}

/// The id of a variant in the page.
fn variant_id(group: &Group, variant: &VariantRuns) -> String {
    group.id(&format!("variant-{}", variant.index + 1))
}

/// Title, conclusion, facts, the command, and warnings.
fn head(group: &Group, about: &About) -> Head {
    let title = if group.runs.is_empty() { "No runs".to_owned() } else { group.task() };
    Head {
        question: "do the gradients survive?",
        title,
        conclusion: conclusion::sentences(group),
        cautions: group.cautions(),
        contents: Vec::new(),
        facts: if group.runs.is_empty() { Facts::default() } else { facts(group, about) },
        command: about.command.join(" "),
    }
}

/// The configuration and the machine.
pub(super) fn facts(group: &Group, about: &About) -> Facts {
    let one = |value: &dyn Fn(&RunRecord) -> String| group.distinct(value);
    let seeds = group.seeds();
    let mut listed = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    if seeds.len() > 8 {
        listed = format!("{} to {}", seeds[0], seeds[seeds.len() - 1]);
    }
    let mut facts = Facts::default();
    facts.push(
        "Compared",
        format!("{} × {}", count(group.variants.len(), "variant"), count(seeds.len(), "seed")),
    );
    facts.explain("Seeds", listed, "a seed fixes the initial weights and the data");
    facts.explain(
        "Baseline",
        one(&|run| significant(run.config.task.baseline, 4)),
        "loss of the best answer that ignores the input",
    );
    facts.explain(
        "Longest lag",
        format!("{} steps", one(&|run| run.longest_lag().to_string())),
        "how far back the answer may depend on the input",
    );
    if let Some(reference) = table::reference(group) {
        facts.explain("Reference", reference, "loss of a simple method that looks at the input");
    }
    if let Some(criterion) = group.runs.first().and_then(criterion) {
        facts.explain("Solved", criterion, "a run stops then");
    }
    facts.explain(
        "Training",
        format!(
            "at most {} steps of {} sequences, learning rate {}, {}",
            one(&|run| run.max_steps().to_string()),
            one(&|run| run.batch().to_string()),
            one(&|run| run.lr().to_string()),
            one(&|run| run.clip())
        ),
        "clipped: a larger gradient is scaled down to the bound",
    );
    facts.push("Optimiser", OPTIMIZER);
    // The budget, the batch, the rate and the clipping stand above.
    let above = ["budget ", "batch ", "lr ", "clip "];
    let changed: BTreeSet<String> =
        group.runs.iter().flat_map(|run| run.config.training.changed()).collect();
    let changed: Vec<String> = changed
        .into_iter()
        .filter(|option| !above.iter().any(|name| option.starts_with(name)))
        .map(|option| option.replace('_', " "))
        .collect();
    if !changed.is_empty() {
        facts.push("Not the default", changed.join(", "));
    }
    let device = format!(
        "{}, {}, {} per run",
        one(&|run| run.device().to_owned()),
        one(&|run| run.dtype().to_owned()),
        one(&|run| count(run.outcome.threads, "thread"))
    );
    let at_once = about.jobs.map(|jobs| format!(", {} at once", count(jobs, "run")));
    facts.push("Device", format!("{device}{}", at_once.unwrap_or_default()));
    let machine = about.machine.describe();
    if !machine.is_empty() {
        facts.push("Machine", machine);
    }
    facts.push("Version", format!("recurrent {}", one(&|run| run.config.version.clone())));
    if !about.started.is_empty() {
        let took = about.seconds.map(|time| format!(", took {} s", seconds(time)));
        facts.push("Started", format!("{}{}", about.started, took.unwrap_or_default()));
    }
    facts
}

/// One row per variant.
fn summary(group: &Group, columns: &[Column]) -> Table {
    let head = |column: &Column| TableHead {
        name: column.heading.to_owned(),
        paired: column.paired(),
        meaning: column.meaning.clone(),
    };
    let row = |(place, variant): (usize, &VariantRuns)| {
        let mut cells = Vec::new();
        for column in columns {
            let (before, after) = &column.values[place];
            match after {
                Some(after) => {
                    cells.push(value(before).with_class("first"));
                    cells.push(value(after).with_class(""));
                }
                None if column.heading == "solved" => {
                    cells.push(value(before).with_class(solved_class(variant)));
                }
                None if before.text.contains(' ') => cells.push(value(before).with_class("words")),
                None => cells.push(value(before)),
            }
        }
        Row {
            name: variant.name.to_owned(),
            target: variant_id(group, variant),
            swatch: swatch(variant.index),
            variant: Some(variant.index),
            cells,
            ..Row::default()
        }
    };
    Table {
        class: "summary",
        caption: "results, one row per variant".to_owned(),
        first: "variant",
        heads: columns.iter().map(head).collect(),
        rows: group.variants.iter().enumerate().map(row).collect(),
    }
}

fn value(value: &Value) -> Cell {
    let cell = Cell::new(value.text.clone()).with_small(value.range.as_deref()).with_class("");
    Cell { poor_fit: value.poor_fit, ..cell }
}

/// The class of a cell that shows how many seeds solved the task.
fn solved_class(variant: &VariantRuns) -> &'static str {
    match variant.solved() {
        0 => "none",
        solved if solved == variant.ended().count() => "all",
        _ => "some",
    }
}

fn variant(group: &Group, variant: &VariantRuns, figures: &Figures) -> VariantView {
    let mut sentences = sentences(variant).into_iter();
    let first = sentences.next().unwrap_or_default();
    let (headline, mut verdict) = match first.split_once(": ") {
        Some((headline, more)) => (headline.to_owned(), format!(": {more}")),
        None => (first, String::new()),
    };
    for sentence in sentences {
        verdict += &format!(" {sentence}");
    }
    let own = |one: &Figure| one.view(&short(&one.title));
    let mut layers = figures.layers.get(variant.index).into_iter().flatten().map(own);
    let maps = figures.maps.iter().filter(|map| map.variant == variant.index && !map.main);
    VariantView {
        id: variant_id(group, variant),
        index: variant.index,
        swatch: swatch(variant.index),
        name: variant.name.to_owned(),
        summary: variant.first().config.model.summary.clone(),
        headline,
        verdict,
        warnings: warnings(variant),
        facts: variant_facts(variant),
        lead: layers.next(),
        runs: runs(variant),
        profiles: layers.collect(),
        maps: maps.map(|map| own(&map.figure)).collect(),
        measures: measures::table(variant),
    }
}

/// A title without the variant's name, which is shown above.
fn short(title: &str) -> String {
    capital(title.rsplit_once(": ").map_or(title, |(_, rest)| rest))
}

/// Text with its first letter in upper case.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn variant_facts(variant: &VariantRuns) -> Facts {
    let run = variant.first();
    let mut facts = Facts::default();
    facts.push("Parameters", run.config.model.params.to_string());
    facts.push("Hidden units", hidden(run));
    facts.push("Initialisation", run.config.model.init.clone());
    let radius = |name: &String| {
        let radii = variant.spread(|run| run.spectral_radius.get(name).copied())?;
        Some(format!("{name} {}", radii.text(|radius| significant(radius, 2))))
    };
    let radii: Vec<String> = run.spectral_radius.keys().filter_map(radius).collect();
    if !radii.is_empty() {
        facts.push("Spectral radius at the start", radii.join(", "));
    }
    let options: Vec<String> =
        run.config.model.options.iter().filter_map(|(name, value)| option(name, value)).collect();
    if !options.is_empty() {
        facts.push("Options", options.join(", "));
    }
    facts
}

/// An option of the network in words, from its path in the configuration; `None` if it belongs to
/// the initialisation, which the facts describe in one line.
fn option(path: &str, value: &str) -> Option<String> {
    if path.split('.').any(|field| field == "init" || field == "learned_start") {
        return None;
    }
    let name = path.strip_prefix("cell.").unwrap_or(path).replace(['.', '_'], " ");
    let value = match value {
        "true" => "yes",
        "false" => "no",
        value => value,
    };
    Some(format!("{name}: {value}"))
}

/// The warnings of the runs, each once with its seeds.
fn warnings(variant: &VariantRuns) -> Vec<String> {
    let mut all: Vec<(&str, Vec<String>)> = Vec::new();
    for run in &variant.runs {
        for warning in &run.warnings {
            match all.iter_mut().find(|(text, _)| text == warning) {
                Some((_, seeds)) => seeds.push(run.seed().to_string()),
                None => all.push((warning, vec![run.seed().to_string()])),
            }
        }
    }
    all.into_iter().map(|(text, seeds)| format!("{text} (seed {})", seeds.join(", "))).collect()
}

/// One row per run.
fn runs(variant: &VariantRuns) -> Table {
    let any = |is: &dyn Fn(&RunRecord) -> bool| variant.runs.iter().any(|run| is(run));
    let has_c = any(&|run| {
        run.fit("c", Phase::Init).is_some() || run.half_life("c", Phase::Init).is_some()
    });
    let accuracy = any(&|run| run.outcome.accuracy.is_some());
    let solvable = any(&has_criterion);
    let plain = |name| Some(TableHead::plain(name));
    let pair = |name| Some(TableHead::pair(name));
    let heads = [
        plain("ended"),
        plain("solved at step").filter(|_| solvable),
        plain("final loss"),
        plain("accuracy").filter(|_| accuracy),
        pair("half-life h"),
        pair("half-life c").filter(|_| has_c),
        pair("horizon"),
        pair("first/last"),
        plain("lags with underflow"),
        plain("clipped"),
        plain("seconds"),
    ];
    let row = |run: &&RunRecord| {
        let precision = run.precision();
        let missing = || "not measured".to_owned();
        let mut cells = vec![ended(run)];
        cells.extend(solvable.then(|| Cell::new(solved(run))));
        cells.push(Cell::new(if run.outcome.final_loss.is_nan() {
            missing()
        } else {
            loss(run.outcome.final_loss)
        }));
        cells.extend(
            accuracy.then(|| Cell::new(run.outcome.accuracy.map_or_else(missing, percent))),
        );
        cells.extend(Phase::BOTH.map(|phase| half_life(run, "h", phase)));
        if has_c {
            cells.extend(Phase::BOTH.map(|phase| half_life(run, "c", phase)));
        }
        cells.extend(Phase::BOTH.map(|phase| {
            Cell::new(run.horizon(phase).map_or_else(missing, |lag| lag.to_string()))
        }));
        cells.extend(Phase::BOTH.map(|phase| {
            Cell::new(run.grad_ratio(phase).map_or_else(missing, |ratio| precision.ratio(ratio)))
        }));
        cells.push(underflow(run));
        cells.push(Cell::new(percent(run.clipped_fraction())));
        cells.push(Cell::new(seconds(run.outcome.seconds)));
        let seed = run.seed();
        Row { name: seed.to_string(), seed: Some(seed), cells, ..Row::default() }
    };
    Table {
        class: "runs",
        caption: format!("runs of {}, one row per seed", variant.name),
        first: "seed",
        heads: heads.into_iter().flatten().collect(),
        rows: variant.runs.iter().map(row).collect(),
    }
}

fn ended(run: &RunRecord) -> Cell {
    let after = count(run.outcome.steps as usize, "step");
    match &run.status {
        Status::Finished => Cell::new("finished").with_small(Some(&after)),
        Status::Stopped => {
            let small = format!("{} of {} steps", run.outcome.steps, run.max_steps());
            Cell::new("interrupted").with_small(Some(&small))
        }
        Status::Failed(why) => Cell::new(format!("failed: {why}")).with_small(Some(&after)),
    }
}

fn solved(run: &RunRecord) -> String {
    match run.outcome.steps_to_solve {
        Some(step) => step.to_string(),
        None if run.status == Status::Stopped => "interrupted".to_owned(),
        None if has_criterion(run) => format!("not in {}", run.outcome.steps),
        None => super::columns::INAPPLICABLE.to_owned(),
    }
}

/// A half-life with its basis: R², the lags used, and the lags that were left out.
fn half_life(run: &RunRecord, part: &str, phase: Phase) -> Cell {
    let text = rate(run, part, phase)
        .map_or("too few points".to_owned(), |rate| Trend::of(rate, run.length()).long());
    let fit = run.fit(part, phase).map(|fit| {
        let left_out = if fit.underflowed > 0 {
            format!(", {} too small", fit.underflowed)
        } else {
            String::new()
        };
        format!("R² {:.2}, {}{left_out}", fit.r2, count(fit.points, "lag"))
    });
    let cell = Cell { small: fit.map(|fit| (fit, String::new())), ..Cell::new(text) };
    Cell { poor_fit: poor_fit(run, part, phase).is_some(), ..cell }
}

fn underflow(run: &RunRecord) -> Cell {
    match run.underflow() {
        (0, _) => Cell::new("0"),
        (lags, from) => {
            let from = from.map(|from| format!("from lag {from} on"));
            Cell::new(lags.to_string()).with_small(from.as_deref())
        }
    }
}

/// Notes on how the numbers were computed.
fn notes(group: &Group) -> Vec<String> {
    let precision = group.precision();
    let mut notes = vec![
        "Lag k is k steps before the end of the sequence. dL/dc is the partial derivative with h \
         held fixed. It is zero at lag 0 by definition; its curve begins at lag 1."
            .to_owned(),
        "Lags end at the first step. The initial state lies one lag further: profiles.jsonl has \
         it, the plots do not."
            .to_owned(),
        "A norm is that of one example's own gradient, median over held-out examples.".to_owned(),
        "The half-life is ln 2/ρ of the line ln g(k) = a − ρk, fitted to the lags of a window that \
         leaves out both ends and all norms below 1e-30. “No decay” is a half-life or doubling \
         time of more than ten lengths of the sequence."
            .to_owned(),
        format!(
            "An underflow is a norm {}, the smallest normal number of {}: smaller ones lose their \
             digits and then become zero.",
            precision.below,
            group.distinct(|run| run.dtype().to_owned())
        ),
        format!(
            "Verdicts follow rules. A gradient is lost if its norm is less than {} (the epsilon of \
             the number format) of that at lag 0; it is kept if at least a tenth arrives at the \
             first step; it grows if it doubles within the sequence. Training has changed a \
             half-life if it is 1.5 times longer or shorter and the far end has thereby changed by \
             a factor of 2. A loss above 0.9 of the baseline has not left it; a loss above ten \
             baselines has diverged.",
            significant(precision.epsilon, 2)
        ),
        conclusion::RULE.to_owned(),
    ];
    notes.extend(measures::cost(group));
    notes
}

/// The whole page of a comparison, in one file that needs no other.
pub(super) fn page(group: &Group, figures: &Figures, about: &About) -> String {
    let mut body = render(&ComparisonView::new(group, figures, about, true));
    if !group.runs.is_empty() {
        body += &render(&Terms::default());
    }
    super::page::page(&group.task(), &body)
}

#[cfg(test)]
mod tests {
    use super::option;

    #[test]
    fn options_are_words() {
        for (path, value, words) in [
            ("cell.peepholes", "true", Some("peepholes: yes")),
            ("cell.cell.norm_input", "sum", Some("cell norm input: sum")),
            ("recurrent_dropout.zoneout_h", "0.05", Some("recurrent dropout zoneout h: 0.05")),
            ("cell.init.forget_bias", "scheme", None),
            ("learned_start", "true", None),
        ] {
            assert_eq!(option(path, value).as_deref(), words, "{path}");
        }
    }
}
