//! The weights of one call, packed for the products of a program, and their gradients.

use crate::gemm::{MatrixLayout, Packed};
use crate::program::Program;
use crate::share::Share;
use crate::KernelFloat;
use candle_core::{bail, Device, Result, Storage, Tensor};
use std::borrow::Cow;
use std::ops::Range;

/// The weights of one call, packed for a share of the units.
pub(crate) struct Weights<F: KernelFloat> {
    /// The vectors; matrices are empty.
    pub(crate) vectors: Vec<Vec<F>>,
    /// For every sum of products: the sum of the biases, and the matrices, transposed.
    pub(crate) linears: Vec<(Vec<F>, Vec<Packed<F>>)>,
}

impl<F: KernelFloat> Weights<F> {
    /// Packs the `values` of all weights, row-major.
    pub(crate) fn new(program: &Program, values: &[Vec<F>], share: Share) -> Self {
        let linears = (0..program.graph.linears.len()).map(|l| linear(program, values, share, l));
        Self { linears: linears.collect(), ..Self::vectors(program, values, share) }
    }

    /// The vectors alone.
    pub(crate) fn vectors(program: &Program, values: &[Vec<F>], share: Share) -> Self {
        let graph = &program.graph;
        let vector = |(index, values): (usize, &Vec<F>)| match graph.weights[index][..] {
            [_] => pick(values, 1, &program.vector_columns(index, share)).into_owned(),
            _ => Vec::new(),
        };
        Self { vectors: values.iter().enumerate().map(vector).collect(), linears: Vec::new() }
    }
}

/// The sum of the biases and the matrices of a sum of products.
fn linear<F: KernelFloat>(
    program: &Program,
    values: &[Vec<F>],
    share: Share,
    index: usize,
) -> (Vec<F>, Vec<Packed<F>>) {
    let graph = &program.graph;
    let columns = program.linear_columns(index, share);
    let width: usize = columns.iter().map(Range::len).sum();
    let mut start = vec![F::ZERO; width];
    for (weight, row) in graph.biases(index) {
        add(&mut start, &pick(&values[weight][row..], 1, &columns));
    }
    let products = graph.products(index).map(|(weight, row, _)| {
        let depth = graph.weights[weight][1];
        let rows = pick(&values[weight][row * depth..], depth, &columns);
        Packed::pack(&rows, MatrixLayout::rows(width, depth).t())
    });
    (start, products.collect())
}

/// The matrices of the backward pass, for every sum of products: the columns that a share of the
/// units has, and if `inputs` all of those that multiply the input, else none.
pub(crate) fn backward_matrices<F: KernelFloat>(
    program: &Program,
    values: &[Vec<F>],
    share: Share,
    inputs: bool,
) -> Vec<Vec<Packed<F>>> {
    let graph = &program.graph;
    let linear = |index: usize| {
        let products = graph.products(index).zip(&program.products[index]);
        let products = products.map(|((weight, row, _), source)| {
            let depth = graph.weights[weight][1];
            let own = match source {
                Some(_) => share.of(depth),
                None => 0..if inputs { depth } else { 0 },
            };
            let rows = MatrixLayout::rows(graph.linears[index].width, depth);
            let from = &values[weight][row * depth + own.start..];
            Packed::pack(from, MatrixLayout { columns: own.len(), ..rows })
        });
        products.collect()
    };
    (0..graph.linears.len()).map(linear).collect()
}

/// The gradients of the weights of one chunk, of a share of the units.
pub(crate) struct WeightGrads<F: KernelFloat> {
    /// For every sum of products: that of the biases, and those of the matrices, transposed.
    pub(crate) linears: Vec<(Vec<F>, Vec<Packed<F>>)>,
    /// By weight; matrices are empty.
    pub(crate) vectors: Vec<Vec<F>>,
}

impl<F: KernelFloat> WeightGrads<F> {
    pub(crate) fn zeros(program: &Program, share: Share) -> Self {
        let graph = &program.graph;
        let length = |columns: Vec<Range<usize>>| columns.iter().map(Range::len).sum();
        let linear = |index: usize| {
            let width = length(program.linear_columns(index, share));
            let depths = graph.products(index).map(|(weight, ..)| graph.weights[weight][1]);
            (vec![F::ZERO; width], depths.map(|depth| Packed::zeros(depth, width)).collect())
        };
        let vector = |(index, dims): (usize, &Vec<usize>)| match dims[..] {
            [_] => vec![F::ZERO; length(program.vector_columns(index, share))],
            _ => Vec::new(),
        };
        Self {
            linears: (0..graph.linears.len()).map(linear).collect(),
            vectors: graph.weights.iter().enumerate().map(vector).collect(),
        }
    }

