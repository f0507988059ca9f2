//! The way back, for one chunk of rows.

use crate::forward::{Chunk, History, Stepper};
use crate::gemm::{add_product, set_product, Left, Out};
use crate::gradients::{Block, WeightGradients};
use crate::simd::{widest, Pass};
use crate::weights::{Matrices, Sizes};
use crate::workspace::Buffer;
use crate::{KernelFloat, RowBack, Rule};
use recurrent_core::{GradientAccumulator, Zoneout};
use std::hint::black_box;
use std::ops::Range;

/// About how many rows (examples times steps) one product for the gradients of the weights has: the sums are read and written once a product.
const BLOCK_ROWS: usize = 256;

/// What goes back through a chunk, and what is wanted of it.
pub(crate) struct Back<'a, F: KernelFloat> {
    pub(crate) matrices: &'a Matrices<F>,
    /// dL/dys, `(rows, time, output)`, or empty.
    pub(crate) grad_ys: &'a [F],
    /// Where the gradients of the weights are added, if they are wanted.
    pub(crate) grads: Option<&'a mut WeightGradients<F>>,
    /// Where the gradient of the inputs goes, `(rows, time, input)`, or empty.
    pub(crate) dxs: &'a mut [F],
    /// One a field of the state, or none.
    pub(crate) accumulators: &'a mut [GradientAccumulator],
}

/// Memory of the way back through one segment.
struct Work<F: KernelFloat> {
    d: Buffer<F>,        // (block, rows, span): gradients of the pre-activations
    own_dh: Buffer<F>, // (rows, output), of every step of the block where there is a projection: dL/d(the rule's output)
    own_dc: Buffer<F>, // (rows, hidden)
    direct_h: Buffer<F>, // (rows, output): what passes the rule by
    direct_c: Buffer<F>, // (rows, hidden)
    second: Buffer<F>, // (rows, hidden): dL/d(what goes into the second product)
    d_seen: Buffer<F>, // (rows, output)
    dh_before: Buffer<F>,
    dc_before: Buffer<F>,
    row: Buffer<F>,
    own: Vec<Vec<F>>, // gradients of the rule's own weights
}

