//! The errors of this crate.

use recurrent_tasks::usage::ConfigError;

/// The result of something that may fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why claims cannot be tested, or their results cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A mistake in the request.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A task fails.
    #[error(transparent)]
    Task(#[from] recurrent_tasks::Error),
    /// Records cannot be read or written.
    #[error(transparent)]
    Records(#[from] recurrent_records::Error),
    /// A network cannot be trained.
    #[error(transparent)]
    Harness(#[from] recurrent_harness::Error),
    /// Candle refuses an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A thread cannot be started.
    #[error("worker: no thread to run on")]
    Thread(#[from] rayon::ThreadPoolBuildError),
    /// A network lacks what a claim measures.
    #[error("{0}")]
    Missing(String),
    /// The caller has asked the test to stop.
    #[error("interrupted")]
    Interrupted,
    /// The caller's function for lines to print fails.
    #[error(transparent)]
    Caller(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Whether the error is a mistake in the request.
    pub fn is_config(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Task(error) => error.is_config(),
            Self::Records(error) => error.is_config(),
            Self::Harness(error) => error.is_config(),
            _ => false,
        }
    }
}
