//! What there is to choose from.

use crate::variants::list;
use anyhow::Result;
use std::process::ExitCode;

/// Lists all variants, those that compare takes unless told otherwise with a star; or all remedies.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// List the remedies
    #[arg(long)]
    remedies: bool,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    list(args.remedies)?;
    Ok(ExitCode::SUCCESS)
}
