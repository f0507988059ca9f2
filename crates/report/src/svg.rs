//! A small writer of SVG.

use super::page::PLOT_STYLE;
use std::fmt::Write;

/// A drawing under construction, in units of its view box.
#[derive(Default)]
pub(super) struct Svg {
    wide: f64,
    high: f64,
    body: String,
}

/// The position of a text relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty drawing.
    pub(super) fn new(wide: f64, high: f64) -> Self {
        Self { wide, high, body: String::new() }
    }

    /// Adds an element, given as markup.
    pub(super) fn raw(&mut self, element: &str) {
        self.body += element;
        self.body.push('\n');
    }

    /// A straight line.
    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(number);
        self.raw(&format!(r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#));
    }

    /// A rectangle.
    pub(super) fn rect(&mut self, class: &str, (x, y): (f64, f64), (wide, high): (f64, f64)) {
        let [x, y, wide, high] = [x, y, wide, high].map(number);
        self.raw(&format!(
            r#"<rect class="{class}" x="{x}" y="{y}" width="{wide}" height="{high}"/>"#
        ));
    }

    /// A line through points; fewer than two draw nothing.
    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        if points.len() > 1 {
            self.raw(&format!(r#"<path class="{class}" d="{}"/>"#, outline(points)));
        }
    }

    /// A filled area.
    pub(super) fn area(&mut self, class: &str, points: &[(f64, f64)]) {
        if points.len() > 2 {
            self.raw(&format!(r#"<path class="{class}" d="{}Z"/>"#, outline(points)));
        }
    }

    /// Text, escaped.
    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        self.marked_up(class, (x, y), anchor, &escape(text));
    }

    /// A power of ten.
    pub(super) fn power(&mut self, class: &str, at: (f64, f64), anchor: Anchor, exponent: f64) {
        let exponent = super::scale::plain(exponent).replace('-', "−");
        let markup = format!(r#"10<tspan class="power" dy="-4">{exponent}</tspan>"#);
        self.marked_up(class, at, anchor, &markup);
    }

    fn marked_up(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, markup: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let [x, y] = [x, y].map(number);
        self.raw(&format!(
            r#"<text class="{class}" x="{x}" y="{y}" text-anchor="{anchor}">{markup}</text>"#
        ));
    }

    /// Opens a group.
    pub(super) fn open(&mut self, attributes: &str) {
        self.raw(&format!("<g {attributes}>"));
    }

    /// Closes a group.
    pub(super) fn close(&mut self) {
        self.raw("</g>");
    }

    /// The drawing as part of a page, which provides the style. Screen readers read `label` aloud.
    pub(super) fn inline(&self, label: &str) -> String {
        self.element("", label, "")
    }

    /// The drawing as an ornament in a text, with its own class. It is not read aloud.
    pub(super) fn ornament(&self, class: &str) -> String {
        let [wide, high] = [self.wide, self.high].map(number);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot {class}\" \
             viewBox=\"0 0 {wide} {high}\" aria-hidden=\"true\">{}</svg>",
            self.body.trim_end()
        )
    }

    /// The drawing as its own file, with a title above, its style and its background. `beside` is
    /// placed to its right.
    pub(super) fn file(&self, title: &str, beside: Option<&Self>) -> String {
        const TITLE: f64 = 26.0;
        let mut all =
            Self::new(self.wide + beside.map_or(0.0, |other| other.wide), self.high + TITLE);
        all.text("title", (10.0, 19.0), Anchor::Start, title);
        for (x, part) in [(0.0, Some(self)), (self.wide, beside)] {
            let Some(part) = part else { continue };
            all.open(&format!(r#"transform="translate({} {TITLE})""#, number(x)));
            all.body += &part.body;
            all.close();
        }
        let style = format!(
            "<style>\n{PLOT_STYLE}</style>\n<rect class=\"paper\" width=\"100%\" \
             height=\"100%\"/>\n"
        );
        let size =
            format!(r#" width="{}" height="{}""#, number(2.0 * all.wide), number(2.0 * all.high));
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", all.element(&size, title, &style))
    }

    fn element(&self, size: &str, label: &str, style: &str) -> String {
        let [wide, high] = [self.wide, self.high].map(number);
        let label = escape(label);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {wide} \
             {high}\"{size} role=\"img\" aria-label=\"{label}\">\n{style}{}</svg>\n",
            self.body
        )
    }
}

fn outline(points: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (place, (x, y)) in points.iter().enumerate() {
        let letter = if place == 0 { 'M' } else { 'L' };
        // Writing to a string cannot fail.
        let _ = write!(text, "{letter}{} {}", number(*x), number(*y));
    }
    text
}

/// A coordinate with at most one decimal. Non-finite ones are drawn at the edge.
pub(super) fn number(value: f64) -> String {
    let value = if value.is_finite() { value } else { 0.0 };
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// Text escaped for markup and attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            other => safe.push(other),
        }
    }
    safe
}

/// The approximate width of a text in units, at the size of labels.
pub(super) fn text_width(text: &str) -> f64 {
    6.3 * text.chars().count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements() {
        let mut svg = Svg::new(100.0, 50.0);
        svg.path("a", &[(0.0, 1.25), (2.0, 3.04)]);
        svg.path("gone", &[(0.0, 1.0)]);
        svg.text("t", (1.0, 2.0), Anchor::End, "a < b & \"c\"");
        svg.power("t", (1.0, 2.0), Anchor::End, -20.0);
        let text = svg.inline("what & why");
        assert!(text.contains(r#"d="M0 1.2L2 3""#), "{text}");
        assert!(!text.contains("gone"), "a point is no line");
        assert!(text.contains("a &lt; b &amp; &quot;c&quot;"), "{text}");
        assert!(text.contains(r#"10<tspan class="power" dy="-4">−20</tspan>"#), "{text}");
        assert!(
            text.contains(r#"aria-label="what &amp; why""#) && !text.contains("<style>"),
            "{text}"
        );
        let file = svg.file("label", Some(&Svg::new(20.0, 10.0)));
        assert!(file.starts_with("<?xml") && file.contains("prefers-color-scheme: dark"), "{file}");
        assert!(file.contains(r#"width="240" height="152""#), "{file}");
    }

    #[test]
    fn coordinates() {
        assert_eq!(
            [number(1.0), number(-0.04), number(2.46), number(f64::NAN)],
            ["1", "0", "2.5", "0"]
        );
    }
}
