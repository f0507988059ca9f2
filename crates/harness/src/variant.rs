//! A named network in a comparison.

use crate::config::Override;
use crate::error::Result;
use crate::usage::{bail_config, nearest};
use candle_nn::VarBuilder;
use recurrent_core::Layer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A named network in a comparison: a recipe for its recurrent layers at any size. The harness
/// knows no cell by name.
#[derive(Clone)]
pub struct Variant {
    /// The name, as on the command line: `lstm-chrono`.
    pub name: String,
    /// A description in one line.
    pub summary: String,
    /// The initialisation of its weights, in words: `PyTorch`, `chrono(100)`.
    pub init: String,
    /// Its options, for the report.
    pub options: BTreeMap<String, String>,
    /// The training options that it overrides.
    pub overrides: Vec<Override>,
    /// Builds the recurrent layers. All weights come from the given builder, which holds the seed:
    /// [`recurrent_core::init::seeded`].
    pub build: Build,
}

/// The size for which a variant is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The number of input features.
    pub input: usize,
    /// The number of hidden units of each layer.
    pub hidden: usize,
    /// The longest lag of the task, for initialisations that need it.
    pub longest_lag: usize,
}

/// Builds the recurrent layers for a size.
pub type Build = Arc<dyn Fn(Size, VarBuilder) -> BuildResult + Send + Sync>;

/// The result of a [`Build`]: a layer, or candle's error.
pub type BuildResult = candle_core::Result<Box<dyn Layer>>;

impl Variant {
    /// A variant with a name and no further description; the [first page](crate) of this crate has
    /// an example.
    pub fn new(
        name: impl Into<String>,
        build: impl Fn(Size, VarBuilder) -> BuildResult + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            summary: String::new(),
            init: String::new(),
            options: BTreeMap::new(),
            overrides: Vec::new(),
            build: Arc::new(build),
        }
    }

    /// The name of the folder of a run. Some file systems allow no colon in it, as in
    /// `lstm+zoneout=0.05:0.5`.
    pub(crate) fn folder(&self, seed: u64) -> String {
        format!("{}-{seed}", self.name.replace(':', "_"))
    }
}

/// The variants of these names, in this order.
///
/// # Errors
/// If a name has no variant, with the nearest known name if one is similar; if a name occurs twice,
/// or if there are no names.
pub fn choose<S: AsRef<str>>(known: &[Variant], names: &[S]) -> Result<Vec<Variant>> {
    if names.is_empty() {
        bail_config!("variants: expected at least one name, got none");
    }
    let mut chosen: Vec<Variant> = Vec::with_capacity(names.len());
    for name in names.iter().map(|name| name.as_ref().trim()) {
        if name.is_empty() {
            bail_config!("variants: expected names with commas between them, found an empty one");
        }
        let Some(variant) = known.iter().find(|variant| variant.name == name) else {
            let nearest = nearest(name, known.iter().map(|variant| variant.name.as_str()));
            bail_config!("variant {name}: no such variant; {nearest}--list shows all");
        };
        if chosen.iter().any(|other| other.name == name) {
            bail_config!("variant {name}: expected once, got twice");
        }
        chosen.push(variant.clone());
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;

    #[test]
    fn variants_are_chosen_by_name() -> Result<()> {
        let known = ["vanilla", "lstm", "lstm-chrono"]
            .map(|name| Variant::new(name, |_, _| candle_core::bail!("not built")));
        let chosen = choose(&known, &["lstm-chrono", "vanilla"])?;
        assert_eq!(
            chosen.iter().map(|variant| variant.name.as_str()).collect::<Vec<_>>(),
            ["lstm-chrono", "vanilla"]
        );
        for (names, expected) in [
            (
                &["lstm-crono"][..],
                "variant lstm-crono: no such variant; the nearest is lstm-chrono, --list shows all",
            ),
            (&["x"], "variant x: no such variant; --list shows all"),
            (&["LSTM"], "variant LSTM: no such variant; the nearest is lstm, --list shows all"),
            (&["lstm", "lstm"], "variant lstm: expected once, got twice"),
            (
                &["lstm", ""],
                "variants: expected names with commas between them, found an empty one",
            ),
            (&[], "variants: expected at least one name, got none"),
        ] {
            let error = choose(&known, names).err().expect("must fail");
            assert_eq!(
                (error.to_string().as_str(), 1 + u8::from(error.is_config())),
                (expected, 2)
            );
        }
        Ok(())
    }
}
