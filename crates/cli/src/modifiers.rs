//! One grammar of modifiers, `name[=value]`: those of a network and those of its training.

use crate::output::first_line;
use anyhow::Result;
use recurrent::modifier::{self, ModifierSpec};
use recurrent_harness::overrides;
use recurrent_records::config::Override;
use recurrent_tasks::usage::{nearest, ConfigError};

/// What a modifier changes.
pub(crate) enum Modifier {
    /// The network.
    Network(modifier::Modifier),
    /// How it is trained or read.
    Training(Override),
}

/// The modifier that a text names.
pub(crate) fn parse(text: &str) -> Result<Modifier> {
    if let Some(network) = modifier::Modifier::parse(text).map_err(usage)? {
        return Ok(Modifier::Network(network));
    }
    match overrides::parse(text)? {
        Some(one) => Ok(Modifier::Training(one)),
        None => Err(unknown(text).into()),
    }
}

/// The one table: the rows of the network, then those of its training.
fn specs() -> impl Iterator<Item = ModifierSpec> {
    modifier::specs().chain(overrides::specs())
}

/// A line on each.
pub(crate) fn lines() -> Vec<String> {
    let line = |ModifierSpec { usage, summary, source }| {
        let source = if source.is_empty() { String::new() } else { format!(" ({source})") };
        format!("  {usage:<25} {summary}{source}")
    };
    specs().map(line).collect()
}

/// An error of the zoo as a mistake of the user.
pub(crate) fn usage(error: candle_core::Error) -> ConfigError {
    ConfigError::new(first_line(&error.to_string()))
}

fn unknown(text: &str) -> ConfigError {
    let nearest = nearest(text.split('=').next().unwrap_or_default(), specs().map(|s| s.name()))
        .unwrap_or("none");
    ConfigError::new(format!(
        "remedy {text}: no such remedy; the nearest is {nearest}, `ablate --list` shows all"
    ))
}
