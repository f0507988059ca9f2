//! Updates in place on the slices of CPU tensors: one pass, no allocation.
//!
//! An optimiser writes its arithmetic once, generic over [`Real`], as a [`PairUpdate`] (destination
//! and one source) or a [`TripleUpdate`] (destination and two sources). Other devices and the half
//! dtypes use tensor operations instead.

use candle_core::{
    bail, CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Tensor, WithDType,
};

/// A scalar with the arithmetic of an update.
pub(crate) trait Real: WithDType {
    fn sqrt(self) -> Self;
}

impl Real for f32 {
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
}

impl Real for f64 {
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
}

/// Updates a slice from another one of the same length.
pub(crate) trait PairUpdate {
    fn run<T: Real>(&self, into: &mut [T], from: &[T]);
}

/// Updates a slice from two others of the same length.
pub(crate) trait TripleUpdate {
    fn run<T: Real>(&self, into: &mut [T], first: &[T], second: &[T]);
}

/// Whether tensors like this one can be updated here.
pub(crate) fn supports(tensor: &Tensor) -> bool {
    tensor.device().is_cpu()
        && matches!(tensor.dtype(), DType::F32 | DType::F64)
        && tensor.is_contiguous()
}

pub(crate) fn pair(into: &Tensor, from: &Tensor, rule: &impl PairUpdate) -> Result<()> {
    into.inplace_op2(from, &InPlaceUpdate(rule))
}

pub(crate) fn triple(
    into: &Tensor,
    first: &Tensor,
    second: &Tensor,
    rule: &impl TripleUpdate,
) -> Result<()> {
    into.inplace_op3(first, second, &InPlaceUpdate(rule))
}

struct InPlaceUpdate<'a, R>(&'a R);

fn range(layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!(
            "optimizer update: expected a contiguous tensor, found strides {:?}",
            layout.stride()
        ),
    }
}

impl<R: PairUpdate> InplaceOp2 for InPlaceUpdate<'_, R> {
    fn name(&self) -> &'static str {
        "optimizer-update"
    }

    fn cpu_fwd(
        &self,
        into: &mut CpuStorage,
        into_l: &Layout,
        from: &CpuStorage,
        from_l: &Layout,
    ) -> Result<()> {
        let (into_r, from_r) = (range(into_l)?, range(from_l)?);
        match (into, from) {
            (CpuStorage::F32(into), CpuStorage::F32(from)) => {
                self.0.run(&mut into[into_r], &from[from_r])
            }
            (CpuStorage::F64(into), CpuStorage::F64(from)) => {
                self.0.run(&mut into[into_r], &from[from_r])
            }
            _ => bail!("optimizer update: expected f32 or f64 throughout, found another dtype"),
        }
        Ok(())
    }
}

impl<R: TripleUpdate> InplaceOp3 for InPlaceUpdate<'_, R> {
    fn name(&self) -> &'static str {
        "optimizer-update"
    }

    fn cpu_fwd(
        &self,
        into: &mut CpuStorage,
        into_l: &Layout,
        first: &CpuStorage,
        first_l: &Layout,
        second: &CpuStorage,
        second_l: &Layout,
    ) -> Result<()> {
        let (into_r, first_r, second_r) = (range(into_l)?, range(first_l)?, range(second_l)?);
        match (into, first, second) {
            (CpuStorage::F32(into), CpuStorage::F32(first), CpuStorage::F32(second)) => {
                self.0.run(&mut into[into_r], &first[first_r], &second[second_r]);
            }
            (CpuStorage::F64(into), CpuStorage::F64(first), CpuStorage::F64(second)) => {
                self.0.run(&mut into[into_r], &first[first_r], &second[second_r]);
            }
            _ => bail!("optimizer update: expected f32 or f64 throughout, found another dtype"),
        }
        Ok(())
    }
}
