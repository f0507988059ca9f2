//! Cells with known dynamics, and layers to measure.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use recurrent_core::{
    linear, Carry, Cell, CellConfig, ForwardContext, HiddenState, Layer, Parameters, Params, Rnn,
    Sequence,
};
use recurrent_measures::{flatten, unflatten};
use recurrent_testkit::noise;

/// h' = A h + B x, with its derivative in closed form.
#[derive(Clone, Params)]
pub(crate) struct Linear {
    pub(crate) a: Tensor, // (hidden, hidden)
    pub(crate) b: Tensor, // (hidden, input)
}

impl Linear {
    /// With A as `rows` and one input that goes into the first unit.
    pub(crate) fn layer(rows: &[Vec<f64>]) -> Result<Rnn<Self>> {
        let n = rows.len();
        let a = Var::from_tensor(&Tensor::new(rows.to_vec(), &Device::Cpu)?)?.as_tensor().clone();
        let b: Vec<_> = (0..n).map(|i| f64::from(u8::from(i == 0))).collect();
        let b = Var::from_tensor(&Tensor::from_vec(b, (n, 1), &Device::Cpu)?)?.as_tensor().clone();
        Ok(Rnn::from_cell(Self { a, b }))
    }
}

impl Cell for Linear {
    type State = HiddenState;

    fn input_size(&self) -> usize {
        self.b.dims()[1]
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.a.dims()[0]]
    }

    fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
        Ok(HiddenState { h: (linear(x, &self.b, None)? + linear(&s.h, &self.a, None)?)? })
    }

    fn vjp(&self, _: &Tensor, _: &HiddenState, grad: &HiddenState) -> Result<Option<HiddenState>> {
        Ok(Some(HiddenState { h: grad.h.matmul(&self.a)? }))
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(vec![("a".into(), self.a.clone())])
    }
}

/// h' = tanh(W x + U h), a user's own network, with its derivative in closed form.
#[derive(Clone, Params)]
pub(crate) struct Elman {
    pub(crate) w: Tensor, // (hidden, input)
    pub(crate) u: Tensor, // (hidden, hidden)
}

impl Elman {
    pub(crate) fn layer(
        input: usize,
        hidden: usize,
        scale: f64,
    ) -> recurrent_testkit::Result<Rnn<Self>> {
        let weight = |name: &str, dims: &[usize]| -> recurrent_testkit::Result<Tensor> {
            let values = (noise(name, dims)? * (scale / (hidden as f64).sqrt()))?;
            Ok(Var::from_tensor(&values)?.as_tensor().clone())
        };
        let (w, u) = (weight("w", &[hidden, input])?, weight("u", &[hidden, hidden])?);
        Ok(Rnn::from_cell(Self { w, u }))
    }
}

impl Cell for Elman {
    type State = HiddenState;

    fn input_size(&self) -> usize {
        self.w.dims()[1]
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.u.dims()[0]]
    }

    fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
        Ok(HiddenState { h: (linear(x, &self.w, None)? + linear(&s.h, &self.u, None)?)?.tanh()? })
    }

    fn vjp(&self, x: &Tensor, s: &HiddenState, grad: &HiddenState) -> Result<Option<HiddenState>> {
        let slope = self.step(x, s)?.h.detach().sqr()?.affine(-1.0, 1.0)?;
        Ok(Some(HiddenState { h: (&grad.h * slope)?.matmul(&self.u)? }))
    }
}

/// The Hénon map, x' = 1 − 1.4 x² + y and y' = 0.3 x.
#[derive(Clone)]
pub(crate) struct Henon;

impl Parameters for Henon {
    fn append_params(&self, params: &mut Vec<(String, Tensor)>) {
        let unused = Tensor::zeros(1, DType::F64, &Device::Cpu).expect("a number");
        params.push(("unused".to_string(), unused));
    }

    fn replace_params(&self, params: &mut std::vec::IntoIter<Tensor>) -> Result<Self> {
        params.next();
        Ok(Self)
    }
}

impl Cell for Henon {
    type State = HiddenState;

    fn input_size(&self) -> usize {
        1
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![2]
    }

