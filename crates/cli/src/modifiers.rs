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

/// The modifiers that the texts name, for the variant `variant`.
pub(crate) fn parse(variant: &str, texts: &[&str]) -> Result<Vec<Modifier>> {
    for (place, text) in texts.iter().enumerate() {
        if let Some(first) = texts[..place].iter().find(|first| name(first) == name(text)) {
            let line = format!("modifier {text} on {variant}: {first} is the same modifier");
            return Err(ConfigError::new(line).into());
        }
    }
    texts.iter().map(|text| one(text)).collect()
}

/// The modifier that a text names.
fn one(text: &str) -> Result<Modifier> {
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
    let nearest = nearest(name(text), specs().map(|spec| spec.name()));
    ConfigError::new(format!(
        "modifier {text}: no such modifier; {nearest}`recurrent list --modifiers` shows all"
    ))
}

/// The name of a modifier, without its value.
fn name(text: &str) -> &str {
    text.split('=').next().unwrap_or_default()
}
