//! The weights of one call, in the layouts that the products want.

use crate::gemm::{Packed, Shape};
use crate::{KernelFloat, Rule};
use candle::{bail, Result, Storage, Tensor};

/// The sizes of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) input: usize,
    pub(crate) hidden: usize,
    /// The size of h: `hidden`, or what it is projected to.
    pub(crate) output: usize,
    /// gates * hidden.
    pub(crate) gates: usize,
    /// What the pre-activations take in a row.
    pub(crate) span: usize,
    /// What is kept a row and step.
    pub(crate) kept: usize,
}

/// The matrices of one direction, packed.
pub(crate) struct Matrices<F: KernelFloat> {
    pub(crate) ih: Packed<F>,
    /// W_hh, of all gates that see the last output.
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
pub(crate) struct Weights<F: KernelFloat> {
    pub(crate) sizes: Sizes,
    ih: Vec<F>, // (gates, input), in the rule's order
    hh: Vec<F>, // (gates, output)
    hr: Vec<F>, // (output, hidden), or empty
    /// What a row of pre-activations begins with: the biases.
    pub(crate) start: Vec<F>,
    /// Whether the driver adds biases.
    pub(crate) bias: bool,
    /// The rule's own weights.
    pub(crate) own: Vec<Vec<F>>,
    /// For the way there.
    pub(crate) forth: Matrices<F>,
    two_stages: bool,
}

impl<F: KernelFloat> Weights<F> {
    /// `params` are weight_ih, weight_hh, then bias_ih and bias_hh or none, weight_hr if `projected`, and the rule's own.
    pub(crate) fn of<R: Rule>(params: &[Tensor], projected: bool) -> Result<Self> {
        let [ih, hh, vectors @ ..] = params else {
            bail!("{}: expected weight_ih and weight_hh, got {} weights", R::NAME, params.len())
        };
        let ((gates, input), (rows, output)) = (ih.dims2()?, hh.dims2()?);
        let hidden = gates / R::GATES;
        if gates != R::GATES * hidden || rows != gates {
            bail!(
                "{}: expected weights ({} * hidden, ..), got {:?} and {:?}",
                R::NAME,
                R::GATES,
                ih.dims(),
                hh.dims()
            )
        }
        let behind = R::OWN + usize::from(projected);
        let Some(biases @ (0 | 2)) =
            vectors.len().checked_sub(behind).filter(|n| *n == 0 || R::BIAS)
        else {
            bail!("{}: expected another number of weights, got {}", R::NAME, params.len())
        };
        let (biases, vectors) = vectors.split_at(biases);
        let (projection, own) = vectors.split_at(usize::from(projected));
        let sizes = Sizes {
            input,
            hidden,
            output,
            gates,
            span: R::SPAN * hidden,
            kept: R::KEPT * hidden + R::KEPT_A_ROW,
        };
        let hr = match projection {
            [hr] if hr.dims() == [output, hidden] => values::<F>(hr)?,
            [] if output == hidden => Vec::new(),
            _ => bail!("{}: expected weight_hr ({output}, {hidden})", R::NAME),
        };
        let mut start = vec![F::ZERO; sizes.span];
        for (bias, part) in biases.iter().zip([Part::Input, Part::Recurrent]) {
            let bias = part.ordered::<R, F>(values(bias)?);
            let start = &mut start[part.first::<R>() * hidden..];
            start.iter_mut().zip(&bias).for_each(|(start, bias)| *start += *bias);
        }
        let (ih, hh) = (Part::Input.ordered::<R, F>(values(ih)?), values::<F>(hh)?);
        let turned =
            |values: &[F], rows, columns| Packed::of(values, Shape::rows(rows, columns).t());
        let (first, last) = hh.split_at(stage(gates, hidden, R::TWO_STAGES) * output);
        let forth = Matrices {
            ih: turned(&ih, gates, input),
            hh: turned(first, first.len() / output, output),
            second: match (projected, R::TWO_STAGES) {
                (true, _) => Some(turned(&hr, output, hidden)),
                (false, true) => Some(turned(last, hidden, output)),
                (false, false) => None,
            },
        };
        let own = own.iter().map(values).collect::<Result<_>>()?;
        Ok(Self {
            sizes,
            ih,
            hh,
            hr,
            start,
            bias: !biases.is_empty(),
            own,
            forth,
            two_stages: R::TWO_STAGES,
        })
    }

    /// The matrices for the way back.
    pub(crate) fn back(&self) -> Matrices<F> {
        let Sizes { input, hidden, output, gates, .. } = self.sizes;
        let packed = |values: &[F], rows, columns| Packed::of(values, Shape::rows(rows, columns));
        let (first, last) = self.hh.split_at(stage(gates, hidden, self.two_stages) * output);
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

/// How many rows of W_hh see the last output.
pub(crate) fn stage(gates: usize, hidden: usize, two_stages: bool) -> usize {
    if two_stages {
        gates - hidden
    } else {
        gates
    }
}

/// The input's or the recurrent part of a row.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Input,
    Recurrent,
}

impl Part {
    /// The gate at which the part begins.
    pub(crate) fn first<R: Rule>(self) -> usize {
        match self {
            Self::Input => 0,
            Self::Recurrent => R::RECURRENT_AT,
        }
    }

    /// Gates as the cell has them to gates as a row has them.
    fn ordered<R: Rule, F: KernelFloat>(self, values: Vec<F>) -> Vec<F> {
        match self {
            Self::Input if !R::INPUT_ORDER.is_empty() => {
                let gate = values.len() / R::GATES;
                R::INPUT_ORDER
                    .iter()
                    .flat_map(|&from| values[from * gate..][..gate].to_vec())
                    .collect()
            }
            _ => values,
        }
    }

    /// The inverse of [`Part::ordered`].
    pub(crate) fn restored<R: Rule, F: KernelFloat>(self, values: Vec<F>) -> Vec<F> {
        match self {
            Self::Input if !R::INPUT_ORDER.is_empty() => {
                let gate = values.len() / R::GATES;
                let mut out = vec![F::ZERO; values.len()];
                for (&to, values) in R::INPUT_ORDER.iter().zip(values.chunks_exact(gate.max(1))) {
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

/// What `f` makes of the elements of a contiguous tensor on the CPU, without a copy.
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
