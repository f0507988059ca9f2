//! Truncated BPTT and clipping of the hidden gradient, by hand in the plain loop.

use candle_core::backend::BackendStorage;
use candle_core::{bail, CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use recurrent_core::{Bptt, HiddenGradClip, State, Truncation};

/// The state before step `t` of `len`, detached where a window begins.
pub(crate) fn truncated<S: State>(flow: Bptt, t: usize, len: usize, state: S) -> Result<S> {
    let begins = match flow.truncation {
        None => false,
        Some(Truncation::Every(steps)) => t != 0 && t.is_multiple_of(steps),
        Some(Truncation::Last(steps)) => len - t == steps,
    };
    match begins {
        true => S::from_fields(state.fields().iter().map(Tensor::detach).collect()),
        false => Ok(state),
    }
}

/// The state after a step, with its output's gradient clipped.
pub(crate) fn clipped<S: State>(flow: Bptt, state: S) -> Result<S> {
    let Some(clip) = flow.clip else { return Ok(state) };
    let mut fields = state.fields();
    // The operation clones storage whole, and `copy` keeps a view's offset: 1 x + 0 has its own.
    fields[0] = fields[0].affine(1.0, 0.0)?.apply_op1(HiddenGradClipOp(clip))?;
    S::from_fields(fields)
}

/// The identity on one example, `(1, size)`, with its gradient clipped.
struct HiddenGradClipOp(HiddenGradClip);

impl CustomOp1 for HiddenGradClipOp {
    fn name(&self) -> &'static str {
        "clipped"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        match layout.is_contiguous() {
            true => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            false => bail!("clipped: expected a contiguous state"),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (dims, dtype) = (gradient.dims(), gradient.dtype());
        let mut values: Vec<f64> = gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        match self.0 {
            HiddenGradClip::Value(bound) => {
                values.iter_mut().for_each(|v| *v = v.max(-bound).min(bound))
            }
            HiddenGradClip::Norm(bound) => {
                let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
                if norm > bound {
                    values.iter_mut().for_each(|v| *v *= bound / norm);
                }
            }
        }
        Ok(Some(Tensor::from_vec(values, dims, gradient.device())?.to_dtype(dtype)?))
    }
}
