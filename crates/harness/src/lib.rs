#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod ablation;
pub mod compare;
pub mod device;
pub mod error;
pub mod job;
pub mod measure;
pub mod network;
pub mod overrides;
pub mod run;
pub mod size;
pub mod sweep;
pub mod variant;

pub use error::{Error, Result};

use recurrent_records::{config, difference, dir, effects, merge, record, solve_rates, statistics};
use recurrent_tasks::{task, usage};
