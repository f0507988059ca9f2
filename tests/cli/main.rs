//! The examples `compare`, `ablate`, `sweep`, `claims` and `diagnose` as their user sees them: what they refuse and in which words, what they
//! write and print, that the same command gives the same files, and what an interruption leaves behind.

mod ablated;
mod claimed;
mod diagnosed;
mod digits;
#[cfg(unix)]
mod interrupted;
mod program;
mod refused;
mod shown;
mod swept;
mod written;
