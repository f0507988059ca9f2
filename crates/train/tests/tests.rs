//! The crate's integration tests in one binary, because every further binary links candle again.

mod checkpoints;
mod pytorch;
mod regression;
mod resume;
mod watch;
