//! Lines with bands, labelled at their ends.

use super::csv::{number, Csv};
use super::curve::Curve;
use super::labels::{spread_out, LABEL};
use super::numbers::{percent, significant, Spread};
use super::palette;
use super::scale::{decades, plain, ticks, Scale};
use super::svg::{text_width, Anchor, Svg};

/// The largest number of decades shown; deeper values fall into the strip below the plot.
const DECADES: f64 = 20.0;

/// The smallest width for labels, in units, so that the letters of all charts on a page have the
/// same size.
const LABELS: f64 = 118.0;

/// A chart of several curves.
pub(super) struct Chart<'a> {
    /// The title above the chart in its own file.
    pub(super) title: &'a str,
    /// The label of the horizontal axis, with the unit.
    pub(super) along: &'a str,
    /// The same in a word, for the numbers in a file.
    pub(super) key: &'a str,
    /// The label of the vertical axis, with the unit.
    pub(super) up: &'a str,
    /// The scale of the values.
    pub(super) axis: Axis,
    /// The curves.
    pub(super) lines: Vec<Line>,
}

/// The scale of values on the vertical axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// Norms, as common logarithms; negative infinity is an underflow.
    Norm,
    /// Losses, as common logarithms; negative infinity is a loss of zero.
    Loss,
    /// Shares from 0 to 1, shown in per cent.
    Share,
}

/// A curve in a chart.
pub(super) struct Line {
    /// The label at its end.
    pub(super) label: String,
    /// The classes of the line.
    pub(super) class: String,
    /// The class of the band's fill.
    pub(super) fill: String,
    /// The variant that the line belongs to, if it belongs to one.
    pub(super) variant: Option<usize>,
    /// The curve itself.
    pub(super) curve: Curve,
}

impl Line {
    /// A curve with its own colour and dash, for a chart of one variant.
    pub(super) fn styled(label: String, colour: usize, dash: usize, curve: Curve) -> Self {
        let class = format!("line {}", palette::styled(colour, dash));
        Self { label, class, fill: palette::fill(colour), variant: None, curve }
    }

    /// A curve in the colour and dash of the variant at position `index`.
    pub(super) fn new(label: &str, index: usize, curve: Curve) -> Self {
        let class = format!("line {}", palette::line(index));
        Self {
            label: label.to_owned(),
            class,
            fill: palette::fill(index),
            variant: Some(index),
            curve,
        }
    }

    /// A level line, such as a baseline.
    pub(super) fn level(label: String, level: f64, (from, to): (f64, f64)) -> Self {
        let spread = Spread { low: level, mid: level, high: level };
        let curve = Curve(vec![(from, spread), (to, spread)]);
        Self { label, class: "baseline".to_owned(), fill: String::new(), variant: None, curve }
    }
}

