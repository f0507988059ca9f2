//! The number of dimensions that the states use.

use candle_core::{bail, DType, Result, Tensor};
use nalgebra::DMatrix;
use recurrent_core::{Activations, LayerId};
use serde::{Deserialize, Serialize};

/// The share of variance that [`Dimensionality::saturation`] holds.
pub const HELD: f64 = 0.99;

/// A unit is constant if its standard deviation is at most this share of the root mean square of
/// all units' values.
pub const STILL: f64 = 1e-6;

/// The number of dimensions that one field of one layer's state uses.
///
/// It shows whether states of different examples and steps differ in many directions or in few, not
/// whether these directions matter: noise has full rank, and a counter needs one dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rank {
    /// Which layer, and which direction.
    pub layer_id: LayerId,
    /// Which field of the state.
    pub field: String,
    /// The number of units.
    pub size: usize,
    /// Over all examples and all their steps, without the initial carry.
    pub pooled: Dimensionality,
    /// After each of the requested steps, over the examples of that length or more.
    pub steps: Vec<(usize, Dimensionality)>,
    /// The units that are constant over examples and steps, by [`STILL`].
    pub still: Vec<usize>,
    /// Those of them that are always exactly zero, such as dead ReLU units.
    pub zero: Vec<usize>,
}

/// The distribution of the variance over directions, with λ the eigenvalues of the covariance of
/// the values.
///
/// All three numbers are independent of scale and rotation. At most `most` directions can have
/// variance; with few values that bound dominates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dimensionality {
    /// The number of values.
    pub count: usize,
    /// min(count − 1, size): the largest rank there can be.
    pub most: usize,
    /// The participation ratio (Σλ)² / Σλ²: n for n equal eigenvalues. `None`, like the others,
    /// without variance.
    pub participation: Option<f64>,
    /// exp(−Σ p ln p) with p = λ/Σλ: the effective rank by the entropy of the spectrum (of the
    /// covariance's eigenvalues; Roy and Vetterli 2007 take singular values).
    pub entropy: Option<f64>,
    /// The smallest share of the directions, of all `size`, that holds 99 % of the variance: the
    /// saturation of delve.
    pub saturation: Option<f64>,
}

/// The number of dimensions that each field of each layer's state uses, over all steps, and after
/// each step of `steps`, counted from 1 in the direction of the layer.
///
/// # Errors
/// If a step is 0 or beyond the end of all examples, or a state is not finite, and those of candle.
pub fn rank(observations: &[Activations], steps: &[usize]) -> Result<Vec<Rank>> {
    let fields =
        observations.iter().flat_map(|seen| seen.states.iter().map(move |field| (seen, field)));
    fields.map(|(seen, (field, states))| of_field(seen, field, states, steps)).collect()
}

fn of_field(seen: &Activations, field: &str, states: &Tensor, steps: &[usize]) -> Result<Rank> {
    let what = format!("{field}{}", seen.layer_id.suffix());
    let (_, _, size) = states.dims3()?;
    let states = states.to_dtype(DType::F64)?.to_vec3::<f64>()?;
    let after = |step: usize| {
        let running =
            states.iter().zip(&seen.lengths).filter(move |(_, &len)| (1..=len).contains(&step));
        running.map(move |(states, _)| &states[step])
    };
    let longest = seen.lengths.iter().copied().max().unwrap_or(0);
    if let Some(step) = steps.iter().find(|step| !(1..=longest).contains(*step)) {
        bail!("rank of {what}: expected steps from 1 to {longest}, got {step}")
    }
    let all: Vec<_> = (1..=longest).flat_map(after).collect();
    if all.iter().any(|row| row.iter().any(|value| !value.is_finite())) {
        bail!("rank of {what}: expected finite states")
    }
    let still = still(&all, size);
    Ok(Rank {
        layer_id: seen.layer_id,
        field: field.to_string(),
        size,
        pooled: Dimensionality::of(&all, size),
        steps: steps
            .iter()
            .map(|&step| (step, Dimensionality::of(&after(step).collect::<Vec<_>>(), size)))
            .collect(),
        zero: still
            .iter()
            .copied()
            .filter(|&unit| all.iter().all(|row| row[unit] == 0.0))
            .collect(),
        still,
    })
}

/// The constant units.
pub(crate) fn still(rows: &[&Vec<f64>], size: usize) -> Vec<usize> {
    let mean_over = |of: &dyn Fn(&Vec<f64>) -> f64| {
        rows.iter().map(|row| of(row)).sum::<f64>() / rows.len() as f64
    };
    let square = mean_over(&|row| row.iter().map(|value| value * value).sum::<f64>() / size as f64);
    let variance = |unit: usize| {
        let mean = mean_over(&|row| row[unit]);
        mean_over(&|row| (row[unit] - mean).powi(2))
    };
    (0..size).filter(|&unit| variance(unit) <= STILL * STILL * square).collect()
}

