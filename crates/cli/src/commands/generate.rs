//! Completions for shells and the man page, from the definitions of the options.

use crate::output::write;
use crate::Program;
use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

/// Print completions for a shell: bash, zsh, fish, elvish or powershell
#[derive(clap::Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

pub(crate) fn completions(args: Completions) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Program::command(), "recurrent", &mut text);
    print(text)
}

/// The page of the program, followed by those of its subcommands.
pub(crate) fn man() -> Result<ExitCode> {
    let mut text = Vec::new();
    let mut program = Program::command();
    program.build();
    let subcommands = program.get_subcommands().cloned();
    for page in std::iter::once(program.clone()).chain(subcommands) {
        clap_mangen::Man::new(page).render(&mut text)?;
    }
    print(text)
}

fn print(text: Vec<u8>) -> Result<ExitCode> {
    write(&String::from_utf8(text).context("generated text is UTF-8")?)?;
    Ok(ExitCode::SUCCESS)
}
