//! The part of the page about one variant.

use super::columns::hidden;
use super::escape::escape;
use super::figures::{layers, Figure, HeatMap};
use super::group::{Group, VariantRuns};
use super::markup::{figure, heading, swatch, variant_id};
use super::measures;
use super::numbers::{count, loss, percent, seconds, significant, Spread};
use super::run::RunView;

use super::trend::{rate, Phase, Trend};
use super::verdict::{has_criterion, sentences};
use crate::record::{RunRecord, Status};

/// The section of a variant: verdict, facts, plots, runs.
pub(super) fn variant(comparison: &Group, variant: &VariantRuns, maps: &[HeatMap]) -> String {
    let run = variant.first();
    let mut text = format!(
        "<section class=\"variant\" id=\"{}\" data-variant=\"{}\">\n<h3>{}{}</h3>\n<p class=\"about\">{}</p>\n",
        variant_id(comparison, variant),
        variant.index,
        swatch(variant.index),
        escape(variant.name),
        escape(&run.config.model.summary)
    );
    let mut said = sentences(variant).into_iter();
    let first = escape(&said.next().unwrap_or_default());
    let (headline, more) =
        first.split_once(": ").map_or((first.as_str(), String::new()), |(headline, more)| {
            (headline, format!(": {more}"))
        });
    let rest: String = said.map(|sentence| format!(" {}", escape(&sentence))).collect();
    let mut profiles = layers(comparison, variant).into_iter();
    text += &format!(
        "<div class=\"lead\">\n<div>\n<p class=\"verdict\"><strong>{headline}</strong>{more}{rest}</p>\n"
    );
    text += &warnings(variant);
    text += "<dl class=\"facts\">\n";
    for (name, value) in facts(variant) {
        let class = if value.len() > 60 { " class=\"wide\"" } else { "" };
        text +=
            &format!("<div{class}><dt>{}</dt><dd>{}</dd></div>\n", escape(&name), escape(&value));
    }
    text += "</dl>\n</div>\n";
    let own = |one: &Figure| figure(one, &escape(&short(&one.title)), "");
    text += &profiles.next().as_ref().map_or(String::new(), own);
    text += "</div>\n";
    text += &runs(variant);
    let profiles: String = profiles.as_slice().iter().map(own).collect();
    let maps = maps.iter().filter(|map| map.variant == variant.index && !map.main);
    let maps: String = maps.map(|map| own(&map.figure)).collect();
    if !profiles.is_empty() || !maps.is_empty() {
        text += &format!(
            "<div class=\"more\">\n<div class=\"figures\">\n{profiles}</div>\n<div class=\"figures four\">\n{maps}</div>\n</div>\n"
        );
    }
    text += &measures::table(variant);
    text + "</section>\n"
}

