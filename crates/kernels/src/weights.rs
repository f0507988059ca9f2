//! The weights of one call, packed for the products of a program, and their gradients.

use crate::gemm::{MatrixLayout, Packed};
use crate::program::Program;
use crate::KernelFloat;
use candle_core::{bail, Device, Result, Storage, Tensor};
use recurrent_core::description::Graph;

/// The weights of one call.
pub(crate) struct Weights<F: KernelFloat> {
    /// All weights, row-major.
    pub(crate) values: Vec<Vec<F>>,
    /// The vectors among them; matrices are empty.
    pub(crate) vectors: Vec<Vec<F>>,
    /// For every sum of products: the sum of the biases, and the matrices, transposed.
    pub(crate) linears: Vec<(Vec<F>, Vec<Packed<F>>)>,
}

impl<F: KernelFloat> Weights<F> {
    pub(crate) fn new(graph: &Graph, params: &[Tensor]) -> Result<Self> {
        if params.len() != graph.weights.len() {
            let (expected, found) = (graph.weights.len(), params.len());
            bail!("described kernel: expected {expected} weights, got {found}")
        }
        let all = params.iter().map(values::<F>).collect::<Result<Vec<_>>>()?;
        let of = |index: usize| {
            let width = graph.linears[index].width;
            let mut start = vec![F::ZERO; width];
            for (weight, row) in graph.biases(index) {
                let bias = &all[weight][row..][..width];
                start.iter_mut().zip(bias).for_each(|(start, bias)| *start += *bias);
            }
            let products = graph.products(index).map(|(weight, row, _)| {
                let columns = graph.weights[weight][1];
                let rows = &all[weight][row * columns..][..width * columns];
                Packed::pack(rows, MatrixLayout::rows(width, columns).t())
            });
            (start, products.collect())
        };
        let linears = (0..graph.linears.len()).map(of).collect();
        let vector = |(dims, values): (&Vec<usize>, &Vec<F>)| match dims.len() {
            1 => values.clone(),
            _ => Vec::new(),
        };
        let vectors = graph.weights.iter().zip(&all).map(vector).collect();
        Ok(Self { values: all, vectors, linears })
    }

    /// The matrices of the backward pass, for every sum of products.
    pub(crate) fn backward(&self, graph: &Graph) -> Vec<Vec<Packed<F>>> {
        let of = |index: usize| {
            let width = graph.linears[index].width;
            let products = graph.products(index).map(|(weight, row, _)| {
                let columns = graph.weights[weight][1];
                let rows = &self.values[weight][row * columns..][..width * columns];
                Packed::pack(rows, MatrixLayout::rows(width, columns))
            });
            products.collect()
        };
        (0..graph.linears.len()).map(of).collect()
    }
}

/// The gradients of the weights, of one chunk or of all.
pub(crate) struct WeightGrads<F: KernelFloat> {
    /// For every sum of products: that of the biases, and those of the matrices, transposed.
    pub(crate) linears: Vec<(Vec<F>, Vec<Packed<F>>)>,
    /// By weight; matrices are empty.
    pub(crate) vectors: Vec<Vec<F>>,
}

impl<F: KernelFloat> WeightGrads<F> {
    pub(crate) fn zeros(weights: &Weights<F>) -> Self {
        let zeros = |values: &Vec<F>| vec![F::ZERO; values.len()];
        let linear = |(start, products): &(Vec<F>, Vec<Packed<F>>)| {
            (zeros(start), products.iter().map(Packed::zeros).collect())
        };
        Self {
            linears: weights.linears.iter().map(linear).collect(),
            vectors: weights.vectors.iter().map(zeros).collect(),
        }
    }

    /// Adds the gradients of another chunk.
    pub(crate) fn add(&mut self, other: &Self) {
        for ((bias, products), (other_bias, others)) in self.linears.iter_mut().zip(&other.linears)
        {
            add(bias, other_bias);
            products.iter_mut().zip(others).for_each(|(mine, other)| mine.add(other));
        }
        self.vectors.iter_mut().zip(&other.vectors).for_each(|(mine, other)| add(mine, other));
    }

    /// The gradients as tensors, in the order of the call's weights.
    pub(crate) fn tensors(self, program: &Program) -> Result<Vec<Tensor>> {
        let graph = &program.graph;
        let size = |dims: &Vec<usize>| dims.iter().product();
        let zeros = |dims: &Vec<usize>| vec![F::ZERO; size(dims)];
        let mut grads: Vec<Vec<F>> = graph.weights.iter().map(zeros).collect();
        for (index, (bias, products)) in self.linears.into_iter().enumerate() {
            for (weight, row) in graph.biases(index) {
                add(&mut grads[weight][row..][..bias.len()], &bias);
            }
            for ((weight, row, _), product) in graph.products(index).zip(products) {
                let own = product.transposed();
                let first = row * graph.weights[weight][1];
                add(&mut grads[weight][first..][..own.len()], &own);
            }
        }
        for (grad, vector) in grads.iter_mut().zip(&self.vectors) {
            if !vector.is_empty() {
                add(grad, vector);
            }
        }
        let tensor = |(values, dims): (Vec<F>, &Vec<usize>)| {
            Tensor::from_vec(values, &dims[..], &Device::Cpu)
        };
        grads.into_iter().zip(&graph.weights).map(tensor).collect()
    }
}

fn add<F: KernelFloat>(sum: &mut [F], values: &[F]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += *value);
}

/// The elements of a contiguous tensor on the CPU.
pub(crate) fn values<F: KernelFloat>(tensor: &Tensor) -> Result<Vec<F>> {
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
