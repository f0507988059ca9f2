//! The activation recorder: its states against outputs, carries and runs over prefixes; its gates
//! against their range and single examples.

use super::agreement::{directions, single};
use crate::case::Ends;
use crate::close::{all_close, values};
use crate::{close, Case, Evaluation, Result, TensorMap, Tolerance};
use anyhow::ensure;
use candle_core::Tensor;
use recurrent_core::{
    ActivationRecorder, Activations, ForwardContext, GradientRecorder, Layer, Record, Sequence,
};

/// Recorded activations have the same layers as recorded gradients. They begin with the initial
/// carry and end with the final one; they equal the carry after every prefix of the sequence and,
/// for a cell, its outputs. Gates lie within 0 and 1. Every example is recorded as if it ran alone,
/// and recording changes no bit of the run.
pub(super) fn activations(case: &Case) -> Result<()> {
    for reverse in directions(case) {
        let full = Evaluation { reverse: *reverse, ..Evaluation::new(case) };
        for evaluation in [full.clone(), full.ragged()] {
            for implementation in evaluation.implementations()? {
                let evaluation = Evaluation { implementation, ..evaluation.clone() };
                let (what, leaves) =
                    (format!("{}, observed", evaluation.name()), evaluation.leaves()?);
                let seen = with_recorder(&what, &evaluation, &leaves)?;
                in_range(&what, &seen)?;
                alone(&what, &evaluation, &leaves, &seen)?;
                if case.is_cell() {
                    outputs(&what, &evaluation, &leaves, &seen)?;
                }
                if case.ends == Ends::Last && !reverse {
                    beginnings(&what, &evaluation, &leaves, &seen)?;
                }
            }
        }
    }
    Ok(())
}

fn observe(evaluation: &Evaluation, leaves: &TensorMap) -> Result<Vec<Activations>> {
    let activations = ActivationRecorder::default();
    let (layer, carry) = (evaluation.layer(leaves)?, evaluation.carry(leaves)?);
    layer.run(
        &evaluation.sequence(leaves)?,
        carry.as_ref(),
        &ForwardContext::default().activations(&activations),
    )?;
    Ok(activations.take())
}

/// A recorded run gives the same bits as one that is not recorded, and its states lie between the
/// carries.
fn with_recorder(
    what: &str,
    evaluation: &Evaluation,
    leaves: &TensorMap,
) -> Result<Vec<Activations>> {
    let held = evaluation.hold(leaves, |_| true)?;
    let (activations, recorder) =
        (ActivationRecorder::default(), GradientRecorder::new(Record::Norms));
    let (layer, xs, start) =
        (evaluation.layer(&held)?, evaluation.sequence(&held)?, evaluation.carry(&held)?);
    let run = |context: &ForwardContext| layer.run(&xs, start.as_ref(), context);
    let (ys, end) = run(&ForwardContext::default().activations(&activations).record(&recorder))?;
    let (unseen, _) = run(&ForwardContext::default())?;
    close(what, ys.values(), unseen.values(), Tolerance::Bits)?;
    ys.values().sqr()?.sum_all()?.backward()?;
    let seen = activations.take();
    ensure!(activations.take().is_empty(), "{what}: the same is seen twice");
    let mut recorded: Vec<_> = recorder.take().iter().map(|trace| trace.layer_id).collect();
    recorded.dedup();
    let places: Vec<_> = seen.iter().map(|seen| seen.layer_id).collect();
    ensure!(places == recorded, "{what}: expected the places {recorded:?}, got {places:?}");

    let states: Vec<_> = seen.iter().flat_map(|seen| &seen.states).collect();
    let (start, end) = (start.expect("the leaves have one").named(), end.named());
    ensure!(
        states.len() == end.len(),
        "{what}: {} fields, those of the carry are {}",
        states.len(),
        end.len()
    );
    for (((field, states), (name, start)), (_, end)) in states.into_iter().zip(start).zip(end) {
        ensure!(name.ends_with(field), "{what}: expected the field {name}, got {field}");
        let steps = states.dim(1)? - 1;
        let at = |step: usize| states.narrow(1, step, 1)?.squeeze(1);
        close(&format!("{what}, start of {name}"), &at(0)?, &start.detach(), Tolerance::Bits)?;
        close(&format!("{what}, end of {name}"), &at(steps)?, &end, Tolerance::Norm(1e-12))?;
    }
    Ok(seen)
}

