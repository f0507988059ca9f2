//! Memory capacity: how many past inputs a linear read-out recovers from a layer's output.

use candle_core::{bail, DType, Device, Result, Tensor};
use nalgebra::{DMatrix, DVector};
use rand::Rng;
use recurrent_core::{named_rng, ForwardContext, Layer, Sequence};
use serde::{Deserialize, Serialize};

/// The memory capacity of a layer under random input: how well a linear read-out of the output h_t
/// recovers the input of k steps ago.
///
/// ```text
/// MC_k = max_w r²(u_{t-k}, w · h_t)        MC = Σ_{k >= 1} MC_k        u_t ~ U(−1, 1), independent
/// ```
///
/// Jaeger 2001 (GMD report 152), who shows that it is at most the number N of units. The bound also
/// holds with k = 0, the input of the step itself. Naive estimates exceed that bound or miss it, as
/// Ballarin, Grigoryeva and Ortega show (arXiv:2305.01457). Here r² is computed on held-out steps,
/// minus the floor: the mean r² of *future* inputs, which the output cannot contain. The difference
/// may be negative; it is not clipped, since clipped noise would add up to a capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapacityCurve {
    /// MC_k by delay k from 0, less the floor.
    pub curve: Vec<f64>,
    /// The mean r² of as many future inputs.
    pub floor: f64,
    /// The number N of outputs.
    pub units: usize,
}

/// The settings of [`memory_capacity`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CapacityConfig {
    /// The seed of the input.
    pub seed: u64,
    /// The largest delay k.
    pub delays: usize,
    /// The number of steps before the first that counts; at least `delays`.
    pub washout: usize,
    /// The number of steps for fitting the read-out.
    pub fit: usize,
    /// The number of further steps for testing it.
    pub test: usize,
    /// The ridge: the squared singular values of the centred outputs are enlarged by this share of
    /// the largest.
    pub ridge: f64,
    /// The features that the input drives.
    pub drive: InputDrive,
}

/// The features that the input drives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputDrive {
    /// The first alone; the others are zero.
    #[default]
    First,
    /// All of them, by a random vector from U(−1, 1).
    All,
}

impl Default for CapacityConfig {
    /// 200 delays, 500 steps of washout, 5,000 to fit and 5,000 to test.
    fn default() -> Self {
        Self {
            seed: 0,
            delays: 200,
            washout: 500,
            fit: 5000,
            test: 5000,
            ridge: 1e-12,
            drive: InputDrive::First,
        }
    }
}

impl CapacityCurve {
    /// MC = Σ_{k >= 1} MC_k.
    pub fn total(&self) -> f64 {
        self.curve.iter().skip(1).sum()
    }

    /// Σ_{k >= 0} MC_k, with the input of the step itself; N at most, and N for a delay line.
    pub fn with_current(&self) -> f64 {
        self.curve.iter().sum()
    }
}

/// Measures the memory capacity of `layer`, from its own initial state, in evaluation mode.
///
/// # Errors
/// If there are fewer than two steps to test or no more steps to fit than outputs, the ridge is
/// negative, part of the layer runs in reverse, or its outputs are not finite; those of the layer.
pub fn memory_capacity(layer: &dyn Layer, settings: &CapacityConfig) -> Result<CapacityCurve> {
    let units = layer.output_size();
    check(layer, settings)?;
    let (delays, start) = (settings.delays, settings.washout.max(settings.delays));
    let count = settings.fit + settings.test;
    let steps = start + count + delays + 1;
    let mut rng = named_rng(settings.seed, "memory capacity input");
    let inputs: Vec<f64> = (0..steps).map(|_| rng.random_range(-1.0..1.0)).collect();
    let outputs = drive(layer, &inputs, settings)?; // (steps, units)
    let read_out = ReadOut::new(&outputs.rows(start, settings.fit).into_owned(), settings.ridge);
    let test = outputs.rows(start + settings.fit, settings.test).into_owned();
    // The input `shift` steps after each step that counts, or before it if `shift` is negative.
    let r2 = |shift: isize| {
        let targets = &inputs[start.wrapping_add_signed(shift)..][..count];
        let (fit, held_out) = targets.split_at(settings.fit);
        squared_correlation(read_out.predict(fit, &test).as_slice(), held_out)
    };
    let past: Vec<_> = (0..=delays).map(|delay| r2(-(delay as isize))).collect();
    let floor = (1..=delays + 1).map(|ahead| r2(ahead as isize)).sum::<f64>() / (delays + 1) as f64;
    Ok(CapacityCurve { curve: past.iter().map(|r2| r2 - floor).collect(), floor, units })
}

