//! Runs that must agree with the plain loop, and with each other.

use crate::close::all_close;
use crate::named::{flatten, in_double};
use crate::subject::Ends;
use crate::{
    close, deviation, Named, Outcome, Reads, Result, Size, Subject, Tolerance, Trial, Way,
};
use anyhow::{ensure, Context};
use candle::{DType, Tensor};
use recurrent_core::{ForwardContext, Sequence};

/// A loop over `step` equals the whole run, outputs, carry and every gradient, for every loss, with and without a carry and lengths,
/// in training, and at sizes that are odd for a kernel. In f64 to 1e-12 of the norm: some dozen steps leave 1e-15 or so. In f32 both
/// are held against f64; the run may be off by 2e-6 of the norm, and by ten times what the loop in f32 is off: a network can amplify
/// rounding by as much, and then both are draws of one distribution.
pub(super) fn steps(subject: &Subject) -> Result<()> {
    let small = Trial::new(subject);
    for reverse in directions(subject) {
        let small = Trial { reverse: *reverse, ..small.clone() };
        for reads in [Reads::Outputs, Reads::Carry, Reads::Both, Reads::Last, Reads::LastAndCarry] {
            agree(&Trial { reads, ..small.clone() })?;
            agree(&Trial { reads, ..small.clone().ragged() })?;
        }
        agree_in_single(&small.clone().ragged())?;
        agree(&Trial { lengths: Some(vec![2, 7, 4, 7]), ..small.clone() })?;
        agree(&Trial { train: true, ..small.clone().ragged() })?;
        let mut leaves = small.leaves()?;
        leaves.retain(|name, _| !name.starts_with("carry."));
        agree_on(&small, &leaves)?;
    }
    let sized = |batch, time, input, hidden| {
        let size = Size { batch, time, input: if subject.square { hidden } else { input }, hidden };
        Trial { size, ..small.clone() }
    };
    agree(&sized(1, 1, 2, 2))?;
    let wide = sized(5, 11, 9, 17); // one more than two vectors of 8
    agree(&wide)?;
    agree_in_single(&Trial { reverse: subject.is_cell(), ..wide })?;
    agree(&Trial { lengths: Some(vec![31, 9]), ..sized(2, 31, 2, 8) })?;
    // More than 32 examples, and more than 256 steps of them: a kernel takes them in parts.
    let lengths = (0..35).map(|row| 1 + (row * 5) % 9).collect();
    agree(&Trial { lengths: Some(lengths), ..sized(35, 9, 2, 3) })?;
    Ok(())
}

/// The directions in which a subject is tried.
pub(super) fn directions(subject: &Subject) -> &'static [bool] {
    if subject.is_cell() {
        &[false, true]
    } else {
        &[false]
    }
}

/// The trial by every way equals that by the plain loop, to 1e-12 of the norm.
pub(super) fn agree(trial: &Trial) -> Result<()> {
    agree_on(trial, &trial.leaves()?)
}

fn agree_on(trial: &Trial, leaves: &Named) -> Result<()> {
    let run = |way| -> Result<_> {
        let trial = Trial { way, ..trial.clone() };
        Ok((trial.name(), complete(&trial, leaves)?))
    };
    let (_, expected) = run(Way::Steps)?;
    let mut best = None;
    for way in trial.ways()? {
        let (what, found) = run(way)?;
        all_close(&what, &found, &expected, Tolerance::Norm(1e-12))?;
        // Without a gradient to come it need not keep anything, and may go another way through memory.
        let plain = Trial { way, ..trial.clone() }.graph(leaves, |_| false)?.values;
        for (name, plain) in &plain {
            close(&format!("{what}, untracked, {name}"), plain, &found[name], Tolerance::Bits)?;
        }
        best = Some(found);
    }
    let (what, found) = run(Way::Auto)?;
    all_close(&what, &found, &best.expect("there is replay"), Tolerance::Bits)
}

/// The trial in f32 is as near to f64 as the plain loop is.
pub(super) fn agree_in_single(trial: &Trial) -> Result<()> {
    let trial = Trial { dtype: DType::F32, ..trial.clone() };
    let leaves = trial.leaves()?;
    let truth = Trial { way: Way::Steps, dtype: DType::F64, ..trial.clone() };
    let truth = complete(&truth, &in_double(&leaves)?)?;
    let run = |way| in_double(&complete(&Trial { way, ..trial.clone() }, &leaves)?);
    let rounded = run(Way::Steps)?;
    for way in trial.ways()? {
        let found = run(way)?;
        for (name, truth) in truth.iter().filter(|(name, _)| *name != "loss") {
            // Not the loss, a single number in which the others may cancel.
            let bound = 2e-6 + 10.0 * deviation(&rounded[name], truth)?;
            let what = format!("{}, {name}", Trial { way, ..trial.clone() }.name());
            close(&what, &found[name], truth, Tolerance::Norm(bound))?;
        }
    }
    Ok(())
}

