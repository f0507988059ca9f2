//! The content of the padding changes nothing.

use super::agreement::directions;
use crate::close::{all_close, values};
use crate::{Case, Evaluation, LossInputs, Result, TensorMap, Tolerance};
use anyhow::ensure;
use candle_core::{DType, Device, Tensor};
use recurrent_core::Record;

/// Padding of NaN, infinity and 1e30, and other loss weights there, give the same bits as padding
/// of zeros: outputs, carry, gradients and traces. The outputs and the input's gradient are zero
/// there.
pub(super) fn padding(case: &Case) -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        for loss_inputs in [LossInputs::Both, LossInputs::Last] {
            for reverse in directions(case) {
                let evaluation = Evaluation {
                    dtype,
                    loss_inputs,
                    reverse: *reverse,
                    ..Evaluation::new(case).ragged()
                };
                for implementation in evaluation.implementations()? {
                    unchanged(&Evaluation {
                        implementation,
                        keep: Some(Record::Gradients),
                        ..evaluation.clone()
                    })?;
                }
            }
        }
    }
    Ok(())
}

fn unchanged(evaluation: &Evaluation) -> Result<()> {
    let leaves = evaluation.leaves()?;
    let filled = |fill: f64| -> Result<TensorMap> {
        let mut leaves = leaves.clone();
        leaves.insert("xs".to_string(), filled(evaluation, &leaves["xs"], fill)?);
        leaves.insert(
            "loss.ys".to_string(),
            filled(evaluation, &leaves["loss.ys"], fill.clamp(-1e3, 1e3))?,
        );
        Ok(leaves)
    };
    let expected = evaluation.run(&filled(0.0)?)?;
    for (what, values) in
        [("outputs", expected.values.get("ys")), ("gradient of xs", expected.grads.get("xs"))]
    {
        let Some(values) = values else { continue };
        let sum = padding_of(evaluation, values)?.iter().map(|value| value.abs()).sum::<f64>();
        ensure!(
            sum == 0.0,
            "{}: the {what} are not zero in the padding; their sum is {sum:e}",
            evaluation.name()
        );
    }
    for fill in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30] {
        let mut leaves = filled(fill)?;
        if fill.is_nan() {
            // NaN times the output's zero would make the loss itself NaN.
            leaves.insert("loss.ys".to_string(), filled(7.0)?["loss.ys"].clone());
        }
        let found = evaluation.run(&leaves)?;
        let what = format!("{}, padding of {fill:e}", evaluation.name());
        all_close(&what, &found.values, &expected.values, Tolerance::Bits)?;
        all_close(&format!("{what}, gradient"), &found.grads, &expected.grads, Tolerance::Bits)?;
        all_close(&format!("{what}, recorded"), &found.states, &expected.states, Tolerance::Bits)?;
    }
    Ok(())
}

/// Whether each value of `(batch, time, feature)` lies in the padding.
fn is_padding(evaluation: &Evaluation, values: &Tensor) -> Result<Vec<bool>> {
    let (_, time, feature) = values.dims3()?;
    let lengths = evaluation.lengths.as_ref().expect("the evaluation is ragged");
    let steps = lengths.iter().flat_map(|&len| (0..time).map(move |t| t >= len));
    Ok(steps.flat_map(|padding| std::iter::repeat_n(padding, feature)).collect())
}

fn padding_of(evaluation: &Evaluation, tensor: &Tensor) -> Result<Vec<f64>> {
    let is_padding = is_padding(evaluation, tensor)?;
    Ok(values(tensor)?
        .into_iter()
        .zip(is_padding)
        .filter(|(_, padding)| *padding)
        .map(|(value, _)| value)
        .collect())
}

fn filled(evaluation: &Evaluation, tensor: &Tensor, fill: f64) -> Result<Tensor> {
    let is_padding = is_padding(evaluation, tensor)?;
    let filled =
        values(tensor)?
            .into_iter()
            .zip(is_padding)
            .map(|(value, padding)| if padding { fill } else { value });
    Ok(Tensor::from_vec(filled.collect::<Vec<_>>(), tensor.dims(), &Device::Cpu)?
        .to_dtype(tensor.dtype())?)
}
