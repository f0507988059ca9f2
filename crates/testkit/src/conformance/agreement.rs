//! Runs that must agree with the plain loop, and with each other.

use crate::case::Ends;
use crate::close::all_close;
use crate::named::to_f64;
use crate::{
    close, relative_error, Case, Dims, Evaluation, EvaluationOutput, Implementation, LossInputs,
    Result, TensorMap, Tolerance,
};
use anyhow::{ensure, Context};
use candle_core::{DType, Tensor};
use recurrent_core::{ForwardContext, Sequence};

/// The whole run equals a loop over `step`, in outputs, carry and every gradient, for every loss,
/// with and without a carry and lengths, in training, and at sizes that are odd for a kernel. In
/// f64 to 1e-12 of the norm: some dozen steps leave about 1e-15. In f32, both are compared with
/// f64: the run may be off by 2e-6 of the norm plus ten times the loop's own error, because a
/// network can amplify rounding that much, and then both errors are samples of one distribution.
pub(super) fn steps(case: &Case) -> Result<()> {
    let small = Evaluation::new(case);
    for reverse in directions(case) {
        let small = Evaluation { reverse: *reverse, ..small.clone() };
        for loss_inputs in [
            LossInputs::Outputs,
            LossInputs::Carry,
            LossInputs::Both,
            LossInputs::Last,
            LossInputs::LastAndCarry,
        ] {
            agree(&Evaluation { loss_inputs, ..small.clone() })?;
            agree(&Evaluation { loss_inputs, ..small.clone().ragged() })?;
        }
        agree_in_single(&small.clone().ragged())?;
        agree(&Evaluation { lengths: Some(vec![2, 7, 4, 7]), ..small.clone() })?;
        agree(&Evaluation { train: true, ..small.clone().ragged() })?;
        let mut leaves = small.leaves()?;
        leaves.retain(|name, _| !name.starts_with("carry."));
        agree_on(&small, &leaves)?;
    }
    let sized = |batch, time, input, hidden| {
        let size = Dims { batch, time, input: if case.square { hidden } else { input }, hidden };
        Evaluation { size, ..small.clone() }
    };
    // With one example or one step, a view such as `step` may return is contiguous at an offset.
    for reverse in directions(case) {
        for (batch, time) in [(1, 1), (1, 5), (3, 1)] {
            // Not two units: the derivative of the normalisation of two values is a difference of
            // almost equal numbers.
            agree(&Evaluation { reverse: *reverse, ..sized(batch, time, 2, 3) })?;
        }
    }
    let wide = sized(5, 11, 9, 17); // one more than two vectors of 8
    agree(&wide)?;
    agree_in_single(&Evaluation { reverse: case.is_cell(), ..wide })?;
    agree(&Evaluation { lengths: Some(vec![31, 9]), ..sized(2, 31, 2, 8) })?;
    // More than 32 examples, and more than 256 steps of them: a kernel splits them.
    let lengths = (0..35).map(|row| 1 + (row * 5) % 9).collect();
    agree(&Evaluation { lengths: Some(lengths), ..sized(35, 9, 2, 3) })?;
    Ok(())
}

/// The directions in which a case runs.
pub(super) fn directions(case: &Case) -> &'static [bool] {
    if case.is_cell() {
        &[false, true]
    } else {
        &[false]
    }
}

/// Every implementation equals the plain loop, to 1e-12 of the norm.
pub(super) fn agree(evaluation: &Evaluation) -> Result<()> {
    agree_on(evaluation, &evaluation.leaves()?)
}

fn agree_on(evaluation: &Evaluation, leaves: &TensorMap) -> Result<()> {
    let run = |implementation| -> Result<_> {
        let evaluation = Evaluation { implementation, ..evaluation.clone() };
        Ok((evaluation.name(), complete(&evaluation, leaves)?))
    };
    let (_, expected) = run(Implementation::StepLoop)?;
    let mut best = None;
    for implementation in evaluation.implementations()? {
        let (what, found) = run(implementation)?;
        all_close(&what, &found, &expected, Tolerance::Norm(1e-12))?;
        // Without gradients it need not save anything, and may use its memory otherwise.
        let plain =
            Evaluation { implementation, ..evaluation.clone() }.graph(leaves, |_| false)?.values;
        for (name, plain) in &plain {
            close(&format!("{what}, untracked, {name}"), plain, &found[name], Tolerance::Bits)?;
        }
        best = Some(found);
    }
    let (what, found) = run(Implementation::Auto)?;
    all_close(&what, &found, &best.expect("there is replay"), Tolerance::Bits)
}

