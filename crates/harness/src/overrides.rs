//! The modifiers that change the training or the read-out of a network. They are overrides of the
//! training options, for any variant.

use crate::config::{Clipping, Override, Readout};
use crate::error::Result;
use crate::usage::ConfigError;
use recurrent_core::modifier::{self, ModifierRow, ModifierSpec};
use recurrent_core::{HiddenGradClip, Truncation};

const TABLE: &[ModifierRow<Override>] = &[
    ModifierRow::new(
        "clip[=NORM]",
        "weight gradient bounded by its global norm, 1 by default",
        "Pascanu 2013, arXiv:1211.5063",
        |v| Ok(Override::Clip(Clipping::GlobalNorm(v.positive_or(1.0)?))),
    ),
    ModifierRow::new("clip-tensor=NORM", "the same for each tensor by itself", "", |v| {
        Ok(Override::Clip(Clipping::PerTensor(v.positive()?)))
    }),
    ModifierRow::new(
        "clip-value=BOUND",
        "every element of the weight gradient within ±BOUND",
        "",
        |v| Ok(Override::Clip(Clipping::Value(v.positive()?))),
    ),
    ModifierRow::new("no-clip", "weight gradient without a bound", "", |_| {
        Ok(Override::Clip(Clipping::Off))
    }),
    ModifierRow::new(
        "clip-state=BOUND",
        "every element of dL/dh_t within ±BOUND, in the backward pass",
        "Graves 2013, arXiv:1308.0850",
        |v| Ok(Override::HiddenGradClip(Some(HiddenGradClip::Value(v.positive()?)))),
    ),
    ModifierRow::new(
        "clip-state-norm=NORM",
        "each example's dL/dh_t bounded by its norm, in the backward pass",
        "",
        |v| Ok(Override::HiddenGradClip(Some(HiddenGradClip::Norm(v.positive()?)))),
    ),
    ModifierRow::new(
        "tbptt=K",
        "the gradient ends at the borders of windows of K steps",
        "Williams and Peng 1990",
        |v| Ok(Override::Truncation(Some(Truncation::Every(v.count()?)))),
    ),
    ModifierRow::new("tbptt-last=K", "the gradient goes K steps back from the end", "", |v| {
        Ok(Override::Truncation(Some(Truncation::Last(v.count()?))))
    }),
    ModifierRow::new(
        "attention",
        "the read-out sees an attention over all outputs",
        "Bahdanau 2014, arXiv:1409.0473",
        |_| Ok(Override::Readout(Readout::Attention)),
    ),
    ModifierRow::new(
        "attention-detached",
        "the same, with no gradient through what it attends to",
        "",
        |_| Ok(Override::Readout(Readout::AttentionDetached)),
    ),
    ModifierRow::new(
        "omega=WEIGHT",
        "Pascanu's regulariser of vanishing gradients in the loss",
        "Pascanu 2013, arXiv:1211.5063",
        |v| Ok(Override::Omega(v.positive()?)),
    ),
    ModifierRow::new(
        "orthogonality=WEIGHT",
        "‖W Wᵀ − I‖² of recurrent blocks in the loss",
        "",
        |v| Ok(Override::Orthogonality(v.positive()?)),
    ),
    ModifierRow::new("lr=X", "another learning rate", "", |v| Ok(Override::Lr(v.positive()?))),
];

/// The syntax, effect and source of each modifier.
pub fn specs() -> impl Iterator<Item = ModifierSpec> + Clone {
    TABLE.iter().map(|row| row.spec)
}

/// The override that a text names; `None` if the text names no override.
///
/// ```
/// use recurrent_harness::overrides::parse;
/// use recurrent_records::config::{Clipping, Override};
///
/// # fn main() -> recurrent_harness::Result<()> {
/// assert_eq!(parse("clip=0.5")?, Some(Override::Clip(Clipping::GlobalNorm(0.5))));
/// assert_eq!(parse("chrono")?, None); // it changes the network, not its training
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// A [`ConfigError`] if the value is missing or is not a positive number.
pub fn parse(text: &str) -> Result<Option<Override>> {
    let parsed = modifier::parse(TABLE, text);
    Ok(parsed.map_err(|error| ConfigError::new(error.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainingConfig;
    use anyhow::Result;
    use recurrent_tasks as tasks;

    #[test]
    fn every_row_of_the_table_parses() -> Result<()> {
        let mut changes = Vec::new();
        for spec in specs() {
            let (usage, name) = (spec.usage, spec.name());
            let text = if usage.ends_with(|c: char| c.is_uppercase()) {
                format!("{name}=3")
            } else {
                name.into()
            };
            let change = parse(&text)?.unwrap_or_else(|| panic!("{text} is none"));
            assert!(!changes.contains(&change), "{text} does what another does: {change:?}");
            changes.push(change);
        }
        assert_eq!(parse("clip")?, Some(Override::Clip(Clipping::GlobalNorm(1.0))));
        assert_eq!(parse("tbptt=20")?, Some(Override::Truncation(Some(Truncation::Every(20)))));
        assert_eq!([parse("chrono")?, parse("")?, parse("Clip")?], [None; 3]);
        let task = tasks::by_name("adding", Some(9), None)?;
        let before = TrainingConfig::new(task.as_ref());
        let all = before.with(&changes);
        assert_eq!((all.lr, all.omega, all.orthogonality), (3.0, 3.0, 3.0));
        assert_eq!(
            (all.clip, all.readout),
            (Clipping::Off, Readout::AttentionDetached),
            "the last word holds"
        );
        Ok(())
    }

    #[test]
    fn values_are_checked() {
        for (text, expected) in [
            ("clip=0", "modifier clip: expected a positive number, got \"0\""),
            ("clip-value", "modifier clip-value: expected a value, clip-value=BOUND"),
            ("omega=NaN", "modifier omega: expected a positive number, got \"NaN\""),
            ("tbptt=0", "modifier tbptt: expected a whole number, 1 or more, got \"0\""),
            ("tbptt=1.5", "modifier tbptt: expected a whole number, 1 or more, got \"1.5\""),
            ("no-clip=1", "modifier no-clip: expected no value, got \"1\""),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(
                (error.to_string().as_str(), 1 + u8::from(error.is_config())),
                (expected, 2)
            );
        }
    }
}
