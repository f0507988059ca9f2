//! The examples `diagnose` and `char_lm` as their user sees them.

mod diagnosed;
mod program;
mod sampled;
