//! Which recurrent networks keep their gradient alive over a long lag, and which of them learn the
//! task?
//!
//! The same as `recurrent compare`, see `crates/cli`:
//! `cargo run --release --example compare -- --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    recurrent_cli::subcommand("compare")
}
