#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod adamw;
mod checkpoint;
mod checkpoints;
mod clip;
mod clip_statistics;
mod elementwise;
mod gradient_fault;
mod gradient_watch;
mod groups;
mod norms;
mod optimizer;
mod params;
mod schedule;
mod sgd;
mod slots;
mod state_dict;

pub use adamw::{AdamW, AdamWConfig};
pub use checkpoint::{safetensors_bytes, Checkpoint};
pub use checkpoints::{Checkpoints, Latest};
pub use clip::{clip_global_norm, clip_per_tensor, clip_value, Clip};
pub use clip_statistics::ClipStatistics;
pub use gradient_fault::{GradientFault, ZeroCause, ZeroGradient};
pub use gradient_watch::{GradientWatch, GradientWatchState};
pub use groups::{ParamGroup, ParamGroups};
pub use norms::{global_norm, tensor_norms};
pub use optimizer::Optimizer;
pub use params::Params;
pub use schedule::Schedule;
pub use sgd::{Momentum, Sgd, SgdConfig};
pub use state_dict::StateDict;
