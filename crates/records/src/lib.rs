//! Records of runs of recurrent networks and the folders that hold them, statistics, effects of
//! modifiers, and tables for other programs. This crate neither trains nor plots.

#![forbid(unsafe_code)]

pub mod config;
pub mod difference;
pub mod dir;
pub mod effects;
pub mod error;
pub mod export;
pub mod merge;
pub mod record;
#[doc(hidden)]
pub mod sample;
pub mod solve_rates;
pub mod statistics;

pub use error::{Error, Result};
pub use record::{
    EvalRecord, MeasureRecord, ProfileRecord, Records, RunRecord, Status, StepRecord,
};
use recurrent_tasks::{task, usage};
