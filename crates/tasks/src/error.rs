//! Errors of tasks.

use crate::usage::ConfigError;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// The result of a function that may fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why a task cannot be opened, or cannot give a batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A mistake in the configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of data is not what was expected.
    #[error("{0}")]
    Data(String),
    /// A file cannot be read.
    #[error("{path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// An error with the place where it happened.
    #[error("{place}")]
    In {
        /// The place: a file, a row.
        place: String,
        /// The error.
        source: Box<Self>,
    },
    /// Candle refuses an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// An error of a task from outside this crate.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Whether it is a mistake in the configuration.
    pub fn is_config(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::In { source, .. } => source.is_config(),
            _ => false,
        }
    }

    /// A file that is not what was expected.
    pub(crate) fn data(line: impl Into<String>) -> Self {
        Self::Data(line.into())
    }

    /// A file that cannot be read.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    /// The same, in a place.
    pub(crate) fn within(self, place: impl Display) -> Self {
        Self::In { place: place.to_string(), source: Box::new(self) }
    }
}

/// Returns an [`Error::Data`] with a message in the syntax of `format!`.
macro_rules! bail {
    ($($words:tt)*) => {
        return Err($crate::error::Error::data(format!($($words)*)))
    };
}
pub(crate) use bail;

/// Returns an [`Error::Data`] unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($words:tt)*) => {
        if $condition {} else {
            $crate::error::bail!($($words)*)
        }
    };
}
pub(crate) use ensure;
