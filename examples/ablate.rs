//! Which modifier helps? One variant with and without each of several modifiers, on the same seeds,
//! data and initial weights.
//!
//! The same as `recurrent ablate`, see `crates/cli`:
//! `cargo run --release --example ablate -- --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    recurrent_cli::subcommand("ablate")
}
