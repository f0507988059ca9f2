//! One row of a layer-normed LSTM or GRU: the plain cell's arithmetic between normalisations.
//!
//! The normalised values and their scales are saved; the backward pass recomputes the gates from
//! them.

use super::gru::{gates, gates_backward};
use super::lstm::{cell_state, cell_state_backward};
use crate::{BackwardRow, CellKernel, ForwardRow, KernelFloat};

/// The layer-normed LSTM. Extra weights: b_ih, b_hh, gain_ih, gain_hh, gain_c, bias_c.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormLstm {
    /// Added to variances.
    pub eps: f64,
}

/// The layer-normed GRU. Extra weights: b_ih, b_hh, gain_ih, gain_hh.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormGru {
    /// Added to variances.
    pub eps: f64,
}

impl CellKernel for LayerNormLstm {
    const GATES: usize = 4;
    const SAVED: usize = 8;
    const SAVED_PER_ROW: usize = 2;
    const SCRATCH: usize = 5;
    const EXTRA_WEIGHTS: usize = 6;
    const BIAS: bool = false;
    const CELL_STATE: bool = true;
    const RECURRENT_OFFSET: usize = 4;
    const NAME: &'static str = "layernorm-lstm kernel";

    #[inline(always)]
    fn forward<F: KernelFloat, const FUSED: bool>(&self, row: ForwardRow<F>) {
        let n = row.h.len();
        let normed = normalise_and_save(row.saved, 4 * n, self.eps);
        let (gates, c_hat) = row.scratch.split_at_mut(4 * n);
        normed.gates(row.extra, gates);
        cell_state::<F, FUSED>(gates, row.c_before, &mut row.c[..n]);
        gates[3 * n..4 * n].iter_mut().for_each(|o| *o = o.sigmoid::<FUSED>());
        let (o, h, gain, bias) = (&gates[3 * n..], row.h, &row.extra[4][..n], &row.extra[5][..n]);
        let c_hat = &mut c_hat[..n];
        c_hat.copy_from_slice(&row.c[..n]);
        normalise(c_hat, self.eps);
        for j in 0..n {
            h[j] = o[j] * KernelFloat::tanh::<FUSED>(c_hat[j] * gain[j] + bias[j]);
        }
    }

    #[inline(always)]
    fn backward<F: KernelFloat, const FUSED: bool>(&self, row: BackwardRow<F>) {
        let n = row.dh.len();
        let normed = Normed::new(row.saved, 4 * n);
        let (gates, c_hat) = row.scratch.split_at_mut(4 * n);
        normed.gates(row.extra, gates);
        // Only for the gates: c_t itself is row.c.
        cell_state::<F, FUSED>(gates, row.c_before, &mut row.dc_before[..n]);
        gates[3 * n..4 * n].iter_mut().for_each(|o| *o = o.sigmoid::<FUSED>());
        let c_hat = &mut c_hat[..n];
        c_hat.copy_from_slice(&row.c[..n]);
        let scale = normalise(c_hat, self.eps);
        {
            let (gain, bias, o) = (&row.extra[4][..n], &row.extra[5][..n], &gates[3 * n..][..n]);
            let (d_vectors, d_c_vectors) = row.d_extra.split_at_mut(4);
            let [d_gain, d_bias] = d_c_vectors else { unreachable!("there are six extra weights") };
            let (d_gain, d_bias, dh) = (&mut d_gain[..n], &mut d_bias[..n], row.dh);
            let (d_hat, d_o) = (&mut row.dc_before[..n], &mut row.d[3 * n..][..n]);
            for j in 0..n {
                let tanh = KernelFloat::tanh::<FUSED>(c_hat[j] * gain[j] + bias[j]);
                let dy = dh[j] * o[j] * (F::ONE - tanh * tanh);
                d_gain[j] += dy * c_hat[j];
                d_bias[j] += dy;
                d_hat[j] = dy * gain[j];
                d_o[j] = dh[j] * tanh * o[j] * (F::ONE - o[j]);
            }
            normalise_backward(d_hat, c_hat, scale);
            d_hat.iter_mut().zip(row.dc).for_each(|(total, dc)| *total += *dc);
            let (d_input, d_recurrent) = row.d.split_at_mut(4 * n);
            cell_state_backward(gates, row.c_before, d_input, d_hat);
            d_recurrent.copy_from_slice(d_input);
            normed.backward(row.extra, d_vectors, d_input, d_recurrent);
        }
        row.dh_before.fill(F::ZERO);
    }
}

