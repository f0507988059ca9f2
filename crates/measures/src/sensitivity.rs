//! The sensitivity of the state to the weights, forward in time.

use crate::statistics::median;
use crate::trajectory::full;
use candle_core::{bail, DType, Result, Tensor};
use rand::Rng;
use recurrent_core::{named_rng, ForwardContext, Layer, Sequence};
use serde::{Deserialize, Serialize};

/// The sensitivity of a layer's output to its weights at one step: the Frobenius norm ‖dh_t/dθ‖,
/// over all weights and by weight.
///
/// It grows with the memory of a network, as 1/(1 − |λ|) for an eigenvalue λ, even where gradients
/// with respect to states do not explode: the "curse of memory" of Zucchet and Orvieto 2024
/// (arXiv:2405.21064).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// The number t of steps so far.
    pub step: usize,
    /// ‖dh_t/dθ‖ over all weights that are variables: the median over examples.
    pub norm: f64,
    /// The same for every such weight by itself, in the order of [`Layer::params`].
    pub by_weight: Vec<(String, f64)>,
}

/// The backward passes per example and step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SensitivityMethod {
    /// One per output: exact.
    Exact,
    /// One per random vector v of signs: E ‖d(vᵀh_t)/dθ‖² = ‖dh_t/dθ‖² since E v vᵀ is the identity
    /// (Hutchinson's estimator), whose relative variance is at most 2 / count.
    Random {
        /// The number of vectors.
        count: usize,
        /// The seed of the vectors.
        seed: u64,
    },
}

/// ‖dh_t/dθ‖ after each of `steps` steps of `xs`, with h_t the layer's output.
///
/// Each step costs backward passes over the first t steps, so the cost grows with t: request few.
///
/// # Errors
/// If a step is 0 or beyond the end, no weight is a variable, part of the layer runs in reverse,
/// the sequences differ in length, or the number of random vectors is 0; those of the layer.
pub fn sensitivity(
    layer: &dyn Layer,
    xs: &Sequence,
    steps: &[usize],
    passes: SensitivityMethod,
) -> Result<Vec<Sensitivity>> {
    if layer.reversed_size() > 0 {
        bail!("sensitivity layer: expected one that runs forward; measure each direction by itself")
    }
    let values = full("sensitivity", xs)?;
    let (batch, time, _) = values.dims3()?;
    if let Some(step) = steps.iter().find(|step| !(1..=time).contains(*step)) {
        bail!("sensitivity steps: expected each from 1 to {time}, got {step}")
    }
    let weights: Vec<_> =
        layer.params().into_iter().filter(|(_, weight)| weight.is_variable()).collect();
    if weights.is_empty() {
        bail!("sensitivity weights: expected variables among the layer's weights, got none")
    }
    let directions = directions(layer.output_size(), passes)?;
    let at = |&step: &usize| {
        let example = |row: usize| {
            let xs = values.narrow(0, row, 1)?.narrow(1, 0, step)?.contiguous()?.detach();
            squared(layer, &Sequence::new(xs)?, &weights, &directions)
        };
        // by example, then by weight
        let squares = (0..batch).map(example).collect::<Result<Vec<_>>>()?;
        let median_norm = |norm: &dyn Fn(&Vec<f64>) -> f64| {
            median(&squares.iter().map(norm).collect::<Vec<_>>()).unwrap_or(f64::NAN)
        };
        let weight_norm = |(index, (name, _)): (usize, &(String, Tensor))| {
            (name.clone(), median_norm(&|squares| squares[index].sqrt()))
        };
        let by_weight = weights.iter().enumerate().map(weight_norm).collect();
        let norm = median_norm(&|squares| squares.iter().sum::<f64>().sqrt());
        Ok(Sensitivity { step, norm, by_weight })
    };
    steps.iter().map(at).collect()
}

/// The directions v of the derivatives of the output, scaled so that the squared norms add up.
fn directions(size: usize, passes: SensitivityMethod) -> Result<Vec<Vec<f64>>> {
    match passes {
        SensitivityMethod::Exact => Ok((0..size)
            .map(|unit| (0..size).map(|i| f64::from(u8::from(i == unit))).collect())
            .collect()),
        SensitivityMethod::Random { count: 0, .. } => {
            bail!("sensitivity passes: expected at least 1, got 0")
        }
        SensitivityMethod::Random { count, seed } => {
            let mut rng = named_rng(seed, "sensitivity");
            let scale = 1.0 / (count as f64).sqrt();
            let mut sign = || if rng.random::<bool>() { scale } else { -scale };
            Ok((0..count).map(|_| (0..size).map(|_| sign()).collect()).collect())
        }
    }
}

/// Σ_v ‖d(vᵀh)/dw‖² of one example, by weight w.
fn squared(
    layer: &dyn Layer,
    xs: &Sequence,
    weights: &[(String, Tensor)],
    directions: &[Vec<f64>],
) -> Result<Vec<f64>> {
    let (h, _) = layer.last(xs, None, &ForwardContext::default())?; // (1, output)
    let mut sums = vec![0.0; weights.len()];
    for direction in directions {
        let v = Tensor::new(&direction[..], h.device())?.to_dtype(h.dtype())?.unsqueeze(0)?;
        let grads = (&h * v)?.sum_all()?.backward()?;
        for (sum, (_, weight)) in sums.iter_mut().zip(weights) {
            let Some(grad) = grads.get(weight) else { continue };
            *sum += grad.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
        }
    }
    Ok(sums)
}
