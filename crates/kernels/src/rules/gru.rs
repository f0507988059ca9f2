//! One row of a GRU, with the reset gate after the matrix product or before it.

use super::{parts, parts_mut};
use crate::{KernelFloat, RowBack, RowForth, Rule};

/// The GRU's rule. A row is the input part of n, then r and z, and the recurrent part of n; all four are kept, n and the gates with
/// their final values.
#[derive(Clone, Copy, Debug)]
pub struct Gru;

impl Rule for Gru {
    const GATES: usize = 3;
    const KEPT: usize = 4;
    const MEMORY: bool = false;
    const RECURRENT_AT: usize = 1;
    const INPUT_ORDER: &'static [usize] = &[2, 0, 1];
    const NAME: &'static str = "gru kernel";

    #[inline(always)]
    fn forth<F: KernelFloat, const FUSED: bool>(&self, row: RowForth<F>) {
        gates::<F, FUSED>(row.kept, row.h_before, row.h);
    }

    #[inline(always)]
    fn back<F: KernelFloat, const FUSED: bool>(&self, row: RowBack<F>) {
        gates_back(row.kept, row.h_before, row.dh, row.d, row.dh_before);
    }
}

/// The rule of a GRU with the reset gate before the matrix product, in two stages. Kept: r, z, n.
#[derive(Clone, Copy, Debug)]
pub struct GruResetBefore;

impl Rule for GruResetBefore {
    const GATES: usize = 3;
    const KEPT: usize = 3;
    const MEMORY: bool = false;
    const TWO_STAGES: bool = true;
    const NAME: &'static str = "gru kernel (reset before)";

    #[inline(always)]
    fn forth<F: KernelFloat, const FUSED: bool>(&self, row: RowForth<F>) {
        let size = row.h.len();
        let gates = &mut row.kept[..2 * size];
        gates.iter_mut().for_each(|z| *z = z.sigmoid::<FUSED>());
        let (r, seen, reset) = (&gates[..size], &row.seen[..size], row.h);
        for j in 0..size {
            reset[j] = r[j] * seen[j];
        }
    }

    #[inline(always)]
    fn finish<F: KernelFloat, const FUSED: bool>(&self, row: RowForth<F>) {
        let size = row.h.len();
        let [_, z, n] = parts_mut(row.kept, size);
        let (h_before, h) = (&row.h_before[..size], row.h);
        for j in 0..size {
            n[j] = KernelFloat::tanh::<FUSED>(n[j]);
            h[j] = n[j] + z[j] * (h_before[j] - n[j]);
        }
    }

    #[inline(always)]
    fn finish_back<F: KernelFloat, const FUSED: bool>(&self, row: RowBack<F>) {
        let size = row.dh.len();
        let ([_, z, n], [_, dz, dn]) = (parts(row.kept, size), parts_mut(row.d, size));
        let (dh, h_before, dh_before) = (row.dh, &row.h_before[..size], &mut row.dh_before[..size]);
        for j in 0..size {
            dn[j] = dh[j] * (F::ONE - z[j]) * (F::ONE - n[j] * n[j]);
            dz[j] = dh[j] * (h_before[j] - n[j]) * z[j] * (F::ONE - z[j]);
            dh_before[j] = dh[j] * z[j];
        }
    }

    #[inline(always)]
    fn back<F: KernelFloat, const FUSED: bool>(&self, row: RowBack<F>) {
        let size = row.dh.len();
        let (r, dr) = (&row.kept[..size], &mut row.d[..size]);
        let (reset, seen, d_seen) = (row.dh, &row.seen[..size], &mut row.d_seen[..size]);
        for j in 0..size {
            dr[j] = reset[j] * seen[j] * r[j] * (F::ONE - r[j]);
            d_seen[j] += reset[j] * r[j];
        }
    }
}

/// The output from a row of pre-activations, which become n, r, z; the recurrent part of n stays.
#[inline(always)]
pub(super) fn gates<F: KernelFloat, const FUSED: bool>(
    kept: &mut [F],
    h_before: &[F],
    h: &mut [F],
) {
    let size = h.len();
    kept[size..3 * size].iter_mut().for_each(|z| *z = z.sigmoid::<FUSED>());
    let ([n, r, z, b_n], h_before) = (parts_mut(kept, size), &h_before[..size]);
    for j in 0..size {
        n[j] = KernelFloat::tanh::<FUSED>(n[j] + r[j] * b_n[j]);
    }
    for j in 0..size {
        h[j] = n[j] + z[j] * (h_before[j] - n[j]);
    }
}

/// The gradients of a row's pre-activations, and what reaches h_{t-1} by way of z.
#[inline(always)]
pub(super) fn gates_back<F: KernelFloat>(
    kept: &[F],
    h_before: &[F],
    dh: &[F],
    d: &mut [F],
    dh_before: &mut [F],
) {
    let size = dh.len();
    let ([n, r, z, b_n], [dn, dr, dz, db_n]) = (parts(kept, size), parts_mut(d, size));
    let (h_before, dh_before) = (&h_before[..size], &mut dh_before[..size]);
    for j in 0..size {
        dn[j] = dh[j] * (F::ONE - z[j]) * (F::ONE - n[j] * n[j]);
        dz[j] = dh[j] * (h_before[j] - n[j]) * z[j] * (F::ONE - z[j]);
        dr[j] = dn[j] * b_n[j] * r[j] * (F::ONE - r[j]);
        db_n[j] = dn[j] * r[j];
        dh_before[j] = dh[j] * z[j];
    }
}
