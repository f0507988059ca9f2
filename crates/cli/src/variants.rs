//! The variants of the zoo, by name, with remedies behind it.

use crate::output::print;
use anyhow::Result;
use recurrent::modifier::{self, Modifier};
use recurrent::registry::{self, Entry};
use recurrent_harness::remedy as training;
use recurrent_harness::variant::{self, Variant};
use recurrent_tasks::usage::{nearest, ConfigError};
use std::sync::Arc;

/// Lists all variants, those that `compare` takes unless told otherwise with a star; or all remedies.
pub(crate) fn list(remedies: bool) -> Result<()> {
    if !remedies {
        for Entry { name, summary, default, .. } in registry::variants() {
            print(&format!("{} {name:<24} {summary}", if default { '*' } else { ' ' }))?;
        }
        return Ok(());
    }
    for [usage, what, source] in modifier::TABLE.iter().chain(training::TABLE) {
        let source = if source.is_empty() { String::new() } else { format!(" ({source})") };
        print(&format!("  {usage:<25} {what}{source}"))?;
    }
    Ok(())
}

/// The variants of these names, in this order: those of the registry, each with remedies behind it if wanted, `lstm+chrono+clip=0.5`.
///
/// # Errors
/// A [`ConfigError`] error that names the nearest there is, if there is no such variant or remedy.
pub fn variants(names: &[String], longest_lag: usize) -> Result<Vec<Variant>> {
    let entries = registry::variants();
    let mut known: Vec<_> =
        entries.iter().map(|entry| variant(entry, &[], longest_lag)).collect::<Result<_>>()?;
    for name in names {
        let Some((base, remedies)) = name.split_once('+') else { continue };
        variant::choose(&known, &[base])?;
        let remedies: Vec<&str> = remedies.split('+').collect();
        let entry = entries.iter().find(|entry| entry.name == base);
        known.extend(entry.map(|entry| variant(entry, &remedies, longest_lag)).transpose()?);
    }
    Ok(variant::choose(&known, names)?)
}

/// A named variant of the zoo with remedies, for the harness, which knows none of them.
fn variant(entry: &Entry, remedies: &[&str], longest_lag: usize) -> Result<Variant> {
    let (mut name, mut spec, mut overrides) =
        (entry.name.to_string(), entry.spec.clone(), Vec::new());
    for text in remedies {
        let usage =
            |error: candle::Error| ConfigError::new(crate::output::first_line(&error.to_string()));
        match (Modifier::parse(text).map_err(usage)?, training::parse(text)?) {
            (Some(remedy), _) => spec = remedy.apply(&name, &spec).map_err(usage)?,
            (None, Some(one)) => overrides.push(one),
            (None, None) => return Err(unknown(text).into()),
        }
        name = format!("{name}+{text}");
    }
    let spec = spec.with_longest_lag(longest_lag, 0);
    Ok(Variant {
        summary: [&[entry.summary], remedies].concat().join(" + "),
        name,
        init: spec.init_summary(),
        options: spec.options(),
        overrides,
        build: Arc::new(move |size, vb| {
            spec.with_longest_lag(size.longest_lag, size.seed).build(size.input, size.hidden, vb)
        }),
    })
}

fn unknown(text: &str) -> ConfigError {
    let name = |usage: &&'static str| usage.split(['=', '[']).next().unwrap_or_default();
    let names: Vec<&str> =
        modifier::TABLE.iter().chain(training::TABLE).map(|[usage, ..]| name(usage)).collect();
    let nearest = nearest(text.split('=').next().unwrap_or_default(), names).unwrap_or("none");
    ConfigError::new(format!(
        "remedy {text}: no such remedy; the nearest is {nearest}, `ablate --list` shows all"
    ))
}
