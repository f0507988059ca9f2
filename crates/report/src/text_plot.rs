//! The profiles in a terminal: lines of braille dots, with a letter for each variant.

use super::curve::Curve;
use super::group::{at, Group};
use super::scale::{decades, plain, ticks, Scale};
use super::table::{width, wrap};
use super::trend::Phase;

/// Columns left of the plot: the widest label is `underflow`.
const LEFT: usize = 10;

/// The smallest and the largest number of decades shown. Deeper values leave the plot at its lower
/// edge.
const DECADES: (f64, f64) = (3.0, 25.0);

/// The letter of a variant.
fn letter(index: usize) -> char {
    ('a'..='z').chain('A'..='Z').chain('0'..='9').nth(index).unwrap_or('*')
}

/// A plot of braille dots, two by four in a cell, under letters.
struct Canvas {
    wide: usize,
    high: usize,
    dots: Vec<u8>,
    letters: Vec<Option<char>>,
}

impl Canvas {
    fn new(wide: usize, high: usize) -> Self {
        Self { wide, high, dots: vec![0; wide * high], letters: vec![None; wide * high] }
    }

    fn dot(&mut self, x: usize, y: usize) {
        // By column, then by row.
        const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
        if let Some(cell) =
            self.dots.get_mut(y / 4 * self.wide + x / 2).filter(|_| x / 2 < self.wide)
        {
            *cell |= BITS[x % 2][y % 4];
        }
    }

    fn line(&mut self, (x0, y0): (f64, f64), (x1, y1): (f64, f64)) {
        let steps = (x1 - x0).abs().max((y1 - y0).abs()).ceil().max(1.0) as usize;
        for step in 0..=steps {
            let share = step as f64 / steps as f64;
            self.dot(
                (x0 + share * (x1 - x0)).round() as usize,
                (y0 + share * (y1 - y0)).round() as usize,
            );
        }
    }

    /// Writes a letter unless the position is taken, and returns whether it was free.
    fn letter(&mut self, column: usize, row: usize, letter: char) -> bool {
        let place =
            &mut self.letters[row.min(self.high - 1) * self.wide + column.min(self.wide - 1)];
        let free = place.is_none();
        place.get_or_insert(letter);
        free
    }

    fn row(&self, row: usize) -> String {
        let cells = row * self.wide..(row + 1) * self.wide;
        let cell = |place: usize| match (self.letters[place], self.dots[place]) {
            (Some(letter), _) => letter,
            (None, 0) => ' ',
            (None, dots) => char::from_u32(0x2800 + u32::from(dots)).unwrap_or('·'),
        };
        cells.map(cell).collect()
    }
}

/// Draws the profiles of h at initialisation, top layer, median over seeds, `columns` wide and
/// `rows` high.
pub(super) fn plot(comparison: &Group, columns: usize, rows: usize) -> String {
    let scale = comparison.profile_scale();
    let curves: Vec<(usize, &str, Curve)> = comparison
        .variants
        .iter()
        .map(|v| {
            (v.index, v.name, Curve::of_profiles(&at(&v.top_profiles("h"), Phase::Init), scale))
        })
        .filter(|(_, _, curve)| !curve.0.is_empty())
        .collect();
    let Some(mids) = bounds(&curves) else {
        return "No gradient profile was recorded.\n".to_owned();
    };
    let names = curves.iter().map(|(_, name, _)| width(name)).max().unwrap_or(0);
    // Title, axis and its numbers, and below the plot a row for underflows.
    let high = rows.saturating_sub(4).max(6);
    let beside = curves.len() <= high && columns >= LEFT + names + 4 + 30;
    let wide = columns.saturating_sub(LEFT + 1 + if beside { names + 4 } else { 2 }).max(10);

    let top = mids.1.ceil();
    let bottom = mids.0.floor().clamp(top - DECADES.1, top - DECADES.0);
    let last = curves
        .iter()
        .filter_map(|(_, _, curve)| curve.0.last())
        .map(|(lag, _)| *lag)
        .fold(1.0, f64::max);
    let across = Scale::new((0.0, last), (0.0, (2 * wide - 1) as f64));
    let down = Scale::new((bottom, top), ((4 * high - 1) as f64, 0.0));

    let mut canvas = Canvas::new(wide, high);
    let mut underflows = vec![' '; wide];
    let mut ends: Vec<(usize, char, &str)> = Vec::new();
    let spacing = (2 * curves.len()).clamp(8, wide.max(8));
    for (place, (index, name, curve)) in curves.iter().enumerate() {
        let letter = letter(*index);
        let points: Vec<(f64, f64)> = curve
            .0
            .iter()
            .take_while(|(_, spread)| spread.mid >= bottom)
            .map(|(lag, spread)| (across.at(*lag), down.at(spread.mid)))
            .collect();
        for pair in points.windows(2) {
            canvas.line(pair[0], pair[1]);
        }
        // Letters are written in separate columns if there is room. The last is always written.
        let mut next = 1 + place * spacing / curves.len();
        for &(x, y) in &points {
            let column = x as usize / 2;
            if column >= next && canvas.letter(column, y as usize / 4, letter) {
                next = column + spacing;
            }
        }
        let (x, y) = points.last().copied().unwrap_or((0.0, (4 * high) as f64));
        canvas.letter(x as usize / 2, y as usize / 4, letter);
        let lost = points.len() < curve.0.len();
        if lost {
            let free = (x as usize / 2..wide).find(|&column| underflows[column] == ' ');
            underflows[free.unwrap_or(wide - 1)] = letter;
        }
        ends.push((if lost { high } else { y as usize / 4 }, letter, name));
    }
    let lost = underflows.iter().any(|&letter| letter != ' ');

    let mut text = wrap(
        "log10 of ‖dL/dh‖ against lag at initialisation, top layer, median over seeds",
        columns,
        "",
    );
    let labels = if beside { labels(ends, high + usize::from(lost)) } else { Vec::new() };
    let label = |row: usize| {
        labels
            .iter()
            .find(|(at, _, _)| *at == row)
            .map_or(String::new(), |(_, letter, name)| format!("  {letter} {name}"))
    };
    let marks = decades((bottom, top), high / 3);
    for row in 0..high {
        let mark = marks.iter().find(|&&mark| down.at(mark) as usize / 4 == row);
        let (mark, edge) = mark.map_or((String::new(), '│'), |mark| (plain(*mark), '┤'));
        text += format!("{mark:>width$} {edge}{}{}", canvas.row(row), label(row), width = LEFT - 1)
            .trim_end();
        text.push('\n');
    }
    if lost {
        let row: String = underflows.iter().collect();
        let word = if mids.0 < bottom { "below" } else { "underflow" };
        text += format!("{word:>width$} ┆{row}{}", label(high), width = LEFT - 1).trim_end();
        text.push('\n');
    }
    text += &axis(across, wide, last);
    if !beside {
        let legend: Vec<String> = curves
            .iter()
            .map(|(index, name, _)| format!("{}\u{a0}{name}", letter(*index)))
            .collect();
        text += &wrap(&legend.join("   "), columns, "").replace('\u{a0}', " ");
    }
    text
}

