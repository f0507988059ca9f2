//! The page of an ablation.

use super::{
    by_measure, cautions, conclusion, direction, headline, interval, median, modifiers, of, p,
    rule, shown, solvable, words, NO_PAIR,
};
use crate::about::About;
use crate::columns::INAPPLICABLE;
use crate::effects::{Effect, Findings, Measure, Verdict};
use crate::figures::Figure;
use crate::forest;
use crate::group::Group;
use crate::numbers::significant;
use crate::page::{self, Cell, Facts, FigureView, Head, Link, Row, Table, TableHead, Terms};
use crate::view::{capital, facts};
use askama::Template;

#[derive(Template)]
#[template(path = "ablation.html")]
struct AblationPage {
    head: Head,
    verdicts: Table,
    words: Vec<(String, String)>,
    figures: Vec<FigureView>,
    measures: Vec<MeasureView>,
    tuning: Table,
    rule: String,
    terms: Terms,
}

/// The numbers of a measure.
struct MeasureView {
    title: String,
    direction: String,
    table: Table,
}

/// The plots: one per measure.
pub(crate) fn figures(findings: &Findings) -> Vec<Figure> {
    by_measure(findings)
        .into_iter()
        .filter_map(|(measure, effects)| forest::plot(measure, &effects))
        .collect()
}

/// The whole page, with its plots.
pub(crate) fn page(
    findings: &Findings,
    figures: &[Figure],
    about: &About,
    command: &[String],
) -> String {
    let question = "does it help?";
    let command = command.join(" ");
    let Some(first) = findings.effects.first() else {
        let title = "No runs".to_owned();
        let head = Head { question, title: title.clone(), command, ..Head::default() };
        return page::page(&title, &page::render(&head));
    };
    let section = |(target, name): (&str, &str)| Link::new("", target, name);
    let mut contents: Vec<Link> =
        [("verdicts", "Verdicts"), ("effects", "Effects"), ("numbers", "Numbers")]
            .map(section)
            .into();
    if !findings.tuned.is_empty() {
        contents.push(section(("tuning", "Learning rates")));
    }
    contents.extend([("notes", "How the verdicts were found"), ("terms", "Terms")].map(section));
    let records = Group::new(&findings.records);
    let solvable = solvable(findings);
    let measure = |(measure, effects): (Measure, Vec<&Effect>)| MeasureView {
        title: capital(measure.title()),
        direction: format!("{}.", capital(direction(measure))),
        table: table(measure, &effects, solvable),
    };
    let all = AblationPage {
        head: Head {
            question,
            title: headline(first, findings),
            conclusion: conclusion(findings),
            cautions: cautions(findings),
            contents,
            facts: if records.runs.is_empty() { Facts::default() } else { facts(&records, about) },
            command,
        },
        verdicts: verdicts(findings),
        words: modifiers(findings)
            .into_iter()
            .map(|modifier| (modifier.to_owned(), words(&of(findings, modifier))))
            .collect(),
        figures: figures.iter().map(|figure| figure.view(&figure.title)).collect(),
        measures: by_measure(findings).into_iter().map(measure).collect(),
        tuning: tuning(findings),
        rule: rule(findings),
        terms: Terms::default(),
    };
    page::page(&format!("{} with modifiers", first.base), &page::render(&all))
}

/// A verdict for each modifier and measure.
fn verdicts(findings: &Findings) -> Table {
    let measures: Vec<Measure> =
        by_measure(findings).into_iter().map(|(measure, _)| measure).collect();
    let row = |modifier: &str| {
        let effects = of(findings, modifier);
        let cell = |measure: &Measure| {
            let effect = effects.iter().find(|effect| effect.measure == *measure);
            effect.map_or_else(|| Cell::new(INAPPLICABLE), |effect| verdict(effect))
        };
        let cells = measures.iter().map(cell).collect();
        Row { name: modifier.to_owned(), cells, ..Row::default() }
    };
    Table {
        class: "summary",
        caption: "verdicts, one row per modifier".to_owned(),
        first: "modifier",
        heads: measures.iter().map(|measure| TableHead::plain(measure.title())).collect(),
        rows: modifiers(findings).into_iter().map(row).collect(),
    }
}

/// The verdict of an effect, with its medians in small print.
fn verdict(effect: &Effect) -> Cell {
    let class = match effect.verdict {
        Verdict::Helps => "words all",
        Verdict::Hurts => "words none",
        Verdict::NoEffectShown | Verdict::NotEnoughEvidence => "words",
    };
    let medians = effect.base_median.zip(effect.modifier_median);
    let small = medians.map(|(before, after)| {
        (format!("{} → {}", median(effect, before), median(effect, after)), String::new())
    });
    Cell { small, ..Cell::new(effect.verdict.words()) }.with_class(class)
}

/// The numbers of a measure, and how often the task was solved if it can be.
fn table(measure: Measure, effects: &[&Effect], solvable: bool) -> Table {
    let mut heads = vec!["without", "with", "effect", "95 % interval", "p", "pairs"];
    if solvable {
        heads.extend(["solved without", "solved with"]);
    }
    let row = |effect: &&Effect| {
        let value =
            |value: Option<f64>| value.map_or(NO_PAIR.to_owned(), |value| median(effect, value));
        let mut cells = vec![
            value(effect.base_median),
            value(effect.modifier_median),
            effect.effect.map_or(NO_PAIR.to_owned(), |size| shown(measure, size)),
            interval(effect),
            p(effect),
            effect.pairs.to_string(),
        ];
        if solvable {
            cells.push(format!("{}/{}", effect.base_solved, effect.base_runs));
            cells.push(format!("{}/{}", effect.modifier_solved, effect.modifier_runs));
        }
        let cells = cells.into_iter().map(|cell| Cell::new(cell).with_class("")).collect();
        Row { name: effect.modifier.clone(), cells, ..Row::default() }
    };
    Table {
        class: "runs",
        caption: format!("effects on {}, one row per modifier", measure.title()),
        first: "modifier",
        heads: heads.into_iter().map(TableHead::plain).collect(),
        rows: effects.iter().map(row).collect(),
    }
}

/// The learning rates that were tried.
fn tuning(findings: &Findings) -> Table {
    let heads = ["rate", "median loss", "solved", "failed", "taken"];
    let rows = findings.tuned.iter().map(|tuned| {
        let cells = [
            tuned.lr.to_string(),
            tuned.median_loss.map_or("failed".to_owned(), |loss| significant(loss, 3)),
            format!("{}/{}", tuned.solved, tuned.seeds.len()),
            tuned.failed.to_string(),
            if tuned.taken { "yes" } else { "no" }.to_owned(),
        ];
        Row { name: tuned.variant.clone(), cells: cells.map(Cell::new).into(), ..Row::default() }
    });
    Table {
        class: "runs",
        caption: "learning rates that were tried".to_owned(),
        first: "variant",
        heads: heads.map(TableHead::plain).into(),
        rows: rows.collect(),
    }
}
