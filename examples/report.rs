//! One report on several comparisons: results of different machines, days, variants and tasks.
//!
//! The same as `recurrent report`, see `crates/cli`:
//! `cargo run --release --example report -- --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    recurrent_cli::subcommand("report")
}
