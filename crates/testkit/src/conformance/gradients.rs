//! Gradients: that they are there, right, the same again, and only where somebody tracks.

use super::agreement::directions;
use crate::close::{all_close, values};
use crate::{close, difference, noise, Named, Reads, Result, Subject, Tolerance, Trial};
use anyhow::{bail, ensure, Context};
use candle::Tensor;
use recurrent_core::{ForwardContext, Record, Sequence};

/// Every parameter has a finite gradient that is not zero: as the subject begins, as a whole; with other weights, each of its
/// rows. What is declared to be zero must be so.
pub(super) fn every_parameter(subject: &Subject) -> Result<()> {
    let trial = Trial::new(subject).ragged();
    for way in trial.ways()? {
        let trial = Trial { way, ..trial.clone() };
        let leaves = trial.leaves()?;
        let (_, layer) = trial.fresh()?;
        let (ys, _) = layer.run(&trial.sequence(&leaves)?, None, &ForwardContext::default())?;
        let grads = (ys.values() * &leaves["loss.ys"])?.sum_all()?.backward()?;
        for (name, param) in layer.params() {
            let gradient = grads
                .get(&param)
                .with_context(|| format!("{name} has no gradient at the start"))?;
            let silent = subject.zero_starts.iter().find(|(prefix, _)| name.starts_with(prefix));
            match silent {
                None => alive(subject, &name, gradient, "at the start")?,
                Some((_, reason)) => ensure!(
                    values(gradient)?.iter().all(|&value| value == 0.0),
                    "the gradient of {name} is not zero at the start, as declared: {reason}"
                ),
            }
        }
        let outcome = trial.run(&leaves)?;
        for (name, _) in layer.params() {
            let gradient = outcome.grads.get(&format!("param.{name}"));
            let gradient = gradient.with_context(|| format!("{name} has no gradient"))?;
            for row in 0..gradient.dim(0)? {
                alive(subject, &name, &gradient.narrow(0, row, 1)?, &format!("in row {row}"))?;
            }
        }
    }
    Ok(())
}

fn alive(subject: &Subject, name: &str, gradient: &Tensor, when: &str) -> Result<()> {
    let gradient = values(gradient)?;
    ensure!(
        gradient.iter().all(|value| value.is_finite()),
        "the gradient of {name} is not finite {when}"
    );
    let zero = gradient.iter().all(|&value| value == 0.0);
    match subject.zero_gradients.iter().find(|(declared, _)| *declared == name) {
        None => ensure!(!zero, "the gradient of {name} is zero {when}"),
        Some((_, reason)) => {
            ensure!(zero, "the gradient of {name} is not zero {when}, as declared: {reason}")
        }
    }
    Ok(())
}

/// Gradients of input, carry and every parameter equal finite differences, to [`difference::TOLERANCE`].
pub(super) fn finite_differences(subject: &Subject) -> Result<()> {
    for trial in [Trial::new(subject), Trial::new(subject).ragged()] {
        for reverse in directions(subject) {
            for way in trial.ways()? {
                let trial = Trial { way, reverse: *reverse, ..trial.clone() };
                let leaves = trial.leaves()?;
                let outcome = trial.run(&leaves)?;
                for (name, leaf) in leaves.iter().filter(|(name, _)| !name.starts_with("loss.")) {
                    let what = format!("{}, {name}", trial.name());
                    let gradient = outcome
                        .grads
                        .get(name)
                        .with_context(|| format!("{what} has no gradient"))?;
                    difference::check(&what, leaf, gradient, 2, |value| {
                        let mut leaves = leaves.clone();
                        leaves.insert(name.clone(), value.clone());
                        trial.loss(&leaves)
                    })?;
                }
            }
        }
    }
    Ok(())
}

/// A second backward pass over the same graph gives the same bits, and records the same; a loss that reads something else of it gets
/// nothing of the first.
pub(super) fn twice(subject: &Subject) -> Result<()> {
    for way in Trial::new(subject).ways()? {
        let trial = Trial { way, keep: Some(Record::Gradients), ..Trial::new(subject).ragged() };
        let graph = trial.graph(&trial.leaves()?, |_| true)?;
        let (first, second) = (graph.backward()?, graph.backward()?);
        let what = format!("{}, backward for the second time", trial.name());
        all_close(&what, &second.grads, &first.grads, Tolerance::Bits)?;
        all_close(&format!("{what}, recorded"), &second.states, &first.states, Tolerance::Bits)?;
        for reads in [Reads::Outputs, Reads::Carry, Reads::Both] {
            let trial = Trial { reads, keep: None, ..trial.clone() };
            let found = trial.weigh(graph.leaves.clone(), graph.values.clone())?.backward()?;
            let expected = trial.run(&trial.leaves()?)?;
            let what = format!("{}, over a graph that has been used", trial.name());
            all_close(&what, &found.grads, &expected.grads, Tolerance::Bits)?;
        }
    }
    Ok(())
}

/// Nothing flows to what nobody tracks, what is tracked gets the same gradient whatever else is, and without any of it there is no
/// graph at all.
pub(super) fn untracked(subject: &Subject) -> Result<()> {
    for way in Trial::new(subject).ways()? {
        let trial = Trial { way, ..Trial::new(subject).ragged() };
        let leaves = trial.leaves()?;
        let all = trial.run(&leaves)?;
        let part = |what: &str, tracked: &dyn Fn(&str) -> bool| -> Result<()> {
            let graph = trial.graph(&leaves, tracked)?;
            let outcome = graph.backward()?;
            let what = format!("{}, {what}", trial.name());
            all_close(&what, &outcome.values, &all.values, Tolerance::Bits)?;
            for name in leaves.keys().filter(|name| !name.starts_with("loss.")) {
                let found = outcome.grads.get(name);
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
                } else if name == "xs" && subject.stray_gradient.is_none() {
                    ensure!(
                        found.is_none(),
                        "{what}: there is a gradient for xs, which nobody tracks"
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

        let frozen = trial.graph(&leaves, |name| name == "xs")?.backward()?;
        let param = frozen.grads.keys().find(|name| name.starts_with("param."));
        ensure!(param.is_none(), "{}: {param:?} is frozen and has a gradient", trial.name());

        let none = trial.graph(&leaves, |_| false)?;
        let tracked = none.values.iter().find(|(_, value)| value.track_op());
        ensure!(
            tracked.is_none(),
            "{}: nothing is tracked but {:?}",
            trial.name(),
            tracked.map(|(name, _)| name)
        );
        let detached: Named = none.values.clone();
        let mut expected = all.values.clone();
        expected.remove("loss");
        all_close(
            &format!("{}, nothing tracked", trial.name()),
            &detached,
            &expected,
            Tolerance::Bits,
        )?;

        // A plain sequence as users hand it in, with the weights in a variable map.
        let (_, layer) = trial.fresh()?;
        let xs = noise("xs", leaves["xs"].dims())?;
        let (ys, _) = layer.run(&Sequence::new(xs.clone())?, None, &ForwardContext::default())?;
        let grads = ys.values().sqr()?.sum_all()?.backward()?;
        match (grads.get(&xs), subject.stray_gradient) {
            (Some(_), None) => bail!("{}: there is a gradient for plain xs", trial.name()),
            (None, Some(reason)) => {
                bail!("{}: no gradient for plain xs, as declared: {reason}", trial.name())
            }
            _ => {}
        }
    }
    Ok(())
}
