//! One report on several comparisons: what different machines, days, variants and tasks have given.
//!
//! The same as `recurrent report`, see `crates/cli`: `cargo run --release --example report --
//! --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    recurrent_cli::subcommand("report")
}
