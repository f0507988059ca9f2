//! The facade's integration tests in one binary, since every binary links candle once more.
//!
//! Two tests have a process of their own: `frozen`, which counts the allocations of its process,
//! and `long`, where a stack overflow would abort it.

mod clipping;
mod conformance;
mod diagnose;
mod exchange;
mod facts;
mod foreign;
mod from_candle_nn;
mod kernel;
mod model;
mod noise;
mod options;
mod programs;
mod pronounce;
mod pytorch;
mod sanity;