/// The evaluation in f32 is as near to f64 as the plain loop is.
pub(super) fn agree_in_single(evaluation: &Evaluation) -> Result<()> {
    let evaluation = Evaluation { dtype: DType::F32, ..evaluation.clone() };
    let leaves = evaluation.leaves()?;
    let truth = Evaluation {
        implementation: Implementation::StepLoop,
        dtype: DType::F64,
        ..evaluation.clone()
    };
    let truth = complete(&truth, &to_f64(&leaves)?)?;
    let run = |implementation| {
        to_f64(&complete(&Evaluation { implementation, ..evaluation.clone() }, &leaves)?)
    };
    let rounded = run(Implementation::StepLoop)?;
    for implementation in evaluation.implementations()? {
        let found = run(implementation)?;
        for (name, truth) in truth.iter().filter(|(name, _)| *name != "loss") {
            // Not the loss, a single number in which errors may cancel.
            let bound = 2e-6 + 10.0 * relative_error(&rounded[name], truth)?;
            let what =
                format!("{}, {name}", Evaluation { implementation, ..evaluation.clone() }.name());
            close(&what, &found[name], truth, Tolerance::Norm(bound))?;
        }
    }
    Ok(())
}

/// All values, gradients and traces; zeros for the gradient of leaves that the loss does not depend
/// on.
fn complete(evaluation: &Evaluation, leaves: &TensorMap) -> Result<TensorMap> {
    let output = evaluation.run(leaves)?;
    let mut all = output.values;
    all.extend(output.states);
    for (name, leaf) in leaves.iter().filter(|(name, _)| !name.starts_with("loss.")) {
        let gradient = output.grads.get(name).cloned().map_or_else(|| leaf.zeros_like(), Ok)?;
        all.insert(format!("gradient of {name}"), gradient);
    }
    Ok(all)
}

/// A whole sequence equals its two halves with the carry between them, in outputs, carry and
/// gradients. A detached carry lets no gradient through.
pub(super) fn halves(case: &Case) -> Result<()> {
    if case.ends == Ends::Both {
        return Ok(()); // the second direction's carry comes from steps that have not run yet
    }
    let evaluation = Evaluation::new(case);
    let (time, cut) = (evaluation.size.time, 3);
    for implementation in evaluation.implementations()? {
        let evaluation = Evaluation { implementation, ..evaluation.clone() };
        let leaves = evaluation.leaves()?;
        let whole = evaluation.run(&leaves)?;
        let in_halves = |detach: bool| -> Result<EvaluationOutput> {
            let held = evaluation.hold(&leaves, |_| true)?;
            let (layer, carry) = (evaluation.layer(&held)?, evaluation.carry(&held)?);
            let half = |from, len| Sequence::new(held["xs"].narrow(1, from, len)?);
            let (first, middle) =
                layer.run(&half(0, cut)?, carry.as_ref(), &ForwardContext::default())?;
            let middle = if detach { middle.detach() } else { middle };
            let (second, end) =
                layer.run(&half(cut, time - cut)?, Some(&middle), &ForwardContext::default())?;
            let first = if detach { first.values().detach() } else { first.into_values() };
            let end = end.named().into_iter().map(|(name, field)| (format!("end.{name}"), field));
            let ys = Tensor::cat(&[&first, second.values()], 1)?;
            let values = end.chain([("ys".to_string(), ys)]).collect();
            evaluation.weigh(held, values)?.backward()
        };
        let halves = in_halves(false)?;
        let what = format!("{}, in halves", evaluation.name());
        all_close(&what, &halves.values, &whole.values, Tolerance::Norm(1e-12))?;
        all_close(
            &format!("{what}, gradient"),
            &halves.grads,
            &whole.grads,
            Tolerance::Norm(1e-12),
        )?;

        let detached = in_halves(true)?;
        let first = detached
            .grads
            .get("xs")
            .with_context(|| format!("{what}, detached: xs has no gradient"))?;
        let first = first.narrow(1, 0, cut)?;
        close(&format!("{what}, detached"), &first, &first.zeros_like()?, Tolerance::Norm(0.0))?;
        let carry = detached.grads.keys().find(|name| name.starts_with("carry."));
        ensure!(carry.is_none(), "{what}, detached: a gradient reaches {carry:?}");
    }
    Ok(())
}

