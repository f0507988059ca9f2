//! The gradient recorder: its gradients against the plain loop and finite differences, its counts
//! against its gradients.

use super::agreement::directions;
use crate::close::{all_close, norm, values};
use crate::{
    finite_difference, Case, Evaluation, Implementation, LossInputs, Result, TensorMap, Tolerance,
};
use anyhow::{ensure, Context};
use candle_core::{DType, Tensor};
use recurrent_core::{Carry, ForwardContext, GradientTrace, Layer, Record, Sequence};

/// The recorded gradients of every layer, direction and field equal those of the plain loop:
/// partial derivatives with the other fields held fixed. Norms and counts fit the gradients, and
/// recording changes no bit of the run.
pub(super) fn recorder(case: &Case) -> Result<()> {
    for (dtype, tolerance) in
        [(DType::F64, Tolerance::Norm(1e-12)), (DType::F32, Tolerance::Max(2e-5))]
    {
        for loss_inputs in [LossInputs::Both, LossInputs::Last] {
            for reverse in directions(case) {
                let evaluation =
                    Evaluation { dtype, loss_inputs, reverse: *reverse, ..Evaluation::new(case) };
                for evaluation in [evaluation.clone(), evaluation.ragged()] {
                    let recorded =
                        Evaluation { keep: Some(Record::Gradients), ..evaluation.clone() };
                    let leaves = evaluation.leaves()?;
                    let expected =
                        Evaluation { implementation: Implementation::StepLoop, ..recorded.clone() }
                            .run(&leaves)?;
                    for implementation in evaluation.implementations()? {
                        let recorded = Evaluation { implementation, ..recorded.clone() };
                        let found = recorded.run(&leaves)?;
                        let what = format!("{}, recorded", recorded.name());
                        all_close(&what, &found.states, &expected.states, tolerance)?;
                        for trace in &found.traces {
                            counts(&what, trace, &recorded)?;
                        }
                        let unseen =
                            Evaluation { implementation, ..evaluation.clone() }.run(&leaves)?;
                        all_close(&what, &found.values, &unseen.values, Tolerance::Bits)?;
                        all_close(&what, &found.grads, &unseen.grads, Tolerance::Bits)?;
                        let norms =
                            Evaluation { keep: Some(Record::Norms), ..recorded }.run(&leaves)?;
                        same_norms(&what, &norms.traces, &found.traces)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// The norms and counts of a trace are those of its gradients.
fn counts(what: &str, trace: &GradientTrace, evaluation: &Evaluation) -> Result<()> {
    let what = format!("{what}, {}{}", trace.field, trace.layer_id.suffix());
    let (batch, time) = (evaluation.size.batch, evaluation.size.time);
    let lengths = evaluation.lengths.clone().unwrap_or(vec![time; batch]);
    ensure!(
        trace.batch == batch && trace.lengths == lengths,
        "{what}: lengths {:?}",
        trace.lengths
    );
    let gradients = trace.gradients.as_ref().context("the gradients are kept")?;
    ensure!(gradients.dtype() == evaluation.dtype, "{what}: gradients in {:?}", gradients.dtype());
    let (_, states, size) = gradients.dims3()?;
    let longest = lengths.iter().copied().max().unwrap_or(0);
    ensure!(
        states == longest + 1 && trace.lags() == states,
        "{what}: {states} states, {} lags",
        trace.lags()
    );
    let all = values(gradients)?;
    let row = |row: usize, step: usize| &all[(row * states + step) * size..][..size];
    let near = |found: f64, expected: f64| (found - expected).abs() <= 1e-12 * expected.abs();
    for lag in 0..states {
        let (mut sum, mut zeros, mut elements, mut norms) = (vec![0.0; size], 0, 0, Vec::new());
        for (example, &len) in lengths.iter().enumerate() {
            let found = trace.norms[lag * batch + example];
            let Some(step) = len.checked_sub(lag) else {
                ensure!(
                    found.is_nan(),
                    "{what}: example {example} has no state at lag {lag}, its norm is {found}"
                );
                continue;
            };
            let gradient = row(example, step);
            let expected = norm(gradient);
            ensure!(
                near(found, expected),
                "{what}: norm {found:e} at lag {lag}, example {example}; not {expected:e}"
            );
            norms.push(found);
            sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
            zeros += gradient.iter().filter(|&&value| value == 0.0).count();
            elements += size;
        }
        // Rows may cancel, so the sum is exact relative to its terms.
        let (expected, parts) = (norm(&sum), norms.iter().sum::<f64>());
        let found = trace.batch_norms[lag];
        ensure!(
            (found - expected).abs() <= 1e-12 * parts,
            "{what}: sum {found:e} at lag {lag}; not {expected:e}"
        );
        let found =
            (trace.zeros[lag], trace.elements[lag], trace.norms_at(lag).collect::<Vec<_>>());
        ensure!(
            found == (zeros, elements, norms),
            "{what}: zeros, elements and norms at lag {lag}: {found:?}"
        );
        let odd = (trace.subnormals[lag], trace.nans[lag], trace.infinities[lag]);
        ensure!(
            odd == (0, 0, 0),
            "{what}: subnormals, not a number, infinite at lag {lag}: {odd:?}"
        );
    }
    let behind = (0..batch)
        .flat_map(|example| (lengths[example] + 1..states).map(move |step| (example, step)));
    for (example, step) in behind {
        ensure!(
            norm(row(example, step)) == 0.0,
            "{what}: a gradient behind the end of example {example}"
        );
    }
    Ok(())
}

fn same_norms(what: &str, found: &[GradientTrace], expected: &[GradientTrace]) -> Result<()> {
    ensure!(
        found.len() == expected.len(),
        "{what}: {} traces, not {}",
        found.len(),
        expected.len()
    );
    for (found, expected) in found.iter().zip(expected) {
        ensure!(found.gradients.is_none(), "{what}: gradients are kept, and nobody asked for them");
        ensure!(
            (found.layer_id, found.field) == (expected.layer_id, expected.field),
            "{what}: other traces"
        );
        let bits = |norms: &[f64]| norms.iter().map(|norm| norm.to_bits()).collect::<Vec<_>>();
        ensure!(
            bits(&found.norms) == bits(&expected.norms),
            "{what}: other norms without the gradients"
        );
        ensure!(
            bits(&found.batch_norms) == bits(&expected.batch_norms),
            "{what}: other sums without the gradients"
        );
    }
    Ok(())
}

/// The recorded gradients of a cell equal finite differences: the carry between two parts of a run
/// is changed, one field with the others held fixed, and the second part runs again.
pub(super) fn differences(case: &Case) -> Result<()> {
    if !case.is_cell() {
        return Ok(());
    }
    for reverse in directions(case) {
        let evaluation = Evaluation {
            reverse: *reverse,
            keep: Some(Record::Gradients),
            ..Evaluation::new(case).ragged()
        };
        for implementation in evaluation.implementations()? {
            let evaluation = Evaluation { implementation, ..evaluation.clone() };
            let leaves = evaluation.leaves()?;
            let layer = evaluation.layer(&leaves)?;
            let traces = evaluation.run(&leaves)?.traces;
            let fields = leaves.keys().filter(|name| name.starts_with("carry.")).count();
            ensure!(
                traces.len() == fields,
                "{}: {} traces of {fields} fields",
                evaluation.name(),
                traces.len()
            );
            for trace in traces {
                let gradients = trace.gradients.as_ref().context("the gradients are kept")?;
                for (row, &len) in trace.lengths.iter().enumerate() {
                    for step in 0..=len {
                        let part = Part::new(&evaluation, &leaves, layer.as_ref(), row, step, len)?;
                        let at = part.carry.field(trace.field)?;
                        let gradient =
                            gradients.narrow(0, row, 1)?.narrow(1, step, 1)?.squeeze(1)?;
                        let what = format!(
                            "{}, dL/d{} of row {row} at {step}",
                            evaluation.name(),
                            trace.field
                        );
                        finite_difference::check(&what, at, &gradient, 0, |value| {
                            part.loss(trace.field, value)
                        })?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// One example's run from the state after `step` steps on.
struct Part<'a> {
    layer: &'a dyn Layer,
    carry: Carry,
    rest: Option<Sequence>,
    weights: TensorMap,
    own: Option<Tensor>, // the loss weight of the output that is this state itself
}

impl<'a> Part<'a> {
    fn new(
        evaluation: &Evaluation,
        leaves: &TensorMap,
        layer: &'a dyn Layer,
        row: usize,
        step: usize,
        len: usize,
    ) -> Result<Self> {
        let position = |step: usize| if evaluation.reverse { len - 1 - step } else { step };
        // The positions of `count` steps from `from` on; reversed, they lie in the other order.
        let range = |values: &Tensor, from: usize, count: usize| {
            let first = if evaluation.reverse { len - from - count } else { from };
            values.narrow(0, row, 1)?.narrow(1, first, count)
        };
        let start = evaluation.carry(leaves)?.context("the leaves have a carry")?;
        let start = start.map(&mut |field| field.narrow(0, row, 1))?;
        let xs = &leaves["xs"];
        let carry = match step {
            0 => start,
            _ => {
                layer
                    .run(
                        &Sequence::new(range(xs, 0, step)?)?,
                        Some(&start),
                        &ForwardContext::default(),
                    )?
                    .1
            }
        };
        let mut weights = TensorMap::new();
        for (name, weight) in leaves.iter().filter(|(name, _)| name.starts_with("loss.end.")) {
            weights.insert(name.clone(), weight.narrow(0, row, 1)?);
        }
        let rest = if step == len {
            None
        } else {
            weights.insert("loss.ys".to_string(), range(&leaves["loss.ys"], step, len - step)?);
            Some(Sequence::new(range(xs, step, len - step)?)?)
        };
        let own = match step {
            0 => None,
            _ => Some(
                leaves["loss.ys"]
                    .narrow(0, row, 1)?
                    .narrow(1, position(step - 1), 1)?
                    .squeeze(1)?,
            ),
        };
        Ok(Self { layer, carry, rest, weights, own })
    }

    /// The loss of this state and the steps after it, with `value` in place of one field of the
    /// state.
    fn loss(&self, field: &str, value: &Tensor) -> Result<f64> {
        let fields = self.carry.named().into_iter().map(|(name, old)| {
            let name = if name == "h" { "h" } else { "c" };
            (name, if name == field { value.clone() } else { old })
        });
        let carry = Carry::Cell(fields.collect());
        let mut loss = 0.0;
        let mut add = |weight: &Tensor, value: &Tensor| -> Result<()> {
            loss += (weight * value)?.sum_all()?.to_scalar::<f64>()?;
            Ok(())
        };
        if let Some(own) = &self.own {
            add(own, carry.field("h")?)?;
        }
        let end = match &self.rest {
            None => carry,
            Some(rest) => {
                let (ys, end) = self.layer.run(rest, Some(&carry), &ForwardContext::default())?;
                add(&self.weights["loss.ys"], ys.values())?;
                end
            }
        };
        for (name, field) in end.named() {
            add(&self.weights[&format!("loss.end.{name}")], &field)?;
        }
        Ok(loss)
    }
}