impl CellKernel for LayerNormGru {
    const GATES: usize = 3;
    const SAVED: usize = 6;
    const SAVED_PER_ROW: usize = 2;
    const SCRATCH: usize = 8;
    const EXTRA_WEIGHTS: usize = 4;
    const BIAS: bool = false;
    const CELL_STATE: bool = false;
    const RECURRENT_OFFSET: usize = 3;
    const NAME: &'static str = "layernorm-gru kernel";

    #[inline(always)]
    fn forward<F: KernelFloat, const FUSED: bool>(&self, row: ForwardRow<F>) {
        let n = row.h.len();
        let normed = normalise_and_save(row.saved, 3 * n, self.eps);
        normed.gru_gates(row.extra, &mut row.scratch[..4 * n]);
        gates::<F, FUSED>(&mut row.scratch[..4 * n], row.h_before, row.h);
    }

    #[inline(always)]
    fn backward<F: KernelFloat, const FUSED: bool>(&self, row: BackwardRow<F>) {
        let n = row.dh.len();
        let normed = Normed::new(row.saved, 3 * n);
        let (saved, d) = row.scratch.split_at_mut(4 * n);
        normed.gru_gates(row.extra, saved);
        gates::<F, FUSED>(saved, row.h_before, row.dh_before); // h_t itself is known: it is row.h
        let d = &mut d[..4 * n];
        gates_backward(saved, row.h_before, row.dh, d, row.dh_before);
        let (d_input, d_recurrent) = row.d.split_at_mut(3 * n);
        d_input[..2 * n].copy_from_slice(&d[n..3 * n]);
        d_input[2 * n..].copy_from_slice(&d[..n]);
        d_recurrent.copy_from_slice(&d[n..]);
        normed.backward(row.extra, row.d_extra, d_input, d_recurrent);
    }
}

/// The saved values of a row: both parts normalised, and their scales.
struct Normed<'a, F> {
    input: &'a [F],     // gates * hidden
    recurrent: &'a [F], // gates * hidden
    scales: [F; 2],
}

/// Normalises both parts, of `size` each, in place.
#[inline(always)]
fn normalise_and_save<F: KernelFloat>(saved: &mut [F], size: usize, eps: f64) -> Normed<'_, F> {
    saved[2 * size] = normalise(&mut saved[..size], eps);
    saved[2 * size + 1] = normalise(&mut saved[size..2 * size], eps);
    Normed::new(saved, size)
}

impl<'a, F: KernelFloat> Normed<'a, F> {
    #[inline(always)]
    fn new(saved: &'a [F], size: usize) -> Self {
        let scales = [saved[2 * size], saved[2 * size + 1]];
        Self { input: &saved[..size], recurrent: &saved[size..2 * size], scales }
    }

    /// The sum of both parts, with gains and biases.
    #[inline(always)]
    fn gates(&self, extra: &[Vec<F>], out: &mut [F]) {
        let size = self.input.len();
        let [b_ih, b_hh, gain_ih, gain_hh] = [0, 1, 2, 3].map(|at| &extra[at][..size]);
        let (input, recurrent, out) = (self.input, &self.recurrent[..size], &mut out[..size]);
        for j in 0..size {
            out[j] = (input[j] * gain_ih[j] + b_ih[j]) + (recurrent[j] * gain_hh[j] + b_hh[j]);
        }
    }

