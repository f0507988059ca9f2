//! The examples `compare`, `ablate`, `sweep`, `claims`, `diagnose` and `char_lm` as their user sees them: what they refuse and in which words, what they
//! write and print, that the same command gives the same files, what an interruption leaves behind, and that what was killed or interrupted
//! goes on.

mod ablated;
mod claimed;
mod diagnosed;
mod digits;
#[cfg(unix)]
mod interrupted;
#[cfg(unix)]
mod killed;
mod program;
mod refused;
mod resumed;
mod sampled;
mod shown;
mod swept;
mod watched;
mod written;
