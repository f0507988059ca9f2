//! The gradients of the weights.

use crate::gemm::{add_product, Interleaved, Left, Out, Packed, Shape};
use crate::weights::{stage, Part, Sizes, Weights};
use crate::workspace::Buffer;
use crate::{Float, Rule};
use candle::{Device, Result, Tensor};

/// The gradients of the weights, from one chunk or from all; matrices transposed, gates as a row has them.
pub(crate) struct WeightGradients<F: Float> {
    ih: Buffer<F>,   // (input, gates)
    hh: Buffer<F>,   // (output, gates)
    hr: Buffer<F>,   // (hidden, output), or empty
    bias: Buffer<F>, // (span)
    pub(crate) own: Vec<Vec<F>>,
}

/// A block of steps on the way back.
pub(crate) struct Block<'a, F> {
    /// Rows in the block: steps times examples.
    pub(crate) rows: usize,
    pub(crate) d: &'a [F],      // (rows, span)
    pub(crate) xs: &'a [F],     // (rows, input)
    pub(crate) seen: &'a [F],   // (rows, output)
    pub(crate) inner: &'a [F],  // (rows, hidden), or empty
    pub(crate) own_dh: &'a [F], // (rows, output), or empty
}

impl<F: Float> WeightGradients<F> {
    pub(crate) fn zeros(weights: &Weights<F>) -> Self {
        let Sizes { input, hidden, output, gates, span, .. } = weights.sizes;
        let zeros = |count| Buffer::filled(count, F::ZERO);
        Self {
            ih: zeros(input * gates),
            hh: zeros(output * gates),
            hr: zeros(if weights.projected() { hidden * output } else { 0 }),
            bias: zeros(span),
            own: weights.own.iter().map(|own| vec![F::ZERO; own.len()]).collect(),
        }
    }

    /// Adds those of another chunk.
    pub(crate) fn add(&mut self, other: &Self) {
        let fixed = [
            (&mut self.ih, &other.ih),
            (&mut self.hh, &other.hh),
            (&mut self.hr, &other.hr),
            (&mut self.bias, &other.bias),
        ];
        for (mine, others) in fixed {
            mine.iter_mut().zip(&**others).for_each(|(mine, other)| *mine += *other);
        }
        for (mine, others) in self.own.iter_mut().zip(&other.own) {
            mine.iter_mut().zip(others).for_each(|(mine, other)| *mine += *other);
        }
    }

    /// Adds those of a block of steps; `room` holds as many elements as its widest left side.
    pub(crate) fn add_block<R: Rule>(&mut self, weights: &Weights<F>, block: &Block<F>, room: &mut [F]) {
        let Sizes { input, hidden, output, gates, span, .. } = weights.sizes;
        let Block { rows, d, xs, seen, inner, own_dh } = *block;
        let window = |first: usize, columns: usize| {
            let shape = Shape { rows, columns, row_stride: span, column_stride: 1 };
            Packed::of(&d[first..], shape)
        };
        let first = stage(gates, hidden, R::TWO_STAGES);
        let input_part = window(0, gates);
        let recurrent_part =
            (R::RECURRENT_AT > 0 || R::TWO_STAGES).then(|| window(R::RECURRENT_AT * hidden, first));
        let recurrent_part = recurrent_part.as_ref().unwrap_or(&input_part);
        let mut add = |out: &mut [F], stride: usize, left: &[F], width: usize, right: &Packed<F>| {
            let left = Interleaved::of(left, width, room);
            add_product(Out { values: out, stride }, Left::Interleaved(&left), right);
        };
        add(&mut self.ih, gates, xs, input, &input_part);
        add(&mut self.hh, gates, seen, output, recurrent_part);
        if R::TWO_STAGES {
            add(&mut self.hh[first..], gates, inner, hidden, &window(first, hidden));
        }
        if weights.projected() {
            let right = Packed::of(own_dh, Shape::rows(rows, output));
            add(&mut self.hr, output, inner, hidden, &right);
        }
        if weights.bias {
            for row in d.chunks_exact(span) {
                self.bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
            }
        }
    }

    /// As tensors, in the order of the call's weights.
    pub(crate) fn tensors<R: Rule>(self, weights: &Weights<F>) -> Result<Vec<Tensor>> {
        let Sizes { input, hidden, output, gates, .. } = weights.sizes;
        let matrix = |values: Vec<F>, rows, columns| Tensor::from_vec(values, (rows, columns), &Device::Cpu);
        let vector = |values: Vec<F>| {
            let len = values.len();
            Tensor::from_vec(values, len, &Device::Cpu)
        };
        let ih = Part::Input.restored::<R, F>(turned(&self.ih, input, gates));
        let mut tensors =
            vec![matrix(ih, gates, input)?, matrix(turned(&self.hh, output, gates), gates, output)?];
        if weights.bias {
            let part = |part: Part| {
                let bias = self.bias[part.first::<R>() * hidden..][..gates].to_vec();
                vector(part.restored::<R, F>(bias))
            };
            tensors.extend([part(Part::Input)?, part(Part::Recurrent)?]);
        }
        if weights.projected() {
            tensors.push(matrix(turned(&self.hr, hidden, output), output, hidden)?);
        }
        for own in self.own {
            tensors.push(vector(own)?);
        }
        Ok(tensors)
    }
}

/// The transpose of `(rows, columns)`.
fn turned<F: Float>(values: &[F], rows: usize, columns: usize) -> Vec<F> {
    let mut out = vec![F::ZERO; values.len()];
    for (column, out) in out.chunks_exact_mut(rows.max(1)).enumerate() {
        out.iter_mut().zip(values[column..].iter().step_by(columns)).for_each(|(out, value)| *out = *value);
    }
    out
}
