//! Mistakes in what was asked for, told apart from failures.

use std::fmt;

/// A mistake in what was asked for: an unknown name, a rate that is not a number, a folder that is not empty. It was
/// found before anything was written.
///
/// ```
/// use recurrent_tasks::usage::{exit_code, Usage};
///
/// let mistake = anyhow::Error::new(Usage::new("seeds: expected at least 1, got 0"));
/// assert_eq!(exit_code(&mistake.context("compare")), 2);
/// assert_eq!(exit_code(&anyhow::anyhow!("the disk is full")), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage(String);

impl Usage {
    /// A mistake, in one line.
    pub fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The exit code of a program that ends with this error: 2 for a mistake in its usage, 1 for everything else.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<Usage>()) {
        2
    } else {
        1
    }
}

/// Returns with a [`Usage`] error, in the words of `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __mistake {
    ($($words:tt)*) => {
        return Err($crate::usage::Usage::new(format!($($words)*)).into())
    };
}
#[doc(hidden)]
pub use __mistake as mistake;

/// What of `known`, in small letters, looks most like `name`, for a message.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let likeness = |known: &&str| strsim::jaro_winkler(&name, known);
    known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// The first line of an error; candle appends a backtrace where the environment asks for one.
pub fn line(error: &impl fmt::Display) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_string()
}
