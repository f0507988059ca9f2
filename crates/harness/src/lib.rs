//! Trains recurrent networks side by side and reports whether their gradients survive.

pub mod record;
pub mod task;
pub mod tasks;
pub mod variant;
