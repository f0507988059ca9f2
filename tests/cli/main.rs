//! The example `compare` as its user sees it: what it refuses and in which words, what it writes and prints, that the same
//! command gives the same files, and what an interruption leaves behind.

mod digits;
#[cfg(unix)]
mod interrupted;
mod program;
mod refused;
mod shown;
mod written;