impl<F: KernelFloat, R: Rule> Chunk<'_, F, R> {
    /// Runs back over `steps`, whose history is given, from the gradient of the state after them to that of the state before them.
    pub(crate) fn back(
        &self,
        steps: Range<usize>,
        history: &History<F>,
        dh: &mut [F],
        dc: &mut [F],
        back: &mut Back<F>,
    ) {
        let Sizes { input, hidden, output, span, kept: width, .. } = self.stepper.weights.sizes;
        let count = self.rows.len();
        let block = BLOCK_ROWS.div_ceil(count).min(steps.len());
        let mut work = self.stepper.back_work(count, block);
        let mut xs = Buffer::any(block * count * input);
        let mut masked =
            Buffer::any(if self.stepper.mask.is_empty() { 0 } else { block * count * output });
        let mut room = Buffer::any(block * count * input.max(hidden).max(output));
        let start = steps.start;
        for first in steps.clone().step_by(block).rev() {
            let last = (first + block).min(steps.end);
            for t in (first..last).rev() {
                self.add_outputs(back.grad_ys, t, dh);
                self.bound(t, dh);
                self.accumulator(back.accumulators, t + 1, dh, dc);
                let at = t - start;
                let h_before = part(&history.h, at, count * output);
                let seen = match masked
                    .get_mut((t - first) * count * output..(t - first + 1) * count * output)
                {
                    None => h_before,
                    Some(seen) => self.stepper.masked(h_before, seen),
                };
                let step = Step {
                    kept: part(&history.kept, at, count * width),
                    inner: part(&history.inner, at, count * hidden),
                    own_h: part(&history.own_h, at, count * output),
                    own_c: part(&history.own_c, at, count * hidden),
                    h: part(&history.h, at + 1, count * output),
                    c: part(&history.c, at + 1, count * hidden),
                    c_before: part(&history.c, at, count * hidden),
                    h_before,
                    seen,
                };
                self.step_back(t, t - first, &step, dh, dc, &mut work, back);
                self.end(t, dh, dc);
            }
            let rows = (last - first) * count;
            if let Some(grads) = &mut back.grads {
                self.gather(first..last, &mut xs[..rows * input]);
                let of =
                    |width: usize| (first - start) * count * width..(last - start) * count * width;
                grads.add_block::<R>(
                    self.stepper.weights,
                    &Block {
                        rows,
                        d: &work.d[..rows * span],
                        xs: &xs[..rows * input],
                        seen: if masked.is_empty() {
                            &history.h[of(output)]
                        } else {
                            &masked[..rows * output]
                        },
                        inner: history.inner.get(of(hidden)).unwrap_or_default(),
                        own_dh: work.own_dh.get(..rows * output).unwrap_or_default(),
                    },
                    &mut room,
                );
            }
            if !back.dxs.is_empty() {
                let out = &mut xs[..rows * input];
                let d = Left::Rows { values: &work.d, rows, stride: span };
                set_product(Out::rows(out, input), d, &back.matrices.ih);
                self.scatter(out, first..last, back.dxs);
            }
        }
        if let Some(grads) = &mut back.grads {
            for (sum, own) in grads.own.iter_mut().zip(&work.own) {
                sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += *own);
            }
        }
        if start == 0 {
            self.accumulator(back.accumulators, 0, dh, dc);
        }
    }

    /// Step `t`, the block's step `at`.
    #[allow(clippy::too_many_arguments)]
    fn step_back(
        &self,
        t: usize,
        at: usize,
        step: &Step<F>,
        dh: &mut [F],
        dc: &mut [F],
        work: &mut Work<F>,
        back: &Back<F>,
    ) {
        let Sizes { hidden, output, span, gates, .. } = self.stepper.weights.sizes;
        let (count, watched) = (self.rows.len(), !back.accumulators.is_empty());
        let projected = self.stepper.weights.projected();
        let d = &mut work.d[at * count * span..][..count * span];
        let own_dh = match (projected, work.own_dh.is_empty()) {
            (true, _) => &mut work.own_dh[at * count * output..][..count * output],
            (false, false) => &mut work.own_dh[..count * output],
            (false, true) => &mut [],
        };
        let mut rows = Rows {
            chunk: self,
            t,
            watched,
            step,
            d,
            own_dh,
            own_dc: &mut work.own_dc,
            direct_h: &mut work.direct_h,
            direct_c: &mut work.direct_c,
            second: &mut work.second,
            d_seen: &mut work.d_seen,
            dh_before: &mut work.dh_before,
            dc_before: &mut work.dc_before,
            own: &mut work.own,
            row: &mut work.row,
        };
        match &back.matrices.second {
            None => widest(Stages { stages: [true, false, true], rows: &mut rows, dh, dc }),
            Some(second) => {
                widest(Stages { stages: [true, R::TWO_STAGES, false], rows: &mut rows, dh, dc });
                let left = if R::TWO_STAGES {
                    Left::Rows { values: &rows.d[gates - hidden..], rows: count, stride: span }
                } else {
                    Left::Rows { values: &*rows.own_dh, rows: count, stride: output }
                };
                set_product(Out::rows(rows.second, hidden), left, second);
                widest(Stages { stages: [false, false, true], rows: &mut rows, dh, dc });
            }
        }
        let recurrent = &work.d[at * count * span..][..count * span];
        let recurrent = Left::Rows {
            values: &recurrent[R::RECURRENT_AT * hidden..],
            rows: count,
            stride: span,
        };
        let apart = !work.d_seen.is_empty();
        let out = if apart { &mut work.d_seen } else { &mut work.dh_before };
        add_product(Out::rows(out, output), recurrent, &back.matrices.hh);
        if apart {
            let pairs = work.dh_before.iter_mut().zip(&*work.d_seen);
            if self.stepper.mask.is_empty() {
                pairs.for_each(|(dh, d_seen)| *dh += *d_seen);
            } else {
                pairs
                    .zip(self.stepper.mask)
                    .for_each(|((dh, d_seen), mask)| *dh += *d_seen * *mask);
            }
        }
        dh.copy_from_slice(&work.dh_before);
        dc.copy_from_slice(&work.dc_before);
    }

    /// Adds dL/dys of step `t` to dL/dh.
    fn add_outputs(&self, grad_ys: &[F], t: usize, dh: &mut [F]) {
        let output = self.stepper.weights.sizes.output;
        if grad_ys.is_empty() {
            return;
        }
        for (row, dh) in dh.chunks_exact_mut(output).enumerate() {
            if let Some(place) = self.place(row, t, output) {
                dh.iter_mut().zip(&grad_ys[place]).for_each(|(dh, dy)| *dh += *dy);
            }
        }
    }

    fn accumulator(
        &self,
        accumulators: &mut [GradientAccumulator],
        step: usize,
        dh: &[F],
        dc: &[F],
    ) {
        let Sizes { hidden, output, .. } = self.stepper.weights.sizes;
        for (accumulator, (gradient, size)) in
            accumulators.iter_mut().zip([(dh, output), (dc, hidden)])
        {
            for (row, gradient) in gradient.chunks_exact(size).enumerate() {
                accumulator.put(self.rows.start + row, step, gradient);
            }
        }
    }

    /// The inverse of [`Chunk::gather`]; the padding is left alone.
    fn scatter(&self, steps_first: &[F], steps: Range<usize>, out: &mut [F]) {
        let width = self.stepper.weights.sizes.input;
        let mut values = steps_first.chunks_exact(width);
        for t in steps {
            for row in 0..self.rows.len() {
                let value = values.next().expect("a value for every step and row");
                if let Some(place) = self.place(row, t, width) {
                    out[place].copy_from_slice(value);
                }
            }
        }
    }
}

