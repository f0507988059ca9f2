//! The table in a terminal.

use super::columns::{columns, Column, Value, INAPPLICABLE, MARK};
use super::group::Group;
use super::numbers::{count, percent, significant};
use super::run::RunView;
use super::trend::POOR_FIT;
use crate::record::RunRecord;

/// The spaces between two columns.
const GAP: usize = 2;

/// The table for a terminal of `columns` columns: one row per variant, in as many blocks as the
/// width needs.
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
        // Blocks are filled in order. Only the last column may go to an earlier block, because it
        // would stand alone otherwise.
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
    let note = "median (range) over seeds; “before → after” training. Half-life: steps back over \
        which dL/dh, the gradient of the loss with respect to the hidden state, halves; “×2 in N”: \
        it doubles every N steps. Horizon: how many steps back it has a thousandth of its size at \
        the last step. first/last: its size at the first step over that at the last.";
    text += &wrap(note, columns_wide, "");
    let shown = || columns.iter().flat_map(|column| &column.values);
    if shown().any(|(before, after)| {
        before.poor_fit || after.as_ref().is_some_and(|value| value.poor_fit)
    }) {
        text += &wrap(&format!("{MARK} {}", poor_fit_note()), columns_wide, "  ");
    }
    for caution in comparison.cautions() {
        text += &wrap(&format!("! {caution}"), columns_wide, "  ");
    }
    text
}

/// The explanation of the mark of a half-life.
pub(super) fn poor_fit_note() -> String {
    format!(
        "the fitted line explains less than {} of the variance (R² < {POOR_FIT}) with at least one \
         seed: the profile is no exponential there, often just level, so the number says little. \
         See the plots.",
        percent(POOR_FIT)
    )
}

/// The cells of a column as a terminal shows them, aligned, the heading first. With two values per
/// variant there is no room for ranges.
fn lines(column: &Column) -> Vec<String> {
    let text = |value: &Value| match &value.range {
        Some(range) if !column.paired() => format!("{} ({range})", value.marked()),
        _ => value.marked(),
    };
    let pairs: Vec<(String, Option<String>)> = column
        .values
        .iter()
        .map(|(before, after)| (text(before), after.as_ref().map(text)))
        .collect();
    let before = pairs.iter().map(|pair| width(&pair.0)).max().unwrap_or(0);
    let after = pairs.iter().filter_map(|pair| pair.1.as_deref().map(width)).max().unwrap_or(0);
    let cell = |pair: &(String, Option<String>)| match &pair.1 {
        Some(text) if *text == pair.0 && text == INAPPLICABLE => text.clone(),
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

/// The result of a simple method that looks at the input, if the task has one: `5-gram 2.312`.
pub(super) fn reference(comparison: &Group) -> Option<String> {
    comparison.runs.iter().find_map(|run| run.config.task.reference.as_ref())?;
    let shown = |run: &RunRecord| match &run.config.task.reference {
        Some(reference) => format!("{} {}", reference.name, significant(reference.loss, 4)),
        None => "no reference".to_owned(),
    };
    Some(comparison.distinct(shown))
}

/// Rows of cells in columns, with a line below the first row. The first and the last column are
/// aligned left, the others right. A table wider than `most` characters is split into blocks of
/// columns, each with the first column.
pub(super) fn aligned(rows: &[Vec<String>], most: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widest: Vec<usize> = (0..columns)
        .map(|column| cells(column).map(|cell| width(cell)).max().unwrap_or(0))
        .collect();
    let mut blocks: Vec<(usize, Vec<usize>)> = Vec::new();
    for column in 1..columns {
        let needs = GAP + widest[column];
        match blocks.last_mut().filter(|(used, _)| *used + needs <= most) {
            Some((used, block)) => {
                *used += needs;
                block.push(column);
            }
            None => blocks.push((widest[0] + needs, vec![0, column])),
        }
    }
    let block = |(used, block): &(usize, Vec<usize>)| {
        let line = |(place, row): (usize, &Vec<String>)| {
            let cell = |&column: &usize| {
                let text = row.get(column).map_or("", String::as_str);
                match column {
                    _ if column == 0 || column + 1 == columns => left(text, widest[column]),
                    _ => right(text, widest[column]),
                }
            };
            let cells: Vec<String> = block.iter().map(cell).collect();
            let line = cells.join(&" ".repeat(GAP)).trim_end().to_owned();
            match place {
                0 => format!("{line}\n{}\n", "─".repeat(*used)),
                _ => format!("{line}\n"),
            }
        };
        rows.iter().enumerate().map(line).collect::<String>()
    };
    blocks.iter().map(block).collect::<Vec<_>>().join("\n")
}

/// The number of characters; a terminal shows each in one cell.
pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

fn left(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

fn right(text: &str, to: usize) -> String {
    format!("{}{text}", " ".repeat(to.saturating_sub(width(text))))
}

/// Breaks text into lines of at most `columns` characters, and ends the last with a newline. All
/// lines but the first begin with `indent`. A word longer than a line stays whole.
pub fn wrap(text: &str, columns: usize, indent: &str) -> String {
    let options = textwrap::Options::new(columns)
        .subsequent_indent(indent)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    textwrap::fill(text, options) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Records;
    use crate::run::set_r2;
    use crate::sample;
    use crate::task::Reference;
    use crate::trend::Phase;

    #[test]
    fn every_width_shows_every_row_and_column() {
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
    fn a_simple_method_is_shown_beside_the_baseline() {
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
        assert_eq!(wrap("a-very-long-word of no-break", 9, ""), "a-very-long-word\nof\nno-break\n");
    }

    #[test]
    fn a_wide_table_is_split_into_blocks() {
        let rows = [["a", "first", "second"], ["row", "1", "2"]]
            .map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows, 80), "a    first  second\n──────────────────\nrow      1  2\n");
        assert_eq!(
            aligned(&rows, 12),
            "a    first\n──────────\nrow      1\n\na    second\n───────────\nrow  2\n"
        );
    }

    #[test]
    fn a_bad_fit_has_a_footnote() {
        let mut records = sample::compare(&sample::TEN);
        assert!(!terminal(&Group::new(&records), 80).contains("R²"));
        set_r2(&mut records.runs[6], Phase::Final, 0.1);
        let text = terminal(&Group::new(&records), 80);
        assert!(
            text.contains("31*") && text.contains("\n* the fitted line explains less than 50 %"),
            "{text}"
        );
    }
}
