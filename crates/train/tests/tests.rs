//! The integration tests, in one binary.

mod checkpoints;
mod gradient_watch;
mod pytorch;
mod regression;
mod resume;
