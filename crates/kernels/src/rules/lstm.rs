//! One row of an LSTM.

use crate::{Float, RowBack, RowForth, Rule};

/// The LSTM's rule. Kept: i, f, g, o and tanh(c_t).
#[derive(Clone, Copy, Debug)]
pub struct Lstm;

impl Rule for Lstm {
    const GATES: usize = 4;
    const KEPT: usize = 5;
    const MEMORY: bool = true;
    const APART: bool = false;
    const NAME: &'static str = "lstm kernel";

    #[inline(always)]
    fn forth<F: Float>(&self, row: RowForth<F>) {
        let n = row.h.len();
        row.kept[..2 * n].iter_mut().for_each(|z| *z = z.sigmoid());
        row.kept[2 * n..3 * n].iter_mut().for_each(|z| *z = Float::tanh(*z));
        row.kept[3 * n..4 * n].iter_mut().for_each(|z| *z = z.sigmoid());
        let (i, rest) = row.kept.split_at_mut(n);
        let (f, rest) = rest.split_at_mut(n);
        let (g, rest) = rest.split_at_mut(n);
        let (o, tanh_c) = rest.split_at_mut(n);
        let (tanh_c, c_before, c, h) = (&mut tanh_c[..n], &row.c_before[..n], &mut row.c[..n], row.h);
        for j in 0..n {
            c[j] = f[j] * c_before[j] + i[j] * g[j];
            tanh_c[j] = Float::tanh(c[j]);
            h[j] = o[j] * tanh_c[j];
        }
    }

    #[inline(always)]
    fn back<F: Float>(&self, row: RowBack<F>) {
        let n = row.dh.len();
        let gate = |index: usize| &row.kept[index * n..][..n];
        let (i, f, g, o, tanh_c) = (gate(0), gate(1), gate(2), gate(3), gate(4));
        let (dh, dc, c_before, dc_before) =
            (row.dh, &row.dc[..n], &row.c_before[..n], &mut row.dc_before[..n]);
        let (di, rest) = row.d_input.split_at_mut(n);
        let (df, rest) = rest.split_at_mut(n);
        let (dg, d_o) = rest.split_at_mut(n);
        let d_o = &mut d_o[..n];
        for j in 0..n {
            let total = dc[j] + dh[j] * o[j] * (F::ONE - tanh_c[j] * tanh_c[j]); // dL/dc_t, also by way of h_t
            di[j] = total * g[j] * i[j] * (F::ONE - i[j]);
            df[j] = total * c_before[j] * f[j] * (F::ONE - f[j]);
            dg[j] = total * i[j] * (F::ONE - g[j] * g[j]);
            d_o[j] = dh[j] * tanh_c[j] * o[j] * (F::ONE - o[j]);
            dc_before[j] = total * f[j];
        }
        row.dh_before.fill(F::ZERO);
    }
}
