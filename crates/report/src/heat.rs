//! Heat maps: lag against training step, the colour is the gradient norm.

use super::csv::{self, Csv};
use super::curve::Curve;
use super::palette::{heat, LEVELS};
use super::scale::{decades, plain, ticks, Scale};
use super::svg::{number, text_width, Anchor, Svg};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The largest number of decades with their own colours; deeper values have the darkest colour.
const DECADES: f64 = 16.0;

/// The common logarithms of the norms that the scale of colours spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Whether values below `low` occur.
    clipped: bool,
}

impl Range {
    /// The range of all curves to be compared, in whole decades.
    pub(super) fn of<'a>(curves: impl Iterator<Item = &'a Curve>) -> Option<Self> {
        let mids = curves
            .flat_map(|curve| curve.0.iter().map(|(_, spread)| spread.mid))
            .filter(|mid| mid.is_finite());
        let (low, high) = mids.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), mid| {
            (low.min(mid), high.max(mid))
        });
        if low > high {
            return None;
        }
        let high = high.ceil();
        let bound = low.floor().min(high - 1.0);
        Some(Self { low: bound.max(high - DECADES), high, clipped: low < high - DECADES })
    }

    fn level(&self, value: f64) -> usize {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        ((share * LEVELS as f64) as usize).min(LEVELS - 1)
    }
}

/// One column of a heat map: the label below it, and the curve over lags.
pub(super) type Moment = (String, Curve);

