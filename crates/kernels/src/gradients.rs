//! The gradients of the weights.

use crate::buffer::Buffer;
use crate::gemm::{add_product, Interleaved, Lhs, MatrixLayout, Packed};
use crate::weights::{first_stage_rows, GatePart, Matrices, PackedWeights, Sizes};
use crate::{CellKernel, KernelFloat};
use candle_core::{Device, Result, Tensor};

/// The gradients of the weights, of one chunk or of all. The matrices have the layout of the
/// forward pass.
pub(crate) struct WeightGradients<F: KernelFloat> {
    matrices: Matrices<F>,
    bias: Buffer<F>, // (span)
    pub(crate) extra: Vec<Vec<F>>,
}

/// A block of steps of the backward pass.
pub(crate) struct BackwardBlock<'a, F> {
    /// Rows in the block: steps times examples.
    pub(crate) rows: usize,
    pub(crate) d: &'a [F],               // (rows, span)
    pub(crate) xs: &'a [F],              // (rows, input)
    pub(crate) recurrent_input: &'a [F], // (rows, output)
    pub(crate) inner: &'a [F],           // (rows, hidden), or empty
    pub(crate) raw_dh: &'a [F],          // (rows, output), or empty
}

impl<F: KernelFloat> WeightGradients<F> {
    pub(crate) fn zeros(weights: &PackedWeights<F>) -> Self {
        Self {
            matrices: weights.forward.zeros(),
            bias: Buffer::filled(weights.sizes.span, F::ZERO),
            extra: weights.extra.iter().map(|extra| vec![F::ZERO; extra.len()]).collect(),
        }
    }

    /// Adds the gradients of another chunk.
    pub(crate) fn add(&mut self, other: &Self) {
        let (mine, others) = (&mut self.matrices, &other.matrices);
        mine.ih.add(&others.ih);
        mine.hh.add(&others.hh);
        mine.second.iter_mut().zip(&others.second).for_each(|(mine, other)| mine.add(other));
        self.bias.iter_mut().zip(&*other.bias).for_each(|(mine, other)| *mine += *other);
        for (mine, others) in self.extra.iter_mut().zip(&other.extra) {
            mine.iter_mut().zip(others).for_each(|(mine, other)| *mine += *other);
        }
    }

    /// Adds the gradients of a block of steps; `room` holds as many elements as the widest left
    /// side.
    pub(crate) fn add_block<K: CellKernel>(
        &mut self,
        weights: &PackedWeights<F>,
        block: &BackwardBlock<F>,
        room: &mut [F],
    ) {
        let Sizes { input, hidden, output, gates, span, .. } = weights.sizes;
        let BackwardBlock { rows, d, xs, recurrent_input, inner, raw_dh } = *block;
        let window = |first: usize, columns: usize| {
            let shape = MatrixLayout { rows, columns, row_stride: span, column_stride: 1 };
            Packed::pack(&d[first..], shape)
        };
        let first = first_stage_rows(gates, hidden, K::TWO_STAGES);
        let input_part = window(0, gates);
        let recurrent_part = (K::RECURRENT_OFFSET > 0 || K::TWO_STAGES)
            .then(|| window(K::RECURRENT_OFFSET * hidden, first));
        let recurrent_part = recurrent_part.as_ref().unwrap_or(&input_part);
        let mut add = |sum: &mut Packed<F>, left: &[F], width: usize, right: &Packed<F>| {
            let left = Interleaved::new(left, width, room);
            add_product(sum.out(), Lhs::Interleaved(&left), right);
        };
        add(&mut self.matrices.ih, xs, input, &input_part);
        add(&mut self.matrices.hh, recurrent_input, output, recurrent_part);
        if let Some(second) = &mut self.matrices.second {
            let right = if K::TWO_STAGES {
                window(first, hidden)
            } else {
                Packed::pack(raw_dh, MatrixLayout::rows(rows, output))
            };
            add(second, inner, hidden, &right);
        }
        if weights.bias {
            for row in d.chunks_exact(span) {
                self.bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
            }
        }
    }

    /// The gradients as tensors, in the order of the call's weights.
    pub(crate) fn tensors<K: CellKernel>(self, weights: &PackedWeights<F>) -> Result<Vec<Tensor>> {
        let Sizes { input, hidden, output, gates, .. } = weights.sizes;
        let matrix =
            |values: Vec<F>, rows, columns| Tensor::from_vec(values, (rows, columns), &Device::Cpu);
        let vector = |values: Vec<F>| {
            let len = values.len();
            Tensor::from_vec(values, len, &Device::Cpu)
        };
        let Matrices { ih, hh, second } = self.matrices;
        let (mut hh, second) = (hh.transposed(), second.map(|second| second.transposed()));
        let projection = if K::TWO_STAGES {
            hh.extend(second.into_iter().flatten());
            None
        } else {
            second
        };
        let ih = GatePart::Input.restored::<K, F>(ih.transposed());
        let mut tensors = vec![matrix(ih, gates, input)?, matrix(hh, gates, output)?];
        if weights.bias {
            let part = |part: GatePart| {
                let bias = self.bias[part.first::<K>() * hidden..][..gates].to_vec();
                vector(part.restored::<K, F>(bias))
            };
            tensors.extend([part(GatePart::Input)?, part(GatePart::Recurrent)?]);
        }
        if let Some(projection) = projection {
            tensors.push(matrix(projection, output, hidden)?);
        }
        for extra in self.extra {
            tensors.push(vector(extra)?);
        }
        Ok(tensors)
    }
}
