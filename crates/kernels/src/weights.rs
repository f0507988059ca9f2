//! The weights of one call, packed for the matrix products.

use crate::gemm::{MatrixLayout, Packed};
use crate::{CellKernel, KernelFloat};
use candle_core::{bail, Result, Storage, Tensor};

/// The sizes of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) input: usize,
    pub(crate) hidden: usize,
    /// The size of h: `hidden`, or the size of its projection.
    pub(crate) output: usize,
    /// gates * hidden.
    pub(crate) gates: usize,
    /// The values that the pre-activations take in a row.
    pub(crate) span: usize,
    /// The values saved per row and step.
    pub(crate) saved: usize,
}

/// The packed matrices of one direction.
pub(crate) struct Matrices<F: KernelFloat> {
    pub(crate) ih: Packed<F>,
    /// W_hh, of all gates that depend on the last output.
    pub(crate) hh: Packed<F>,
    /// The projection's matrix, or W_hh of the last gate if it is the second stage.
    pub(crate) second: Option<Packed<F>>,
}

impl<F: KernelFloat> Matrices<F> {
    /// Zeros in the same shapes.
    pub(crate) fn zeros(&self) -> Self {
        Self {
            ih: self.ih.zeros(),
            hh: self.hh.zeros(),
            second: self.second.as_ref().map(Packed::zeros),
        }
    }
}

/// The weights of one call.
pub(crate) struct PackedWeights<F: KernelFloat> {
    pub(crate) sizes: Sizes,
    ih: Vec<F>, // (gates, input), in the cell kernel's order
    hh: Vec<F>, // (gates, output)
    hr: Vec<F>, // (output, hidden), or empty
    /// The initial value of a row of pre-activations: the biases.
    pub(crate) start: Vec<F>,
    /// Whether the driver adds biases.
    pub(crate) bias: bool,
    /// The cell's extra weights.
    pub(crate) extra: Vec<Vec<F>>,
    /// The matrices of the forward pass.
    pub(crate) forward: Matrices<F>,
    two_stages: bool,
}

impl<F: KernelFloat> PackedWeights<F> {
    /// `params` are weight_ih, weight_hh, optionally bias_ih and bias_hh, weight_hr if `projected`,
    /// and the cell's extra weights.
    pub(crate) fn new<K: CellKernel>(params: &[Tensor], projected: bool) -> Result<Self> {
        let [ih, hh, vectors @ ..] = params else {
            bail!("{}: expected weight_ih and weight_hh, got {} weights", K::NAME, params.len())
        };
        let ((gates, input), (rows, output)) = (ih.dims2()?, hh.dims2()?);
        let hidden = gates / K::GATES;
        if gates != K::GATES * hidden || rows != gates {
            bail!(
                "{}: expected weights ({} * hidden, ..), got {:?} and {:?}",
                K::NAME,
                K::GATES,
                ih.dims(),
                hh.dims()
            )
        }
        let behind = K::EXTRA_WEIGHTS + usize::from(projected);
        let Some(biases @ (0 | 2)) =
            vectors.len().checked_sub(behind).filter(|n| *n == 0 || K::BIAS)
        else {
            bail!("{}: expected another number of weights, got {}", K::NAME, params.len())
        };
        let (biases, vectors) = vectors.split_at(biases);
        let (projection, extra) = vectors.split_at(usize::from(projected));
        let sizes = Sizes {
            input,
            hidden,
            output,
            gates,
            span: K::SPAN * hidden,
            saved: K::SAVED * hidden + K::SAVED_PER_ROW,
        };
        let hr = match projection {
            [hr] if hr.dims() == [output, hidden] => values::<F>(hr)?,
            [] if output == hidden => Vec::new(),
            _ => bail!("{}: expected weight_hr ({output}, {hidden})", K::NAME),
        };
        let mut start = vec![F::ZERO; sizes.span];
        for (bias, part) in biases.iter().zip([GatePart::Input, GatePart::Recurrent]) {
            let bias = part.ordered::<K, F>(values(bias)?);
            let start = &mut start[part.first::<K>() * hidden..];
            start.iter_mut().zip(&bias).for_each(|(start, bias)| *start += *bias);
        }
        let (ih, hh) = (GatePart::Input.ordered::<K, F>(values(ih)?), values::<F>(hh)?);
        let transposed = |values: &[F], rows, columns| {
            Packed::pack(values, MatrixLayout::rows(rows, columns).t())
        };
        let (first, last) = hh.split_at(first_stage_rows(gates, hidden, K::TWO_STAGES) * output);
        let forward = Matrices {
            ih: transposed(&ih, gates, input),
            hh: transposed(first, first.len() / output, output),
            second: match (projected, K::TWO_STAGES) {
                (true, _) => Some(transposed(&hr, output, hidden)),
                (false, true) => Some(transposed(last, hidden, output)),
                (false, false) => None,
            },
        };
        let extra = extra.iter().map(values).collect::<Result<_>>()?;
        Ok(Self {
            sizes,
            ih,
            hh,
            hr,
            start,
            bias: !biases.is_empty(),
            extra,
            forward,
            two_stages: K::TWO_STAGES,
        })
    }

