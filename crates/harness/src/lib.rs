#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod ablation;
pub mod compare;
pub mod config;
pub mod device;
mod difference;
pub mod export;
pub mod folder;
pub mod interrupt;
pub mod network;
pub mod panel;
pub mod record;
pub mod remedy;
pub mod report;
pub mod run;
pub mod size;
pub mod statistics;
pub mod sweep;
pub mod task;
pub mod tasks;
pub mod usage;
pub mod variant;