/// Draws the heat map of one part of one variant, and the scale of colours for its own file. `id`
/// must be unique in a page. `None` if there is nothing to draw.
pub(super) fn draw(id: &str, moments: &[Moment], range: Range) -> Option<(Svg, Svg)> {
    let lags = moments.iter().flat_map(|(_, curve)| curve.0.iter().map(|(lag, _)| *lag));
    let last = lags.max_by(f64::total_cmp)?;
    let top = 22.0;
    let (left, right, bottom) = (30.0, 220.0, top + 112.0);
    let across = Scale::new((0.0, moments.len() as f64), (left, right));
    let up = Scale::new((-0.5, last + 0.5), (bottom, top));
    let mut svg = Svg::new(right + 8.0, bottom + 32.0);
    svg.text("axis-title", (8.0, top - 9.0), Anchor::Start, "lag in steps");
    pattern(&mut svg, id);
    svg.rect("lost", (left, top), (right - left, bottom - top));
    svg.open(r#"class="cells""#);
    // The cells by level. An underflow has no level.
    let mut cells: BTreeMap<Option<usize>, String> = BTreeMap::new();
    for (column, (_, curve)) in moments.iter().enumerate() {
        let (from, to) = (across.at(column as f64), across.at(column as f64 + 1.0));
        for (lags, level) in stretches(curve, range) {
            let (lower, upper) = (up.at(lags.0 - 0.5), up.at(lags.1 + 0.5));
            let path = cells.entry(level).or_default();
            // Writing to a string cannot fail.
            let _ = write!(
                path,
                "M{} {}H{}V{}H{}Z",
                number(from),
                place(lower),
                number(to),
                place(upper),
                number(from)
            );
        }
    }
    for (level, path) in cells {
        match level {
            Some(level) => svg.raw(&format!(r#"<path fill="{}" d="{path}"/>"#, heat(level))),
            None => {
                svg.raw(&format!(r#"<path class="underflow" d="{path}"/>"#));
                svg.raw(&format!(r#"<path fill="url(#{id})" d="{path}"/>"#));
            }
        }
    }
    svg.close();
    svg.rect("frame", (left, top), (right - left, bottom - top));
    for mark in ticks((0.0, last), 4) {
        let y = up.at(mark);
        svg.line("axis", (left - 4.0, y), (left, y));
        svg.text("tick", (left - 7.0, y + 3.5), Anchor::End, &plain(mark));
    }
    let widest = moments.iter().map(|(name, _)| text_width(name)).fold(0.0, f64::max) + 3.0;
    let every = (widest / (across.at(1.0) - left)).ceil().max(1.0) as usize;
    for (column, (name, _)) in moments.iter().enumerate() {
        let end = column + 1 == moments.len();
        if end || column % every == 0 && column + every < moments.len() {
            svg.text("tick", (across.at(column as f64 + 0.5), bottom + 13.0), Anchor::Middle, name);
        }
    }
    svg.text("axis-title", ((left + right) / 2.0, bottom + 28.0), Anchor::Middle, "training step");
    let mut scale = Svg::new(102.0, bottom + 32.0);
    bar(&mut scale, id, range, (16.0, top, bottom));
    Some((svg, scale))
}

/// The numbers of a heat map as CSV. An underflow is zero.
pub(super) fn csv(moments: &[Moment]) -> String {
    let mut csv = Csv::new(&["step", "lag", "norm"]);
    for (name, curve) in moments {
        for (lag, spread) in &curve.0 {
            csv.row(&[name.clone(), plain(*lag), csv::number(10f64.powf(spread.mid))]);
        }
    }
    csv.text()
}

/// A vertical scale of colours, with the colour of an underflow below it.
fn bar(svg: &mut Svg, id: &str, range: Range, (x, top, bottom): (f64, f64, f64)) {
    let foot = bottom - 30.0;
    let scale = Scale::new((range.low, range.high), (foot, top));
    let high = (foot - top) / LEVELS as f64;
    svg.text("axis-title", (x, top - 8.0), Anchor::Start, "gradient norm");
    svg.open(r#"class="cells""#);
    for level in 0..LEVELS {
        let y = foot - (level + 1) as f64 * high;
        let path = format!("M{} {}h12V{}h-12Z", number(x), place(y), place(y + high));
        svg.raw(&format!(r#"<path fill="{}" d="{path}"/>"#, heat(level)));
    }
    svg.close();
    for mark in decades((range.low, range.high), 5) {
        svg.power("tick", (x + 18.0, scale.at(mark) + 3.5), Anchor::Start, mark);
    }
    if range.clipped {
        svg.text("tick", (x + 18.0, foot + 13.0), Anchor::Start, "and below");
    }
    svg.rect("underflow", (x, bottom - 10.0), (12.0, 10.0));
    svg.raw(&format!(
        r#"<rect fill="url(#{id})" x="{}" y="{}" width="12" height="10"/>"#,
        number(x),
        number(bottom - 10.0)
    ));
    svg.text("tick", (x + 18.0, bottom - 1.0), Anchor::Start, "underflow");
}

/// A horizontal scale of colours, for the head of a page's small multiples.
pub(super) fn legend(id: &str, range: Range) -> Svg {
    let (left, right) = (22.0, 290.0); // room for half a label
    let mut svg = Svg::new(420.0, 52.0);
    pattern(&mut svg, id);
    svg.text(
        "axis-title",
        (left, 12.0),
        Anchor::Start,
        "gradient norm, by the same colours in all maps",
    );
    let scale = Scale::new((range.low, range.high), (left, right));
    let wide = (right - left) / LEVELS as f64;
    svg.open(r#"class="cells""#);
    for level in 0..LEVELS {
        let x = left + level as f64 * wide;
        svg.raw(&format!(
            r#"<path fill="{}" d="M{} 18h{}v12h-{}Z"/>"#,
            heat(level),
            place(x),
            place(wide),
            place(wide)
        ));
    }
    svg.close();
    for mark in decades((range.low, range.high), 8) {
        svg.power("tick", (scale.at(mark), 44.0), Anchor::Middle, mark);
    }
    svg.rect("underflow", (right + 30.0, 18.0), (26.0, 12.0));
    svg.raw(&format!(
        r#"<rect fill="url(#{id})" x="{}" y="18" width="26" height="12"/>"#,
        number(right + 30.0)
    ));
    svg.text("tick", (right + 62.0, 28.0), Anchor::Start, "underflow");
    if range.clipped {
        svg.text("tick", (right + 30.0, 44.0), Anchor::Start, "darkest: and below");
    }
    svg
}

/// The hatching for an underflow.
fn pattern(svg: &mut Svg, id: &str) {
    let size = r#"width="5" height="5" patternUnits="userSpaceOnUse""#;
    let line = r#"<line class="hatch" x1="0" y1="0" x2="0" y2="5"/>"#;
    svg.raw(&format!(
        r#"<defs><pattern id="{id}" {size} patternTransform="rotate(45)">{line}</pattern></defs>"#
    ));
}

/// Stretches of lags of one colour: first and last lag, and the level; an underflow has none.
fn stretches(curve: &Curve, range: Range) -> Vec<((f64, f64), Option<usize>)> {
    let mut all: Vec<((f64, f64), Option<usize>)> = Vec::new();
    for (lag, spread) in &curve.0 {
        let level = spread.mid.is_finite().then(|| range.level(spread.mid));
        match all.last_mut() {
            Some(((_, last), same)) if *same == level && *last + 1.0 == *lag => *last = *lag,
            _ => all.push(((*lag, *lag), level)),
        }
    }
    all
}

/// A coordinate with two decimals, so that neighbours share their border.
fn place(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::Spread;

    fn curve(values: &[f64]) -> Curve {
        let spread = |mid: &f64| Spread { low: *mid, mid: *mid, high: *mid };
        Curve(values.iter().enumerate().map(|(x, mid)| (x as f64, spread(mid))).collect())
    }

    #[test]
    fn ranges() {
        let range = |values: &[f64]| Range::of([curve(values)].iter());
        assert_eq!(range(&[0.2, -3.5]), Some(Range { low: -4.0, high: 1.0, clipped: false }));
        assert_eq!(range(&[0.0, -37.0]), Some(Range { low: -16.0, high: 0.0, clipped: true }));
        assert_eq!(range(&[-2.0, -2.0]), Some(Range { low: -3.0, high: -2.0, clipped: false }));
        assert_eq!(range(&[f64::NEG_INFINITY]), None);
    }

    #[test]
    fn lags_of_one_colour_are_one_stretch() {
        let range = Range { low: -40.0, high: 0.0, clipped: false };
        let found =
            stretches(&curve(&[-0.1, -0.2, -1.5, f64::NEG_INFINITY, f64::NEG_INFINITY]), range);
        let levels = [((0.0, 1.0), Some(39)), ((2.0, 2.0), Some(38)), ((3.0, 4.0), None)];
        assert_eq!(found, levels);
        let gap =
            Curve(vec![curve(&[-1.0]).0[0], (5.0, Spread { low: -1.0, mid: -1.0, high: -1.0 })]);
        assert_eq!(stretches(&gap, range).len(), 2, "a gap is left open");
    }

    #[test]
    fn an_underflow_has_a_colour_of_its_own() {
        let moments = [
            ("0".to_owned(), curve(&[-1.0, f64::NEG_INFINITY])),
            ("end".to_owned(), curve(&[-1.0, -2.0])),
        ];
        let range = Range::of(moments.iter().map(|(_, curve)| curve)).expect("finite values");
        let (map, scale) = draw("heat-x", &moments, range).expect("a map");
        let file = map.file("the title", Some(&scale));
        assert_eq!(file.matches(r##"class="underflow" d="##).count(), 1, "{file}");
        assert!(
            file.contains(r##"fill="url(#heat-x)" d="##) && file.contains(">underflow<"),
            "{file}"
        );
        assert!(file.contains(">end<") && file.contains("the title"), "{file}");
        assert!(!file.contains("NaN") && !file.contains("inf"), "{file}");
        assert!(draw("x", &[], range).is_none());
        assert_eq!(csv(&moments), "step,lag,norm\n0,0,0.1\n0,1,0\nend,0,0.1\nend,1,0.01\n");
        assert!(legend("l", range).inline("scale").contains("underflow"));
    }
}