impl Dimensionality {
    /// The dimensionality of values `(count, size)`.
    fn of(rows: &[&Vec<f64>], size: usize) -> Self {
        let count = rows.len();
        let spectrum = spectrum(rows, size);
        let total: f64 = spectrum.iter().sum();
        let some = |value: f64| (total > 0.0).then_some(value);
        let squares: f64 = spectrum.iter().map(|value| value * value).sum();
        let shares = spectrum.iter().map(|value| value / total).filter(|share| *share > 0.0);
        let entropy: f64 = shares.map(|share| -share * share.ln()).sum();
        Self {
            count,
            most: count.saturating_sub(1).min(size),
            participation: some(total * total / squares),
            entropy: some(entropy.exp()),
            saturation: some(holding(&spectrum, HELD * total) as f64 / size as f64),
        }
    }
}

/// The number of eigenvalues, largest first, that add up to `held`.
fn holding(spectrum: &[f64], held: f64) -> usize {
    let mut sum = 0.0;
    let reached = spectrum.iter().position(|value| {
        sum += value;
        sum >= held
    });
    reached.map_or(spectrum.len(), |index| index + 1)
}

/// The eigenvalues of the covariance, largest first, up to a common factor; those of XᵀX or of XXᵀ,
/// whichever is smaller, for centred X scaled to a largest element of 1. Eigenvalues below rounding
/// are set to zero.
fn spectrum(rows: &[&Vec<f64>], size: usize) -> Vec<f64> {
    let mut x = DMatrix::from_fn(rows.len(), size, |row, unit| rows[row][unit]);
    // A constant column deviates from its mean by this much.
    let rounding = x.amax() * f64::EPSILON * rows.len() as f64;
    for mut column in x.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    let largest = x.amax();
    if largest <= rounding || rows.len() < 2 {
        return vec![0.0];
    }
    x /= largest;
    let gram = if rows.len() < size { &x * x.transpose() } else { x.transpose() * &x };
    let mut spectrum: Vec<f64> = gram.symmetric_eigenvalues().iter().copied().collect();
    spectrum.sort_by(|a, b| b.total_cmp(a));
    let rounding = spectrum[0] * f64::EPSILON * rows.len().max(size) as f64;
    spectrum.iter_mut().filter(|value| **value <= rounding).for_each(|value| *value = 0.0);
    spectrum
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn spread(rows: &[Vec<f64>]) -> Dimensionality {
        Dimensionality::of(&rows.iter().collect::<Vec<_>>(), rows[0].len())
    }

    /// Pairs ± `length` along each axis, rotated and shifted, which does not change the rank.
    fn cross(lengths: &[f64], size: usize) -> Vec<Vec<f64>> {
        let mut rows = Vec::new();
        for (axis, length) in lengths.iter().enumerate() {
            for sign in [1.0, -1.0] {
                let mut row = vec![7.0; size];
                let (next, turn) = ((axis + lengths.len()) % size, 0.6);
                row[axis] += sign * length * turn;
                row[next] += sign * length * 0.8;
                rows.push(row);
            }
        }
        rows
    }

    #[test]
    fn directions_are_counted() {
        // Of 2 or 3 pairs in 8 dimensions through XXᵀ, and repeated, through XᵀX.
        for times in [1, 3] {
            let many = |lengths: &[f64]| spread(&vec![cross(lengths, 8); times].concat());
            let close = |found: Option<f64>, expected: f64| {
                let found = found.expect("there is variance");
                assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
            };
            let equal = many(&[2.0, 2.0, 2.0]);
            close(equal.participation, 3.0);
            close(equal.entropy, 3.0);
            close(equal.saturation, 3.0 / 8.0);
            assert_eq!((equal.count, equal.most), (6 * times, (6 * times - 1).min(8)));
            let uneven = many(&[20.0, 1.0]); // 400 and 1: the first holds 99.75 %
            close(uneven.participation, 401.0f64.powi(2) / 160_001.0);
            close(uneven.saturation, 1.0 / 8.0);
            close(many(&[9.0, 1.0]).saturation, 2.0 / 8.0); // 98.8 %
        }
    }

    #[test]
    fn no_variance_is_no_rank() {
        let none = spread(&vec![vec![0.1, 0.2, 1e9]; 7]);
        assert_eq!((none.participation, none.entropy, none.saturation), (None, None, None));
        assert_eq!(spread(&[vec![1.0, 2.0]]).participation, None, "one example does not vary");
    }

    #[test]
    fn constant_units_are_found_within_the_lengths() -> Result<()> {
        // By step, from the carry on. Unit 0 is zero, unit 1 constant, unit 2 varies; the carry and
        // the padding do not count.
        let states = [
            [[9.0, 9., 9.], [0., 3., 1.], [0., 3., 2.]],
            [[9., 9., 9.], [0., 3., 4.], [8., 8., 8.]],
        ];
        let seen = Activations {
            layer_id: LayerId::default(),
            lengths: vec![2, 1],
            states: vec![("h", Tensor::new(&states, &Device::Cpu)?)],
            gates: Vec::new(),
        };
        let found = &rank(std::slice::from_ref(&seen), &[2])?[0];
        assert_eq!((&found.still[..], &found.zero[..]), (&[0, 1][..], &[0][..]));
        assert_eq!(
            (found.pooled.count, found.steps[0].1.count, found.pooled.participation),
            (3, 1, Some(1.0))
        );
        let error = rank(&[seen], &[3]).expect_err("no example has three steps").to_string();
        assert!(error.starts_with("rank of h_l0: expected steps from 1 to 2, got 3"), "{error}");
        Ok(())
    }
}
