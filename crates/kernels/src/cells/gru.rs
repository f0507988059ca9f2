//! One row of a GRU, with the reset gate after the matrix product or before it.

use super::{parts, parts_mut};
use crate::{BackwardRow, CellKernel, ForwardRow, KernelFloat};

/// The GRU. A row is the input part of n, then r and z, and the recurrent part of n. All four are
/// saved; n, r and z as activations.
#[derive(Clone, Copy, Debug)]
pub struct Gru;

impl CellKernel for Gru {
    const GATES: usize = 3;
    const SAVED: usize = 4;
    const CELL_STATE: bool = false;
    const RECURRENT_OFFSET: usize = 1;
    const INPUT_ORDER: &'static [usize] = &[2, 0, 1];
    const NAME: &'static str = "gru kernel";

    #[inline(always)]
    fn forward<F: KernelFloat, const FUSED: bool>(&self, row: ForwardRow<F>) {
        gates::<F, FUSED>(row.saved, row.h_before, row.h);
    }

    #[inline(always)]
    fn backward<F: KernelFloat, const FUSED: bool>(&self, row: BackwardRow<F>) {
        gates_backward(row.saved, row.h_before, row.dh, row.d, row.dh_before);
    }
}

/// The GRU with the reset gate before the matrix product, in two stages. Saves r, z, n.
#[derive(Clone, Copy, Debug)]
pub struct GruResetBefore;

impl CellKernel for GruResetBefore {
    const GATES: usize = 3;
    const SAVED: usize = 3;
    const CELL_STATE: bool = false;
    const TWO_STAGES: bool = true;
    const NAME: &'static str = "gru kernel (reset before)";

    #[inline(always)]
    fn forward<F: KernelFloat, const FUSED: bool>(&self, row: ForwardRow<F>) {
        let size = row.h.len();
        let gates = &mut row.saved[..2 * size];
        gates.iter_mut().for_each(|z| *z = z.sigmoid::<FUSED>());
        let (r, recurrent_input, reset) = (&gates[..size], &row.recurrent_input[..size], row.h);
        for j in 0..size {
            reset[j] = r[j] * recurrent_input[j];
        }
    }

    #[inline(always)]
    fn finish<F: KernelFloat, const FUSED: bool>(&self, row: ForwardRow<F>) {
        let size = row.h.len();
        let [_, z, n] = parts_mut(row.saved, size);
        let (h_before, h) = (&row.h_before[..size], row.h);
        for j in 0..size {
            n[j] = KernelFloat::tanh::<FUSED>(n[j]);
            h[j] = n[j] + z[j] * (h_before[j] - n[j]);
        }
    }

    #[inline(always)]
    fn finish_backward<F: KernelFloat, const FUSED: bool>(&self, row: BackwardRow<F>) {
        let size = row.dh.len();
        let ([_, z, n], [_, dz, dn]) = (parts(row.saved, size), parts_mut(row.d, size));
        let (dh, h_before, dh_before) = (row.dh, &row.h_before[..size], &mut row.dh_before[..size]);
        for j in 0..size {
            dn[j] = dh[j] * (F::ONE - z[j]) * (F::ONE - n[j] * n[j]);
            dz[j] = dh[j] * (h_before[j] - n[j]) * z[j] * (F::ONE - z[j]);
            dh_before[j] = dh[j] * z[j];
        }
    }

    #[inline(always)]
    fn backward<F: KernelFloat, const FUSED: bool>(&self, row: BackwardRow<F>) {
        let size = row.dh.len();
        let (r, dr) = (&row.saved[..size], &mut row.d[..size]);
        let (reset, recurrent_input, d_recurrent_input) =
            (row.dh, &row.recurrent_input[..size], &mut row.d_recurrent_input[..size]);
        for j in 0..size {
            dr[j] = reset[j] * recurrent_input[j] * r[j] * (F::ONE - r[j]);
            d_recurrent_input[j] += reset[j] * r[j];
        }
    }
}

/// Computes h from a row of pre-activations, which become n, r, z; the recurrent part of n stays.
#[inline(always)]
pub(super) fn gates<F: KernelFloat, const FUSED: bool>(
    saved: &mut [F],
    h_before: &[F],
    h: &mut [F],
) {
    let size = h.len();
    saved[size..3 * size].iter_mut().for_each(|z| *z = z.sigmoid::<FUSED>());
    let ([n, r, z, b_n], h_before) = (parts_mut(saved, size), &h_before[..size]);
    for j in 0..size {
        n[j] = KernelFloat::tanh::<FUSED>(n[j] + r[j] * b_n[j]);
    }
    for j in 0..size {
        h[j] = n[j] + z[j] * (h_before[j] - n[j]);
    }
}

/// Computes the gradients of a row's pre-activations, and the part of dL/dh_{t-1} that passes z.
#[inline(always)]
pub(super) fn gates_backward<F: KernelFloat>(
    saved: &[F],
    h_before: &[F],
    dh: &[F],
    d: &mut [F],
    dh_before: &mut [F],
) {
    let size = dh.len();
    let ([n, r, z, b_n], [dn, dr, dz, db_n]) = (parts(saved, size), parts_mut(d, size));
    let (h_before, dh_before) = (&h_before[..size], &mut dh_before[..size]);
    for j in 0..size {
        dn[j] = dh[j] * (F::ONE - z[j]) * (F::ONE - n[j] * n[j]);
        dz[j] = dh[j] * (h_before[j] - n[j]) * z[j] * (F::ONE - z[j]);
        dr[j] = dn[j] * b_n[j] * r[j] * (F::ONE - r[j]);
        db_n[j] = dn[j] * r[j];
        dh_before[j] = dh[j] * z[j];
    }
}
