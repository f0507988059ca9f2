//! Mistakes in the configuration, as distinct from failures.

use std::fmt;

/// A mistake in the configuration: an unknown name, a rate that is not a number, a folder that is
/// not empty. It was found before anything was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    /// A mistake, in one line.
    pub fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Returns a [`ConfigError`] with a message in the syntax of `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __bail_config {
    ($($words:tt)*) => {
        return Err($crate::usage::ConfigError::new(format!($($words)*)).into())
    };
}
#[doc(hidden)]
pub use __bail_config as bail_config;

/// Names less similar than this are not offered: they have nothing in common but some letters.
const SIMILAR: f64 = 0.7;

/// The entry of `known`, in lower case, that is most similar to `name`, for a message:
/// `the nearest is adding, `. Empty if no entry is similar.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let name = name.to_lowercase();
    let known = known.into_iter().map(|known| (strsim::jaro_winkler(&name, known), known));
    let most = known.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness > SIMILAR);
    most.map_or(String::new(), |(_, nearest)| format!("the nearest is {nearest}, "))
}

/// An error with its causes in one line; candle appends a backtrace if the environment asks for
/// one.
pub fn line(error: &dyn std::error::Error) -> String {
    let first = |error: &dyn std::error::Error| {
        error.to_string().lines().next().unwrap_or_default().to_string()
    };
    let mut text = first(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = first(error);
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
