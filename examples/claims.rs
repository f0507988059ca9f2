//! What is true of what articles say about vanishing gradients?
//!
//! The same as `recurrent claims`, see `crates/cli`: `cargo run --release --example claims --
//! --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    recurrent_cli::subcommand("claims")
}