fn check(layer: &dyn Layer, settings: &CapacityConfig) -> Result<()> {
    if layer.reversed_size() > 0 {
        bail!(
            "memory capacity: expected a layer that runs forward; measure each direction by itself"
        )
    }
    if settings.test < 2 || settings.fit <= layer.output_size() {
        bail!(
            "memory capacity, steps: expected more than {} to fit and at least 2 to test, got {} \
            and {}",
            layer.output_size(),
            settings.fit,
            settings.test
        )
    }
    match settings.ridge >= 0.0 {
        true => Ok(()),
        false => bail!("memory capacity, ridge: expected 0 or more, got {}", settings.ridge),
    }
}

/// The layer's outputs under these inputs, `(steps, units)`.
fn drive(layer: &dyn Layer, inputs: &[f64], settings: &CapacityConfig) -> Result<DMatrix<f64>> {
    let features = layer.input_size();
    let mut rng = named_rng(settings.seed, "memory capacity drive");
    let by: Vec<f64> = match settings.drive {
        InputDrive::First => (0..features).map(|i| f64::from(u8::from(i == 0))).collect(),
        InputDrive::All => (0..features).map(|_| rng.random_range(-1.0..1.0)).collect(),
    };
    let like = layer.params().into_iter().next().map(|(_, weight)| weight);
    let (dtype, device) =
        like.map_or((DType::F32, Device::Cpu), |like| (like.dtype(), like.device().clone()));
    let values: Vec<_> = inputs.iter().flat_map(|u| by.iter().map(move |b| u * b)).collect();
    let xs = Tensor::from_vec(values, (1, inputs.len(), features), &Device::Cpu)?;
    let xs = Sequence::new(xs.to_dtype(dtype)?.to_device(&device)?)?;
    let (ys, _) = layer.run(&xs, None, &ForwardContext::default())?;
    let ys = ys.into_values().detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    if ys.iter().any(|y| !y.is_finite()) {
        bail!("memory capacity, outputs: expected finite numbers, got others")
    }
    Ok(DMatrix::from_row_slice(inputs.len(), layer.output_size(), &ys))
}

/// Least squares with a ridge on centred outputs H = Q U Σ Vᵀ: w = V Σ (Σ² + ridge σ_max²)⁻¹ Uᵀ Qᵀ
/// u.
struct ReadOut {
    means: DVector<f64>,
    fitted: DMatrix<f64>, // (steps, rank): Q U, orthonormal
    back: DMatrix<f64>,   // (units, rank): V Σ / (Σ² + ridge)
}

impl ReadOut {
    fn new(outputs: &DMatrix<f64>, ridge: f64) -> Self {
        let means = outputs.row_mean().transpose();
        let (q, r) = centred(outputs, &means).qr().unpack();
        let svd = r.svd(true, true);
        let (u, v) = (svd.u.expect("asked for"), svd.v_t.expect("asked for").transpose());
        let ridge = ridge * svd.singular_values.max().powi(2);
        let filter = svd.singular_values.map(|s| if s > 0.0 { s / (s * s + ridge) } else { 0.0 });
        Self { means, fitted: q * u, back: v * DMatrix::from_diagonal(&filter) }
    }

    /// The prediction of the read-out fitted to `targets` for the outputs `test`, up to a constant.
    fn predict(&self, targets: &[f64], test: &DMatrix<f64>) -> DVector<f64> {
        let mean = targets.iter().sum::<f64>() / targets.len() as f64;
        let targets =
            DVector::from_iterator(targets.len(), targets.iter().map(|target| target - mean));
        let weights = &self.back * self.fitted.tr_mul(&targets);
        centred(test, &self.means) * weights
    }
}

fn centred(outputs: &DMatrix<f64>, means: &DVector<f64>) -> DMatrix<f64> {
    let mut centred = outputs.clone();
    centred.row_iter_mut().for_each(|mut row| row -= means.transpose());
    centred
}

/// cov²(a, b) / (var a · var b); 0 if one of them does not vary.
fn squared_correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| f(a - mean_a, b - mean_b)).sum()
    };
    let (aa, bb, ab) = (sum(&|a, _| a * a), sum(&|_, b| b * b), sum(&|a, b| a * b));
    if aa == 0.0 || bb == 0.0 {
        return 0.0;
    }
    ab * ab / (aa * bb)
}
