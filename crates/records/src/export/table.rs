//! Records as tables of columns, derived from their serde values: a column is named by its path in
//! the record, `gradients.init.h.half_life`.

use crate::record::{Records, RunRecord};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A table: columns of equal length.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: Vec<(String, Column)>,
}

/// Values of one kind; `None` for missing ones.
pub(super) enum Column {
    Text(Vec<Option<String>>),
    Whole(Vec<Option<u64>>),
    Real(Vec<Option<f64>>),
    Flag(Vec<Option<bool>>),
}

/// The first columns of every row, by which tables can be joined.
#[derive(Serialize)]
struct Row<'a, T: Serialize> {
    variant: &'a str,
    seed: u64,
    #[serde(flatten)]
    record: T,
}

impl<'a, T: Serialize> Row<'a, T> {
    /// A row about a run.
    fn of(run: &'a RunRecord, record: T) -> Self {
        Self { variant: &run.config.model.variant, seed: run.config.seed, record }
    }
}

/// All tables, one for each kind of record. Results on longer sequences have a table of their own.
pub(super) fn all(records: &Records) -> Vec<Table> {
    let runs = records.runs.iter().map(|run| Row::of(run, run));
    let longer = records
        .runs
        .iter()
        .flat_map(|run| run.outcome.generalisation.iter().map(move |longer| Row::of(run, longer)));
    vec![
        Table::new("runs", runs, false),
        Table::new("steps", records.steps.iter(), false),
        Table::new("evals", records.evals.iter(), false),
        Table::new("generalisation", longer, false),
        Table::new("profiles", records.profiles.iter(), true),
        Table::new("measures", records.measures.iter(), true),
    ]
}

impl Column {
    /// A column from its values by row; the other rows are `None`.
    fn new(values: &BTreeMap<usize, Value>, rows: usize) -> Self {
        fn column<T: Clone>(
            values: &BTreeMap<usize, Value>,
            rows: usize,
            value: impl Fn(&Value) -> Option<T>,
        ) -> Vec<Option<T>> {
            let mut column = vec![None; rows];
            values.iter().for_each(|(row, found)| column[*row] = value(found));
            column
        }
        if values.values().all(Value::is_boolean) {
            Self::Flag(column(values, rows, Value::as_bool))
        } else if values.values().all(Value::is_u64) {
            Self::Whole(column(values, rows, Value::as_u64))
        } else if values.values().all(|value| real(value).is_some()) {
            Self::Real(column(values, rows, real))
        } else {
            Self::Text(column(values, rows, |value| match value {
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            }))
        }
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Whole(values) => values.len(),
            Self::Real(values) => values.len(),
            Self::Flag(values) => values.len(),
        }
    }

    /// The value of a row as written in CSV.
    fn cell(&self, row: usize) -> String {
        match self {
            Self::Text(values) => values[row].as_deref().map(quoted),
            Self::Whole(values) => values[row].map(|value| value.to_string()),
            Self::Real(values) => values[row].map(|value| format!("{value:?}")),
            Self::Flag(values) => values[row].map(|value| value.to_string()),
        }
        .unwrap_or_default()
    }
}

/// A number. Records hold non-finite ones as strings.
fn real(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

impl Table {
    /// The table of some records. With `long`, arrays become rows, one per entry; otherwise they
    /// are left out.
    fn new<T: Serialize>(name: &'static str, records: impl Iterator<Item = T>, long: bool) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut columns: BTreeMap<String, BTreeMap<usize, Value>> = BTreeMap::new();
        let mut rows = 0;
        for record in records {
            let record = match serde_json::to_value(&record) {
                Ok(Value::Object(record)) => record,
                other => unreachable!("a record is an object: {other:?}"),
            };
            let mut cells = Vec::new();
            flatten("", record, &mut cells);
            let entries = cells.iter().filter_map(|(_, value)| Some(value.as_array()?.len())).max();
            let count = if long { entries.unwrap_or(0).max(1) } else { 1 };
            for (name, value) in cells {
                if value.is_array() && !long {
                    continue;
                }
                if !columns.contains_key(&name) {
                    names.push(name.clone());
                }
                let column = columns.entry(name).or_default();
                for entry in 0..count {
                    let value = match &value {
                        Value::Array(entries) => entries.get(entry).cloned().unwrap_or_default(),
                        value => value.clone(),
                    };
                    if !value.is_null() {
                        column.insert(rows + entry, value);
                    }
                }
            }
            rows += count;
        }
        // A column without a value in any row has no type either.
        names.retain(|name| !columns[name].is_empty());
        let columns = names.into_iter().map(|name| {
            let column = Column::new(&columns[&name], rows);
            (name, column)
        });
        Self { name, columns: columns.collect() }
    }

    /// The table by RFC 4180, except that lines end in a line feed, as in all files of a
    /// comparison.
    pub(super) fn csv(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| quoted(name)).collect();
        let mut text = names.join(",") + "\n";
        for row in 0..self.columns.first().map_or(0, |(_, column)| column.len()) {
            let cells: Vec<_> = self.columns.iter().map(|(_, column)| column.cell(row)).collect();
            text += &(cells.join(",") + "\n");
        }
        text
    }
}

