//! The table in a terminal.

use super::columns::{columns, Column, Value, NONE};
use super::group::Group;
use super::numbers::{count, significant};
use super::run::RunView;
use crate::record::RunRecord;

/// The table for a terminal of `columns` columns: one row a variant, in as many blocks as the width needs.
pub(super) fn terminal(comparison: &Group, columns_wide: usize) -> String {
    let mut text = wrap(&headline(comparison), columns_wide, "");
    let names: Vec<String> = std::iter::once("variant")
        .chain(comparison.variants.iter().map(|v| v.name))
        .map(str::to_owned)
        .collect();
    let widest = names.iter().map(|name| width(name)).max().unwrap_or(0);
    let mut blocks: Vec<(usize, Vec<Vec<String>>)> = Vec::new();
    let columns = columns(comparison);
    for (place, column) in columns.iter().enumerate() {
        let lines = lines(column);
        let needs = 2 + lines.first().map_or(0, |line| width(line));
        // In order, but for the last, which would else stand alone.
        let from = if place + 1 == columns.len() { 0 } else { blocks.len().saturating_sub(1) };
        match blocks[from..].iter_mut().find(|(used, _)| *used + needs <= columns_wide) {
            Some((used, block)) => {
                *used += needs;
                block.push(lines);
            }
            None => blocks.push((widest + needs, vec![lines])),
        }
    }
    for (used, block) in &blocks {
        text.push('\n');
        for (row, name) in names.iter().enumerate() {
            let cells: Vec<&str> = block.iter().map(|lines| lines[row].as_str()).collect();
            let line = format!("{}  {}", left(name, widest), cells.join("  "));
            text += line.trim_end();
            text.push('\n');
            if row == 0 {
                text += &"─".repeat(*used);
                text.push('\n');
            }
        }
    }
    text.push('\n');
    let note = "median (range) over seeds; “before → after” training. Half-life and horizon of dL/dh in steps: \
                a half-life of “none” is no decay, “×2 in N” growth. Horizon: the last lag with a thousandth of \
                the norm at lag 0. first/last: the norm at the first step over that at the last.";
    text += &wrap(note, columns_wide, "");
    for caution in comparison.cautions() {
        text += &wrap(&format!("! {caution}"), columns_wide, "  ");
    }
    text
}

/// The cells of a column as a terminal shows them, aligned, the heading first. Where there are two values a variant,
/// there is no room for ranges.
fn lines(column: &Column) -> Vec<String> {
    let text = |value: &Value| match &value.range {
        Some(range) if !column.paired() => format!("{} ({range})", value.text),
        _ => value.text.clone(),
    };
    let pairs: Vec<(String, Option<String>)> = column
        .values
        .iter()
        .map(|(before, after)| (text(before), after.as_ref().map(text)))
        .collect();
    let before = pairs.iter().map(|pair| width(&pair.0)).max().unwrap_or(0);
    let after = pairs.iter().filter_map(|pair| pair.1.as_deref().map(width)).max().unwrap_or(0);
    let cell = |pair: &(String, Option<String>)| match &pair.1 {
        Some(text) if *text == pair.0 && text == NONE => NONE.to_owned(),
        Some(text) => format!("{} → {}", right(&pair.0, before), left(text, after)),
        None => pair.0.clone(),
    };
    let cells: Vec<String> =
        std::iter::once(column.heading.to_owned()).chain(pairs.iter().map(cell)).collect();
    let most = cells.iter().map(|cell| width(cell)).max().unwrap_or(0);
    cells.iter().map(|cell| right(cell, most)).collect()
}

/// The task, baseline and machine, in a line.
pub(super) fn headline(comparison: &Group) -> String {
    if comparison.runs.is_empty() {
        return "no runs".to_owned();
    }
    let seeds = comparison.seeds();
    format!(
        "{} · baseline {}{} · {} · {} · {} on {}",
        comparison.task(),
        comparison.distinct(|run| significant(run.config.task.baseline, 4)),
        reference(comparison).map_or(String::new(), |reference| format!(" · {reference}")),
        count(comparison.variants.len(), "variant"),
        count(seeds.len(), "seed"),
        comparison.distinct(|run| run.dtype().to_owned()),
        comparison.distinct(|run| run.device().to_owned()),
    )
}

/// What a simple method that looks at the input reaches, where the task has one: `5-gram 2.312`.
pub(super) fn reference(comparison: &Group) -> Option<String> {
    comparison.runs.iter().find_map(|run| run.config.task.reference.as_ref())?;
    let shown = |run: &RunRecord| match &run.config.task.reference {
        Some(reference) => format!("{} {}", reference.name, significant(reference.loss, 4)),
        None => "none".to_owned(),
    };
    Some(comparison.distinct(shown))
}

/// Rows of cells in columns, the first with a line below it: the first and the last column begin at the left, the others end at the right.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        let cell = |(column, cell): (usize, &String)| match column {
            _ if column == 0 || column + 1 == columns => left(cell, widest[column]),
            _ => right(cell, widest[column]),
        };
        text += row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
        if place == 0 {
            text += &"─".repeat(widest.iter().sum::<usize>() + 2 * columns.saturating_sub(1));
            text.push('\n');
        }
    }
    text
}

/// The number of characters, each of which a terminal shows in one cell.
pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

fn left(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

fn right(text: &str, to: usize) -> String {
    format!("{}{text}", " ".repeat(to.saturating_sub(width(text))))
}

/// Breaks text into lines of at most `columns` characters; all but the first begin with `indent`.
pub fn wrap(text: &str, columns: usize, indent: &str) -> String {
    let (mut all, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if !line.trim().is_empty() && width(&line) + 1 + width(word) > columns {
            all += line.trim_end();
            all.push('\n');
            line = indent.to_owned();
            line += word;
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
    }
    all += line.trim_end();
    all.push('\n');
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Records;
    use crate::sample;
    use crate::task::Reference;

    #[test]
    fn any_width_holds_every_row_and_column() {
        let mut records = sample::compare(&sample::TEN);
        records.runs.iter_mut().for_each(|run| run.outcome.accuracy = Some(0.9));
        let comparison = Group::new(&records);
        for columns_wide in [60, 80, 100, 120, 200] {
            let text = terminal(&comparison, columns_wide);
            let longest = text.lines().map(width).max().unwrap_or(0);
            assert!(longest <= columns_wide, "{longest} of {columns_wide}:\n{text}");
            for column in columns(&comparison) {
                let number = text
                    .lines()
                    .filter(|line| line.starts_with("variant"))
                    .filter(|line| line.contains(column.heading));
                assert_eq!(number.count(), 1, "{}:\n{text}", column.heading);
            }
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
        let one_block = terminal(&comparison, 200);
        assert_eq!(one_block.lines().filter(|line| line.starts_with("lstm ")).count(), 1);
    }

    #[test]
    fn a_simple_method_stands_beside_the_baseline() {
        let mut records = sample::records();
        for run in &mut records.runs {
            run.config.task.reference =
                Some(Reference { name: "5-gram".to_owned(), loss: 2.312_34 });
        }
        let text = headline(&Group::new(&records));
        assert!(text.starts_with("adding, T = 100 · baseline 0.1667 · 5-gram 2.312 · "), "{text}");
    }

    #[test]
    fn nothing_to_show() {
        let text = terminal(&Group::new(&Records::default()), 80);
        assert!(text.contains("No run has ended"), "{text}");
    }

    #[test]
    fn wrapping() {
        assert_eq!(wrap("one two three four", 9, "  "), "one two\n  three\n  four\n");
    }
}
