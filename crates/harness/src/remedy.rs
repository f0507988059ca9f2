//! Remedies against vanishing and exploding gradients that change how a network is trained or read:
//! switches on any variant.

use crate::config::{Clipping, Override, Readout};
use crate::error::Result;
use crate::usage::{bail_config, ConfigError};
use recurrent_core::{HiddenGradClip, Truncation};

/// How each remedy is written, what it does, and where it comes from. What stands in brackets may
/// be left out.
pub const TABLE: &[[&str; 3]] = &[
    [
        "clip[=NORM]",
        "weight gradient bounded by its global norm, 1 by default",
        "Pascanu 2013, arXiv:1211.5063",
    ],
    ["clip-tensor=NORM", "the same for each tensor by itself", ""],
    ["clip-value=BOUND", "every element of the weight gradient within ±BOUND", ""],
    ["no-clip", "weight gradient as it is", ""],
    [
        "clip-state=BOUND",
        "every element of dL/dh_t within ±BOUND, on the way back",
        "Graves 2013, arXiv:1308.0850",
    ],
    ["clip-state-norm=NORM", "each example's dL/dh_t bounded by its norm, on the way back", ""],
    ["tbptt=K", "the gradient ends at the borders of windows of K steps", "Williams and Peng 1990"],
    ["tbptt-last=K", "the gradient goes K steps back from the end", ""],
    [
        "attention",
        "the read-out sees an attention over all outputs",
        "Bahdanau 2014, arXiv:1409.0473",
    ],
    ["attention-detached", "the same, with no gradient through what it attends to", ""],
    [
        "omega=WEIGHT",
        "Pascanu's regulariser of vanishing gradients in the loss",
        "Pascanu 2013, arXiv:1211.5063",
    ],
    ["orthogonality=WEIGHT", "‖W Wᵀ − I‖² of recurrent blocks in the loss", ""],
    ["lr=X", "another learning rate", ""],
];

/// The change that a text names; `None` if it names none.
///
/// ```
/// use recurrent_harness::remedy::parse;
/// use recurrent_records::config::{Clipping, Override};
///
/// # fn main() -> recurrent_harness::Result<()> {
/// assert_eq!(parse("clip=0.5")?, Some(Override::Clip(Clipping::GlobalNorm(0.5))));
/// assert_eq!(parse("chrono")?, None); // changes the network, which is not the harness's business
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// A [`ConfigError`](crate::usage::ConfigError) error if the value is missing or is not a positive
/// number.
pub fn parse(text: &str) -> Result<Option<Override>> {
    let (name, value) =
        text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let rate = || positive(name, value);
    let steps = || count(name, value);
    let alone = |change| match value {
        None => Result::<_, ConfigError>::Ok(change),
        Some(value) => bail_config!("remedy {name}: expected no value, got {value:?}"),
    };
    Ok(Some(match name {
        "clip" if value.is_none() => Override::Clip(Clipping::GlobalNorm(1.0)),
        "clip" => Override::Clip(Clipping::GlobalNorm(rate()?)),
        "clip-tensor" => Override::Clip(Clipping::PerTensor(rate()?)),
        "clip-value" => Override::Clip(Clipping::Value(rate()?)),
        "no-clip" => alone(Override::Clip(Clipping::Off))?,
        "clip-state" => Override::HiddenGradClip(Some(HiddenGradClip::Value(rate()?))),
        "clip-state-norm" => Override::HiddenGradClip(Some(HiddenGradClip::Norm(rate()?))),
        "tbptt" => Override::Truncation(Some(Truncation::Every(steps()?))),
        "tbptt-last" => Override::Truncation(Some(Truncation::Last(steps()?))),
        "attention" => alone(Override::Readout(Readout::Attention))?,
        "attention-detached" => alone(Override::Readout(Readout::AttentionDetached))?,
        "omega" => Override::Omega(rate()?),
        "orthogonality" => Override::Orthogonality(rate()?),
        "lr" => Override::Lr(rate()?),
        _ => return Ok(None),
    }))
}

fn positive(name: &str, value: Option<&str>) -> Result<f64> {
    let Some(value) = value else { bail_config!("remedy {name}: expected a value, {name}=X") };
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => bail_config!("remedy {name}: expected a positive number, got {value:?}"),
    }
}

fn count(name: &str, value: Option<&str>) -> Result<usize> {
    let Some(value) = value else { bail_config!("remedy {name}: expected a value, {name}=K") };
    match value.parse() {
        Ok(steps) if steps > 0 => Ok(steps),
        _ => bail_config!("remedy {name}: expected a number of steps, 1 or more, got {value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainingConfig;
    use anyhow::Result;
    use recurrent_tasks as tasks;

    #[test]
    fn every_row_of_the_table_is_a_remedy() -> Result<()> {
        let mut changes = Vec::new();
        for [usage, ..] in TABLE {
            let name = usage.split(['=', '[']).next().unwrap_or_default();
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
            ("clip=0", "remedy clip: expected a positive number, got \"0\""),
            ("clip-value", "remedy clip-value: expected a value, clip-value=X"),
            ("omega=NaN", "remedy omega: expected a positive number, got \"NaN\""),
            ("tbptt=0", "remedy tbptt: expected a number of steps, 1 or more, got \"0\""),
            ("tbptt=1.5", "remedy tbptt: expected a number of steps, 1 or more, got \"1.5\""),
            ("no-clip=1", "remedy no-clip: expected no value, got \"1\""),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(
                (error.to_string().as_str(), 1 + u8::from(error.is_config())),
                (expected, 2)
            );
        }
    }
}
