//! What the padding holds changes nothing.

use super::agreement::directions;
use crate::close::{all_close, values};
use crate::{Named, Reads, Result, Subject, Tolerance, Trial};
use anyhow::ensure;
use candle::{DType, Device, Tensor};
use recurrent_core::Record;

/// Padding of NaN, infinity and 1e30, and another weight of the loss there, give the same bits as padding of zeros: outputs,
/// carry, gradients and records. The outputs and the gradient of the input are zero there.
pub(super) fn padding(subject: &Subject) -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        for reads in [Reads::Both, Reads::Last] {
            for reverse in directions(subject) {
                let trial =
                    Trial { dtype, reads, reverse: *reverse, ..Trial::new(subject).ragged() };
                for way in trial.ways()? {
                    unchanged(&Trial { way, keep: Some(Record::Gradients), ..trial.clone() })?;
                }
            }
        }
    }
    Ok(())
}

fn unchanged(trial: &Trial) -> Result<()> {
    let leaves = trial.leaves()?;
    let filled = |fill: f64| -> Result<Named> {
        let mut leaves = leaves.clone();
        leaves.insert("xs".to_string(), filled(trial, &leaves["xs"], fill)?);
        leaves.insert(
            "loss.ys".to_string(),
            filled(trial, &leaves["loss.ys"], fill.clamp(-1e3, 1e3))?,
        );
        Ok(leaves)
    };
    let expected = trial.run(&filled(0.0)?)?;
    for (what, values) in
        [("outputs", expected.values.get("ys")), ("gradient of xs", expected.grads.get("xs"))]
    {
        let Some(values) = values else { continue };
        let sum = padding_of(trial, values)?.iter().map(|value| value.abs()).sum::<f64>();
        ensure!(
            sum == 0.0,
            "{}: the {what} are not zero in the padding; their sum is {sum:e}",
            trial.name()
        );
    }
    for fill in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30] {
        let mut leaves = filled(fill)?;
        if fill.is_nan() {
            // NaN times the output's zero would make a NaN of the loss itself.
            leaves.insert("loss.ys".to_string(), filled(7.0)?["loss.ys"].clone());
        }
        let found = trial.run(&leaves)?;
        let what = format!("{}, padding of {fill:e}", trial.name());
        all_close(&what, &found.values, &expected.values, Tolerance::Bits)?;
        all_close(&format!("{what}, gradient"), &found.grads, &expected.grads, Tolerance::Bits)?;
        all_close(&format!("{what}, recorded"), &found.states, &expected.states, Tolerance::Bits)?;
    }
    Ok(())
}

/// Whether each value of `(batch, time, feature)` lies in the padding.
fn is_padding(trial: &Trial, values: &Tensor) -> Result<Vec<bool>> {
    let (_, time, feature) = values.dims3()?;
    let lengths = trial.lengths.as_ref().expect("the trial is ragged");
    let steps = lengths.iter().flat_map(|&len| (0..time).map(move |t| t >= len));
    Ok(steps.flat_map(|padding| std::iter::repeat_n(padding, feature)).collect())
}

fn padding_of(trial: &Trial, tensor: &Tensor) -> Result<Vec<f64>> {
    let is_padding = is_padding(trial, tensor)?;
    Ok(values(tensor)?
        .into_iter()
        .zip(is_padding)
        .filter(|(_, padding)| *padding)
        .map(|(value, _)| value)
        .collect())
}

fn filled(trial: &Trial, tensor: &Tensor, fill: f64) -> Result<Tensor> {
    let is_padding = is_padding(trial, tensor)?;
    let filled =
        values(tensor)?
            .into_iter()
            .zip(is_padding)
            .map(|(value, padding)| if padding { fill } else { value });
    Ok(Tensor::from_vec(filled.collect::<Vec<_>>(), tensor.dims(), &Device::Cpu)?
        .to_dtype(tensor.dtype())?)
}
