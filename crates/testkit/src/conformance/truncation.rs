//! Truncated BPTT and clipping of the hidden gradient, against the plain loop that does both by
//! hand, and against chunks of a sequence.

use super::agreement::{agree, agree_in_single, directions};
use crate::case::Ends;
use crate::close::{all_close, norm, values};
use crate::{
    relative_error, Case, Evaluation, EvaluationOutput, Implementation, LossInputs, Result,
    Tolerance,
};
use anyhow::{ensure, Context};
use candle_core::Tensor;
use recurrent_core::{Bptt, ForwardContext, HiddenGradClip, Record, Sequence, Truncation};

/// The length of the windows.
const STEPS: usize = 3;

/// Gradients truncated every few steps, and to the last steps, equal those of the plain loop that
/// detaches the state there, with outputs, the end, or both in the loss. Windows also equal chunks
/// with a detached carry between them. If the loss is that of the end only, recorded gradients are
/// exactly zero before the last border.
pub(super) fn truncation(case: &Case) -> Result<()> {
    for reverse in directions(case) {
        for flow in [Bptt::truncated(STEPS), Bptt::last(STEPS)] {
            let full = Evaluation {
                flow,
                reverse: *reverse,
                keep: Some(Record::Gradients),
                ..Evaluation::new(case)
            };
            let last = Evaluation { loss_inputs: LossInputs::Last, ..full.clone().ragged() };
            agree(&full)?;
            agree(&Evaluation {
                loss_inputs: LossInputs::Outputs,
                train: true,
                ..full.clone().ragged()
            })?;
            agree(&last)?;
            bites(&full)?;
            for implementation in full.implementations()? {
                exactly_zero(&Evaluation { implementation, ..last.clone() })?;
            }
        }
    }
    if case.ends == Ends::Last {
        in_chunks(&Evaluation { flow: Bptt::truncated(STEPS), ..Evaluation::new(case) })?;
    }
    Ok(())
}

/// With dL/dh_t clipped at every step, by value or by norm, and with windows besides, all gradients
/// equal those of the plain loop that clips them by hand.
pub(super) fn clip(case: &Case) -> Result<()> {
    for reverse in directions(case) {
        let free = Evaluation {
            reverse: *reverse,
            keep: Some(Record::Gradients),
            ..Evaluation::new(case)
        };
        let (value, norm) = typical(&free)?;
        for clip in [HiddenGradClip::Value(0.5 * value), HiddenGradClip::Norm(0.7 * norm)] {
            let clipped = Evaluation { flow: Bptt::clipped(clip), ..free.clone() };
            agree(&clipped)?;
            agree(&Evaluation { loss_inputs: LossInputs::Outputs, ..clipped.clone().ragged() })?;
            agree_in_single(&Evaluation { keep: None, ..clipped.clone().ragged() })?;
            bites(&clipped)?;
            let window = Some(Truncation::Last(STEPS));
            agree(&Evaluation {
                flow: Bptt { truncation: window, clip: Some(clip) },
                loss_inputs: LossInputs::Outputs,
                ..free.clone().ragged()
            })?;
        }
    }
    Ok(())
}

/// The mean magnitude of an element and the mean norm of the gradients of h in the bottom layer.
fn typical(evaluation: &Evaluation) -> Result<(f64, f64)> {
    let output = Evaluation { implementation: Implementation::StepLoop, ..evaluation.clone() }
        .run(&evaluation.leaves()?)?;
    let h = output.states.iter().find(|(name, _)| name.ends_with(".h"));
    let (_, gradients) = h.context("no state has an h")?;
    let (batch, states, size) = gradients.dims3()?;
    let all = values(gradients)?;
    let elements = all.iter().map(|value| value.abs()).sum::<f64>() / all.len() as f64;
    Ok((elements, all.chunks(size).map(norm).sum::<f64>() / (batch * states) as f64))
}

/// Checks that truncation and clipping change a gradient at all.
fn bites(evaluation: &Evaluation) -> Result<()> {
    let leaves = evaluation.leaves()?;
    let with = Evaluation { implementation: Implementation::StepLoop, ..evaluation.clone() }
        .run(&leaves)?;
    let without = Evaluation {
        implementation: Implementation::StepLoop,
        flow: Bptt::default(),
        ..evaluation.clone()
    }
    .run(&leaves)?;
    let change = relative_error(&with.grads["xs"], &without.grads["xs"])?;
    ensure!(
        change > 1e-3,
        "{}: changes the gradient of xs by no more than {change:e}",
        evaluation.name()
    );
    Ok(())
}

/// The recorded gradients of the topmost layer, with only the end in the loss: zero from the last
/// border on, and not before.
fn exactly_zero(evaluation: &Evaluation) -> Result<()> {
    let output = evaluation.run(&evaluation.leaves()?)?;
    let top = output.traces.iter().map(|trace| trace.layer_id.layer).max();
    let border = |len: usize| match evaluation.flow.truncation {
        Some(Truncation::Every(steps)) if len > steps => (len - 1) % steps + 1,
        Some(Truncation::Last(steps)) => steps,
        _ => len + 1,
    };
    for trace in output.traces.iter().filter(|trace| Some(trace.layer_id.layer) == top) {
        let what = format!("{}, {}{}", evaluation.name(), trace.field, trace.layer_id.suffix());
        let norm = |row: usize, lag: usize| trace.norms[lag * trace.batch + row];
        for (row, &len) in trace.lengths.iter().enumerate() {
            let behind =
                (border(len)..=len).map(|lag| (lag, norm(row, lag))).find(|(_, norm)| *norm != 0.0);
            ensure!(
                behind.is_none(),
                "{what}: (lag, norm) = {behind:?} of example {row}, behind the border"
            );
        }
        let alive = trace.field != "h" || trace.norms.iter().any(|norm| *norm > 0.0);
        ensure!(alive, "{what}: all norms are zero");
    }
    Ok(())
}

/// The windows one after the other, with a detached carry between them.
fn in_chunks(evaluation: &Evaluation) -> Result<()> {
    for implementation in evaluation.implementations()? {
        let evaluation = Evaluation { implementation, ..evaluation.clone() };
        let leaves = evaluation.leaves()?;
        let (whole, chunks) = (evaluation.run(&leaves)?, chunks(&evaluation)?);
        let what = format!("{}, in chunks", evaluation.name());
        all_close(&what, &whole.values, &chunks.values, Tolerance::Norm(1e-12))?;
        all_close(
            &format!("{what}, gradient"),
            &whole.grads,
            &chunks.grads,
            Tolerance::Norm(1e-12),
        )?;
    }
    Ok(())
}

fn chunks(evaluation: &Evaluation) -> Result<EvaluationOutput> {
    let held = evaluation.hold(&evaluation.leaves()?, |_| true)?;
    let (layer, mut carry, time) =
        (evaluation.layer(&held)?, evaluation.carry(&held)?, evaluation.size.time);
    let mut ys = Vec::new();
    for start in (0..time).step_by(STEPS) {
        let chunk = Sequence::new(held["xs"].narrow(1, start, STEPS.min(time - start))?)?;
        let before = if start == 0 { carry } else { carry.map(|carry| carry.detach()) };
        let (y, end) = layer.run(&chunk, before.as_ref(), &ForwardContext::default())?;
        ys.push(y.into_values());
        carry = Some(end);
    }
    let end = carry.expect("there is a chunk").named().into_iter();
    let end = end.map(|(name, field)| (format!("end.{name}"), field));
    let values = end.chain([("ys".to_string(), Tensor::cat(&ys, 1)?)]).collect();
    evaluation.weigh(held, values)?.backward()
}
