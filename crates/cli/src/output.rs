//! Printing on the standard output.

use anyhow::{Context, Result};
use std::io::{stdout, ErrorKind, Write};

/// Prints lines. A closed pipe is not an error.
///
/// # Errors
/// If the standard output cannot be written, for instance on a full disk.
pub fn print(lines: &str) -> Result<()> {
    write(&format!("{lines}\n")).map(drop)
}

/// Prints a part of a line at once, and returns whether the pipe is still open.
///
/// # Errors
/// As [`print()`].
pub fn write(text: &str) -> Result<bool> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        ended => ended.map(|()| true).context("the standard output cannot be written"),
    }
}

/// The number of columns to print: COLUMNS, or that of the terminal, or 100.
pub(crate) fn width() -> usize {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal =
        || console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    asked.or_else(terminal).unwrap_or(100)
}

/// The first line of an error. candle appends a backtrace if the environment asks for one.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
