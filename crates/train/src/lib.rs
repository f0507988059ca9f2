#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod adamw;
mod checkpoint;
mod checkpoints;
mod clip;
mod clip_statistics;
mod elementwise;
mod fault;
mod groups;
mod norm;
mod optimizer;
mod params;
mod schedule;
mod sgd;
mod slots;
mod state;
mod watch;

pub use adamw::{AdamW, AdamWConfig};
pub use checkpoint::{safetensors_bytes, Checkpoint};
pub use checkpoints::{Checkpoints, Latest};
pub use clip::{clip_global_norm, clip_per_tensor, clip_value, Clip};
pub use clip_statistics::ClipStatistics;
pub use fault::{GradientFault, ZeroCause, ZeroGradient};
pub use groups::{Group, Groups};
pub use norm::{global_norm, tensor_norms};
pub use optimizer::Optimizer;
pub use params::Params;
pub use schedule::Schedule;
pub use sgd::{Momentum, Sgd, SgdConfig};
pub use state::State;
pub use watch::{GradientWatch, WatchState};
