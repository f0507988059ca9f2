//! Truncated BPTT and clipping of dL/dh_t, for one chunk of examples.

use crate::forward::Chunk;
use crate::share::{even_cuts, Channel};
use crate::KernelFloat;
use recurrent_core::{Float, HiddenGradClip};
use std::borrow::Cow;

impl<F: KernelFloat> Chunk<'_, F> {
    /// The whole rows of the gradient of a field, of which `own` is the share of this member. It is
    /// handed over at place `at`.
    pub(crate) async fn whole_grad<'g>(
        &self,
        field: usize,
        at: usize,
        own: &'g [F],
    ) -> Cow<'g, [F]> {
        let Some(exchange) = self.batch.exchange else { return Cow::Borrowed(own) };
        let share = self.batch.share;
        let channel = self.batch.program.channel(Channel::Grad(field));
        exchange.put(share.index, channel, at, own);
        exchange.count(share.index);
        exchange.others(share.index).await;
        let size = self.batch.program.graph.fields[field];
        let mut whole = vec![F::ZERO; self.batch.rows * size];
        exchange.get(channel, at, &even_cuts(size, share), size, &mut whole);
        Cow::Owned(whole)
    }

    /// Clips dL/dh after step `t`, of the examples that run there.
    pub(crate) async fn clip_hidden_grad(&self, t: usize, dh: &mut [F]) {
        let Some(bound) = self.bptt.clip else { return };
        let output = self.batch.program.graph.fields[0];
        let own = self.batch.share.of(output);
        let mut whole = self.whole_grad(0, 2 * t + 1, dh).await.into_owned();
        let rows = whole.chunks_exact_mut(output).zip(dh.chunks_exact_mut(own.len()));
        for (row, (whole, dh)) in rows.enumerate() {
            if t < self.time_index.len(self.batch.first + row) {
                clip(whole, bound);
                dh.copy_from_slice(&whole[own.clone()]);
            }
        }
    }

    /// Sets the gradient of the state before step `t` to zero where backpropagation is truncated.
    pub(crate) fn truncate(&self, t: usize, grad: &mut [Vec<F>]) {
        if self.bptt.truncation.is_none() {
            return;
        }
        for (grad, &size) in grad.iter_mut().zip(&self.batch.program.graph.fields) {
            let own = self.batch.share.of(size).len();
            for (row, grad) in grad.chunks_exact_mut(own).enumerate() {
                if self.bptt.ends(t, self.time_index.len(self.batch.first + row)) {
                    grad.fill(F::ZERO);
                }
            }
        }
    }
}

/// Sets subnormal numbers to zero. Vanishing gradients pass through them, and arithmetic on them is
/// far slower; they are kept only for a recorder.
pub(crate) fn flush_subnormals<F: KernelFloat>(values: &mut [F]) {
    for value in values {
        *value = if value.magnitude() < F::SMALLEST { F::ZERO } else { *value };
    }
}

/// Clips the gradient of one example.
fn clip<F: KernelFloat>(dh: &mut [F], clip: HiddenGradClip) {
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
