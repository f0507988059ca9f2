//! The Jacobian over many steps: its gain in the best direction and in the worst.

use crate::statistics::median;
use crate::Trajectory;
use candle_core::{bail, DType, Result};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

/// The singular values of the temporal Jacobian at one lag: J_{T,k} = ∂s_T/∂s_{T-k} = J_{T-1} ···
/// J_{T-k}.
///
/// Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063v2) bound the largest of them; a network in
/// which all of them are near 1 (dynamical isometry) trains at any depth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SingularValues {
    /// The lag k.
    pub lag: usize,
    /// σ_max.
    pub largest: Magnitude,
    /// σ_min; `None` if the layer's dtype does not resolve it.
    pub smallest: Option<Magnitude>,
    /// The condition number σ_max / σ_min; `None` as σ_min.
    pub condition: Option<Magnitude>,
    /// The mean squared singular value, (1/n) tr(J Jᵀ).
    pub mean_square: Magnitude,
    /// log10 σ_max / k: the growth per step in the best direction.
    pub log10_per_step: f64,
    /// Whether σ_min/σ_max >= n ε of f64. If not, σ_min of the explicit product would be noise; the
    /// product of inverses, from which it is computed here, still has it.
    pub within_f64: bool,
}

/// A number that may be far outside of the range of f64.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Magnitude {
    /// The number itself: 0 or infinity outside of the range of f64.
    pub value: f64,
    /// Its decimal logarithm; −∞ for zero.
    pub log10: f64,
}

impl Magnitude {
    fn of(log10: f64) -> Self {
        Self { value: 10f64.powf(log10), log10 }
    }
}

/// The singular values of the temporal Jacobian that ends at s_`end` (T for the whole trajectory),
/// at each of `lags`, ascending: medians over the examples, of logarithms. An unresolved σ_min
/// counts as smaller than all others.
///
/// # Errors
/// As [`temporal_jacobian_of_example`].
pub fn temporal_jacobian(
    trajectory: &Trajectory,
    end: usize,
    lags: &[usize],
) -> Result<Vec<SingularValues>> {
    let all = (0..trajectory.batch())
        .map(|example| temporal_jacobian_of_example(trajectory, example, end, lags));
    let all = all.collect::<Result<Vec<_>>>()?;
    let at = |layer_id: usize| {
        let over = |log10: &dyn Fn(&SingularValues) -> f64| {
            let values: Vec<_> = all.iter().map(|values| log10(&values[layer_id])).collect();
            median(&values).unwrap_or(f64::NAN)
        };
        let smallest =
            over(&|values| values.smallest.map_or(f64::NEG_INFINITY, |smallest| smallest.log10));
        let condition =
            over(&|values| values.condition.map_or(f64::INFINITY, |condition| condition.log10));
        let lag = lags[layer_id];
        let resolved =
            all.iter().filter(|values| values[layer_id].smallest.is_some()).count() * 2 > all.len();
        let largest = over(&|values| values.largest.log10);
        SingularValues {
            lag,
            largest: Magnitude::of(largest),
            smallest: resolved.then(|| Magnitude::of(smallest)),
            condition: resolved.then(|| Magnitude::of(condition)),
            mean_square: Magnitude::of(over(&|values| values.mean_square.log10)),
            log10_per_step: largest / lag as f64,
            within_f64: all.iter().filter(|values| values[layer_id].within_f64).count() * 2
                > all.len(),
        }
    };
    Ok((0..lags.len()).map(at).collect())
}

