//! The pieces of pages. Their templates escape all text. `|safe` is used only if a piece contains
//! another piece, a drawing, or the page's own style and script.

use super::palette;
use super::svg::Svg;
use super::terms::{Term, TERMS};
use askama::Template;

/// The address of the source and the documents.
pub(super) const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The style of the plots, in a page and in files.
pub(super) const PLOT_STYLE: &str = include_str!("assets/plot.css");

/// The style of a page.
pub(super) const PAGE_STYLE: &str =
    concat!(include_str!("assets/page.css"), include_str!("assets/explore.css"));

/// The script of a page, which works without it too.
pub(super) const SCRIPT: &str = concat!(
    "\"use strict\";\n(() => {\n",
    include_str!("assets/base.js"),
    include_str!("assets/plot.js"),
    include_str!("assets/download.js"),
    include_str!("assets/explore.js"),
    include_str!("assets/compare.js"),
    include_str!("assets/heat.js"),
    include_str!("assets/table.js"),
    include_str!("assets/main.js"),
    "})();\n"
);

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    title: &'a str,
    body: &'a str,
}

/// A page in the style of the report that needs no other file and no network. `body` is markup.
pub fn page(title: &str, body: &str) -> String {
    render(&Page { title, body })
}

/// Renders a template into a string.
pub(super) fn render(template: &impl Template) -> String {
    template.render().expect("writing to a string does not fail")
}

/// The head of a page or of a comparison: the conclusion, warnings, links to the sections, and the
/// configuration.
#[derive(Default, Template)]
#[template(path = "head.html")]
pub(super) struct Head {
    pub(super) question: &'static str,
    pub(super) title: String,
    /// The conclusion in a few sentences.
    pub(super) conclusion: Vec<String>,
    pub(super) cautions: Vec<String>,
    pub(super) contents: Vec<Link>,
    pub(super) facts: Facts,
    pub(super) command: String,
}

/// A link to a section.
pub(super) struct Link {
    pub(super) target: String,
    pub(super) name: String,
    /// Whether the section appears only with the script.
    pub(super) script: bool,
}

impl Link {
    /// A link to the section `target` in a page whose ids begin with `prefix`.
    pub(super) fn new(prefix: &str, target: &str, name: &str) -> Self {
        Self { target: format!("{prefix}{target}"), name: name.to_owned(), script: false }
    }
}

/// Names and values.
#[derive(Default, Template)]
#[template(path = "facts.html")]
pub(super) struct Facts {
    pub(super) facts: Vec<Fact>,
}

/// A name and a value, optionally with an explanation in small print.
pub(super) struct Fact {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) note: String,
}

impl Fact {
    /// Whether the value needs its own row.
    fn is_wide(&self) -> bool {
        self.value.len() > 100
    }
}

impl Facts {
    /// Adds a fact.
    pub(super) fn push(&mut self, name: &str, value: impl Into<String>) {
        self.explain(name, value, "");
    }

    /// Adds a fact with an explanation.
    pub(super) fn explain(&mut self, name: &str, value: impl Into<String>, note: &str) {
        self.facts.push(Fact { name: name.to_owned(), value: value.into(), note: note.to_owned() });
    }
}

/// A table. A paired column has a cell for the start and one for after training.
#[derive(Default, Template)]
#[template(path = "table.html")]
pub(super) struct Table {
    /// `summary` or `runs`.
    pub(super) class: &'static str,
    /// Its caption, for readers who do not see it.
    pub(super) caption: String,
    /// The name of the first column.
    pub(super) first: &'static str,
    /// The other columns.
    pub(super) heads: Vec<TableHead>,
    pub(super) rows: Vec<Row>,
}

/// The head of a column.
pub(super) struct TableHead {
    pub(super) name: String,
    pub(super) paired: bool,
    pub(super) meaning: String,
}

/// A row of a table.
#[derive(Default)]
pub(super) struct Row {
    /// The cell of the first column.
    pub(super) name: String,
    /// The section that the name links to; empty without a link.
    pub(super) target: String,
    /// The tooltip of the name.
    pub(super) hint: String,
    /// The line of its variant in plots, as a drawing.
    pub(super) swatch: String,
    pub(super) variant: Option<usize>,
    pub(super) seed: Option<u64>,
    pub(super) cells: Vec<Cell>,
}

/// A cell of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Small print below it, in one line or two.
    pub(super) small: Option<(String, String)>,
    pub(super) class: String,
    pub(super) poor_fit: bool,
}

