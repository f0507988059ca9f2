//! Pieces of pages.

use super::escape::escape;
use super::figures::Figure;
use super::group::{Group, VariantRuns};
use super::palette;
use super::svg::{Svg, STYLE};

/// A section that begins.
pub(super) fn section(comparison: &Group, name: &str) -> String {
    format!("<section id=\"{}\">\n", comparison.id(name))
}

/// The place of a variant in the page.
pub(super) fn variant_id(comparison: &Group, variant: &VariantRuns) -> String {
    comparison.id(&format!("variant-{}", variant.index + 1))
}

/// The page's script.
pub(super) const SCRIPT: &str = include_str!("report.js");

/// A page that needs no other file.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{} · recurrent</title>\n<style>\n{}{}{}</style>\n</head>\n<body>\n<main data-group>\n{body}</main>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        escape(title),
        STYLE,
        include_str!("style.css"),
        include_str!("explore.css")
    )
}

/// The head of a page other than a comparison's: a question, a title, the command, and what must be known before the numbers.
pub(super) fn header(
    question: &str,
    title: &str,
    command: &[String],
    cautions: &[String],
) -> String {
    let (question, title) = (escape(question), escape(title));
    let mut text =
        format!("<header>\n<p class=\"kicker\">recurrent · {question}</p>\n<h1>{title}</h1>\n");
    text += &preface(command, cautions);
    text + "</header>\n"
}

/// The command, and what must be known before the numbers.
pub(super) fn preface(command: &[String], cautions: &[String]) -> String {
    let mut text = String::new();
    if !command.is_empty() {
        text +=
            &format!("<pre class=\"command\"><code>{}</code></pre>\n", escape(&command.join(" ")));
    }
    if !cautions.is_empty() {
        text += "<ul class=\"cautions\">\n";
        for caution in cautions {
            text += &format!("<li>{}</li>\n", escape(caution));
        }
        text += "</ul>\n";
    }
    text
}

/// The head of a table: the name of the first column, then those of the others, whether each has a part for the start and
/// one for after training, and what it means.
pub(super) fn heading<'a>(
    first: &str,
    columns: impl Iterator<Item = (&'a str, bool, &'a str)>,
) -> String {
    let (mut upper, mut lower) =
        (format!("<tr><th rowspan=\"2\" scope=\"col\">{}</th>", escape(first)), String::new());
    for (name, paired, meaning) in columns {
        let title = if meaning.is_empty() {
            String::new()
        } else {
            format!(" title=\"{}\"", escape(meaning))
        };
        let name = escape(name);
        if paired {
            upper +=
                &format!("<th colspan=\"2\" scope=\"colgroup\" class=\"pair\"{title}>{name}</th>");
            lower += "<th scope=\"col\" class=\"first\">start</th><th scope=\"col\">trained</th>";
        } else {
            upper += &format!("<th rowspan=\"2\" scope=\"col\"{title}>{name}</th>");
        }
    }
    format!("<thead>\n{upper}</tr>\n<tr>{lower}</tr>\n</thead>\n")
}

/// Figures side by side, as many as there is room for.
pub(super) fn grid(class: &str, figures: &[Figure]) -> String {
    let all: String = figures.iter().map(|one| figure(one, &escape(&one.title), "")).collect();
    format!("<div class=\"figures {class}\">\n{all}</div>\n")
}

/// A figure with a caption, which is markup, and further attributes as they are.
pub(super) fn figure(figure: &Figure, caption: &str, attributes: &str) -> String {
    let drawing = figure.inline.inline(&figure.title);
    format!(
        "<figure id=\"{}\"{attributes}>\n<figcaption>{caption}</figcaption>\n{drawing}</figure>\n",
        escape(&format!("figure-{}", figure.file))
    )
}

/// The line of a variant, beside its name.
pub(super) fn swatch(index: usize) -> String {
    let mut svg = Svg::new(26.0, 8.0);
    svg.path(&format!("line {}", palette::line(index)), &[(0.0, 4.0), (26.0, 4.0)]);
    svg.inline("")
        .replacen("class=\"plot\"", "class=\"plot swatch\" aria-hidden=\"true\"", 1)
        .replace(" role=\"img\" aria-label=\"\"", "")
}
