//! One grammar of modifiers, `name[=value]`: those of a network and those of its training.

use crate::output::first_line;
use anyhow::Result;
use recurrent::modifier::{self, ModifierSpec};
use recurrent_harness::overrides;
use recurrent_records::config::Override;
use recurrent_tasks::usage::{nearest, ConfigError};

/// The target of a modifier.
pub(crate) enum Modifier {
    /// The network.
    Network(modifier::Modifier),
    /// Its training or its read-out.
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

/// The table of modifiers: the rows of the network, then those of its training.
fn specs() -> impl Iterator<Item = ModifierSpec> {
    modifier::specs().chain(overrides::specs())
}

/// One line for each modifier.
pub(crate) fn lines() -> Vec<String> {
    let line = |ModifierSpec { usage, summary, source }| {
        let source = if source.is_empty() { String::new() } else { format!(" ({source})") };
        format!("  {usage:<25} {summary}{source}")
    };
    specs().map(line).collect()
}

/// Turns an error of the zoo into a mistake of the user.
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
