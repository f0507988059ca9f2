//! The errors of this crate.

use recurrent_tasks::usage::ConfigError;

/// The result of something that may fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run or a comparison cannot begin, or cannot be saved. A failure in training is not an
/// error: the run's record states it.
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
    /// Candle refuses an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The gradient watch finds that a network cannot learn.
    #[error(transparent)]
    Fault(#[from] recurrent_train::GradientFault),
    /// A value cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A layer lacks what an option needs.
    #[error("{0}")]
    Layer(String),
    /// A device is missing.
    #[error("{device} is not there")]
    Device {
        /// Its name.
        device: String,
        /// The cause.
        source: candle_core::Error,
    },
    /// A run cannot be saved, or resumed from its checkpoint.
    #[error("the run cannot be kept")]
    Checkpoint(#[source] Box<Self>),
    /// A checkpoint belongs to another run, or a saved run to another task or other data.
    #[error("{0}")]
    OtherRun(String),
    /// A thread cannot be started.
    #[error("worker: no thread to run on")]
    Thread(#[from] rayon::ThreadPoolBuildError),
    /// The caller's function for finished runs fails.
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
            _ => false,
        }
    }
}

/// Marks an error as a failure to save a run.
pub(crate) trait Kept<T> {
    fn kept(self) -> Result<T>;
}

impl<T, E: Into<Error>> Kept<T> for Result<T, E> {
    fn kept(self) -> Result<T> {
        self.map_err(|error| Error::Checkpoint(Box::new(error.into())))
    }
}
