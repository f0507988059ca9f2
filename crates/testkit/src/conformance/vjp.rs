//! The closed form of what comes back through one step.

use crate::close::all_close;
use crate::named::flatten;
use crate::{difference, noise, Named, Reads, Result, Size, Subject, Tolerance, Trial, Way};
use anyhow::ensure;
use candle::Tensor;
use recurrent_core::Carry;

/// Where a layer offers it, it equals differentiating the plain loop's step, and finite differences; in candle's graph it depends on weights,
/// and neither on the input nor on the state.
pub(super) fn vjp(subject: &Subject) -> Result<()> {
    let usual = Trial::new(subject);
    let trial = Trial { size: Size { time: 1, ..usual.size }, reads: Reads::Carry, ..usual };
    let leaves = trial.leaves()?;
    let held = trial.hold(&leaves, |_| true)?;
    let Some(found) = back(&trial, &held)? else { return Ok(()) };
    let named = |carry: &Carry| {
        flatten(carry).into_iter().map(|(name, field)| (format!("carry.{name}"), field))
    };
    let found: Named = named(&found).collect();

    let steps = Trial { way: Way::Steps, ..trial.clone() };
    let mut expected = steps.run(&leaves)?.grads;
    expected.retain(|name, _| name.starts_with("carry."));
    all_close(
        "pull back, against differentiating a step",
        &found,
        &expected,
        Tolerance::Norm(1e-12),
    )?;
    for (name, gradient) in &found {
        difference::check(&format!("pull back, {name}"), &leaves[name], gradient, 2, |value| {
            let mut leaves = leaves.clone();
            leaves.insert(name.clone(), value.clone());
            steps.loss(&leaves)
        })?;
    }

    let mut sum = Tensor::zeros((), trial.dtype, leaves["xs"].device())?;
    for (name, gradient) in &found {
        sum = (sum
            + (gradient * noise(&format!("pull back {name}"), gradient.dims())?)?.sum_all()?)?;
    }
    let store = sum.backward()?;
    let mut reached =
        held.iter().filter(|(_, leaf)| store.get(leaf).is_some()).map(|(name, _)| name).peekable();
    ensure!(reached.peek().is_some(), "pull back: it depends on no weight");
    let other = reached.find(|name| *name == "xs" || name.starts_with("carry."));
    ensure!(other.is_none(), "pull back: it depends on {other:?}, which counts as a constant");
    Ok(())
}

fn back(trial: &Trial, held: &Named) -> Result<Option<Carry>> {
    let carry = trial.carry(held)?.expect("the leaves have one");
    let mut names = flatten(&carry).into_iter().map(|(name, _)| format!("loss.end.{name}"));
    let grad = carry
        .map(&mut |_: &Tensor| Ok(held[&names.next().expect("a name for every tensor")].clone()))?;
    let x = held["xs"].squeeze(1)?; // (batch, input)
    Ok(trial.layer(held)?.vjp(&x, &carry, &grad)?)
}