impl Line {
    /// Opens a group that can be hidden with its variant. [`Line::close`] closes it.
    fn open(&self, svg: &mut Svg) {
        if let Some(variant) = self.variant {
            svg.open(&format!(r#"data-variant="{variant}""#));
        }
    }

    fn close(&self, svg: &mut Svg) {
        if self.variant.is_some() {
            svg.close();
        }
    }
}

/// The positions of a chart, in units.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    /// The lower end of the strip for values that are too deep; equal to `bottom` without such
    /// values.
    deep: f64,
    across: Scale,
    down: Scale,
}

impl Chart<'_> {
    /// Draws the chart without its title; `None` if there is nothing to draw.
    pub(super) fn draw(&self) -> Option<Svg> {
        let frame = self.frame()?;
        let longest = self.lines.iter().map(|line| text_width(&line.label)).fold(LABELS, f64::max);
        let mut svg = Svg::new(frame.right + 36.0 + longest, frame.deep + 36.0);
        self.axes(&mut svg, &frame);
        svg.open(r#"class="bands""#);
        for line in &self.lines {
            let upper = line.curve.0.iter().map(|(x, spread)| (*x, spread.high));
            let lower = line.curve.0.iter().rev().map(|(x, spread)| (*x, spread.low));
            if line.curve.0.iter().any(|(_, spread)| spread.low != spread.high) {
                let outline: Vec<_> = upper.chain(lower).collect();
                line.open(&mut svg);
                svg.area(
                    &format!("band {}", line.fill),
                    &thin(outline.iter().map(|&at| frame.place(at, 0.0))),
                );
                line.close(&mut svg);
            }
        }
        svg.close();
        let mut ends = Vec::new();
        for (lane, line) in self.lines.iter().enumerate() {
            let lane = (lane as f64 + 0.5) / self.lines.len() as f64;
            let points =
                thin(line.curve.0.iter().map(|(x, spread)| frame.place((*x, spread.mid), lane)));
            let Some(&end) = points.last() else { continue };
            line.open(&mut svg);
            svg.path(&line.class, &points);
            if end.0 < frame.right - 1.0 {
                svg.raw(&format!(
                    r#"<circle class="end {}" cx="{}" cy="{}" r="2.6"/>"#,
                    line.fill,
                    super::svg::number(end.0),
                    super::svg::number(end.1)
                ));
            }
            line.close(&mut svg);
            ends.push((end, line));
        }
        label(&mut svg, &frame, ends);
        Some(svg)
    }

    /// The numbers as CSV: one row for each point of a curve. An underflow is zero.
    pub(super) fn csv(&self) -> String {
        let mut csv = Csv::new(&["line", self.key, "median", "low", "high"]);
        for line in &self.lines {
            for (x, spread) in &line.curve.0 {
                let value = |value: f64| match self.axis {
                    Axis::Norm | Axis::Loss => 10f64.powf(value),
                    Axis::Share => value,
                };
                let [mid, low, high] =
                    [spread.mid, spread.low, spread.high].map(|at| number(value(at)));
                csv.row(&[line.label.clone(), plain(*x), mid, low, high]);
            }
        }
        csv.text()
    }

    fn frame(&self) -> Option<Frame> {
        let bounds: Vec<(f64, f64)> =
            self.lines.iter().filter_map(|line| line.curve.bounds()).collect();
        let low = bounds.iter().map(|bounds| bounds.0).min_by(f64::total_cmp)?;
        let high = bounds.iter().map(|bounds| bounds.1).max_by(f64::total_cmp)?;
        let places = || self.lines.iter().flat_map(|line| line.curve.0.iter().map(|(x, _)| *x));
        let along = (places().min_by(f64::total_cmp)?, places().max_by(f64::total_cmp)?);
        let up = match self.axis {
            Axis::Norm | Axis::Loss => {
                let margin = 0.03 * (high - low).min(DECADES);
                let high = high + margin;
                // If values lie deeper, the lower end is a whole decade, because it has a label.
                let deepest = (high - DECADES).ceil();
                (if low - margin < deepest { deepest } else { low - margin }, high)
            }
            Axis::Share => (0.0, 1.0),
        };
        let lost =
            self.lines.iter().any(|line| line.curve.0.iter().any(|(_, spread)| spread.mid < up.0));
        let top = 24.0;
        let (left, right) = (62.0, 332.0);
        let bottom = top + (self.lines.len() as f64 * LABEL).max(196.0);
        let deep = if lost { bottom + 18.0 } else { bottom };
        let across = Scale::new(along, (left, right));
        Some(Frame { left, right, top, bottom, deep, across, down: Scale::new(up, (bottom, top)) })
    }

    fn axes(&self, svg: &mut Svg, frame: &Frame) {
        let Frame { left, right, top, bottom, deep, .. } = *frame;
        svg.open(r#"class="axes""#);
        svg.text("axis-title", (10.0, top - 10.0), Anchor::Start, self.up);
        let bounds = frame.down.values();
        for (mark, name) in self.marks(bounds) {
            let y = frame.down.at(mark);
            svg.line("grid", (left, y), (right, y));
            match name {
                Some(name) => svg.text("tick", (left - 6.0, y + 3.5), Anchor::End, &name),
                None => svg.power("tick", (left - 6.0, y + 3.5), Anchor::End, mark),
            }
        }
        if deep > bottom {
            svg.rect("lost", (left, bottom), (right - left, deep - bottom));
            // If finite values lie deeper than the axis, the word "below" is true of the underflows
            // too.
            let deeper = self
                .lines
                .iter()
                .filter_map(|line| line.curve.bounds())
                .any(|(low, _)| low < bounds.0);
            let what = match self.axis {
                _ if deeper => "below",
                Axis::Norm => "underflow",
                Axis::Loss | Axis::Share => "zero",
            };
            svg.text("tick", (left - 6.0, deep - 2.0), Anchor::End, what);
        }
        for mark in ticks(frame.across.values(), 6) {
            let x = frame.across.at(mark);
            svg.line("axis", (x, deep), (x, deep + 4.0));
            svg.text("tick", (x, deep + 15.0), Anchor::Middle, &plain(mark));
        }
        svg.line("axis", (left, deep), (right, deep));
        svg.text("axis-title", ((left + right) / 2.0, deep + 30.0), Anchor::Middle, self.along);
        svg.close();
    }

    /// The marks of the vertical axis with their names. A power of ten has no name.
    fn marks(&self, bounds: (f64, f64)) -> Vec<(f64, Option<String>)> {
        let span = bounds.1 - bounds.0;
        if self.axis == Axis::Share {
            return ticks(bounds, 5).into_iter().map(|mark| (mark, Some(percent(mark)))).collect();
        }
        if span > 2.0 {
            return decades(bounds, 7).into_iter().map(|mark| (mark, None)).collect();
        }
        let values = if span > 0.6 {
            let powers = bounds.0.floor() as i32..=bounds.1.ceil() as i32;
            powers
                .flat_map(|power| [1.0, 2.0, 5.0].map(|times| times * 10f64.powi(power)))
                .collect()
        } else {
            ticks((10f64.powf(bounds.0), 10f64.powf(bounds.1)), 5)
        };
        let inside = |value: &f64| (bounds.0..=bounds.1).contains(&value.log10());
        values.into_iter().filter(inside).map(|value| (value.log10(), Some(round(value)))).collect()
    }
}

/// A round value, with an exponent if it is very small or large.
fn round(value: f64) -> String {
    if (1e-4..1e5).contains(&value) {
        plain(value)
    } else {
        significant(value, 1)
    }
}

impl Frame {
    /// The position of a value. Values that are too deep go to a lane of the strip, from 0 at its
    /// upper edge to 1 at its lower edge.
    fn place(&self, (x, value): (f64, f64), lane: f64) -> (f64, f64) {
        let y = if value < self.down.values().0 {
            self.bottom + lane * (self.deep - self.bottom)
        } else {
            self.down.at(value)
        };
        (self.across.at(x), y)
    }
}

/// Drops points that are too close to the last kept point to be told apart. The ends are kept.
fn thin(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let mut skipped = None;
    for (x, y) in points {
        let near = |last: &(f64, f64)| (last.0 - x).abs() < 0.8 && (last.1 - y).abs() < 0.8;
        if kept.last().is_some_and(near) {
            skipped = Some((x, y));
        } else {
            kept.push((x, y));
            skipped = None;
        }
    }
    kept.extend(skipped);
    kept
}

/// Writes the labels to the right of the plot, each as near as possible to the end of its line and
/// without overlaps.
fn label(svg: &mut Svg, frame: &Frame, mut ends: Vec<((f64, f64), &Line)>) {
    ends.sort_by(|a, b| a.0 .1.total_cmp(&b.0 .1));
    let wanted: Vec<f64> = ends.iter().map(|(end, _)| end.1).collect();
    let places = spread_out(&wanted, (frame.top + 2.0, frame.deep - 2.0));
    svg.open(r#"class="labels""#);
    for (((x, y), line), place) in ends.into_iter().zip(places) {
        let colour = line.class.replace("line ", "").replace("baseline", "c4");
        let colour = colour.split(' ').next().unwrap_or_default();
        let leader: &[(f64, f64)] = &[(x, y), (frame.right, y), (frame.right + 10.0, place)];
        let leader = if x < frame.right - 1.0 { &[leader[0], leader[2]] } else { &leader[1..] };
        line.open(svg);
        svg.path(&format!("leader {colour}"), leader);
        svg.path(&line.class, &[(frame.right + 10.0, place), (frame.right + 28.0, place)]);
        svg.text("label", (frame.right + 32.0, place + 3.8), Anchor::Start, &line.label);
        line.close(svg);
    }
    svg.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: &[f64]) -> Curve {
        let spread = |mid: &f64| Spread { low: mid - 0.5, mid: *mid, high: mid + 0.5 };
        Curve(values.iter().enumerate().map(|(x, mid)| (x as f64, spread(mid))).collect())
    }

    fn chart(lines: Vec<Line>) -> Chart<'static> {
        Chart {
            title: "title",
            along: "lag in steps",
            key: "lag",
            up: "norm",
            axis: Axis::Norm,
            lines,
        }
    }

    #[test]
    fn values_that_are_too_deep_fall_into_the_strip() {
        let deep = Line::new("deep", 0, curve(&[0.0, -10.0, f64::NEG_INFINITY]));
        let text = chart(vec![deep]).draw().expect("a line").file("title", None);
        assert!(text.contains(">underflow<"), "{text}");
        assert!(text.contains("title") && text.contains(">deep<"), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        let below = Line::new("below", 0, curve(&[0.0, -10.0, -40.0]));
        let text = chart(vec![below]).draw().expect("a line").inline("x");
        assert!(text.contains(">below<") && !text.contains(">underflow<"), "{text}");
        let flat = Line::new("flat", 0, curve(&[0.0, -1.0]));
        let text = chart(vec![flat]).draw().expect("a line").inline("x");
        assert!(!text.contains(r#"class="lost""#), "{text}");
        let marks = |low: f64, high: f64| {
            let chart = Chart { axis: Axis::Loss, ..chart(Vec::new()) };
            chart
                .marks((low.log10(), high.log10()))
                .into_iter()
                .map(|(_, name)| name.unwrap_or_default())
                .collect::<Vec<_>>()
        };
        assert_eq!(marks(0.009, 0.21), ["0.01", "0.02", "0.05", "0.1", "0.2"]);
        assert_eq!(marks(0.159, 0.171), ["0.16", "0.165", "0.17"]);
        assert!(marks(1e-5, 1.0).iter().all(String::is_empty), "powers of ten");
        assert!(chart(vec![Line::new("none", 0, curve(&[f64::NEG_INFINITY]))]).draw().is_none());
    }

    #[test]
    fn the_csv_has_the_drawn_numbers() {
        let line = Line::new("a, \"b\"", 0, curve(&[0.0, f64::NEG_INFINITY]));
        let csv = chart(vec![line]).csv();
        let rows: Vec<&str> = csv.lines().collect();
        assert_eq!(rows[0], "line,lag,median,low,high");
        assert_eq!(rows[1], "\"a, \"\"b\"\"\",0,1,0.316228,3.16228");
        assert_eq!(rows[2], "\"a, \"\"b\"\"\",1,0,0,0");
    }

    #[test]
    fn thinning_keeps_the_shape() {
        let points =
            thin((0..1000).map(|x| (f64::from(x) * 0.1, if x == 500 { 9.0 } else { 0.0 })));
        assert!(points.len() < 150 && points.contains(&(50.0, 9.0)), "{}", points.len());
        assert_eq!(points.last(), Some(&(99.9, 0.0)));
    }
}