/// A row of a batch alone gives the same row, in outputs, carry and gradients; the gradients of the
/// weights add up.
pub(super) fn rows(case: &Case) -> Result<()> {
    for evaluation in [Evaluation::new(case), Evaluation::new(case).ragged()] {
        for implementation in evaluation.implementations()? {
            let evaluation = Evaluation { implementation, ..evaluation.clone() };
            let leaves = evaluation.leaves()?;
            let whole = evaluation.run(&leaves)?;
            let alone = (0..evaluation.size.batch)
                .map(|row| alone(&evaluation, &leaves, row))
                .collect::<Result<Vec<_>>>()?;
            let what = format!("{}, row by row", evaluation.name());
            let join = |pick: fn(&EvaluationOutput) -> &TensorMap| -> Result<TensorMap> {
                let joined = |name: &String| {
                    let row = |row| {
                        pick(row)
                            .get(name)
                            .cloned()
                            .with_context(|| format!("{what}: a row has no {name}"))
                    };
                    let rows = alone.iter().map(row).collect::<Result<Vec<_>>>()?;
                    let joined = if name == "loss" || name.starts_with("param.") {
                        Tensor::stack(&rows, 0)?.sum(0)?
                    } else {
                        Tensor::cat(&rows, 0)?
                    };
                    Ok((name.clone(), joined))
                };
                pick(&alone[0]).keys().map(joined).collect()
            };
            all_close(&what, &join(|row| &row.values)?, &whole.values, Tolerance::Norm(1e-12))?;
            let what = format!("{what}, gradient");
            all_close(&what, &join(|row| &row.grads)?, &whole.grads, Tolerance::Norm(1e-12))?;
        }
    }
    Ok(())
}

fn alone(evaluation: &Evaluation, leaves: &TensorMap, row: usize) -> Result<EvaluationOutput> {
    let (evaluation, leaves) = single(evaluation, leaves, row)?;
    evaluation.run(&leaves)
}

/// The evaluation of example `row` alone, and its leaves.
pub(super) fn single<'a>(
    evaluation: &Evaluation<'a>,
    leaves: &TensorMap,
    row: usize,
) -> Result<(Evaluation<'a>, TensorMap)> {
    let cut = |(name, leaf): (&String, &Tensor)| {
        let shared = name.starts_with("param.");
        Ok((
            name.clone(),
            if shared { leaf.clone() } else { leaf.narrow(0, row, 1)?.contiguous()? },
        ))
    };
    let lengths = evaluation.lengths.as_ref().map(|lengths| vec![lengths[row]]);
    let alone =
        Evaluation { size: Dims { batch: 1, ..evaluation.size }, lengths, ..evaluation.clone() };
    Ok((alone, leaves.iter().map(cut).collect::<Result<_>>()?))
}

/// A reversed cell equals the forward cell on sequences flipped by hand, each within its length.
pub(super) fn reversed(case: &Case) -> Result<()> {
    if !case.is_cell() {
        return Ok(());
    }
    for evaluation in [Evaluation::new(case), Evaluation::new(case).ragged()] {
        for implementation in evaluation.implementations()? {
            let forward = Evaluation { implementation, ..evaluation.clone() };
            let reverse = Evaluation { reverse: true, ..forward.clone() };
            let leaves = forward.leaves()?;
            // The weights of the two directions have different names, in the same order.
            let (ahead, back) = (forward.fresh()?.1.params(), reverse.fresh()?.1.params());
            let turn = |named: &TensorMap| -> Result<TensorMap> {
                let turned = |(name, value): (&String, &Tensor)| {
                    let param = name.strip_prefix("param.");
                    let other = ahead
                        .iter()
                        .zip(&back)
                        .find(|((ahead, _), _)| Some(ahead.as_str()) == param);
                    let name = other.map_or(name.clone(), |(_, (back, _))| format!("param.{back}"));
                    let over_time = ["xs", "ys", "loss.ys"].contains(&name.as_str());
                    Ok((name, if over_time { flip(&forward, value)? } else { value.clone() }))
                };
                named.iter().map(turned).collect()
            };
            let expected = forward.run(&leaves)?;
            let found = reverse.run(&turn(&leaves)?)?;
            let what = format!("{}, against flipping by hand", reverse.name());
            all_close(&what, &found.values, &turn(&expected.values)?, Tolerance::Norm(1e-12))?;
            let what = format!("{what}, gradient");
            all_close(&what, &found.grads, &turn(&expected.grads)?, Tolerance::Norm(1e-12))?;
        }
    }
    Ok(())
}

/// Flips every example within its length; its padding stays in place.
fn flip(evaluation: &Evaluation, values: &Tensor) -> Result<Tensor> {
    let (batch, time, feature) = values.dims3()?;
    let rows = (0..batch).flat_map(|row| {
        let len = evaluation.lengths.as_ref().map_or(time, |lengths| lengths[row]);
        (0..time).map(move |t| (row * time + if t < len { len - 1 - t } else { t }) as u32)
    });
    let rows = Tensor::from_iter(rows, values.device())?;
    let flat = values.reshape((batch * time, feature))?.index_select(&rows, 0)?;
    Ok(flat.reshape((batch, time, feature))?)
}
