//! The errors of this crate.

use recurrent_tasks::usage::ConfigError;
use std::io;

/// The result of something that may fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why records cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A mistake in the request, or a folder that holds something else.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A task refuses its options.
    #[error(transparent)]
    Task(#[from] recurrent_tasks::Error),
    /// A file or folder cannot be read or written.
    #[error("{what}")]
    Io {
        /// The file or folder, and the failed operation.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A file does not hold the expected JSON.
    #[error("{what}")]
    Json {
        /// The file.
        what: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// A table cannot be written as Parquet.
    #[cfg(feature = "parquet")]
    #[error(transparent)]
    Parquet(#[from] ::parquet::errors::ParquetError),
}

impl Error {
    /// Whether the error is a mistake in the request.
    pub fn is_config(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Task(error) => error.is_config(),
            _ => false,
        }
    }
}

/// Adds the name of the file to an error.
pub(crate) trait Context<T> {
    fn with_context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn with_context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}

impl<T> Context<T> for serde_json::Result<T> {
    fn with_context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Json { what: what(), source })
    }
}