impl<F: KernelFloat, R: Rule> Stepper<'_, F, R> {
    fn back_work(&self, rows: usize, block: usize) -> Work<F> {
        let Sizes { hidden, output, span, .. } = self.weights.sizes;
        let projected = self.weights.projected();
        let [apart_h, apart_c] = self.apart();
        let room = |needed: bool, width: usize| Buffer::any(if needed { rows * width } else { 0 });
        Work {
            d: Buffer::any(block * rows * span),
            own_dh: room(projected || apart_h, output * if projected { block } else { 1 }),
            own_dc: room(apart_c, hidden),
            direct_h: room(apart_h, output),
            direct_c: room(apart_c, hidden),
            second: room(projected || R::TWO_STAGES, hidden),
            d_seen: room(R::TWO_STAGES || !self.mask.is_empty(), output),
            dh_before: room(true, output),
            dc_before: room(R::MEMORY, hidden),
            row: Buffer::any(R::SCRATCH * hidden + hidden.max(output)),
            own: self.weights.own.iter().map(|own| vec![F::ZERO; own.len()]).collect(),
        }
    }
}

/// Sets subnormal numbers to zero. A gradient that vanishes passes through them, and arithmetic on them is far slower; so
/// they live on only where somebody records, and wants to know.
#[inline(always)]
fn flush<F: KernelFloat>(values: &mut [F]) {
    for value in values {
        *value = if value.magnitude() < F::SMALLEST { F::ZERO } else { *value };
    }
}

/// Step `at` of values with `size` a step; nothing of values that are not kept.
fn part<F>(values: &[F], at: usize, size: usize) -> &[F] {
    values.get(at * size..(at + 1) * size).unwrap_or_default()
}

/// One step of the history.
struct Step<'a, F> {
    kept: &'a [F],
    inner: &'a [F],
    own_h: &'a [F],
    own_c: &'a [F],
    h_before: &'a [F],
    c_before: &'a [F],
    seen: &'a [F],
    h: &'a [F],
    c: &'a [F],
}

/// All rows of one step; buffers as in [`Work`].
struct Rows<'a, 'b, F: KernelFloat, R> {
    chunk: &'a Chunk<'b, F, R>,
    t: usize,
    watched: bool,
    step: &'a Step<'a, F>,
    d: &'a mut [F],
    own_dh: &'a mut [F],
    own_dc: &'a mut [F],
    direct_h: &'a mut [F],
    direct_c: &'a mut [F],
    second: &'a mut [F],
    d_seen: &'a mut [F],
    dh_before: &'a mut [F],
    dc_before: &'a mut [F],
    own: &'a mut [Vec<F>],
    row: &'a mut [F],
}

/// Some of: what is around the rule, its second stage, its first.
struct Stages<'s, 'a, 'b, F: KernelFloat, R> {
    stages: [bool; 3],
    rows: &'s mut Rows<'a, 'b, F, R>,
    dh: &'s mut [F],
    dc: &'s mut [F],
}