impl TableHead {
    /// A column with one cell per row.
    pub(super) fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), paired: false, meaning: String::new() }
    }

    /// A column with a cell for the start and one for after training.
    pub(super) fn pair(name: &str) -> Self {
        Self { paired: true, ..Self::plain(name) }
    }
}

impl Table {
    fn paired(&self) -> bool {
        self.heads.iter().any(|head| head.paired)
    }

    /// Whether a cell has the mark of a bad fit.
    pub(super) fn poor_fit(&self) -> bool {
        self.rows.iter().flat_map(|row| &row.cells).any(|cell| cell.poor_fit)
    }
}

impl Cell {
    /// A cell with text only. Words may be broken into lines, numbers not.
    pub(super) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let class = if text.split(' ').count() > 3 { "words".to_owned() } else { String::new() };
        Self { text, class, ..Self::default() }
    }

    /// The same with small print below it. A long range is broken into two lines.
    pub(super) fn with_small(mut self, small: Option<&str>) -> Self {
        self.small = small.map(|small| {
            let middle = ["–", " … "].into_iter().find(|middle| small.contains(middle));
            match middle.and_then(|middle| Some((middle, small.split_once(middle)?))) {
                Some((middle, (low, high))) if small.chars().count() > 12 => {
                    (format!("{low}{}", middle.trim_end()), high.to_owned())
                }
                _ => (small.to_owned(), String::new()),
            }
        });
        self
    }

    /// The same with another class.
    pub(super) fn with_class(mut self, class: &str) -> Self {
        self.class = class.to_owned();
        self
    }
}

/// A drawing with a caption, and links to its picture and its numbers.
#[derive(Template)]
#[template(path = "figure.html")]
pub(super) struct FigureView {
    pub(super) id: String,
    /// The name of its files, without the extension.
    pub(super) file: String,
    pub(super) title: String,
    pub(super) caption: String,
    pub(super) swatch: String,
    /// The drawing, as markup.
    pub(super) drawing: String,
    /// The address of the numbers: a file beside the page, or a `data:` URL.
    pub(super) numbers: String,
    /// Further attributes, for the script.
    pub(super) attributes: Vec<(&'static str, String)>,
}

/// The terms of the report.
#[derive(Template)]
#[template(path = "terms.html")]
pub(super) struct Terms {
    terms: &'static [Term],
}

impl Default for Terms {
    fn default() -> Self {
        Self { terms: TERMS }
    }
}

/// The line of a variant, beside its name, as markup.
pub(super) fn swatch(index: usize) -> String {
    let mut svg = Svg::new(26.0, 8.0);
    svg.path(&format!("line {}", palette::line(index)), &[(0.0, 4.0), (26.0, 4.0)]);
    svg.ornament("swatch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_escape() {
        let mut facts = Facts::default();
        facts.explain("a < b", "\"c\" & 'd'", "<i>");
        let text = render(&facts);
        assert!(text.contains("<dt>a &#60; b</dt>"), "{text}");
        assert!(text.contains("&#34;c&#34; &#38; &#39;d&#39;<small>&#60;i&#62;</small>"), "{text}");
    }

    #[test]
    fn long_ranges_are_broken() {
        let small = |text: &str| Cell::new("1").with_small(Some(text)).small.expect("small print");
        assert_eq!(small("2.0–2.4"), ("2.0–2.4".to_owned(), String::new()));
        assert_eq!(small("1.0e-14–3.0e-14"), ("1.0e-14–".to_owned(), "3.0e-14".to_owned()));
        assert_eq!(
            small("half-life 3 … no decay"),
            ("half-life 3 …".to_owned(), "no decay".to_owned())
        );
    }

    #[test]
    fn headings_of_pairs_name_their_group() {
        let table = Table {
            first: "variant",
            heads: vec![
                TableHead::plain("params"),
                TableHead::pair("horizon"),
                TableHead::plain("seconds"),
            ],
            rows: vec![Row { name: "a".into(), cells: vec![Cell::new("1"); 4], ..Row::default() }],
            ..Table::default()
        };
        let text = render(&table);
        let second =
            text.lines().find(|line| line.contains("scope=\"col\"")).expect("a row of headings");
        let order: Vec<usize> =
            ["variant", "params", "horizon, </span>start", "horizon, </span>trained", "seconds"]
                .iter()
                .map(|name| second.find(name).unwrap_or_else(|| panic!("{name} in {second}")))
                .collect();
        assert!(order.is_sorted(), "{second}");
    }
}
