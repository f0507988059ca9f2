//! Which claims about vanishing gradients in articles are true?
//!
//! The same as `recurrent claims`, see `crates/cli`:
//! `cargo run --release --example claims -- --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    recurrent_cli::subcommand("claims")
}
