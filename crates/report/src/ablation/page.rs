//! The page of an ablation.

use super::{
    by_measure, cautions, direction, headline, interval, median, of, remedies, rule, shown,
    solvable, words,
};
use crate::effects::{Effect, Findings, Measure, Verdict};
use crate::escape::escape;
use crate::figures::Figure;
use crate::forest;
use crate::markup::{self, document};
use crate::numbers::significant;

/// The plots: one a measure.
pub(crate) fn figures(findings: &Findings) -> Vec<Figure> {
    by_measure(findings)
        .into_iter()
        .filter_map(|(measure, effects)| forest::plot(measure, &effects))
        .collect()
}

/// The whole page.
pub(crate) fn page(findings: &Findings, command: &[String]) -> String {
    let Some(first) = findings.effects.first() else {
        return document("No runs", &markup::header("does it help?", "No runs", command, &[]));
    };
    let mut body =
        markup::header("does it help?", &headline(first, findings), command, &cautions(findings));
    body += &verdicts(findings);
    body += "<section id=\"effects\">\n<h2>Effects</h2>\n<p>Mean differences over pairs of runs with the same seed, with 95 % confidence intervals. The \
             band is the margin: what lies within it does not matter. Green helps, orange hurts, by the rule at the end.</p>\n";
    body += &markup::grid("two", &figures(findings));
    body += "</section>\n";
    for (measure, effects) in by_measure(findings) {
        body += &table(measure, &effects, solvable(findings));
    }
    body += &tuning(findings);
    body += &format!(
        "<section id=\"notes\">\n<h2>How the verdicts were found</h2>\n<ul>\n<li>{}</li>\n<li>Intervals: bootstrap of the mean difference over the pairs, \
         all resamples of up to five pairs, else 10,000; of three and four pairs the lowest and the highest difference.</li>\n<li>The runs themselves, with \
         profiles and losses, are in <a href=\"report.html\">report.html</a>.</li>\n</ul>\n</section>\n",
        escape(&rule(findings))
    );
    document(&format!("{} with remedies", first.base), &body)
}

/// A verdict for each remedy and measure, and the words.
fn verdicts(findings: &Findings) -> String {
    let measures: Vec<Measure> =
        by_measure(findings).into_iter().map(|(measure, _)| measure).collect();
    let heads: String = measures
        .iter()
        .map(|measure| format!("<th scope=\"col\">{}</th>", escape(measure.title())))
        .collect();
    let mut text = format!(
        "<section id=\"verdicts\">\n<h2>Verdicts</h2>\n<div class=\"scroll\" tabindex=\"0\">\n<table class=\"summary\">\n<thead>\n<tr><th scope=\"col\">\
         remedy</th>{heads}</tr>\n</thead>\n<tbody>\n"
    );
    for remedy in remedies(findings) {
        text += &format!("<tr><th scope=\"row\">{}</th>", escape(remedy));
        let effects = of(findings, remedy);
        for measure in &measures {
            let effect = effects.iter().find(|effect| effect.measure == *measure);
            text += &effect.map_or("<td>–</td>".to_owned(), |effect| verdict(effect));
        }
        text += "</tr>\n";
    }
    text += "</tbody>\n</table>\n</div>\n<ul>\n";
    for remedy in remedies(findings) {
        let said = words(&of(findings, remedy));
        text += &format!("<li><strong>{}</strong>: {}</li>\n", escape(remedy), escape(&said));
    }
    text + "</ul>\n</section>\n"
}

/// The verdict of an effect, with its medians in small print.
fn verdict(effect: &Effect) -> String {
    let class = match effect.verdict {
        Verdict::Helps => " all",
        Verdict::Hurts => " none",
        Verdict::NoEffectShown | Verdict::NotEnoughEvidence => "",
    };
    let medians = match (effect.base_median, effect.remedy_median) {
        (Some(before), Some(after)) => {
            format!(
                "<small>{} → {}</small>",
                escape(&median(effect, before)),
                escape(&median(effect, after))
            )
        }
        _ => String::new(),
    };
    format!("<td class=\"words{class}\">{}{medians}</td>", effect.verdict.words())
}

/// The numbers of a measure; if the task can be solved, also how often it was.
fn table(measure: Measure, effects: &[&Effect], solvable: bool) -> String {
    let mut heads = vec!["without", "with", "effect", "95 % interval", "p", "pairs"];
    if solvable {
        heads.extend(["solved without", "solved with"]);
    }
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    let mut text = format!(
        "<section>\n<h3>{}</h3>\n<p>{}</p>\n<div class=\"scroll\" tabindex=\"0\">\n<table class=\"runs\">\n<thead>\n<tr><th scope=\"col\">remedy</th>{heads}\
         </tr>\n</thead>\n<tbody>\n",
        escape(&capital(measure.title())),
        escape(&format!("{}.", capital(direction(measure))))
    );
    for effect in effects {
        let value =
            |value: Option<f64>| value.map_or("–".to_owned(), |value| median(effect, value));
        let mut cells = vec![
            value(effect.base_median),
            value(effect.remedy_median),
            effect.effect.map_or("–".to_owned(), |size| shown(measure, size)),
            interval(effect),
            effect.p.map_or("–".to_owned(), |p| significant(p, 2)),
            effect.pairs.to_string(),
        ];
        if solvable {
            cells.push(format!("{}/{}", effect.base_solved, effect.base_runs));
            cells.push(format!("{}/{}", effect.remedy_solved, effect.remedy_runs));
        }
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        text += &format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escape(&effect.remedy));
    }
    text + "</tbody>\n</table>\n</div>\n</section>\n"
}

/// The learning rates that were tried.
fn tuning(findings: &Findings) -> String {
    if findings.tuned.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<section id=\"tuning\">\n<h2>Learning rates</h2>\n<p>Every variant was tried with every rate, with seeds that are not among those above, and took the \
         one with the lowest median loss.</p>\n<div class=\"scroll\" tabindex=\"0\">\n<table class=\"runs\">\n<thead>\n<tr><th scope=\"col\">variant</th>\
         <th scope=\"col\">rate</th><th scope=\"col\">median loss</th><th scope=\"col\">solved</th><th scope=\"col\">failed</th><th scope=\"col\">taken</th></tr>\n\
         </thead>\n<tbody>\n",
    );
    for tuned in &findings.tuned {
        text += &format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}/{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&tuned.variant),
            tuned.lr,
            tuned.median_loss.map_or("failed".to_owned(), |loss| significant(loss, 3)),
            tuned.solved,
            tuned.seeds.len(),
            tuned.failed,
            if tuned.taken { "yes" } else { "" }
        );
    }
    text + "</tbody>\n</table>\n</div>\n</section>\n"
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
