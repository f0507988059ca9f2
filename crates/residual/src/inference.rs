//! A connection over depth, on slices.

use candle_core::{DType, Device, Result, Tensor};
use recurrent_core::{check_step, Carry, InferenceLayer, Stream};
use std::sync::Arc;

/// A snapshot of a layer with a connection around it.
pub(crate) struct InferenceResidual {
    pub(crate) layer: Arc<dyn InferenceLayer>,
    pub(crate) join: InferenceJoin,
}

/// A connection with its weights, matrices transposed: `(input, output)`.
pub(crate) struct InferenceJoin {
    pub(crate) projection: Option<Vec<f32>>,
    pub(crate) kind: InferenceKind,
}

pub(crate) enum InferenceKind {
    Additive,
    Highway { weight: Vec<f32>, bias: Vec<f32> },
    ReZero { alpha: f32 },
}

/// The values of a matrix `(output, input)`, transposed, so that the inner loop is over outputs.
pub(crate) fn transposed(weight: &Tensor) -> Result<Vec<f32>> {
    flat(&weight.t()?)
}

/// The values of a tensor in f32.
pub(crate) fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

/// `out` += W x, with W transposed.
fn add_product(weight: &[f32], x: &[f32], out: &mut [f32]) {
    for (x, column) in x.iter().zip(weight.chunks_exact(out.len())) {
        out.iter_mut().zip(column).for_each(|(out, w)| *out += x * w);
    }
}

impl InferenceJoin {
    /// Sets `out` to the layer's output `y` joined with its input `x`, for one example. `gate` is
    /// scratch space of the same length as `out`.
    fn join(&self, x: &[f32], y: &[f32], out: &mut [f32], gate: &mut [f32]) {
        match &self.projection {
            None => out.copy_from_slice(x),
            Some(weight) => {
                out.fill(0.0);
                add_product(weight, x, out);
            }
        }
        match &self.kind {
            InferenceKind::Additive => out.iter_mut().zip(y).for_each(|(out, y)| *out += y),
            InferenceKind::ReZero { alpha } => {
                out.iter_mut().zip(y).for_each(|(out, y)| *out += alpha * y)
            }
            InferenceKind::Highway { weight, bias } => {
                gate.copy_from_slice(bias);
                add_product(weight, x, gate);
                for ((out, y), a) in out.iter_mut().zip(y).zip(gate) {
                    let t = 1.0 / (1.0 + (-*a).exp());
                    *out = t * y + (1.0 - t) * *out;
                }
            }
        }
    }
}

impl InferenceLayer for InferenceResidual {
    fn input_size(&self) -> usize {
        self.layer.input_size()
    }

    fn output_size(&self) -> usize {
        self.layer.output_size()
    }

    fn stream(self: Arc<Self>, batch: usize) -> Box<dyn Stream> {
        let layer = self.layer.clone().stream(batch);
        let (inner, gate) = (vec![0.0; layer.sizes().1], vec![0.0; self.output_size()]);
        Box::new(ResidualStream { layer, inner, gate, frozen: self })
    }
}

struct ResidualStream {
    layer: Box<dyn Stream>,
    inner: Vec<f32>, // (batch, output), of the layer inside
    gate: Vec<f32>,
    frozen: Arc<InferenceResidual>,
}

impl Stream for ResidualStream {
    fn sizes(&self) -> (usize, usize) {
        self.layer.sizes()
    }

    fn step(&mut self, xs: &[f32], ys: &mut [f32]) -> Result<()> {
        check_step(self.sizes(), xs, ys)?;
        self.layer.step(xs, &mut self.inner)?;
        let (input, output) = (self.frozen.input_size(), self.frozen.output_size());
        let rows = xs
            .chunks_exact(input)
            .zip(self.inner.chunks_exact(output))
            .zip(ys.chunks_exact_mut(output));
        rows.for_each(|((x, y), out)| self.frozen.join.join(x, y, out, &mut self.gate));
        Ok(())
    }

    fn carry(&self) -> Result<Carry> {
        self.layer.carry()
    }

    fn set_carry(&mut self, carry: &Carry) -> Result<()> {
        self.layer.set_carry(carry)
    }
}
