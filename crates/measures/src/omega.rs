//! Ω of Pascanu, Mikolov and Bengio: whether a gradient keeps its norm along time, as a measure and
//! as a penalty.

use crate::state_vector::{flatten, unflatten};
use crate::Trajectory;
use candle_core::{bail, DType, Device, Result, Tensor, D};
use recurrent_core::{Activations, ForwardContext, GradientTrace, Layer, Sequence};
use serde::{Deserialize, Serialize};

/// Steps with ‖g‖² below this do not count, as in the authors' code.
const BOUND: f64 = 1e-20;

/// The deviation of the steps from keeping the norm of the gradient; 0 if every step keeps it.
///
/// With g_{t+1} = ∂L/∂s_{t+1} and J_t = ∂s_{t+1}/∂s_t, and r_t = ‖g_{t+1}ᵀ J_t‖ / ‖g_{t+1}‖:
///
/// ```text
/// paper   Σ_t (r_t − 1)²     averaged over examples
/// code    (r_t² − 1)²        averaged over all steps of all examples that count
/// ```
///
/// Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063v2, eq. 9). The authors' code squares the norms
/// and divides by the number of steps, so this form does not grow with the length. Neither form
/// counts steps with ‖g_{t+1}‖² < 1e-20. Here s is the state vector of any layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Omega {
    /// The paper's form.
    pub paper: f64,
    /// The form of the authors' code; 0 if no step counts.
    pub code: f64,
    /// The number of steps that count, averaged over examples.
    pub steps: f64,
}

/// Ω along a trajectory, given ∂L/∂s_0 to ∂L/∂s_T, `(batch, n)` each: from
/// [`Trajectory::gradients`] or [`gradients_from_traces`].
///
/// # Errors
/// If the number of gradients is not the number of states; as [`Trajectory::vjp`].
pub fn omega(trajectory: &Trajectory, gradients: &[Tensor]) -> Result<Omega> {
    let (steps, batch) = (trajectory.steps(), trajectory.batch() as f64);
    if gradients.len() != steps + 1 {
        bail!("omega, gradients: expected {}, one a state, got {}", steps + 1, gradients.len())
    }
    let (mut paper, mut code, mut count) = (0.0, 0.0, 0usize);
    for t in 0..steps {
        let after = squares(&gradients[t + 1])?;
        let before = squares(&trajectory.vjp(t, &gradients[t + 1])?)?;
        for (after, before) in after.into_iter().zip(before).filter(|(after, _)| *after >= BOUND) {
            let ratio = before / after;
            paper += (ratio.sqrt() - 1.0).powi(2);
            code += (ratio - 1.0).powi(2);
            count += 1;
        }
    }
    Ok(Omega {
        paper: paper / batch,
        code: code / count.max(1) as f64,
        steps: count as f64 / batch,
    })
}

/// The squared norm of every row.
fn squares(rows: &Tensor) -> Result<Vec<f64>> {
    rows.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.sqr()?.sum(D::Minus1)?.to_vec1()
}

/// The gradients ∂L/∂s_0 to ∂L/∂s_T, `(batch, n)` each, from the traces of a single layer, recorded
/// with [`recurrent_core::Record::Gradients`].
///
/// # Errors
/// If the traces are not of one forward layer, or hold no gradients.
pub fn gradients_from_traces(traces: &[GradientTrace]) -> Result<Vec<Tensor>> {
    let gradients = side_by_side(traces)?; // (batch, steps + 1, n)
    (0..gradients.dim(1)?).map(|t| gradients.narrow(1, t, 1)?.squeeze(1)?.contiguous()).collect()
}

