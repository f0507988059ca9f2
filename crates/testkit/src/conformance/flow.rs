//! Windows and bounds on the gradient of the state, against the plain loop that does them by hand, and against chunks of a sequence.

use super::agreement::{agree, agree_in_single, directions};
use crate::close::{all_close, norm, values};
use crate::named::flatten;
use crate::subject::Ends;
use crate::{deviation, Outcome, Reads, Result, Subject, Tolerance, Trial, Way};
use anyhow::{ensure, Context};
use candle::Tensor;
use recurrent_core::{Bptt, ForwardContext, HiddenGradClip, Record, Sequence, Truncation};

/// The lengths of the windows.
const STEPS: usize = 3;

/// Gradients in windows from the beginning, and within the last steps, equal those of the plain loop that detaches the state there, with
/// a loss of everything, of the outputs and of the end; the first also those of chunks that hand on a detached carry. Where only the end is
/// read, what is recorded is exactly zero behind the last border.
pub(super) fn windows(subject: &Subject) -> Result<()> {
    for reverse in directions(subject) {
        for flow in [Bptt::truncated(STEPS), Bptt::last(STEPS)] {
            let full = Trial {
                flow,
                reverse: *reverse,
                keep: Some(Record::Gradients),
                ..Trial::new(subject)
            };
            let last = Trial { reads: Reads::Last, ..full.clone().ragged() };
            agree(&full)?;
            agree(&Trial { reads: Reads::Outputs, train: true, ..full.clone().ragged() })?;
            agree(&last)?;
            bites(&full)?;
            for way in full.ways()? {
                exactly_zero(&Trial { way, ..last.clone() })?;
            }
        }
    }
    if subject.ends == Ends::Last {
        in_chunks(&Trial { flow: Bptt::truncated(STEPS), ..Trial::new(subject) })?;
    }
    Ok(())
}

/// Where dL/dh_t is bounded at every step, by value or by norm, and where there is a window besides, all gradients equal those of the plain loop
/// that bounds them by hand.
pub(super) fn bounds(subject: &Subject) -> Result<()> {
    for reverse in directions(subject) {
        let free =
            Trial { reverse: *reverse, keep: Some(Record::Gradients), ..Trial::new(subject) };
        let (value, norm) = typical(&free)?;
        for clip in [HiddenGradClip::Value(0.5 * value), HiddenGradClip::Norm(0.7 * norm)] {
            let bounded = Trial { flow: Bptt::clipped(clip), ..free.clone() };
            agree(&bounded)?;
            agree(&Trial { reads: Reads::Outputs, ..bounded.clone().ragged() })?;
            agree_in_single(&Trial { keep: None, ..bounded.clone().ragged() })?;
            bites(&bounded)?;
            let window = Some(Truncation::Last(STEPS));
            agree(&Trial {
                flow: Bptt { truncation: window, clip: Some(clip) },
                reads: Reads::Outputs,
                ..free.clone().ragged()
            })?;
        }
    }
    Ok(())
}

/// The mean magnitude of an element and the mean norm of the gradients of h in the bottom layer.
fn typical(trial: &Trial) -> Result<(f64, f64)> {
    let outcome = Trial { way: Way::Steps, ..trial.clone() }.run(&trial.leaves()?)?;
    let h = outcome.states.iter().find(|(name, _)| name.ends_with(".h"));
    let (_, gradients) = h.context("no state has an h")?;
    let (batch, states, size) = gradients.dims3()?;
    let all = values(gradients)?;
    let elements = all.iter().map(|value| value.abs()).sum::<f64>() / all.len() as f64;
    Ok((elements, all.chunks(size).map(norm).sum::<f64>() / (batch * states) as f64))
}

/// The flow changes a gradient, or there is nothing to compare.
fn bites(trial: &Trial) -> Result<()> {
    let leaves = trial.leaves()?;
    let with = Trial { way: Way::Steps, ..trial.clone() }.run(&leaves)?;
    let without = Trial { way: Way::Steps, flow: Bptt::default(), ..trial.clone() }.run(&leaves)?;
    let change = deviation(&with.grads["xs"], &without.grads["xs"])?;
    ensure!(
        change > 1e-3,
        "{}: changes the gradient of xs by no more than {change:e}",
        trial.name()
    );
    Ok(())
}

/// The recorded gradients of the topmost layer of a loss that reads the end alone: zero from the last border on, and not before.
fn exactly_zero(trial: &Trial) -> Result<()> {
    let outcome = trial.run(&trial.leaves()?)?;
    let top = outcome.traces.iter().map(|trace| trace.layer_id.layer).max();
    let border = |len: usize| match trial.flow.truncation {
        Some(Truncation::Every(steps)) if len > steps => (len - 1) % steps + 1,
        Some(Truncation::Last(steps)) => steps,
        _ => len + 1,
    };
    for trace in outcome.traces.iter().filter(|trace| Some(trace.layer_id.layer) == top) {
        let what = format!("{}, {}{}", trial.name(), trace.field, trace.layer_id.suffix());
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
fn in_chunks(trial: &Trial) -> Result<()> {
    for way in trial.ways()? {
        let trial = Trial { way, ..trial.clone() };
        let leaves = trial.leaves()?;
        let (whole, chunks) = (trial.run(&leaves)?, chunks(&trial)?);
        let what = format!("{}, in chunks", trial.name());
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

fn chunks(trial: &Trial) -> Result<Outcome> {
    let held = trial.hold(&trial.leaves()?, |_| true)?;
    let (layer, mut carry, time) = (trial.layer(&held)?, trial.carry(&held)?, trial.size.time);
    let mut ys = Vec::new();
    for start in (0..time).step_by(STEPS) {
        let chunk = Sequence::new(held["xs"].narrow(1, start, STEPS.min(time - start))?)?;
        let before = if start == 0 { carry } else { carry.map(|carry| carry.detach()) };
        let (y, end) = layer.run(&chunk, before.as_ref(), &ForwardContext::default())?;
        ys.push(y.into_values());
        carry = Some(end);
    }
    let end = flatten(&carry.expect("there is a chunk")).into_iter();
    let end = end.map(|(name, field)| (format!("end.{name}"), field));
    let values = end.chain([("ys".to_string(), Tensor::cat(&ys, 1)?)]).collect();
    trial.weigh(held, values)?.backward()
}
