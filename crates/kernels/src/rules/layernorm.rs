//! One row of a layer-normed LSTM or GRU: the plain rule's arithmetic between normalisations.
//!
//! What is kept is what was normalised and by how much; the way back computes the gates again from that.

use super::gru::{gates, gates_back};
use super::lstm::{memory, memory_back};
use crate::{KernelFloat, RowBack, RowForth, Rule};

/// The layer-normed LSTM's rule, with `eps` added to variances. Own weights: b_ih, b_hh, gain_ih, gain_hh, gain_c, bias_c.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormLstm {
    /// Added to variances.
    pub eps: f64,
}

/// The layer-normed GRU's rule, with `eps` added to variances. Own weights: b_ih, b_hh, gain_ih, gain_hh.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormGru {
    /// Added to variances.
    pub eps: f64,
}

impl Rule for LayerNormLstm {
    const GATES: usize = 4;
    const KEPT: usize = 8;
    const KEPT_A_ROW: usize = 2;
    const SCRATCH: usize = 5;
    const OWN: usize = 6;
    const BIAS: bool = false;
    const MEMORY: bool = true;
    const RECURRENT_AT: usize = 4;
    const NAME: &'static str = "layernorm-lstm kernel";

    #[inline(always)]
    fn forth<F: KernelFloat, const FUSED: bool>(&self, row: RowForth<F>) {
        let n = row.h.len();
        let normed = keep_normed(row.kept, 4 * n, self.eps);
        let (gates, c_hat) = row.scratch.split_at_mut(4 * n);
        normed.gates(row.own, gates);
        memory::<F, FUSED>(gates, row.c_before, &mut row.c[..n]);
        gates[3 * n..4 * n].iter_mut().for_each(|o| *o = o.sigmoid::<FUSED>());
        let (o, h, gain, bias) = (&gates[3 * n..], row.h, &row.own[4][..n], &row.own[5][..n]);
        let c_hat = &mut c_hat[..n];
        c_hat.copy_from_slice(&row.c[..n]);
        normalise(c_hat, self.eps);
        for j in 0..n {
            h[j] = o[j] * KernelFloat::tanh::<FUSED>(c_hat[j] * gain[j] + bias[j]);
        }
    }

    #[inline(always)]
    fn back<F: KernelFloat, const FUSED: bool>(&self, row: RowBack<F>) {
        let n = row.dh.len();
        let normed = Normed::of(row.kept, 4 * n);
        let (gates, c_hat) = row.scratch.split_at_mut(4 * n);
        normed.gates(row.own, gates);
        memory::<F, FUSED>(gates, row.c_before, &mut row.dc_before[..n]); // the memory itself is known: it is in row.c
        gates[3 * n..4 * n].iter_mut().for_each(|o| *o = o.sigmoid::<FUSED>());
        let c_hat = &mut c_hat[..n];
        c_hat.copy_from_slice(&row.c[..n]);
        let scale = normalise(c_hat, self.eps);
        {
            let (gain, bias, o) = (&row.own[4][..n], &row.own[5][..n], &gates[3 * n..][..n]);
            let (d_vectors, d_c_vectors) = row.d_own.split_at_mut(4);
            let [d_gain, d_bias] = d_c_vectors else { unreachable!("there are six own weights") };
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
            normalise_back(d_hat, c_hat, scale);
            d_hat.iter_mut().zip(row.dc).for_each(|(total, dc)| *total += *dc);
            let (d_input, d_recurrent) = row.d.split_at_mut(4 * n);
            memory_back(gates, row.c_before, d_input, d_hat);
            d_recurrent.copy_from_slice(d_input);
            normed.back(row.own, d_vectors, d_input, d_recurrent);
        }
        row.dh_before.fill(F::ZERO);
    }
}

impl Rule for LayerNormGru {
    const GATES: usize = 3;
    const KEPT: usize = 6;
    const KEPT_A_ROW: usize = 2;
    const SCRATCH: usize = 8;
    const OWN: usize = 4;
    const BIAS: bool = false;
    const MEMORY: bool = false;
    const RECURRENT_AT: usize = 3;
    const NAME: &'static str = "layernorm-gru kernel";

    #[inline(always)]
    fn forth<F: KernelFloat, const FUSED: bool>(&self, row: RowForth<F>) {
        let n = row.h.len();
        let normed = keep_normed(row.kept, 3 * n, self.eps);
        normed.gru_gates(row.own, &mut row.scratch[..4 * n]);
        gates::<F, FUSED>(&mut row.scratch[..4 * n], row.h_before, row.h);
    }

    #[inline(always)]
    fn back<F: KernelFloat, const FUSED: bool>(&self, row: RowBack<F>) {
        let n = row.dh.len();
        let normed = Normed::of(row.kept, 3 * n);
        let (kept, d) = row.scratch.split_at_mut(4 * n);
        normed.gru_gates(row.own, kept);
        gates::<F, FUSED>(kept, row.h_before, row.dh_before); // the output itself is known: it is in row.h
        let d = &mut d[..4 * n];
        gates_back(kept, row.h_before, row.dh, d, row.dh_before);
        let (d_input, d_recurrent) = row.d.split_at_mut(3 * n);
        d_input[..2 * n].copy_from_slice(&d[n..3 * n]);
        d_input[2 * n..].copy_from_slice(&d[..n]);
        d_recurrent.copy_from_slice(&d[n..]);
        normed.back(row.own, row.d_own, d_input, d_recurrent);
    }
}

