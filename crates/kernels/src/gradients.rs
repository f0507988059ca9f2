//! The gradients of the weights.

use crate::gemm::{add_product, Interleaved, Left, Packed, Shape};
use crate::weights::{stage, Matrices, Part, Sizes, Weights};
use crate::workspace::Buffer;
use crate::{KernelFloat, Rule};
use candle::{Device, Result, Tensor};

/// The gradients of the weights, from one chunk or from all; the matrices lie as those of the way there.
pub(crate) struct WeightGradients<F: KernelFloat> {
    matrices: Matrices<F>,
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

impl<F: KernelFloat> WeightGradients<F> {
    pub(crate) fn zeros(weights: &Weights<F>) -> Self {
        Self {
            matrices: weights.forth.zeros(),
            bias: Buffer::filled(weights.sizes.span, F::ZERO),
            own: weights.own.iter().map(|own| vec![F::ZERO; own.len()]).collect(),
        }
    }

    /// Adds those of another chunk.
    pub(crate) fn add(&mut self, other: &Self) {
        let (mine, others) = (&mut self.matrices, &other.matrices);
        mine.ih.add(&others.ih);
        mine.hh.add(&others.hh);
        mine.second.iter_mut().zip(&others.second).for_each(|(mine, other)| mine.add(other));
        self.bias.iter_mut().zip(&*other.bias).for_each(|(mine, other)| *mine += *other);
        for (mine, others) in self.own.iter_mut().zip(&other.own) {
            mine.iter_mut().zip(others).for_each(|(mine, other)| *mine += *other);
        }
    }

    /// Adds those of a block of steps; `room` holds as many elements as its widest left side.
    pub(crate) fn add_block<R: Rule>(
        &mut self,
        weights: &Weights<F>,
        block: &Block<F>,
        room: &mut [F],
    ) {
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
        let mut add = |sum: &mut Packed<F>, left: &[F], width: usize, right: &Packed<F>| {
            let left = Interleaved::of(left, width, room);
            add_product(sum.out(), Left::Interleaved(&left), right);
        };
        add(&mut self.matrices.ih, xs, input, &input_part);
        add(&mut self.matrices.hh, seen, output, recurrent_part);
        if let Some(second) = &mut self.matrices.second {
            let right = if R::TWO_STAGES {
                window(first, hidden)
            } else {
                Packed::of(own_dh, Shape::rows(rows, output))
            };
            add(second, inner, hidden, &right);
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
        let matrix =
            |values: Vec<F>, rows, columns| Tensor::from_vec(values, (rows, columns), &Device::Cpu);
        let vector = |values: Vec<F>| {
            let len = values.len();
            Tensor::from_vec(values, len, &Device::Cpu)
        };
        let Matrices { ih, hh, second } = self.matrices;
        let (mut hh, second) = (hh.turned(), second.map(|second| second.turned()));
        let projection = if R::TWO_STAGES {
            hh.extend(second.into_iter().flatten());
            None
        } else {
            second
        };
        let ih = Part::Input.restored::<R, F>(ih.turned());
        let mut tensors = vec![matrix(ih, gates, input)?, matrix(hh, gates, output)?];
        if weights.bias {
            let part = |part: Part| {
                let bias = self.bias[part.first::<R>() * hidden..][..gates].to_vec();
                vector(part.restored::<R, F>(bias))
            };
            tensors.extend([part(Part::Input)?, part(Part::Recurrent)?]);
        }
        if let Some(projection) = projection {
            tensors.push(matrix(projection, output, hidden)?);
        }
        for own in self.own {
            tensors.push(vector(own)?);
        }
        Ok(tensors)
    }
}
