#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod ablation;
pub mod compare;
pub mod device;
pub mod job;
pub mod network;
pub mod panel;
pub mod remedy;
pub mod run;
pub mod size;
pub mod sweep;
pub mod variant;

use recurrent_records::{
    config, difference, effects, folder, merge, record, solve_rates, statistics,
};
use recurrent_tasks::{task, usage};
