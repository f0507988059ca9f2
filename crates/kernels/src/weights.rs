//! The weights of one call, in the layouts that the products want.

use crate::gemm::Shape;
use crate::{Float, Rule};
use candle::{bail, Result, Storage, Tensor};
use recurrent_core::Call;

/// The sizes of one call.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) input: usize,
    pub(crate) hidden: usize,
    /// gates * hidden.
    pub(crate) rows: usize,
    /// What is kept a row and step.
    pub(crate) kept: usize,
}

/// Weights in the call's order, and the transposed matrices, contiguous, for the way there.
pub(crate) struct Weights<F> {
    pub(crate) sizes: Sizes,
    pub(crate) ih: Vec<F>,   // (rows, input)
    pub(crate) hh: Vec<F>,   // (rows, hidden)
    pub(crate) ih_t: Vec<F>, // (input, rows)
    pub(crate) hh_t: Vec<F>, // (hidden, rows)
    /// What a row of pre-activations begins with: b_ih, plus b_hh unless the recurrent part is apart.
    pub(crate) start: Vec<F>,
    /// What the recurrent part begins with, where it is apart: b_hh.
    pub(crate) start_recurrent: Vec<F>,
    pub(crate) bias: bool,
}

impl<F: Float> Weights<F> {
    pub(crate) fn of<R: Rule>(call: &Call) -> Result<Self> {
        let (ih, hh, biases) = match &call.params[..] {
            [ih, hh] => (ih, hh, None),
            [ih, hh, b_ih, b_hh] => (ih, hh, Some((b_ih, b_hh))),
            other => bail!("{}: expected 2 or 4 weights, got {}", R::NAME, other.len()),
        };
        let ((rows, input), hidden) = (ih.dims2()?, hh.dim(1)?);
        if rows != R::GATES * hidden || hh.dims() != [rows, hidden] {
            bail!(
                "{}: expected weights ({} * hidden, ..), got {:?} and {:?}",
                R::NAME,
                R::GATES,
                ih.dims(),
                hh.dims()
            )
        }
        let (mut start, mut start_recurrent) = (vec![F::ZERO; rows], vec![F::ZERO; rows]);
        if let Some((b_ih, b_hh)) = biases {
            start = values(b_ih)?;
            start_recurrent = values(b_hh)?;
        }
        if !R::APART {
            start.iter_mut().zip(&start_recurrent).for_each(|(sum, b_hh)| *sum += *b_hh);
        }
        let (ih, hh) = (values::<F>(ih)?, values::<F>(hh)?);
        Ok(Self {
            sizes: Sizes { input, hidden, rows, kept: R::KEPT * hidden },
            ih_t: transposed(&ih, Shape::rows(rows, input)),
            hh_t: transposed(&hh, Shape::rows(rows, hidden)),
            ih,
            hh,
            start,
            start_recurrent,
            bias: biases.is_some(),
        })
    }
}

/// The elements of a contiguous tensor on the CPU.
pub(crate) fn values<F: Float>(tensor: &Tensor) -> Result<Vec<F>> {
    with_values(tensor, <[F]>::to_vec)
}

/// What `f` makes of the elements of a contiguous tensor on the CPU, without a copy.
pub(crate) fn with_values<F: Float, T>(tensor: &Tensor, f: impl FnOnce(&[F]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        bail!("kernel: expected a contiguous tensor on the CPU")
    };
    Ok(f(&F::cpu_storage_as_slice(storage)?[start..end]))
}

fn transposed<F: Float>(values: &[F], shape: Shape) -> Vec<F> {
    let places = (0..shape.columns).flat_map(|column| (0..shape.rows).map(move |row| (row, column)));
    places.map(|(row, column)| values[row * shape.row_stride + column]).collect()
}