    /// The matrices of the backward pass.
    pub(crate) fn backward_matrices(&self) -> Matrices<F> {
        let Sizes { input, hidden, output, gates, .. } = self.sizes;
        let packed =
            |values: &[F], rows, columns| Packed::pack(values, MatrixLayout::rows(rows, columns));
        let (first, last) =
            self.hh.split_at(first_stage_rows(gates, hidden, self.two_stages) * output);
        Matrices {
            ih: packed(&self.ih, gates, input),
            hh: packed(first, first.len() / output, output),
            second: match (self.hr.is_empty(), self.two_stages) {
                (false, _) => Some(packed(&self.hr, output, hidden)),
                (true, true) => Some(packed(last, hidden, output)),
                (true, false) => None,
            },
        }
    }

    pub(crate) fn projected(&self) -> bool {
        !self.hr.is_empty()
    }
}

/// The number of rows of W_hh in the first stage.
pub(crate) fn first_stage_rows(gates: usize, hidden: usize, two_stages: bool) -> usize {
    if two_stages {
        gates - hidden
    } else {
        gates
    }
}

/// The input's or the recurrent gates of a row.
#[derive(Clone, Copy)]
pub(crate) enum GatePart {
    Input,
    Recurrent,
}

impl GatePart {
    /// The first gate of the part.
    pub(crate) fn first<K: CellKernel>(self) -> usize {
        match self {
            Self::Input => 0,
            Self::Recurrent => K::RECURRENT_OFFSET,
        }
    }

    /// Reorders gates from the cell's order to that of a row.
    fn ordered<K: CellKernel, F: KernelFloat>(self, values: Vec<F>) -> Vec<F> {
        match self {
            Self::Input if !K::INPUT_ORDER.is_empty() => {
                let gate = values.len() / K::GATES;
                K::INPUT_ORDER
                    .iter()
                    .flat_map(|&from| values[from * gate..][..gate].to_vec())
                    .collect()
            }
            _ => values,
        }
    }

    /// The inverse of [`GatePart::ordered`].
    pub(crate) fn restored<K: CellKernel, F: KernelFloat>(self, values: Vec<F>) -> Vec<F> {
        match self {
            Self::Input if !K::INPUT_ORDER.is_empty() => {
                let gate = values.len() / K::GATES;
                let mut out = vec![F::ZERO; values.len()];
                for (&to, values) in K::INPUT_ORDER.iter().zip(values.chunks_exact(gate.max(1))) {
                    out[to * gate..][..gate].copy_from_slice(values);
                }
                out
            }
            _ => values,
        }
    }
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
