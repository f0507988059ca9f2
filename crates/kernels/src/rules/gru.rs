//! One row of a GRU with the reset gate after the matrix product.

use crate::{Float, RowBack, RowForth, Rule};

/// The GRU's rule. Kept: r, z, n and the recurrent part of n's pre-activation.
#[derive(Clone, Copy, Debug)]
pub struct Gru;

impl Rule for Gru {
    const GATES: usize = 3;
    const KEPT: usize = 4;
    const MEMORY: bool = false;
    const APART: bool = true;
    const NAME: &'static str = "gru kernel";

    #[inline(always)]
    fn forth<F: Float>(&self, row: RowForth<F>) {
        let size = row.h.len();
        let (r, rest) = row.kept.split_at_mut(size);
        let (z, rest) = rest.split_at_mut(size);
        let (n, b_n) = rest.split_at_mut(size);
        let part = |index: usize| &row.recurrent[index * size..][..size];
        let (b_r, b_z) = (part(0), part(1));
        let (b_n, h_before, h) = (&mut b_n[..size], &row.h_before[..size], row.h);
        b_n.copy_from_slice(part(2));
        for j in 0..size {
            r[j] = (r[j] + b_r[j]).sigmoid();
            z[j] = (z[j] + b_z[j]).sigmoid();
            n[j] = Float::tanh(n[j] + r[j] * b_n[j]);
            h[j] = n[j] + z[j] * (h_before[j] - n[j]);
        }
    }

    #[inline(always)]
    fn back<F: Float>(&self, row: RowBack<F>) {
        let size = row.dh.len();
        let kept = |index: usize| &row.kept[index * size..][..size];
        let (r, z, n, b_n) = (kept(0), kept(1), kept(2), kept(3));
        let (dh, h_before, dh_before) = (row.dh, &row.h_before[..size], &mut row.dh_before[..size]);
        let (dr, rest) = row.d_input.split_at_mut(size);
        let (dz, dn) = rest.split_at_mut(size);
        let dn = &mut dn[..size];
        let (d_recurrent, db_n) = row.d_recurrent.split_at_mut(2 * size);
        let db_n = &mut db_n[..size];
        for j in 0..size {
            dn[j] = dh[j] * (F::ONE - z[j]) * (F::ONE - n[j] * n[j]);
            dz[j] = dh[j] * (h_before[j] - n[j]) * z[j] * (F::ONE - z[j]);
            dr[j] = dn[j] * b_n[j] * r[j] * (F::ONE - r[j]);
            db_n[j] = dn[j] * r[j];
            dh_before[j] = dh[j] * z[j];
        }
        d_recurrent[..size].copy_from_slice(dr);
        d_recurrent[size..].copy_from_slice(dz);
    }
}