fn in_range(what: &str, seen: &[Activations]) -> Result<()> {
    for (observation, gate) in
        seen.iter().flat_map(|seen| seen.gates.iter().map(move |gate| (seen, gate)))
    {
        let dims = gate.values.dims();
        let steps = observation.states[0].1.dim(1)? - 1;
        let expected = [observation.lengths.len(), steps, dims[2]];
        ensure!(dims == expected, "{what}: gate {} {dims:?}, expected {expected:?}", gate.name);
        let outside = values(&gate.values)?.into_iter().find(|value| !(0.0..=1.0).contains(value));
        ensure!(outside.is_none(), "{what}: gate {} is {outside:?}", gate.name);
    }
    Ok(())
}

/// The states and gates of the real steps of example `row`, by name.
fn of_row(seen: &[Activations], row: usize) -> Result<TensorMap> {
    let mut named = TensorMap::new();
    for observation in seen {
        let (suffix, len) = (observation.layer_id.suffix(), observation.lengths[row]);
        let cut = |values: &Tensor, steps| values.narrow(0, row, 1)?.narrow(1, 0, steps);
        for (name, states) in &observation.states {
            named.insert(format!("state{suffix}.{name}"), cut(states, len + 1)?);
        }
        for gate in &observation.gates {
            named.insert(format!("gate{suffix}.{}", gate.name), cut(&gate.values, len)?);
        }
    }
    Ok(named)
}

fn alone(
    what: &str,
    evaluation: &Evaluation,
    leaves: &TensorMap,
    seen: &[Activations],
) -> Result<()> {
    for row in 0..evaluation.size.batch {
        let (evaluation, leaves) = single(evaluation, leaves, row)?;
        let found = of_row(&observe(&evaluation, &leaves)?, 0)?;
        all_close(
            &format!("{what}, example {row} alone"),
            &of_row(seen, row)?,
            &found,
            Tolerance::Norm(1e-12),
        )?;
    }
    Ok(())
}

/// The outputs of a cell are the first field of its states, in the order in which it runs.
fn outputs(
    what: &str,
    evaluation: &Evaluation,
    leaves: &TensorMap,
    seen: &[Activations],
) -> Result<()> {
    let ys = evaluation.forward(evaluation.layer(leaves)?.as_ref(), leaves, None)?["ys"].clone();
    let (_, states) = &seen[0].states[0];
    for (row, &len) in seen[0].lengths.iter().enumerate() {
        for step in 0..len {
            let position = if evaluation.reverse { len - 1 - step } else { step };
            let at = |values: &Tensor, step| values.narrow(0, row, 1)?.narrow(1, step, 1);
            let what = format!("{what}, example {row}, step {step}");
            close(&what, &at(states, step + 1)?, &at(&ys, position)?, Tolerance::Norm(1e-12))?;
        }
    }
    Ok(())
}

/// Every layer's states after `t` steps are the carry of a run over the first `t` steps alone.
fn beginnings(
    what: &str,
    evaluation: &Evaluation,
    leaves: &TensorMap,
    seen: &[Activations],
) -> Result<()> {
    let (layer, carry) = (evaluation.layer(leaves)?, evaluation.carry(leaves)?);
    for t in 1..seen[0].states[0].1.dim(1)? {
        let xs = leaves["xs"].narrow(1, 0, t)?;
        let xs = match &evaluation.lengths {
            None => Sequence::new(xs)?,
            Some(lengths) => {
                Sequence::padded(xs, &lengths.iter().map(|len| t.min(*len)).collect::<Vec<_>>())?
            }
        };
        let (_, end) = layer.run(&xs, carry.as_ref(), &ForwardContext::default())?;
        let states = seen.iter().flat_map(|seen| &seen.states);
        for ((_, states), (name, end)) in states.zip(end.named()) {
            let found = states.narrow(1, t, 1)?.squeeze(1)?;
            close(
                &format!("{what}, {name} after {t} steps"),
                &found,
                &end,
                Tolerance::Norm(1e-12),
            )?;
        }
    }
    Ok(())
}
