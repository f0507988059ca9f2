//! The variants that the program knows: those of the zoo and a user's own.

use crate::modifiers::{self, Modifier};
use anyhow::Result;
use candle_nn::VarBuilder;
use recurrent::registry::{self, Entry};
use recurrent_harness::variant::{self, BuildResult, Size, Variant};
use recurrent_tasks::usage::ConfigError;
use std::sync::Arc;

/// The variants that the program knows.
///
/// A user's own variants have everything that those of the zoo have: options, `--resume`, the
/// modifiers of training (`mgu+clip=0.5`), exports and the report. [`main_with`](crate::main_with)
/// has an example.
#[derive(Clone, Default)]
pub struct Variants {
    entries: Vec<Entry>,
    own: Vec<Variant>,
}

impl Variants {
    /// The variants of the zoo.
    pub fn registry() -> Self {
        Self { entries: registry::variants(), own: Vec::new() }
    }

    /// Adds a variant of your own, which `compare` then runs by default.
    ///
    /// `build` builds the recurrent layers for a size, with all weights from the given builder.
    #[must_use]
    pub fn and(
        self,
        name: &str,
        summary: &str,
        build: impl Fn(Size, VarBuilder) -> BuildResult + Send + Sync + 'static,
    ) -> Self {
        self.and_variant(Variant { summary: summary.to_string(), ..Variant::new(name, build) })
    }

    /// Adds a variant of your own, with options for the report or modifiers of its training.
    #[must_use]
    pub fn and_variant(mut self, variant: Variant) -> Self {
        self.entries.retain(|entry| entry.name != variant.name);
        self.own.retain(|own| own.name != variant.name);
        self.own.push(variant);
        self
    }

    /// Whether there are variants besides those of the zoo.
    pub(crate) fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// The variants of these names, in this order. Each name may be followed by modifiers:
    /// `lstm+chrono+clip=0.5`.
    ///
    /// # Errors
    /// A [`ConfigError`] with the nearest known name, if there is no such variant or modifier.
    pub fn choose(&self, names: &[String], longest_lag: usize) -> Result<Vec<Variant>> {
        let entries = self.entries.iter().map(|entry| from_entry(entry, longest_lag));
        let mut known: Vec<_> = entries.chain(self.own.iter().cloned()).collect();
        for name in names {
            let Some((base, modifiers)) = name.split_once('+') else { continue };
            let base = variant::choose(&known, &[base])?.remove(0);
            let modifiers: Vec<&str> = modifiers.split('+').collect();
            known.push(match self.entries.iter().find(|entry| entry.name == base.name) {
                Some(entry) => modified(entry, &modifiers, longest_lag)?,
                None => own_modified(base, &modifiers)?,
            });
        }
        Ok(variant::choose(&known, names)?)
    }

    /// The names that `compare` runs by default.
    pub(crate) fn defaults(&self) -> Vec<String> {
        let entries = self.entries.iter().filter(|entry| entry.default);
        let own = self.own.iter().map(|variant| variant.name.clone());
        entries.map(|entry| entry.name.to_string()).chain(own).collect()
    }

    /// One line for each variant. The defaults have a star.
    pub(crate) fn lines(&self) -> Vec<String> {
        let entries = self.entries.iter().map(|entry| (entry.default, entry.name, entry.summary));
        let own = self.own.iter().map(|own| (true, own.name.as_str(), own.summary.as_str()));
        let line = |(default, name, summary): (bool, &str, &str)| {
            let line = format!("{} {name:<24} {summary}", if default { '*' } else { ' ' });
            line.trim_end().to_string()
        };
        entries.chain(own).map(line).collect()
    }
}

/// A named variant of the zoo, for the harness, which knows none of them.
pub fn from_entry(entry: &Entry, longest_lag: usize) -> Variant {
    modified(entry, &[], longest_lag).expect("without modifiers there is no mistake to make")
}

fn modified(entry: &Entry, modifiers: &[&str], longest_lag: usize) -> Result<Variant> {
    let (mut name, mut spec, mut overrides) =
        (entry.name.to_string(), entry.spec.clone(), Vec::new());
    for (text, modifier) in modifiers.iter().zip(modifiers::parse(entry.name, modifiers)?) {
        match modifier {
            Modifier::Network(modifier) => {
                spec = modifier.apply(&name, &spec).map_err(modifiers::usage)?;
            }
            Modifier::Training(one) => overrides.push(one),
        }
        name = format!("{name}+{text}");
    }
    let spec = spec.with_longest_lag(longest_lag);
    Ok(Variant {
        summary: [&[entry.summary], modifiers].concat().join(" + "),
        name,
        init: spec.init_summary(),
        options: spec.options(),
        overrides,
        build: Arc::new(move |size, vb| {
            spec.with_longest_lag(size.longest_lag).build(size.input, size.hidden, vb)
        }),
    })
}

/// A user's own variant with modifiers. These can change its training but not its layers.
fn own_modified(mut variant: Variant, modifiers: &[&str]) -> Result<Variant> {
    for (text, modifier) in modifiers.iter().zip(modifiers::parse(&variant.name, modifiers)?) {
        let name = &variant.name;
        match modifier {
            Modifier::Training(one) => variant.overrides.push(one),
            Modifier::Network(_) => {
                let why = "it changes layers that are described as data, and this variant is code";
                return Err(ConfigError::new(format!("modifier {text} on {name}: {why}")).into());
            }
        }
        variant.name = format!("{name}+{text}");
        variant.summary = [&variant.summary, *text].join(" + ");
    }
    Ok(variant)
}
