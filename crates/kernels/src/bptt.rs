//! Truncated BPTT and clipping of dL/dh_t, for one chunk of rows.

use crate::forward::Chunk;
use crate::weights::Sizes;
use crate::{CellKernel, KernelFloat};
use recurrent_core::{Float, HiddenGradClip};

impl<F: KernelFloat, K: CellKernel> Chunk<'_, F, K> {
    /// Clips dL/dh after step `t`, of the examples that run there.
    pub(crate) fn clip_hidden_grad(&self, t: usize, dh: &mut [F]) {
        let Some(clip) = self.bptt.clip else { return };
        let rows = dh.chunks_exact_mut(self.stepper.weights.sizes.output).zip(self.rows.clone());
        for (dh, _) in rows.filter(|(_, example)| t < self.time_index.len(*example)) {
            self::clip(dh, clip);
        }
    }

    /// Sets the gradient of the state before step `t` to zero where backpropagation is truncated.
    pub(crate) fn truncate(&self, t: usize, dh: &mut [F], dc: &mut [F]) {
        if self.bptt.truncation.is_none() {
            return;
        }
        let Sizes { hidden, output: h, .. } = self.stepper.weights.sizes;
        let c = if K::CELL_STATE { hidden } else { 0 };
        for (row, example) in self.rows.clone().enumerate() {
            if self.bptt.ends(t, self.time_index.len(example)) {
                dh[row * h..][..h].fill(F::ZERO);
                dc[row * c..][..c].fill(F::ZERO);
            }
        }
    }
}

/// Clips the gradient of one example.
pub(crate) fn clip<F: KernelFloat>(dh: &mut [F], clip: HiddenGradClip) {
    match clip {
        HiddenGradClip::Value(bound) => clip_by_value(dh, F::from_f64(bound)),
        HiddenGradClip::Norm(bound) => clip_by_norm(dh, bound),
    }
}

/// Clips every element to ± `bound`; a NaN stays.
fn clip_by_value<F: KernelFloat>(dh: &mut [F], bound: F) {
    for dh in dh {
        if dh.magnitude() > bound {
            *dh = bound.with_sign(*dh);
        }
    }
}

/// Clips the norm to `bound`.
fn clip_by_norm<F: KernelFloat>(dh: &mut [F], bound: f64) {
    // The norm is computed as largest · root, so that no square overflows or underflows.
    let largest = dh.iter().map(|dh| Float::to_f64(*dh).abs()).fold(0.0, f64::max);
    if largest == 0.0 {
        return;
    }
    let root = dh.iter().map(|dh| (Float::to_f64(*dh) / largest).powi(2)).sum::<f64>().sqrt();
    let scale = bound / largest / root;
    if scale < 1.0 {
        dh.iter_mut().for_each(|dh| *dh = F::from_f64(Float::to_f64(*dh) * scale));
    }
}