impl<F: KernelFloat, R: Rule> Pass for Stages<'_, '_, '_, F, R> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { stages: [around, finish, first], rows: r, dh: all_dh, dc: all_dc } = self;
        let (stepper, step) = (&r.chunk.stepper, r.step);
        let Sizes { hidden, output, kept: width, span, .. } = stepper.weights.sizes;
        let memory = if R::MEMORY { hidden } else { 0 };
        let [apart_h, apart_c] = stepper.apart();
        let projected = stepper.weights.projected();
        let second = projected || R::TWO_STAGES;
        let (scratch, zone) = r.row.split_at_mut(R::SCRATCH * hidden);
        for row in 0..r.chunk.rows.len() {
            let of = |size: usize| row * size..(row + 1) * size;
            let (dh, dc) = (&mut all_dh[of(output)], &mut all_dc[of(memory)]);
            let d = black_box(&mut r.d[of(span)]); // as on the way there
            let dh_before = &mut r.dh_before[of(output)];
            let dc_before = &mut r.dc_before[of(memory)];
            let d_seen = if r.d_seen.is_empty() { &mut [][..] } else { &mut r.d_seen[of(output)] };
            if around {
                d_seen.fill(F::ZERO);
            }
            let example = r.chunk.rows.start + row;
            if r.t >= r.chunk.time_index.len(example) {
                if around {
                    d.fill(F::ZERO);
                    dh_before.copy_from_slice(dh);
                    dc_before.copy_from_slice(dc);
                    if !r.own_dh.is_empty() {
                        r.own_dh[of(output)].fill(F::ZERO);
                    }
                }
                continue;
            }
            if around {
                if !r.watched {
                    flush(dh);
                    flush(dc);
                }
                if apart_h {
                    let (own, direct) = (&mut r.own_dh[of(output)], &mut r.direct_h[of(output)]);
                    zone_out_back(stepper.zoneout[0], (r.t, example), zone, dh, own, direct);
                    if let Some(alpha) = stepper.temporal_residual {
                        for (own, direct) in own.iter_mut().zip(direct) {
                            *direct += *own;
                            *own = alpha * *own;
                        }
                    }
                } else if projected {
                    r.own_dh[of(output)].copy_from_slice(dh);
                }
                if apart_c {
                    let (own, direct) = (&mut r.own_dc[of(hidden)], &mut r.direct_c[of(hidden)]);
                    zone_out_back(stepper.zoneout[1], (r.t, example), zone, dc, own, direct);
                }
            }
            let own_dh = if apart_h || projected { &r.own_dh[of(output)] } else { &*dh };
            let own_dc = if apart_c { &r.own_dc[of(hidden)] } else { &*dc };
            let (kept, seen) = (&step.kept[of(width)], &step.seen[of(output)]);
            let (h_before, c_before) = (&step.h_before[of(output)], &step.c_before[of(memory)]);
            let h = match (projected, apart_h) {
                (true, _) => &step.inner[of(hidden)],
                (false, true) => &step.own_h[of(output)],
                (false, false) => &step.h[of(output)],
            };
            let c = if apart_c { &step.own_c[of(hidden)] } else { &step.c[of(memory)] };
            let own = &stepper.weights.own[..];
            if finish {
                stepper.rule.finish_back::<F, FUSED>(RowBack {
                    kept,
                    seen,
                    h_before,
                    c_before,
                    h,
                    c,
                    dh: own_dh,
                    dc: own_dc,
                    d: &mut *d,
                    dh_before: &mut *dh_before,
                    d_seen: &mut *d_seen,
                    dc_before: &mut *dc_before,
                    own,
                    d_own: &mut *r.own,
                    scratch: &mut *scratch,
                });
            }
            if !first {
                continue;
            }
            stepper.rule.back::<F, FUSED>(RowBack {
                kept,
                seen,
                h_before,
                c_before,
                h,
                c,
                dh: if second { &r.second[of(hidden)] } else { own_dh },
                dc: own_dc,
                d: &mut *d,
                dh_before: &mut *dh_before,
                d_seen,
                dc_before: &mut *dc_before,
                own,
                d_own: &mut *r.own,
                scratch: &mut *scratch,
            });
            if apart_h {
                let direct = &r.direct_h[of(output)];
                dh_before.iter_mut().zip(direct).for_each(|(before, direct)| *before += *direct);
            }
            if apart_c {
                let direct = &r.direct_c[of(hidden)];
                dc_before.iter_mut().zip(direct).for_each(|(before, direct)| *before += *direct);
            }
            if !r.watched {
                flush(d);
            }
        }
    }
}

/// Parts dL/d(new) into what goes to the rule's own value, (1 − k) of it, and what goes to the value before, k of it.
#[inline(always)]
fn zone_out_back<F: KernelFloat>(
    zoneout: Option<Zoneout>,
    (t, example): (usize, usize),
    k: &mut [F],
    gradient: &[F],
    own: &mut [F],
    direct: &mut [F],
) {
    let k = &mut k[..gradient.len()];
    match zoneout {
        Some(zoneout) => zoneout.fill(t, example, k, F::from_f64),
        None => k.fill(F::ZERO),
    }
    for (((own, direct), gradient), k) in own.iter_mut().zip(direct).zip(gradient).zip(k) {
        *own = (F::ONE - *k) * *gradient;
        *direct = *k * *gradient;
    }
}