    /// The gradients with the matrices as the weights have them.
    pub(crate) fn by_row(self, share: Share) -> ShareGrads<F> {
        let transposed =
            |products: Vec<Packed<F>>| products.iter().map(Packed::transposed).collect();
        let linear = |(bias, products)| (bias, transposed(products));
        let linears = self.linears.into_iter().map(linear).collect();
        ShareGrads { share, linears, vectors: self.vectors }
    }
}

/// The gradients of a share of the units, as the weights have them.
pub(crate) struct ShareGrads<F> {
    share: Share,
    linears: Vec<(Vec<F>, Vec<Vec<F>>)>,
    vectors: Vec<Vec<F>>,
}

/// The gradients of all weights, summed over chunks in order; each has the shares of its members.
pub(crate) fn sum_grads<F: KernelFloat>(
    program: &Program,
    chunks: &[Vec<ShareGrads<F>>],
) -> Result<Vec<Tensor>> {
    let graph = &program.graph;
    let size = |dims: &Vec<usize>| dims.iter().product();
    let mut grads: Vec<Vec<F>> =
        graph.weights.iter().map(|dims| vec![F::ZERO; size(dims)]).collect();
    for shares in chunks {
        for index in 0..graph.linears.len() {
            for own in shares {
                let (bias, products) = &own.linears[index];
                let columns = program.linear_columns(index, own.share);
                for (weight, row) in graph.biases(index) {
                    spread(&mut grads[weight][row..], 1, &columns, bias);
                }
                for ((weight, row, _), product) in graph.products(index).zip(products) {
                    let depth = graph.weights[weight][1];
                    spread(&mut grads[weight][row * depth..], depth, &columns, product);
                }
            }
        }
        for own in shares {
            for (index, vector) in own.vectors.iter().enumerate().filter(|(_, v)| !v.is_empty()) {
                spread(&mut grads[index], 1, &program.vector_columns(index, own.share), vector);
            }
        }
    }
    let tensor =
        |(values, dims): (Vec<F>, &Vec<usize>)| Tensor::from_vec(values, &dims[..], &Device::Cpu);
    grads.into_iter().zip(&graph.weights).map(tensor).collect()
}

/// Some of the rows of a matrix with rows of `width` values.
fn pick<'a, F: KernelFloat>(values: &'a [F], width: usize, rows: &[Range<usize>]) -> Cow<'a, [F]> {
    let part = |rows: &Range<usize>| &values[rows.start * width..rows.end * width];
    match rows {
        [rows] => Cow::Borrowed(part(rows)),
        _ => Cow::Owned(rows.iter().flat_map(part).copied().collect()),
    }
}

/// Adds rows that [`pick`] picks.
fn spread<F: KernelFloat>(sums: &mut [F], width: usize, rows: &[Range<usize>], mut values: &[F]) {
    for rows in rows {
        let (own, rest) = values.split_at(rows.len() * width);
        add(&mut sums[rows.start * width..rows.end * width], own);
        values = rest;
    }
}

fn add<F: KernelFloat>(sum: &mut [F], values: &[F]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += *value);
}

/// The values of all weights of a call.
pub(crate) fn weight_values<F: KernelFloat>(
    program: &Program,
    params: &[Tensor],
) -> Result<Vec<Vec<F>>> {
    let (expected, found) = (program.graph.weights.len(), params.len());
    if found != expected {
        bail!("described kernel: expected {expected} weights, got {found}")
    }
    params.iter().map(values_of).collect()
}

/// The elements of a contiguous tensor on the CPU.
pub(crate) fn values_of<F: KernelFloat>(tensor: &Tensor) -> Result<Vec<F>> {
    with_values(tensor, <[F]>::to_vec)
}

/// Applies `f` to the elements of a contiguous tensor on the CPU, without a copy.
pub(crate) fn with_values<F: KernelFloat, T>(
    tensor: &Tensor,
    f: impl FnOnce(&[F]) -> T,
) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets())
    else {
        bail!("kernel: expected a contiguous tensor on the CPU")
    };
    Ok(f(&F::cpu_storage_as_slice(storage)?[start..end]))
}