/// The smallest and the largest finite median.
fn bounds(curves: &[(usize, &str, Curve)]) -> Option<(f64, f64)> {
    let mids =
        || curves.iter().flat_map(|(_, _, curve)| curve.0.iter().map(|(_, spread)| spread.mid));
    let finite = || mids().filter(|mid| mid.is_finite());
    Some((finite().min_by(f64::total_cmp)?, finite().max_by(f64::total_cmp)?))
}

/// Gives every label its own row, as near as possible to the end of its line.
fn labels(mut ends: Vec<(usize, char, &str)>, rows: usize) -> Vec<(usize, char, &str)> {
    ends.sort_by_key(|end| end.0);
    let mut free = 0;
    for end in &mut ends {
        end.0 = end.0.max(free);
        free = end.0 + 1;
    }
    let mut bound = rows;
    for end in ends.iter_mut().rev() {
        end.0 = end.0.min(bound.saturating_sub(1));
        bound = end.0;
    }
    ends
}

/// The horizontal axis with its numbers.
fn axis(across: Scale, wide: usize, last: f64) -> String {
    let (mut line, mut numbers) = (vec!['─'; wide], vec![' '; wide + 8]);
    for tick in ticks((0.0, last), (wide / 8).max(2)) {
        let column = across.at(tick) as usize / 2;
        line[column] = '┬';
        let text = plain(tick);
        let from = column.saturating_sub(text.len() / 2);
        for (place, character) in text.chars().enumerate() {
            numbers[from + place] = character;
        }
    }
    let indent = " ".repeat(LEFT);
    let (line, numbers) =
        (line.into_iter().collect::<String>(), numbers.into_iter().collect::<String>());
    format!("{indent}└{line}\n{:>width$}  {}\n", "lag", numbers.trim_end(), width = LEFT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Records;
    use crate::sample;

    #[test]
    fn a_dot_for_every_position() {
        let mut canvas = Canvas::new(2, 1);
        canvas.line((0.0, 0.0), (3.0, 3.0));
        assert_eq!(canvas.row(0), "\u{2811}\u{2884}"); // dots 1 and 5, then 3 and 8: a diagonal
        assert!(canvas.letter(1, 0, 'q'));
        assert!(!canvas.letter(1, 0, 'r'), "taken");
        assert_eq!(canvas.row(0), "\u{2811}q");
    }

    #[test]
    fn ten_variants_in_eighty_columns() {
        let records = sample::compare(&sample::TEN);
        let text = plot(&Group::new(&records), 80, 24);
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        assert!(text.lines().count() <= 24, "{text}");
        for (index, plan) in sample::TEN.iter().enumerate() {
            assert!(
                text.contains(&format!("{} {}", letter(index), plan.name)),
                "{}: {text}",
                plan.name
            );
        }
        // The variant that grows ends above the one that is kept, and this above the one that
        // halves.
        let row = |name: &str| text.lines().position(|line| line.ends_with(name)).expect("a label");
        assert!(row("residual-vanilla") < row(" lstm-chrono"), "{text}");
        assert!(row(" lstm-chrono") < row(" lstm"), "{text}");
        assert!(
            text.lines().any(|line| line.trim_start().starts_with("below ┆")
                && line.ends_with(
                    "a \
                vanilla"
                )),
            "{text}"
        );
    }

    #[test]
    fn narrow_or_empty() {
        let records = sample::compare(&sample::TEN);
        let text = plot(&Group::new(&records), 40, 12);
        assert!(text.lines().all(|line| width(line) <= 60), "{text}");
        assert!(text.contains("j layernorm-gru"), "{text}");
        assert!(plot(&Group::new(&Records::default()), 80, 20).contains("No gradient profile"));
    }

    #[test]
    fn labels_do_not_share_a_row() {
        let rows = |ends: &[usize], rows: usize| {
            let ends = ends.iter().map(|&end| (end, 'x', "")).collect();
            labels(ends, rows).iter().map(|label| label.0).collect::<Vec<_>>()
        };
        assert_eq!(rows(&[3, 3, 3], 10), [3, 4, 5]);
        assert_eq!(rows(&[9, 9, 8], 10), [7, 8, 9]);
    }
}
