//! The program as its user sees it: refused input and its messages, written files and printed
//! output, equal files from equal commands, interruptions, and resuming killed or interrupted
//! comparisons.

mod ablated;
mod claimed;
mod digits;
#[cfg(unix)]
mod interrupted;
#[cfg(unix)]
mod killed;
mod program;
mod refused;
mod resumed;
mod shown;
mod swept;
mod watched;
mod written;
