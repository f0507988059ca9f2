//! Gradients: they exist, are right, are repeatable, and exist only where something is tracked.

use super::agreement::directions;
use crate::close::{all_close, values};
use crate::{
    close, finite_difference, noise, Case, Evaluation, LossInputs, Result, TensorMap, Tolerance,
};
use anyhow::{ensure, Context};
use candle_core::Tensor;
use recurrent_core::{ForwardContext, Record, Sequence};

/// Every parameter has a finite, non-zero gradient: at initialisation as a whole, with other
/// weights in each row. Gradients that are declared zero are zero.
pub(super) fn every_parameter(case: &Case) -> Result<()> {
    let evaluation = Evaluation::new(case).ragged();
    for implementation in evaluation.implementations()? {
        let evaluation = Evaluation { implementation, ..evaluation.clone() };
        let leaves = evaluation.leaves()?;
        let (_, layer) = evaluation.fresh()?;
        let (ys, _) =
            layer.run(&evaluation.sequence(&leaves)?, None, &ForwardContext::default())?;
        let grads = (ys.values() * &leaves["loss.ys"])?.sum_all()?.backward()?;
        for (name, param) in layer.params() {
            let gradient = grads
                .get(&param)
                .with_context(|| format!("{name} has no gradient at the start"))?;
            let silent = case.zero_starts.iter().find(|(prefix, _)| name.starts_with(prefix));
            match silent {
                None => alive(case, &name, gradient, "at the start")?,
                Some((_, reason)) => ensure!(
                    values(gradient)?.iter().all(|&value| value == 0.0),
                    "the gradient of {name} is not zero at the start, as declared: {reason}"
                ),
            }
        }
        let output = evaluation.run(&leaves)?;
        for (name, _) in layer.params() {
            let gradient = output.grads.get(&format!("param.{name}"));
            let gradient = gradient.with_context(|| format!("{name} has no gradient"))?;
            for row in 0..gradient.dim(0)? {
                alive(case, &name, &gradient.narrow(0, row, 1)?, &format!("in row {row}"))?;
            }
        }
    }
    Ok(())
}

fn alive(case: &Case, name: &str, gradient: &Tensor, when: &str) -> Result<()> {
    let gradient = values(gradient)?;
    ensure!(
        gradient.iter().all(|value| value.is_finite()),
        "the gradient of {name} is not finite {when}"
    );
    let zero = gradient.iter().all(|&value| value == 0.0);
    match case.zero_gradients.iter().find(|(declared, _)| *declared == name) {
        None => ensure!(!zero, "the gradient of {name} is zero {when}"),
        Some((_, reason)) => {
            ensure!(zero, "the gradient of {name} is not zero {when}, as declared: {reason}")
        }
    }
    Ok(())
}

/// Gradients of input, carry and every parameter equal finite differences, to
/// [`finite_difference::TOLERANCE`].
pub(super) fn finite_differences(case: &Case) -> Result<()> {
    for evaluation in [Evaluation::new(case), Evaluation::new(case).ragged()] {
        for reverse in directions(case) {
            for implementation in evaluation.implementations()? {
                let evaluation =
                    Evaluation { implementation, reverse: *reverse, ..evaluation.clone() };
                let leaves = evaluation.leaves()?;
                let output = evaluation.run(&leaves)?;
                for (name, leaf) in leaves.iter().filter(|(name, _)| !name.starts_with("loss.")) {
                    let what = format!("{}, {name}", evaluation.name());
                    let gradient = output
                        .grads
                        .get(name)
                        .with_context(|| format!("{what} has no gradient"))?;
                    finite_difference::check(&what, leaf, gradient, 2, |value| {
                        let mut leaves = leaves.clone();
                        leaves.insert(name.clone(), value.clone());
                        evaluation.loss(&leaves)
                    })?;
                }
            }
        }
    }
    Ok(())
}

