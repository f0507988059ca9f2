//! The crate's integration tests in one binary, because every further binary links candle again.

mod ablation;
mod attention;
mod cells;
mod compare;
mod resume;
mod run;
mod treatment;