    fn step(&self, _: &Tensor, s: &HiddenState) -> Result<HiddenState> {
        let (x, y) = (s.h.narrow(1, 0, 1)?, s.h.narrow(1, 1, 1)?);
        let next = (x.sqr()?.affine(-1.4, 1.0)? + y)?;
        Ok(HiddenState { h: Tensor::cat(&[next, (x * 0.3)?], 1)? })
    }
}

/// A layer of this library in f64.
pub(crate) fn layer<K: CellConfig>(
    config: &K,
    input: usize,
    hidden: usize,
) -> Result<Rnn<K::Cell>> {
    let vars = VarMap::new();
    Rnn::new(input, hidden, config, VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu))
}

/// Random sequences `(batch, time, input)` in f64.
pub(crate) fn sequences(
    batch: usize,
    time: usize,
    input: usize,
) -> recurrent_testkit::Result<Sequence> {
    Ok(Sequence::new(noise("xs", &[batch, time, input])?)?)
}

/// Zeros as input.
pub(crate) fn silence(batch: usize, time: usize) -> Result<Sequence> {
    Sequence::new(Tensor::zeros((batch, time, 1), DType::F64, &Device::Cpu)?)
}

/// ∂s_end/∂s_start of one example by central differences of fourth order through whole runs: `xs`
/// are the inputs between, `(1, time, input)`.
pub(crate) fn differences(layer: &dyn Layer, xs: &Tensor, start: &Carry) -> Result<Vec<Vec<f64>>> {
    let vector = flatten(start)?;
    let n = vector.dim(1)?;
    let xs = Sequence::new(xs.contiguous()?)?;
    let end = |unit: usize, step: f64| {
        let mut shift = vec![0.0; n];
        shift[unit] = step;
        let moved = (&vector + Tensor::from_vec(shift, (1, n), &Device::Cpu)?)?;
        let (_, carry) =
            layer.run(&xs, Some(&unflatten(&moved, start)?), &ForwardContext::default())?;
        flatten(&carry)?.squeeze(0)?.to_vec1::<f64>()
    };
    let mut jacobian = vec![vec![0.0; n]; n];
    const STEP: f64 = 1e-3;
    for unit in 0..n {
        let (far, near) = (2.0 * STEP, STEP);
        let points = [end(unit, near)?, end(unit, -near)?, end(unit, far)?, end(unit, -far)?];
        for (i, row) in jacobian.iter_mut().enumerate() {
            let [a, b, c, d] = [0, 1, 2, 3].map(|point| points[point][i]);
            row[unit] = (8.0 * (a - b) - (c - d)) / (12.0 * STEP);
        }
    }
    Ok(jacobian)
}

/// Checks that two matrices differ by at most `tolerance` anywhere.
pub(crate) fn near(what: &str, found: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}");
        for (j, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() <= tolerance,
                "{what}, row {i}, column {j}: {found}, expected {expected}"
            );
        }
    }
}

/// S Λ S⁻¹ with a shear S, for Λ with the blocks 0.9 (cos 1, −sin 1; sin 1, cos 1), 0.7 and −0.4:
/// moduli 0.9, 0.9, 0.7, 0.4.
pub(crate) fn sheared() -> Vec<Vec<f64>> {
    let (c, s) = (0.9 * 1f64.cos(), 0.9 * 1f64.sin());
    let blocks = [[c, -s, 0.0, 0.0], [s, c, 0.0, 0.0], [0.0, 0.0, 0.7, 0.0], [0.0, 0.0, 0.0, -0.4]];
    // S = I + 0.8 at (0, 2), (1, 3), (2, 3); its inverse by hand.
    let shear =
        [[1.0, 0.0, 0.8, 0.0], [0.0, 1.0, 0.0, 0.8], [0.0, 0.0, 1.0, 0.8], [0.0, 0.0, 0.0, 1.0]];
    let back = [
        [1.0, 0.0, -0.8, 0.64],
        [0.0, 1.0, 0.0, -0.8],
        [0.0, 0.0, 1.0, -0.8],
        [0.0, 0.0, 0.0, 1.0],
    ];
    let times = |a: &[[f64; 4]; 4], b: &[[f64; 4]; 4]| {
        let mut product = [[0.0; 4]; 4];
        for (i, row) in product.iter_mut().enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value = (0..4).map(|k| a[i][k] * b[k][j]).sum();
            }
        }
        product
    };
    times(&times(&shear, &blocks), &back).iter().map(|row| row.to_vec()).collect()
}