/// What is kept of a row: both parts normalised, and the factors by which they were scaled.
struct Normed<'a, F> {
    input: &'a [F],     // gates * hidden
    recurrent: &'a [F], // gates * hidden
    scales: [F; 2],
}

/// Normalises both parts, of `size` each, in place.
#[inline(always)]
fn keep_normed<F: KernelFloat>(kept: &mut [F], size: usize, eps: f64) -> Normed<'_, F> {
    kept[2 * size] = normalise(&mut kept[..size], eps);
    kept[2 * size + 1] = normalise(&mut kept[size..2 * size], eps);
    Normed::of(kept, size)
}

impl<'a, F: KernelFloat> Normed<'a, F> {
    #[inline(always)]
    fn of(kept: &'a [F], size: usize) -> Self {
        let scales = [kept[2 * size], kept[2 * size + 1]];
        Self { input: &kept[..size], recurrent: &kept[size..2 * size], scales }
    }

    /// Both parts, with gains and biases, added up.
    #[inline(always)]
    fn gates(&self, own: &[Vec<F>], out: &mut [F]) {
        let size = self.input.len();
        let [b_ih, b_hh, gain_ih, gain_hh] = [0, 1, 2, 3].map(|at| &own[at][..size]);
        let (input, recurrent, out) = (self.input, &self.recurrent[..size], &mut out[..size]);
        for j in 0..size {
            out[j] = (input[j] * gain_ih[j] + b_ih[j]) + (recurrent[j] * gain_hh[j] + b_hh[j]);
        }
    }

    /// A GRU's row: the input part of n, r and z, and the recurrent part of n, with gains and biases.
    #[inline(always)]
    fn gru_gates(&self, own: &[Vec<F>], row: &mut [F]) {
        let (size, n) = (self.input.len(), row.len() / 4);
        let [b_ih, b_hh, gain_ih, gain_hh] = [0, 1, 2, 3].map(|at| &own[at][..size]);
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

    /// From the gradients of both parts after gain and bias to those before normalisation, in place; adds those of gains and biases.
    #[inline(always)]
    fn back(&self, own: &[Vec<F>], d_own: &mut [Vec<F>], d_input: &mut [F], d_recurrent: &mut [F]) {
        let parts = [(self.input, d_input), (self.recurrent, d_recurrent)];
        for (part, (normed, d)) in parts.into_iter().enumerate() {
            let size = normed.len();
            let gain = &own[2 + part][..size];
            d_own[part].iter_mut().zip(&*d).for_each(|(sum, d)| *sum += *d);
            let d_gain = &mut d_own[2 + part][..size];
            let d = &mut d[..size];
            for j in 0..size {
                d_gain[j] += d[j] * normed[j];
                d[j] *= gain[j];
            }
            normalise_back(d, normed, self.scales[part]);
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

/// The gradient before normalisation from that after it, in place: scale (d − mean d − v̂ mean(d v̂)).
#[inline(always)]
fn normalise_back<F: KernelFloat>(d: &mut [F], normed: &[F], scale: F) {
    let share = F::ONE / F::from_f64(d.len() as f64);
    let mean = sum(d) * share;
    let along = dot(d, normed) * share;
    d.iter_mut().zip(normed).for_each(|(d, v)| *d = scale * (*d - mean - *v * along));
}

/// How many strands a sum has: so it vectorises, and loses less to rounding than one strand does.
const STRANDS: usize = 16;

/// The sum of all values.
#[inline(always)]
fn sum<F: KernelFloat>(values: &[F]) -> F {
    let (chunks, rest) = values.as_chunks::<STRANDS>();
    let mut strands = [F::ZERO; STRANDS];
    for values in chunks {
        for s in 0..STRANDS {
            strands[s] += values[s];
        }
    }
    for (strand, value) in strands.iter_mut().zip(rest) {
        *strand += *value;
    }
    joined(strands)
}

/// a · b.
#[inline(always)]
fn dot<F: KernelFloat>(a: &[F], b: &[F]) -> F {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<STRANDS>(), b.as_chunks::<STRANDS>());
    let mut strands = [F::ZERO; STRANDS];
    for (a, b) in a.iter().zip(b) {
        for s in 0..STRANDS {
            strands[s] += a[s] * b[s];
        }
    }
    for (strand, (a, b)) in strands.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *strand += *a * *b;
    }
    joined(strands)
}

/// The sum of all strands, by halves.
#[inline(always)]
fn joined<F: KernelFloat>(mut strands: [F; STRANDS]) -> F {
    let mut half = STRANDS / 2;
    while half > 0 {
        let (first, second) = strands.split_at_mut(half);
        for s in 0..half {
            first[s] += second[s];
        }
        half /= 2;
    }
    strands[0]
}
