//! The measures of the dynamics against closed forms, finite differences and known systems.

mod cells;
mod jacobian;
mod lyapunov;
mod memory_capacity;
mod omega;
mod profile;
mod sensitivity;
mod spectral;
mod steps;
mod wrappers;
