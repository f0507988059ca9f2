//! Lists variants and modifiers.

use crate::modifiers;
use crate::output::print;
use crate::Invocation;
use anyhow::Result;
use std::process::ExitCode;

/// List all variants, the defaults of compare with a star; or all modifiers of variants
#[derive(clap::Args)]
pub(crate) struct Args {
    /// List the modifiers: clip=0.5 in lstm+clip=0.5
    #[arg(long)]
    modifiers: bool,
}

pub(crate) fn run(args: Args, invocation: &Invocation) -> Result<ExitCode> {
    match args.modifiers {
        true => modifiers(),
        false => variants(invocation),
    }
}

/// Lists all variants.
pub(crate) fn variants(invocation: &Invocation) -> Result<ExitCode> {
    print(&invocation.variants.lines().join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Lists all modifiers.
pub(crate) fn modifiers() -> Result<ExitCode> {
    print(&modifiers::lines().join("\n"))?;
    Ok(ExitCode::SUCCESS)
}