fn side_by_side(traces: &[GradientTrace]) -> Result<Tensor> {
    let Some(first) = traces.first() else {
        bail!("omega, traces: expected those of one layer, got none")
    };
    if traces.iter().any(|trace| trace.layer_id != first.layer_id) {
        bail!(
            "omega, traces: expected those of one layer, got {} of several; take each layer by \
            itself",
            traces.len()
        )
    }
    if first.layer_id.reverse {
        bail!("omega, traces: expected a layer that runs forward, got one in reverse")
    }
    let gradient = |trace: &GradientTrace| match &trace.gradients {
        Some(gradients) => Ok(gradients.clone()),
        None => bail!(
            "omega, traces: expected gradients, got norms alone; record with Record::Gradients"
        ),
    };
    Tensor::cat(&traces.iter().map(gradient).collect::<Result<Vec<_>>>()?, 2)
}

/// Ω in the form of the authors' code, as a scalar in candle's graph for training: add α Ω to the
/// loss, or its gradient to that of the loss.
///
/// `traces` come from a recorder with [`recurrent_core::Record::Gradients`] in the backward pass of
/// the loss, `seen` from an activation recorder in the forward pass before it. Both are of one
/// layer. States, slopes and gradients count as constants; only the recurrent weights carry a
/// graph: the "immediate" derivative of Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063v2). One
/// call of [`Layer::vjp`] covers all real steps of all examples with ‖g‖² >= 1e-20; without such
/// steps, Ω is 0. It ignores masks: recurrent dropout and weight drop are treated as if they were
/// off.
///
/// # Errors
/// If the layer has no closed form, or traces, activations and `xs` are not of the same pass over
/// one layer that runs forward.
pub fn omega_penalty(
    layer: &dyn Layer,
    xs: &Sequence,
    traces: &[GradientTrace],
    seen: &Activations,
) -> Result<Tensor> {
    let (batch, time, input) = xs.values().dims3()?;
    let device = xs.values().device();
    let gradients = side_by_side(traces)?.to_device(device)?.detach();
    let states: Vec<_> = seen.states.iter().map(|(_, states)| states).collect();
    let states = Tensor::cat(&states, 2)?.detach();
    if seen.layer_id != traces[0].layer_id
        || states.dims() != gradients.dims()
        || states.dim(0)? != batch
    {
        bail!(
            "omega, observation: expected states {:?} at {:?}, those of the traces, got {:?} at \
            {:?}",
            gradients.dims(),
            traces[0].layer_id,
            states.dims(),
            seen.layer_id
        )
    }
    let (_, count, n) = gradients.dims3()?;
    let norms = squares(&gradients.reshape((batch * count, n))?)?;
    let mut rows = Vec::new();
    for (example, &len) in traces[0].lengths.iter().enumerate() {
        rows.extend(
            (0..len).map(|t| (example, t)).filter(|(b, t)| norms[b * count + t + 1] >= BOUND),
        );
    }
    if rows.is_empty() {
        return Tensor::zeros((), xs.values().dtype(), device);
    }
    let take = |values: &Tensor, steps: usize, size: usize, later: usize| {
        let places = rows.iter().map(|(b, t)| (b * steps + t + later) as u32);
        values.reshape((batch * steps, size))?.index_select(&Tensor::from_iter(places, device)?, 0)
    };
    let x = take(&xs.values().detach(), time, input, 0)?;
    let state = take(&states, count, n, 0)?;
    let grad = take(&gradients, count, n, 1)?;
    let like = carry_of(layer, &x)?;
    let before = layer.vjp(&x, &unflatten(&state, &like)?, &unflatten(&grad, &like)?)?;
    let Some(before) = before else {
        bail!(
            "omega: this layer has no closed form of its step's derivative, Layer::vjp, which \
             the penalty needs"
        )
    };
    let ratio = (flatten(&before)?.sqr()?.sum(1)? / grad.sqr()?.sum(1)?)?;
    (ratio - 1.0)?.sqr()?.mean_all()
}

/// A carry of this layer, for its structure.
fn carry_of(layer: &dyn Layer, x: &Tensor) -> Result<recurrent_core::Carry> {
    let one = Sequence::new(x.narrow(0, 0, 1)?.unsqueeze(1)?.contiguous()?)?;
    Ok(layer.run(&one, None, &ForwardContext::default())?.1.detach())
}