/// A second backward pass over the same graph gives the same bits, and the same traces. Another
/// loss over the graph is not affected by the first.
pub(super) fn twice(case: &Case) -> Result<()> {
    for implementation in Evaluation::new(case).implementations()? {
        let evaluation = Evaluation {
            implementation,
            keep: Some(Record::Gradients),
            ..Evaluation::new(case).ragged()
        };
        let graph = evaluation.graph(&evaluation.leaves()?, |_| true)?;
        let (first, second) = (graph.backward()?, graph.backward()?);
        let what = format!("{}, backward for the second time", evaluation.name());
        all_close(&what, &second.grads, &first.grads, Tolerance::Bits)?;
        all_close(&format!("{what}, recorded"), &second.states, &first.states, Tolerance::Bits)?;
        for loss_inputs in [LossInputs::Outputs, LossInputs::Carry, LossInputs::Both] {
            let evaluation = Evaluation { loss_inputs, keep: None, ..evaluation.clone() };
            let found = evaluation.weigh(graph.leaves.clone(), graph.values.clone())?.backward()?;
            let expected = evaluation.run(&evaluation.leaves()?)?;
            let what = format!("{}, over a graph that has been used", evaluation.name());
            all_close(&what, &found.grads, &expected.grads, Tolerance::Bits)?;
        }
    }
    Ok(())
}

/// Untracked leaves get no gradient; tracked leaves get the same gradient whatever else is tracked;
/// if nothing is tracked there is no graph.
pub(super) fn untracked(case: &Case) -> Result<()> {
    for implementation in Evaluation::new(case).implementations()? {
        let evaluation = Evaluation { implementation, ..Evaluation::new(case).ragged() };
        let leaves = evaluation.leaves()?;
        let all = evaluation.run(&leaves)?;
        let part = |what: &str, tracked: &dyn Fn(&str) -> bool| -> Result<()> {
            let graph = evaluation.graph(&leaves, tracked)?;
            let output = graph.backward()?;
            let what = format!("{}, {what}", evaluation.name());
            all_close(&what, &output.values, &all.values, Tolerance::Bits)?;
            for name in leaves.keys().filter(|name| !name.starts_with("loss.")) {
                let found = output.grads.get(name);
                if tracked(name) {
                    let missing = || format!("{what}: {name} has no gradient");
                    let (found, expected) =
                        (found.with_context(missing)?, all.grads.get(name).with_context(missing)?);
                    close(
                        &format!("{what}, gradient, {name}"),
                        found,
                        expected,
                        Tolerance::Norm(1e-14),
                    )?;
                } else if name == "xs" {
                    ensure!(
                        found.is_none(),
                        "{what}: there is a gradient for xs, which is not tracked"
                    );
                }
            }
            Ok(())
        };
        part("xs untracked", &|name| name != "xs")?;
        part("weights and carry frozen", &|name| name == "xs")?;
        part("the carry alone tracked", &|name| name.starts_with("carry."))?;
        let one = all
            .grads
            .keys()
            .find(|name| name.starts_with("param."))
            .context("there is a weight")?;
        part("one weight tracked", &|name| name == one)?;

        let frozen = evaluation.graph(&leaves, |name| name == "xs")?.backward()?;
        let param = frozen.grads.keys().find(|name| name.starts_with("param."));
        ensure!(param.is_none(), "{}: {param:?} is frozen and has a gradient", evaluation.name());

        let none = evaluation.graph(&leaves, |_| false)?;
        let tracked = none.values.iter().find(|(_, value)| value.track_op());
        ensure!(
            tracked.is_none(),
            "{}: nothing is tracked but {:?}",
            evaluation.name(),
            tracked.map(|(name, _)| name)
        );
        let detached: TensorMap = none.values.clone();
        let mut expected = all.values.clone();
        expected.remove("loss");
        all_close(
            &format!("{}, nothing tracked", evaluation.name()),
            &detached,
            &expected,
            Tolerance::Bits,
        )?;

        // A plain sequence as users pass it, with the weights in a variable map.
        let (_, layer) = evaluation.fresh()?;
        let xs = noise("xs", leaves["xs"].dims())?;
        let (ys, _) = layer.run(&Sequence::new(xs.clone())?, None, &ForwardContext::default())?;
        let grads = ys.values().sqr()?.sum_all()?.backward()?;
        let what = evaluation.name();
        ensure!(grads.get(&xs).is_none(), "{what}: there is a gradient for plain xs");
    }
    Ok(())
}