    /// A GRU's row: the input part of n, then r and z, and the recurrent part of n, with gains and
    /// biases.
    #[inline(always)]
    fn gru_gates(&self, extra: &[Vec<F>], row: &mut [F]) {
        let (size, n) = (self.input.len(), row.len() / 4);
        let [b_ih, b_hh, gain_ih, gain_hh] = [0, 1, 2, 3].map(|at| &extra[at][..size]);
        let (input, recurrent) = (self.input, &self.recurrent[..size]);
        let (row_n, rest) = row.split_at_mut(n);
        let (gates, row_b) = rest.split_at_mut(2 * n);
        for j in 0..2 * n {
            gates[j] = (input[j] * gain_ih[j] + b_ih[j]) + (recurrent[j] * gain_hh[j] + b_hh[j]);
        }
        for (j, (row_n, row_b)) in (2 * n..size).zip(row_n.iter_mut().zip(row_b)) {
            *row_n = input[j] * gain_ih[j] + b_ih[j];
            *row_b = recurrent[j] * gain_hh[j] + b_hh[j];
        }
    }

    /// Given the gradients of both parts after gain and bias, computes those before normalisation,
    /// in place; adds the gradients of gains and biases.
    #[inline(always)]
    fn backward(
        &self,
        extra: &[Vec<F>],
        d_extra: &mut [Vec<F>],
        d_input: &mut [F],
        d_recurrent: &mut [F],
    ) {
        let parts = [(self.input, d_input), (self.recurrent, d_recurrent)];
        for (part, (normed, d)) in parts.into_iter().enumerate() {
            let size = normed.len();
            let gain = &extra[2 + part][..size];
            d_extra[part].iter_mut().zip(&*d).for_each(|(sum, d)| *sum += *d);
            let d_gain = &mut d_extra[2 + part][..size];
            let d = &mut d[..size];
            for j in 0..size {
                d_gain[j] += d[j] * normed[j];
                d[j] *= gain[j];
            }
            normalise_backward(d, normed, self.scales[part]);
        }
    }
}

/// (v − mean) / √(variance + eps) in place; returns 1 / √(variance + eps).
#[inline(always)]
fn normalise<F: KernelFloat>(v: &mut [F], eps: f64) -> F {
    let share = F::ONE / F::from_f64(v.len() as f64);
    let mean = sum(v) * share;
    v.iter_mut().for_each(|v| *v -= mean);
    let variance = dot(v, v) * share;
    let scale = F::ONE / (variance + F::from_f64(eps)).root();
    v.iter_mut().for_each(|v| *v *= scale);
    scale
}

/// Given the gradient after normalisation, computes that before it, in place: scale (d − mean d −
/// v̂ mean(d v̂)).
#[inline(always)]
fn normalise_backward<F: KernelFloat>(d: &mut [F], normed: &[F], scale: F) {
    let share = F::ONE / F::from_f64(d.len() as f64);
    let mean = sum(d) * share;
    let along = dot(d, normed) * share;
    d.iter_mut().zip(normed).for_each(|(d, v)| *d = scale * (*d - mean - *v * along));
}

/// The number of partial sums: they let the loop vectorise, and lose less to rounding than one sum.
const PARTIALS: usize = 16;

/// The sum of all values.
#[inline(always)]
fn sum<F: KernelFloat>(values: &[F]) -> F {
    let (chunks, rest) = values.as_chunks::<PARTIALS>();
    let mut partials = [F::ZERO; PARTIALS];
    for values in chunks {
        for s in 0..PARTIALS {
            partials[s] += values[s];
        }
    }
    for (partial, value) in partials.iter_mut().zip(rest) {
        *partial += *value;
    }
    pairwise_sum(partials)
}

/// a · b.
#[inline(always)]
fn dot<F: KernelFloat>(a: &[F], b: &[F]) -> F {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<PARTIALS>(), b.as_chunks::<PARTIALS>());
    let mut partials = [F::ZERO; PARTIALS];
    for (a, b) in a.iter().zip(b) {
        for s in 0..PARTIALS {
            partials[s] += a[s] * b[s];
        }
    }
    for (partial, (a, b)) in partials.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *partial += *a * *b;
    }
    pairwise_sum(partials)
}

/// Adds the partial sums, by halves.
#[inline(always)]
fn pairwise_sum<F: KernelFloat>(mut partials: [F; PARTIALS]) -> F {
    let mut half = PARTIALS / 2;
    while half > 0 {
        let (first, second) = partials.split_at_mut(half);
        for s in 0..half {
            first[s] += second[s];
        }
        half /= 2;
    }
    partials[0]
}