/// A title without the variant's name, which stands above.
fn short(title: &str) -> String {
    let short = title.rsplit_once(": ").map_or(title, |(_, rest)| rest);
    let mut characters = short.chars();
    characters
        .next()
        .map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

fn facts(variant: &VariantRuns) -> Vec<(String, String)> {
    let run = variant.first();
    let mut facts = vec![
        ("Parameters".to_owned(), run.config.model.params.to_string()),
        ("Hidden units".to_owned(), hidden(run)),
        ("Initialisation".to_owned(), run.config.model.init.clone()),
    ];
    let radii: Vec<String> = run
        .spectral_radius
        .keys()
        .filter_map(|name| {
            let radii = Spread::of(
                variant.runs.iter().filter_map(|run| run.spectral_radius.get(name).copied()),
            )?;
            Some(format!("{name} {}", radii.text(|radius| significant(radius, 2))))
        })
        .collect();
    if !radii.is_empty() {
        facts.push(("Spectral radius at the start".to_owned(), radii.join(", ")));
    }
    let options: Vec<String> =
        run.config.model.options.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if !options.is_empty() {
        facts.push(("Options".to_owned(), options.join(" · ")));
    }
    facts
}

fn warnings(variant: &VariantRuns) -> String {
    let mut all: Vec<(&str, Vec<u64>)> = Vec::new();
    for run in &variant.runs {
        for warning in &run.warnings {
            match all.iter_mut().find(|(text, _)| text == warning) {
                Some((_, seeds)) => seeds.push(run.seed()),
                None => all.push((warning, vec![run.seed()])),
            }
        }
    }
    if all.is_empty() {
        return String::new();
    }
    let mut text = String::from("<ul class=\"cautions\">\n");
    for (warning, seeds) in all {
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        text += &format!("<li>{} (seed {})</li>\n", escape(warning), seeds.join(", "));
    }
    text + "</ul>\n"
}

/// One row a run.
fn runs(variant: &VariantRuns) -> String {
    let has_c = variant.runs.iter().any(|run| {
        run.fit("c", Phase::Init).is_some() || run.half_life("c", Phase::Init).is_some()
    });
    let accuracy = variant.runs.iter().any(|run| run.outcome.accuracy.is_some());
    let solvable = variant.runs.iter().any(|run| has_criterion(run));
    let mut heads = vec![("ended", 1)];
    heads.extend(solvable.then_some(("solved at step", 1)));
    heads.push(("final loss", 1));
    heads.extend(accuracy.then_some(("accuracy", 1)));
    heads.push(("half-life h", 2));
    heads.extend(has_c.then_some(("half-life c", 2)));
    heads.extend([
        ("horizon", 2),
        ("first/last", 2),
        ("lags with underflow", 1),
        ("clipped", 1),
        ("seconds", 1),
    ]);
    let mut text = format!(
        "<div class=\"scroll\" tabindex=\"0\">\n<table class=\"runs\">\n{}<tbody>\n",
        heading("seed", heads.iter().map(|&(name, columns)| (name, columns == 2, "")))
    );
    for run in &variant.runs {
        let precision = run.precision();
        let mut cells = vec![ended(run)];
        if solvable {
            cells.push((solved(run), None));
        }
        cells.push((loss(run.outcome.final_loss), None));
        if accuracy {
            cells.push((run.outcome.accuracy.map_or("–".to_owned(), percent), None));
        }
        cells.extend(Phase::BOTH.map(|phase| half_life(run, "h", phase)));
        if has_c {
            cells.extend(Phase::BOTH.map(|phase| half_life(run, "c", phase)));
        }
        let lag = |horizon: Option<usize>| horizon.map_or("–".to_owned(), |lag| lag.to_string());
        let ratio =
            |ratio: Option<f64>| ratio.map_or("–".to_owned(), |ratio| precision.ratio(ratio));
        let plain = |text: String| (text, None);
        cells.extend([lag(run.horizon(Phase::Init)), lag(run.horizon(Phase::Final))].map(plain));
        cells.extend(
            [ratio(run.grad_ratio(Phase::Init)), ratio(run.grad_ratio(Phase::Final))].map(plain),
        );
        cells.extend([
            underflow(run),
            plain(percent(run.clipped_fraction())),
            plain(seconds(run.outcome.seconds)),
        ]);
        let cells: String = cells.iter().map(table_cell).collect();
        text +=
            &format!("<tr data-seed=\"{0}\"><th scope=\"row\">{0}</th>{cells}</tr>\n", run.seed());
    }
    text + "</tbody>\n</table>\n</div>\n"
}

/// What a cell says, and what stands below it in small print.
type Cell = (String, Option<String>);

/// A cell in markup; words may be broken into lines, numbers not.
fn table_cell((text, small): &Cell) -> String {
    let class = if text.split(' ').count() > 3 { " class=\"words\"" } else { "" };
    let small =
        small.as_ref().map_or(String::new(), |small| format!("<small>{}</small>", escape(small)));
    format!("<td{class}>{}{small}</td>", escape(text))
}

fn ended(run: &RunRecord) -> Cell {
    let after = count(run.outcome.steps as usize, "step");
    match &run.status {
        Status::Finished => ("finished".to_owned(), Some(after)),
        Status::Stopped => (
            "stopped".to_owned(),
            Some(format!("{} of {} steps", run.outcome.steps, run.max_steps())),
        ),
        Status::Failed(why) => (format!("failed: {why}"), Some(after)),
    }
}

fn solved(run: &RunRecord) -> String {
    match run.outcome.steps_to_solve {
        Some(step) => step.to_string(),
        None if has_criterion(run) => format!("not in {}", run.outcome.steps),
        None => "–".to_owned(),
    }
}

/// Half-life, and what stands behind it: R², the lags used, and those that were left out.
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
    (text, fit)
}

fn underflow(run: &RunRecord) -> Cell {
    match run.underflow() {
        (0, _) => ("none".to_owned(), None),
        (lags, from) => (lags.to_string(), from.map(|from| format!("from lag {from} on"))),
    }
}
