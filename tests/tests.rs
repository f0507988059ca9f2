//! The facade's integration tests in one binary, because every further binary links candle again.
//!
//! Two tests have a process of their own: `inference`, which counts the allocations of its process,
//! and `long`, where a stack overflow would abort it.

mod clipping;
mod conformance;
mod described;
mod diagnose;
mod exact;
mod exchange;
mod foreign;
mod from_candle_nn;
mod kernel;
mod model;
mod options;
mod programs;
mod pronounce;
mod pytorch;
mod recurrent_dropout;
mod sanity;
