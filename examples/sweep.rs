//! How long may a lag be? The share of runs that solve a task, by its length, and the longest lag
//! that each variant bridges.
//!
//! The same as `recurrent sweep`, see `crates/cli`:
//! `cargo run --release --example sweep -- --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    recurrent_cli::subcommand("sweep")
}
