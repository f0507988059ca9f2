//! The measures of a variant beyond its profiles as a table, and their cost.

use super::columns::NOT_MEASURED;
use super::group::{Group, VariantRuns};
use super::numbers::{count, significant, Spread};
use super::page::{self, Cell, Table, TableHead};
use crate::record::MeasureRecord;
use recurrent_records::config::Level;

/// The number of points of a curve that fit into a table.
const POINTS: usize = 7;

/// One measure of one part of a network, over all seeds and moments.
struct Row<'a> {
    first: &'a MeasureRecord,
    /// The values before training and after it, by seed.
    moments: [Vec<&'a MeasureRecord>; 2],
}

/// The table of a variant; `None` if only profiles were requested.
pub(super) fn table(variant: &VariantRuns) -> Option<Table> {
    if variant.measures.is_empty() {
        return None;
    }
    let row = |row: Row| {
        let layer = match (row.first.layer, row.first.direction.as_deref()) {
            (Some(layer), Some("reverse")) => format!("{layer}, reverse"),
            (Some(layer), _) => layer.to_string(),
            (None, _) => String::new(),
        };
        let mut cells = vec![Cell::new(layer), Cell::new(row.first.part.clone())];
        cells.extend(row.moments.iter().map(|moment| Cell::new(value(moment)).with_class("words")));
        page::Row { name: row.first.measure.clone(), cells, ..page::Row::default() }
    };
    Some(Table {
        class: "measures",
        caption: format!("all measures of {}", variant.name),
        first: "measure",
        heads: ["layer", "part", "start", "trained"].map(TableHead::plain).into(),
        rows: rows(&variant.measures).into_iter().map(row).collect(),
    })
}

/// The time that the measures took; `None` if only profiles were requested.
pub(super) fn cost(group: &Group) -> Option<String> {
    let spent = |level: Level| {
        let seconds = group
            .runs
            .iter()
            .filter_map(|run| run.outcome.measure_seconds.get(level.name()).copied());
        let spread = Spread::of(seconds)?;
        Some(format!("{} {} s", level.name(), spread.text(|seconds| significant(seconds, 2))))
    };
    let levels: Vec<_> = Level::ALL.into_iter().filter_map(spent).collect();
    let all: f64 = group.runs.iter().flat_map(|run| run.outcome.measure_seconds.values()).sum();
    (!levels.is_empty()).then(|| {
        format!(
            "Time of the measures per run: {}; {} s in all {}.",
            levels.join(", "),
            significant(all, 2),
            count(group.runs.len(), "run")
        )
    })
}

/// The rows, in the order of their first lines.
fn rows<'a>(measures: &[&'a MeasureRecord]) -> Vec<Row<'a>> {
    let same = |a: &MeasureRecord, b: &MeasureRecord| {
        (&a.measure, a.layer, &a.direction, &a.part) == (&b.measure, b.layer, &b.direction, &b.part)
    };
    let mut rows: Vec<Row> = Vec::new();
    for &line in measures {
        let place = rows.iter().position(|row| same(row.first, line)).unwrap_or_else(|| {
            rows.push(Row { first: line, moments: [Vec::new(), Vec::new()] });
            rows.len() - 1
        });
        rows[place].moments[usize::from(line.step > 0)].push(line);
    }
    rows
}

/// Medians and ranges over seeds for a single number or some points of a curve; or the reason why
/// there is no value.
fn value(lines: &[&MeasureRecord]) -> String {
    let number = |value| significant(value, 3);
    let Some(first) = lines.iter().max_by_key(|line| line.values.len()) else {
        return NOT_MEASURED.to_owned();
    };
    if first.values.is_empty() {
        return first.note.clone().unwrap_or(NOT_MEASURED.to_owned());
    }
    if first.at.is_empty() {
        let spread = Spread::of(lines.iter().filter_map(|line| line.values.first().copied()));
        return spread.map_or("not a number".to_owned(), |spread| spread.text(number));
    }
    let point = |&at: &usize| {
        let of = |line: &&MeasureRecord| {
            Some(line.values[line.at.iter().position(|&other| other == at)?])
        };
        Some(format!("{at}: {}", Spread::of(lines.iter().filter_map(of))?.median(number)))
    };
    let points: Vec<_> = chosen(&first.at).iter().filter_map(point).collect();
    format!("by {}: {}", first.axis, points.join(" · "))
}

/// The first and the last position and some between, closer together at the beginning.
fn chosen(at: &[usize]) -> Vec<usize> {
    if at.len() <= POINTS {
        return at.to_vec();
    }
    let last = (at.len() - 1) as f64;
    let place = |point: usize| (last.powf(point as f64 / (POINTS - 1) as f64)).round() as usize;
    let mut places: Vec<_> = (1..POINTS).map(place).collect();
    places.insert(0, 0);
    places.dedup();
    places.into_iter().map(|place| at[place]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(
        step: u64,
        seed: u64,
        at: &[usize],
        values: &[f64],
        note: Option<&str>,
    ) -> MeasureRecord {
        MeasureRecord {
            variant: "a".to_owned(),
            seed,
            step,
            level: Level::Gradients,
            measure: "share".to_owned(),
            layer: Some(0),
            direction: Some("forward".to_owned()),
            part: "c".to_owned(),
            axis: if at.is_empty() { "" } else { "lag" }.to_owned(),
            at: at.to_vec(),
            values: values.to_vec(),
            note: note.map(str::to_owned),
        }
    }

    #[test]
    fn seeds_are_joined_and_moments_are_separate() {
        let lines = [
            line(0, 0, &[], &[1.0], None),
            line(0, 1, &[], &[3.0], None),
            line(50, 0, &[], &[5.0], None),
            line(50, 1, &[], &[], Some("nothing there")),
        ];
        let rows = rows(&lines.iter().collect::<Vec<_>>());
        assert_eq!(rows.len(), 1);
        let texts = rows[0].moments.each_ref().map(|moment| value(moment));
        assert_eq!(texts, ["2.00 (1.00–3.00)", "5.00"]);
        assert_eq!(value(&[&lines[3]]), "nothing there");
        assert_eq!(value(&[]), "not measured");
    }

    #[test]
    fn curves_are_shown_by_some_points() {
        let (a, b) = (
            line(0, 0, &[1, 10], &[0.5, 0.25], None),
            line(0, 1, &[1, 10], &[0.7, f64::NAN], None),
        );
        assert_eq!(value(&[&a, &b]), "by lag: 1: 0.600 · 10: 0.250");
        let at: Vec<_> = (0..=100).collect();
        assert_eq!(chosen(&at), [0, 2, 5, 10, 22, 46, 100]);
        assert_eq!(chosen(&at[..8]), [0, 1, 2, 3, 4, 5, 7]);
    }
}
