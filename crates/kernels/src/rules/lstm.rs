//! One row of an LSTM.

use crate::{Float, RowBack, RowForth, Rule};

/// The LSTM's rule. Kept: i, f, g, o and tanh(c_t).
#[derive(Clone, Copy, Debug)]
pub struct Lstm;

impl Rule for Lstm {
    const GATES: usize = 4;
    const KEPT: usize = 5;
    const MEMORY: bool = true;
    const NAME: &'static str = "lstm kernel";

    #[inline(always)]
    fn forth<F: Float>(&self, row: RowForth<F>) {
        let n = row.h.len();
        let (gates, tanh_c) = row.kept.split_at_mut(4 * n);
        memory(gates, &row.c_before[..n], &mut row.c[..n]);
        let (o, tanh_c, c, h) = (&gates[3 * n..], &mut tanh_c[..n], &row.c[..n], row.h);
        for j in 0..n {
            tanh_c[j] = Float::tanh(c[j]);
            h[j] = o[j] * tanh_c[j];
        }
    }

    #[inline(always)]
    fn back<F: Float>(&self, row: RowBack<F>) {
        let n = row.dh.len();
        let (gates, tanh_c) = (&row.kept[..4 * n], &row.kept[4 * n..][..n]);
        let (o, dh, dc, total) = (&gates[3 * n..], row.dh, &row.dc[..n], &mut row.dc_before[..n]);
        let d_o = &mut row.d[3 * n..][..n];
        for j in 0..n {
            total[j] = dc[j] + dh[j] * o[j] * (F::ONE - tanh_c[j] * tanh_c[j]);
            d_o[j] = dh[j] * tanh_c[j] * o[j] * (F::ONE - o[j]);
        }
        memory_back(gates, row.c_before, row.d, total);
        row.dh_before.fill(F::ZERO);
    }
}

/// Pre-activations to i, f, g, o in place, and the new memory c = f c' + i g.
#[inline(always)]
pub(super) fn memory<F: Float>(gates: &mut [F], c_before: &[F], c: &mut [F]) {
    let n = c.len();
    gates[..2 * n].iter_mut().for_each(|z| *z = z.sigmoid());
    gates[2 * n..3 * n].iter_mut().for_each(|z| *z = Float::tanh(*z));
    gates[3 * n..4 * n].iter_mut().for_each(|z| *z = z.sigmoid());
    let (i, f, g) = (&gates[..n], &gates[n..2 * n], &gates[2 * n..3 * n]);
    let c_before = &c_before[..n];
    for j in 0..n {
        c[j] = f[j] * c_before[j] + i[j] * g[j];
    }
}

/// The gradients of the pre-activations of i, f, g, and of c', from dL/dc_t, also by way of h_t, which comes in `total` and is replaced
/// by dL/dc'.
#[inline(always)]
pub(super) fn memory_back<F: Float>(gates: &[F], c_before: &[F], d: &mut [F], total: &mut [F]) {
    let n = total.len();
    let (i, f, g) = (&gates[..n], &gates[n..2 * n], &gates[2 * n..3 * n]);
    let c_before = &c_before[..n];
    let (di, rest) = d.split_at_mut(n);
    let (df, dg) = rest.split_at_mut(n);
    let (df, dg) = (&mut df[..n], &mut dg[..n]);
    for j in 0..n {
        di[j] = total[j] * g[j] * i[j] * (F::ONE - i[j]);
        df[j] = total[j] * c_before[j] * f[j] * (F::ONE - f[j]);
        dg[j] = total[j] * i[j] * (F::ONE - g[j] * g[j]);
        total[j] *= f[j];
    }
}
