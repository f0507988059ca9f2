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
    /// Whether the driver adds biases.
    pub(crate) bias: bool,
    /// The rule's own weights.
    pub(crate) own: Vec<Vec<F>>,
}

impl<F: Float> Weights<F> {
    pub(crate) fn of<R: Rule>(call: &Call) -> Result<Self> {
        let [ih, hh, vectors @ ..] = &call.params[..] else {
            bail!("{}: expected weight_ih and weight_hh, got {} weights", R::NAME, call.params.len())
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
        let own =
            if R::OWN > 0 { vectors.iter().map(values).collect::<Result<Vec<_>>>()? } else { Vec::new() };
        match vectors {
            [] if R::OWN == 0 => {}
            [b_ih, b_hh] if R::OWN == 0 => (start, start_recurrent) = (values(b_ih)?, values(b_hh)?),
            vectors if R::OWN > 0 && vectors.len() == R::OWN => {}
            other => bail!("{}: expected another number of weights, got {}", R::NAME, 2 + other.len()),
        }
        if !R::APART {
            start.iter_mut().zip(&start_recurrent).for_each(|(sum, b_hh)| *sum += *b_hh);
        }
        let (ih, hh) = (values::<F>(ih)?, values::<F>(hh)?);
        Ok(Self {
            sizes: Sizes { input, hidden, rows, kept: R::KEPT * hidden + R::KEPT_A_ROW },
            ih_t: transposed(&ih, Shape::rows(rows, input)),
            hh_t: transposed(&hh, Shape::rows(rows, hidden)),
            ih,
            hh,
            start,
            start_recurrent,
            bias: R::OWN == 0 && !vectors.is_empty(),
            own,
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