/// As [`temporal_jacobian`], for one example.
///
/// The product is stored as a matrix of largest element 1 and the logarithm of its scale, so that
/// it neither over- nor underflows. Explicit products lose every direction that is n ε below the
/// best one, so σ_min is computed as 1/σ_max of the product of the inverses J_{T-k}⁻¹ ···
/// J_{T-1}⁻¹. That needs the σ_min of every J_t: from the first step at which ε ‖J_t‖ ‖J_t⁻¹‖
/// (Frobenius norms, ε of the layer's dtype) exceeds 0.1, σ_min is not resolved. An example is a
/// step at which ReLU shuts a unit.
///
/// # Errors
/// If `lags` do not ascend from 1 or more to at most `end`, or `end` exceeds the number of steps;
/// if a Jacobian is not finite; as [`Trajectory::jacobian`].
pub fn temporal_jacobian_of_example(
    trajectory: &Trajectory,
    example: usize,
    end: usize,
    lags: &[usize],
) -> Result<Vec<SingularValues>> {
    check(trajectory, end, lags)?;
    let n = trajectory.size();
    let epsilon = match trajectory.dtype() {
        DType::F64 => f64::EPSILON,
        DType::F32 => f64::from(f32::EPSILON),
        DType::BF16 => 2f64.powi(-7),
        _ => 2f64.powi(-10),
    };
    let mut product = ScaledMatrix::one(n);
    let mut inverse = Some(ScaledMatrix::one(n));
    let mut found = Vec::with_capacity(lags.len());
    for lag in 1..=lags.last().copied().unwrap_or(0) {
        let jacobian = trajectory.matrix(end - lag, example)?;
        inverse = inverse.and_then(|inverse| inverse.led_by(resolved_inverse(&jacobian, epsilon)?));
        product = product.followed_by(&jacobian);
        if lags.contains(&lag) {
            found.push(values(lag, &product, inverse.as_ref()));
        }
    }
    Ok(found)
}

fn check(trajectory: &Trajectory, end: usize, lags: &[usize]) -> Result<()> {
    if end > trajectory.steps() {
        bail!("temporal jacobian, end: expected at most {} steps, got {end}", trajectory.steps())
    }
    let ascend = lags.windows(2).all(|pair| pair[0] < pair[1]);
    match ascend && lags.iter().all(|lag| (1..=end).contains(lag)) {
        true => Ok(()),
        false => bail!(
            "temporal jacobian, lags: expected ascending numbers from 1 to {end}, got {lags:?}"
        ),
    }
}

/// J⁻¹, if the dtype resolves it.
fn resolved_inverse(jacobian: &DMatrix<f64>, epsilon: f64) -> Option<DMatrix<f64>> {
    let inverse = jacobian.clone().try_inverse()?;
    (epsilon * jacobian.norm() * inverse.norm() < 0.1).then_some(inverse)
}

fn values(lag: usize, product: &ScaledMatrix, inverse: Option<&ScaledMatrix>) -> SingularValues {
    let n = product.matrix.nrows() as f64;
    let largest = product.log10_largest();
    let smallest = inverse.map(|inverse| -inverse.log10_largest());
    let square = product.matrix.norm_squared() / n;
    SingularValues {
        lag,
        largest: Magnitude::of(largest),
        smallest: smallest.map(Magnitude::of),
        condition: smallest.map(|smallest| Magnitude::of(largest - smallest)),
        mean_square: Magnitude::of(square.log10() + 2.0 * product.log10),
        log10_per_step: largest / lag as f64,
        within_f64: smallest
            .is_some_and(|smallest| smallest - largest >= (n * f64::EPSILON).log10()),
    }
}

/// A matrix times a power of ten.
struct ScaledMatrix {
    matrix: DMatrix<f64>,
    log10: f64,
}

impl ScaledMatrix {
    fn one(n: usize) -> Self {
        Self { matrix: DMatrix::identity(n, n), log10: 0.0 }
    }

    /// self · `right`.
    fn followed_by(self, right: &DMatrix<f64>) -> Self {
        Self { matrix: self.matrix * right, ..self }.rescaled()
    }

    /// `left` · self, if it is finite.
    fn led_by(self, left: DMatrix<f64>) -> Option<Self> {
        let product = Self { matrix: left * self.matrix, ..self }.rescaled();
        product.log10.is_finite().then_some(product)
    }

    fn rescaled(mut self) -> Self {
        let largest = self.matrix.amax();
        if largest > 0.0 {
            self.matrix /= largest;
            self.log10 += largest.log10();
        }
        self
    }

    fn log10_largest(&self) -> f64 {
        self.matrix.singular_values().max().log10() + self.log10
    }
}
