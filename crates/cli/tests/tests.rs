//! The program as its user sees it: what it refuses and in which words, what it writes and prints,
//! that the same command gives the same files, what an interruption leaves behind, and that what
//! was killed or interrupted goes on.

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