/// All values, gradients and records; zeros for the gradient of what the loss does not depend on.
fn complete(trial: &Trial, leaves: &Named) -> Result<Named> {
    let outcome = trial.run(leaves)?;
    let mut all = outcome.values;
    all.extend(outcome.states);
    for (name, leaf) in leaves.iter().filter(|(name, _)| !name.starts_with("loss.")) {
        let gradient = outcome.grads.get(name).cloned().map_or_else(|| leaf.zeros_like(), Ok)?;
        all.insert(format!("gradient of {name}"), gradient);
    }
    Ok(all)
}

/// A whole sequence equals its two halves with the carry between them, in outputs, carry and gradients; and a carry that is
/// detached lets no gradient through.
pub(super) fn halves(subject: &Subject) -> Result<()> {
    if subject.ends == Ends::Both {
        return Ok(()); // one direction's carry comes from where the sequence has not been yet
    }
    let trial = Trial::new(subject);
    let (time, cut) = (trial.size.time, 3);
    for way in trial.ways()? {
        let trial = Trial { way, ..trial.clone() };
        let leaves = trial.leaves()?;
        let whole = trial.run(&leaves)?;
        let in_halves = |detach: bool| -> Result<Outcome> {
            let held = trial.hold(&leaves, |_| true)?;
            let (layer, carry) = (trial.layer(&held)?, trial.carry(&held)?);
            let half = |from, len| Sequence::new(held["xs"].narrow(1, from, len)?);
            let (first, middle) =
                layer.run(&half(0, cut)?, carry.as_ref(), &ForwardContext::default())?;
            let middle = if detach { middle.detach() } else { middle };
            let (second, end) =
                layer.run(&half(cut, time - cut)?, Some(&middle), &ForwardContext::default())?;
            let first = if detach { first.values().detach() } else { first.into_values() };
            let end = flatten(&end).into_iter().map(|(name, field)| (format!("end.{name}"), field));
            let ys = Tensor::cat(&[&first, second.values()], 1)?;
            let values = end.chain([("ys".to_string(), ys)]).collect();
            trial.weigh(held, values)?.backward()
        };
        let halves = in_halves(false)?;
        let what = format!("{}, in halves", trial.name());
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

/// A row of a batch alone gives the same row, in outputs, carry and gradients; those of the weights add up.
pub(super) fn rows(subject: &Subject) -> Result<()> {
    for trial in [Trial::new(subject), Trial::new(subject).ragged()] {
        for way in trial.ways()? {
            let trial = Trial { way, ..trial.clone() };
            let leaves = trial.leaves()?;
            let whole = trial.run(&leaves)?;
            let alone = (0..trial.size.batch)
                .map(|row| alone(&trial, &leaves, row))
                .collect::<Result<Vec<_>>>()?;
            let what = format!("{}, row by row", trial.name());
            let join = |pick: fn(&Outcome) -> &Named| -> Result<Named> {
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

fn alone(trial: &Trial, leaves: &Named, row: usize) -> Result<Outcome> {
    let (trial, leaves) = single(trial, leaves, row)?;
    trial.run(&leaves)
}

/// The evaluation of example `row` alone, and what goes into it.
pub(super) fn single<'a>(
    trial: &Trial<'a>,
    leaves: &Named,
    row: usize,
) -> Result<(Trial<'a>, Named)> {
    let cut = |(name, leaf): (&String, &Tensor)| {
        let shared = name.starts_with("param.");
        Ok((
            name.clone(),
            if shared { leaf.clone() } else { leaf.narrow(0, row, 1)?.contiguous()? },
        ))
    };
    let lengths = trial.lengths.as_ref().map(|lengths| vec![lengths[row]]);
    let alone = Trial { size: Size { batch: 1, ..trial.size }, lengths, ..trial.clone() };
    Ok((alone, leaves.iter().map(cut).collect::<Result<_>>()?))
}

/// A reversed cell equals the same cell forward on sequences flipped by hand, each within its length.
pub(super) fn reversed(subject: &Subject) -> Result<()> {
    if !subject.is_cell() {
        return Ok(());
    }
    for trial in [Trial::new(subject), Trial::new(subject).ragged()] {
        for way in trial.ways()? {
            let forward = Trial { way, ..trial.clone() };
            let reverse = Trial { reverse: true, ..forward.clone() };
            let leaves = forward.leaves()?;
            // The weights of the two directions have names of their own, in the same order.
            let (ahead, back) = (forward.fresh()?.1.params(), reverse.fresh()?.1.params());
            let turn = |named: &Named| -> Result<Named> {
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

/// Every example from its end to its beginning; its padding stays where it is.
fn flip(trial: &Trial, values: &Tensor) -> Result<Tensor> {
    let (batch, time, feature) = values.dims3()?;
    let rows = (0..batch).flat_map(|row| {
        let len = trial.lengths.as_ref().map_or(time, |lengths| lengths[row]);
        (0..time).map(move |t| (row * time + if t < len { len - 1 - t } else { t }) as u32)
    });
    let rows = Tensor::from_iter(rows, values.device())?;
    let flat = values.reshape((batch * time, feature))?.index_select(&rows, 0)?;
    Ok(flat.reshape((batch, time, feature))?)
}
