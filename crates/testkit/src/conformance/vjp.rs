//! The vector-Jacobian product of one step in closed form.

use crate::close::all_close;
use crate::{
    finite_difference, noise, Case, Dims, Evaluation, Implementation, LossInputs, Result,
    TensorMap, Tolerance,
};
use anyhow::ensure;
use candle_core::Tensor;
use recurrent_core::Carry;

/// The closed form equals differentiating the plain loop's step, and finite differences. In
/// candle's graph it depends on the weights, but not on the input or the state.
pub(super) fn vjp(case: &Case) -> Result<()> {
    let usual = Evaluation::new(case);
    let evaluation = Evaluation {
        size: Dims { time: 1, ..usual.size },
        loss_inputs: LossInputs::Carry,
        ..usual
    };
    let leaves = evaluation.leaves()?;
    let held = evaluation.hold(&leaves, |_| true)?;
    let Some(found) = back(&evaluation, &held)? else { return Ok(()) };
    let named = |carry: &Carry| {
        carry.named().into_iter().map(|(name, field)| (format!("carry.{name}"), field))
    };
    let found: TensorMap = named(&found).collect();

    let steps = Evaluation { implementation: Implementation::StepLoop, ..evaluation.clone() };
    let mut expected = steps.run(&leaves)?.grads;
    expected.retain(|name, _| name.starts_with("carry."));
    all_close("vjp, against differentiating a step", &found, &expected, Tolerance::Norm(1e-12))?;
    for (name, gradient) in &found {
        finite_difference::check(
            &format!("pull back, {name}"),
            &leaves[name],
            gradient,
            2,
            |value| {
                let mut leaves = leaves.clone();
                leaves.insert(name.clone(), value.clone());
                steps.loss(&leaves)
            },
        )?;
    }

    let mut sum = Tensor::zeros((), evaluation.dtype, leaves["xs"].device())?;
    for (name, gradient) in &found {
        sum = (sum
            + (gradient * noise(&format!("pull back {name}"), gradient.dims())?)?.sum_all()?)?;
    }
    let store = sum.backward()?;
    let mut reached =
        held.iter().filter(|(_, leaf)| store.get(leaf).is_some()).map(|(name, _)| name).peekable();
    // A cell without products in the loop has weights of the input alone.
    let of_input = |name: &str| name.starts_with("weight_ih") || name.starts_with("bias");
    let mut params = held.keys().filter_map(|name| name.strip_prefix("param."));
    let recurrent = params.any(|name| !of_input(name));
    ensure!(!recurrent || reached.peek().is_some(), "vjp: it depends on no weight");
    let other = reached.find(|name| *name == "xs" || name.starts_with("carry."));
    ensure!(other.is_none(), "vjp: it depends on {other:?}, which counts as a constant");
    Ok(())
}

fn back(evaluation: &Evaluation, held: &TensorMap) -> Result<Option<Carry>> {
    let carry = evaluation.carry(held)?.expect("the leaves have one");
    let mut names = carry.named().into_iter().map(|(name, _)| format!("loss.end.{name}"));
    let grad = carry
        .map(&mut |_: &Tensor| Ok(held[&names.next().expect("a name for every tensor")].clone()))?;
    let x = held["xs"].squeeze(1)?; // (batch, input)
    Ok(evaluation.layer(held)?.vjp(&x, &carry, &grad)?)
}
