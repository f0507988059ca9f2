//! What a pass does to the gradient of the state on its way back, for one chunk of rows; nothing unless it asks for it.

use crate::forward::Chunk;
use crate::weights::Sizes;
use crate::{KernelFloat, Rule};
use recurrent_core::{Float, HiddenGradClip};

impl<F: KernelFloat, R: Rule> Chunk<'_, F, R> {
    /// Bounds dL/dh after step `t`, of the examples that run there.
    pub(crate) fn bound(&self, t: usize, dh: &mut [F]) {
        let Some(clip) = self.bptt.clip else { return };
        let rows = dh.chunks_exact_mut(self.stepper.weights.sizes.output).zip(self.rows.clone());
        for (dh, _) in rows.filter(|(_, example)| t < self.time_index.len(*example)) {
            match clip {
                HiddenGradClip::Value(bound) => by_value(dh, F::from_f64(bound)),
                HiddenGradClip::Norm(bound) => by_norm(dh, bound),
            }
        }
    }

    /// Ends the gradient of the state before step `t` where the flow has a border.
    pub(crate) fn end(&self, t: usize, dh: &mut [F], dc: &mut [F]) {
        if self.bptt.truncation.is_none() {
            return;
        }
        let Sizes { hidden, output: h, .. } = self.stepper.weights.sizes;
        let c = if R::MEMORY { hidden } else { 0 };
        for (row, example) in self.rows.clone().enumerate() {
            if self.bptt.ends(t, self.time_index.len(example)) {
                dh[row * h..][..h].fill(F::ZERO);
                dc[row * c..][..c].fill(F::ZERO);
            }
        }
    }
}

/// Every element within ± `bound`; a NaN stays.
fn by_value<F: KernelFloat>(dh: &mut [F], bound: F) {
    for dh in dh {
        if dh.magnitude() > bound {
            *dh = bound.with_sign(*dh);
        }
    }
}

/// The norm at most `bound`.
fn by_norm<F: KernelFloat>(dh: &mut [F], bound: f64) {
    // The norm is largest · root, so that no square is infinite or zero.
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