/// The values of a record by their paths.
fn flatten(path: &str, record: Map<String, Value>, cells: &mut Vec<(String, Value)>) {
    for (name, value) in record {
        let path = if path.is_empty() { name } else { format!("{path}.{name}") };
        match value {
            Value::Object(inner) => flatten(&path, inner, cells),
            value => cells.push((path, value)),
        }
    }
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Generalised;
    use crate::sample;
    use crate::task::Reference;

    /// The values of a column, as written in CSV.
    fn cells(table: &Table, name: &str) -> Vec<String> {
        let (_, column) = table.columns.iter().find(|(known, _)| known == name).expect(name);
        (0..column.len()).map(|row| column.cell(row)).collect()
    }

    #[test]
    fn tables_have_the_records() {
        let mut records = sample::records();
        records.runs[0].config.model.init = "a, \"b\"".to_owned();
        records.runs[0].config.task.reference =
            Some(Reference { name: "5-gram".to_owned(), loss: 1.5 });
        let longer = |length, loss| Generalised { length, loss, accuracy: None, baseline: 0.5 };
        records.runs[0].outcome.generalisation =
            vec![longer(200, 0.25), longer(400, f64::INFINITY)];
        records.steps[0].loss = f64::NAN;
        records.steps[1].loss = f64::INFINITY;
        let all = all(&records);
        for table in &all {
            if let Some((_, first)) = table.columns.first() {
                let rows = first.len();
                assert!(
                    table.columns.iter().all(|(_, column)| column.len() == rows),
                    "{}",
                    table.name
                );
                assert_eq!(table.csv().lines().count(), rows + 1, "{}", table.name);
            }
        }
        assert_eq!(cells(&all[0], "config.model.init")[0], "\"a, \"\"b\"\"\"");
        assert_eq!(cells(&all[0], "config.task.reference.name")[..2], ["5-gram", ""]);
        assert_eq!(cells(&all[0], "config.task.reference.loss")[..2], ["1.5", ""]);
        assert_eq!(cells(&all[0], "config.training.clip.global-norm")[0], "1.0");
        let half_life =
            records.runs[0].gradients.init.h.half_life.map(|steps| format!("{steps:?}"));
        assert_eq!(cells(&all[0], "gradients.init.h.half_life")[0], half_life.unwrap_or_default());
        let mut lines: Vec<Vec<String>> = Vec::new();
        for name in ["variant", "seed", "length", "loss", "baseline"] {
            lines.push(cells(&all[3], name));
        }
        assert_eq!(
            lines,
            [["vanilla"; 2], ["1"; 2], ["200", "400"], ["0.25", "inf"], ["0.5"; 2]],
            "no accuracy, hence no column"
        );
        let loss = cells(&all[1], "loss");
        assert_eq!(loss[..2], ["NaN", "inf"]);
        let third: f64 = loss[2].parse().expect("a loss");
        assert_eq!(third.to_bits(), records.steps[2].loss.to_bits(), "no digit is lost");
        assert_eq!(
            cells(&all[4], "lag").len(),
            records.profiles.iter().map(|profile| profile.lag.len()).sum::<usize>()
        );
        let status = cells(&all[0], "status");
        assert_eq!((status[0].as_str(), status[13].as_str()), ("finished", "stopped"));
        assert_eq!(cells(&all[0], "status.failed")[14], "the loss is not a number at step 40");
    }
}
