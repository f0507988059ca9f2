//! One row of an LSTM, also with coupled gates and with peepholes.

use super::{parts, parts_mut};
use crate::{BackwardRow, CellKernel, ForwardRow, KernelFloat};

/// The LSTM. Saves i, f, g, o and tanh(c_t).
///
/// `COUPLED`: i is 1 − f. `PEEPHOLES`: i and f depend on c_{t-1}, and o on c_t, through the extra
/// weights weight_ci (unless coupled), weight_cf, weight_co.
#[derive(Clone, Copy, Debug)]
pub struct Lstm<const COUPLED: bool, const PEEPHOLES: bool>;

impl<const COUPLED: bool, const PEEPHOLES: bool> CellKernel for Lstm<COUPLED, PEEPHOLES> {
    const GATES: usize = if COUPLED { 3 } else { 4 };
    const SAVED: usize = Self::GATES + 1;
    const EXTRA_WEIGHTS: usize = if PEEPHOLES { Self::GATES - 1 } else { 0 };
    const CELL_STATE: bool = true;
    const NAME: &'static str = "lstm kernel";

    #[inline(always)]
    fn forward<F: KernelFloat, const FUSED: bool>(&self, row: ForwardRow<F>) {
        let n = row.h.len();
        let (gates, tanh_c) = row.saved.split_at_mut(Self::GATES * n);
        let (inner, o) = gates.split_at_mut((Self::GATES - 1) * n);
        let (c_before, c) = (&row.c_before[..n], &mut row.c[..n]);
        if PEEPHOLES {
            inner
                .chunks_exact_mut(n)
                .zip(&row.extra[..Self::EXTRA_WEIGHTS - 1])
                .for_each(|(z, w)| add_peephole(z, w, c_before));
        }
        if COUPLED {
            let [f, g] = parts_mut(inner, n);
            for j in 0..n {
                f[j] = f[j].sigmoid::<FUSED>();
                g[j] = KernelFloat::tanh::<FUSED>(g[j]);
                c[j] = f[j] * c_before[j] + (F::ONE - f[j]) * g[j];
            }
        } else {
            cell_state::<F, FUSED>(inner, c_before, c);
        }
        if PEEPHOLES {
            add_peephole(o, &row.extra[Self::EXTRA_WEIGHTS - 1], c);
        }
        let (o, tanh_c, h) = (&mut o[..n], &mut tanh_c[..n], row.h);
        for j in 0..n {
            o[j] = o[j].sigmoid::<FUSED>();
            tanh_c[j] = KernelFloat::tanh::<FUSED>(c[j]);
            h[j] = o[j] * tanh_c[j];
        }
    }

    #[inline(always)]
    fn backward<F: KernelFloat, const FUSED: bool>(&self, row: BackwardRow<F>) {
        let n = row.dh.len();
        let (gates, tanh_c) = (&row.saved[..Self::GATES * n], &row.saved[Self::GATES * n..][..n]);
        let (inner, o) = gates.split_at((Self::GATES - 1) * n);
        let (d_inner, d_o) = row.d.split_at_mut((Self::GATES - 1) * n);
        let (dh, dc, total) = (row.dh, &row.dc[..n], &mut row.dc_before[..n]);
        let (o, d_o, c_before) = (&o[..n], &mut d_o[..n], &row.c_before[..n]);
        for j in 0..n {
            total[j] = dc[j] + dh[j] * o[j] * (F::ONE - tanh_c[j] * tanh_c[j]);
            d_o[j] = dh[j] * tanh_c[j] * o[j] * (F::ONE - o[j]);
        }
        if PEEPHOLES {
            peephole_backward(
                d_o,
                &row.extra[Self::EXTRA_WEIGHTS - 1],
                row.c,
                &mut row.d_extra[Self::EXTRA_WEIGHTS - 1],
                total,
            );
        }
        if COUPLED {
            let ([f, g], [df, dg]) = (parts(inner, n), parts_mut(d_inner, n));
            for j in 0..n {
                df[j] = total[j] * (c_before[j] - g[j]) * f[j] * (F::ONE - f[j]);
                dg[j] = total[j] * (F::ONE - f[j]) * (F::ONE - g[j] * g[j]);
                total[j] *= f[j];
            }
        } else {
            cell_state_backward(inner, c_before, d_inner, total);
        }
        if PEEPHOLES {
            let extra = row.extra[..Self::EXTRA_WEIGHTS - 1]
                .iter()
                .zip(&mut row.d_extra[..Self::EXTRA_WEIGHTS - 1]);
            d_inner
                .chunks_exact(n)
                .zip(extra)
                .for_each(|(d, (w, dw))| peephole_backward(d, w, c_before, dw, total));
        }
        row.dh_before.fill(F::ZERO);
    }
}

/// z += w ∘ c.
#[inline(always)]
fn add_peephole<F: KernelFloat>(z: &mut [F], w: &[F], c: &[F]) {
    z.iter_mut().zip(w).zip(c).for_each(|((z, w), c)| *z += *w * *c);
}

/// Adds the gradients of w and c, given that of z.
#[inline(always)]
fn peephole_backward<F: KernelFloat>(d: &[F], w: &[F], c: &[F], dw: &mut [F], dc: &mut [F]) {
    for ((((d, w), c), dw), dc) in d.iter().zip(w).zip(c).zip(dw).zip(dc) {
        *dw += *d * *c;
        *dc += *d * *w;
    }
}

/// Computes i, f, g from their pre-activations, in place, and c = f c' + i g.
#[inline(always)]
pub(super) fn cell_state<F: KernelFloat, const FUSED: bool>(
    gates: &mut [F],
    c_before: &[F],
    c: &mut [F],
) {
    let n = c.len();
    gates[..2 * n].iter_mut().for_each(|z| *z = z.sigmoid::<FUSED>());
    gates[2 * n..3 * n].iter_mut().for_each(|z| *z = KernelFloat::tanh::<FUSED>(*z));
    let ([i, f, g], c_before) = (parts(gates, n), &c_before[..n]);
    for j in 0..n {
        c[j] = f[j] * c_before[j] + i[j] * g[j];
    }
}

/// Computes the gradients of the pre-activations of i, f, g. `total` is dL/dc_t, including the path
/// through h_t, and becomes dL/dc_{t-1}.
#[inline(always)]
pub(super) fn cell_state_backward<F: KernelFloat>(
    gates: &[F],
    c_before: &[F],
    d: &mut [F],
    total: &mut [F],
) {
    let n = total.len();
    let ([i, f, g], [di, df, dg]) = (parts(gates, n), parts_mut(d, n));
    let c_before = &c_before[..n];
    for j in 0..n {
        di[j] = total[j] * g[j] * i[j] * (F::ONE - i[j]);
        df[j] = total[j] * c_before[j] * f[j] * (F::ONE - f[j]);
        dg[j] = total[j] * i[j] * (F::ONE - g[j] * g[j]);
        total[j] *= f[j];
    }
}
