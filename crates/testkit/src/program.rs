//! Programs that a test runs.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The exit code of a finished program, unless a signal ended it, and its output.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: Option<i32>,
    /// The standard output.
    pub out: String,
    /// The standard error.
    pub err: String,
}

impl Ended {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// If it cannot start, or its output is not UTF-8.
    pub fn of(command: &mut Command) -> Result<Self> {
        let output = command.output().with_context(|| format!("{command:?}"))?;
        let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        Ok(Self { code: output.status.code(), out, err })
    }

    /// Asserts success without output on the standard error, and returns the standard output.
    pub fn well(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }
}

/// The command `words args` in a folder. In `args`, blanks separate arguments and `''` is an empty
/// one. A panic or an error would show a backtrace.
///
/// # Panics
/// If there are no `words`.
pub fn command(words: &[PathBuf], folder: &Path, args: &str) -> Command {
    let args = args.split_whitespace().map(|arg| if arg == "''" { "" } else { arg });
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(args).current_dir(folder).stdin(Stdio::null());
    command.env("RUST_BACKTRACE", "1").env_remove("COLUMNS");
    command
}
