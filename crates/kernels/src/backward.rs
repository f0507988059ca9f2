//! The backward pass of one chunk of rows.

use crate::buffer::Buffer;
use crate::forward::{Chunk, Stepper, Tape};
use crate::gemm::{add_product, set_product, Lhs, Output};
use crate::gradients::{BackwardBlock, WeightGradients};
use crate::simd::{dispatch, SimdLoop};
use crate::weights::{Matrices, Sizes};
use crate::{BackwardRow, CellKernel, KernelFloat};
use recurrent_core::{GradientAccumulator, Zoneout};
use std::hint::black_box;
use std::ops::Range;

/// The approximate number of rows (examples times steps) in one product for the gradients of the
/// weights. Each product reads and writes the sums once.
const BLOCK_ROWS: usize = 256;

/// The arguments of a chunk's backward pass.
pub(crate) struct BackwardArgs<'a, F: KernelFloat> {
    pub(crate) matrices: &'a Matrices<F>,
    /// dL/dys, `(rows, time, output)`, or empty.
    pub(crate) grad_ys: &'a [F],
    /// The gradients of the weights, if they are needed; the pass adds to them.
    pub(crate) grads: Option<&'a mut WeightGradients<F>>,
    /// The gradient of the inputs, `(rows, time, input)`, or empty; the pass writes it.
    pub(crate) dxs: &'a mut [F],
    /// One accumulator for each field of the state, or empty.
    pub(crate) accumulators: &'a mut [GradientAccumulator],
}

/// Scratch memory of the backward pass through one segment.
struct BackwardScratch<F: KernelFloat> {
    d: Buffer<F>,                 // (block, rows, span): gradients of the pre-activations
    raw_dh: Buffer<F>,            // (rows, output), by step if projected: dL/d(output of the cell)
    raw_dc: Buffer<F>,            // (rows, hidden)
    direct_h: Buffer<F>,          // (rows, output): the gradient that bypasses the cell
    direct_c: Buffer<F>,          // (rows, hidden)
    second: Buffer<F>,            // (rows, hidden): gradient of the left side of the second product
    d_recurrent_input: Buffer<F>, // (rows, output)
    dh_before: Buffer<F>,
    dc_before: Buffer<F>,
    row: Buffer<F>,
    extra: Vec<Vec<F>>, // gradients of the cell's extra weights
}

impl<F: KernelFloat, K: CellKernel> Chunk<'_, F, K> {
    /// Runs backward over the `steps` of `tape`: `dh`, `dc` are the gradient of the state after
    /// them, then of the state before them.
    pub(crate) fn backward(
        &self,
        steps: Range<usize>,
        tape: &Tape<F>,
        dh: &mut [F],
        dc: &mut [F],
        args: &mut BackwardArgs<F>,
    ) {
        let Sizes { input, hidden, output, span, saved: width, .. } = self.stepper.weights.sizes;
        let count = self.rows.len();
        let block = BLOCK_ROWS.div_ceil(count).min(steps.len());
        let mut work = self.stepper.backward_scratch(count, block);
        let mut xs = Buffer::recycled(block * count * input);
        let mut masked =
            Buffer::recycled(if self.stepper.mask.is_empty() { 0 } else { block * count * output });
        let mut room = Buffer::recycled(block * count * input.max(hidden).max(output));
        let start = steps.start;
        for first in steps.clone().step_by(block).rev() {
            let last = (first + block).min(steps.end);
            for t in (first..last).rev() {
                self.add_outputs(args.grad_ys, t, dh);
                self.clip_hidden_grad(t, dh);
                self.record(args.accumulators, t + 1, dh, dc);
                let at = t - start;
                let h_before = step_slice(&tape.h, at, count * output);
                let recurrent_input = match masked
                    .get_mut((t - first) * count * output..(t - first + 1) * count * output)
                {
                    None => h_before,
                    Some(recurrent_input) => {
                        self.stepper.mask_recurrent_input(h_before, recurrent_input)
                    }
                };
                let step = SavedStep {
                    saved: step_slice(&tape.saved, at, count * width),
                    inner: step_slice(&tape.inner, at, count * hidden),
                    raw_h: step_slice(&tape.raw_h, at, count * output),
                    raw_c: step_slice(&tape.raw_c, at, count * hidden),
                    h: step_slice(&tape.h, at + 1, count * output),
                    c: step_slice(&tape.c, at + 1, count * hidden),
                    c_before: step_slice(&tape.c, at, count * hidden),
                    h_before,
                    recurrent_input,
                };
                self.step_backward(t, t - first, &step, dh, dc, &mut work, args);
                self.truncate(t, dh, dc);
            }
            let rows = (last - first) * count;
            if let Some(grads) = &mut args.grads {
                self.gather(first..last, &mut xs[..rows * input]);
                let of =
                    |width: usize| (first - start) * count * width..(last - start) * count * width;
                grads.add_block::<K>(
                    self.stepper.weights,
                    &BackwardBlock {
                        rows,
                        d: &work.d[..rows * span],
                        xs: &xs[..rows * input],
                        recurrent_input: if masked.is_empty() {
                            &tape.h[of(output)]
                        } else {
                            &masked[..rows * output]
                        },
                        inner: tape.inner.get(of(hidden)).unwrap_or_default(),
                        raw_dh: work.raw_dh.get(..rows * output).unwrap_or_default(),
                    },
                    &mut room,
                );
            }
            if !args.dxs.is_empty() {
                let out = &mut xs[..rows * input];
                let d = Lhs::Rows { values: &work.d, rows, stride: span };
                set_product(Output::rows(out, input), d, &args.matrices.ih);
                self.scatter(out, first..last, args.dxs);
            }
        }
        if let Some(grads) = &mut args.grads {
            for (sum, extra) in grads.extra.iter_mut().zip(&work.extra) {
                sum.iter_mut().zip(extra).for_each(|(sum, extra)| *sum += *extra);
            }
        }
        if start == 0 {
            self.record(args.accumulators, 0, dh, dc);
        }
    }

    /// Runs step `t` backward; it is step `at` of the block.
    #[allow(clippy::too_many_arguments)]
    fn step_backward(
        &self,
        t: usize,
        at: usize,
        step: &SavedStep<F>,
        dh: &mut [F],
        dc: &mut [F],
        work: &mut BackwardScratch<F>,
        args: &BackwardArgs<F>,
    ) {
        let Sizes { hidden, output, span, gates, .. } = self.stepper.weights.sizes;
        let (count, recorded) = (self.rows.len(), !args.accumulators.is_empty());
        let projected = self.stepper.weights.projected();
        let d = &mut work.d[at * count * span..][..count * span];
        let raw_dh = match (projected, work.raw_dh.is_empty()) {
            (true, _) => &mut work.raw_dh[at * count * output..][..count * output],
            (false, false) => &mut work.raw_dh[..count * output],
            (false, true) => &mut [],
        };
        let mut rows = StageRows {
            chunk: self,
            t,
            recorded,
            step,
            d,
            raw_dh,
            raw_dc: &mut work.raw_dc,
            direct_h: &mut work.direct_h,
            direct_c: &mut work.direct_c,
            second: &mut work.second,
            d_recurrent_input: &mut work.d_recurrent_input,
            dh_before: &mut work.dh_before,
            dc_before: &mut work.dc_before,
            extra: &mut work.extra,
            row: &mut work.row,
        };
        match &args.matrices.second {
            None => {
                dispatch(BackwardStages { stages: [true, false, true], rows: &mut rows, dh, dc })
            }
            Some(second) => {
                dispatch(BackwardStages {
                    stages: [true, K::TWO_STAGES, false],
                    rows: &mut rows,
                    dh,
                    dc,
                });
                let left = if K::TWO_STAGES {
                    Lhs::Rows { values: &rows.d[gates - hidden..], rows: count, stride: span }
                } else {
                    Lhs::Rows { values: &*rows.raw_dh, rows: count, stride: output }
                };
                set_product(Output::rows(rows.second, hidden), left, second);
                dispatch(BackwardStages { stages: [false, false, true], rows: &mut rows, dh, dc });
            }
        }
        let recurrent = &work.d[at * count * span..][..count * span];
        let recurrent = Lhs::Rows {
            values: &recurrent[K::RECURRENT_OFFSET * hidden..],
            rows: count,
            stride: span,
        };
        let separate = !work.d_recurrent_input.is_empty();
        let out = if separate { &mut work.d_recurrent_input } else { &mut work.dh_before };
        add_product(Output::rows(out, output), recurrent, &args.matrices.hh);
        if separate {
            let pairs = work.dh_before.iter_mut().zip(&*work.d_recurrent_input);
            if self.stepper.mask.is_empty() {
                pairs.for_each(|(dh, d_recurrent_input)| *dh += *d_recurrent_input);
            } else {
                pairs
                    .zip(self.stepper.mask)
                    .for_each(|((dh, d_recurrent_input), mask)| *dh += *d_recurrent_input * *mask);
            }
        }
        dh.copy_from_slice(&work.dh_before);
        dc.copy_from_slice(&work.dc_before);
    }

    /// Adds dL/dy_t to dL/dh.
    fn add_outputs(&self, grad_ys: &[F], t: usize, dh: &mut [F]) {
        let output = self.stepper.weights.sizes.output;
        if grad_ys.is_empty() {
            return;
        }
        for (row, dh) in dh.chunks_exact_mut(output).enumerate() {
            if let Some(range) = self.row_range(row, t, output) {
                dh.iter_mut().zip(&grad_ys[range]).for_each(|(dh, dy)| *dh += *dy);
            }
        }
    }

    fn record(&self, accumulators: &mut [GradientAccumulator], step: usize, dh: &[F], dc: &[F]) {
        let Sizes { hidden, output, .. } = self.stepper.weights.sizes;
        for (accumulator, (gradient, size)) in
            accumulators.iter_mut().zip([(dh, output), (dc, hidden)])
        {
            for (row, gradient) in gradient.chunks_exact(size).enumerate() {
                accumulator.put(self.rows.start + row, step, gradient);
            }
        }
    }

    /// The inverse of [`Chunk::gather`]; it does not change the padding.
    fn scatter(&self, steps_first: &[F], steps: Range<usize>, out: &mut [F]) {
        let width = self.stepper.weights.sizes.input;
        let mut values = steps_first.chunks_exact(width);
        for t in steps {
            for row in 0..self.rows.len() {
                let value = values.next().expect("a value for every step and row");
                if let Some(range) = self.row_range(row, t, width) {
                    out[range].copy_from_slice(value);
                }
            }
        }
    }
}

impl<F: KernelFloat, K: CellKernel> Stepper<'_, F, K> {
    fn backward_scratch(&self, rows: usize, block: usize) -> BackwardScratch<F> {
        let Sizes { hidden, output, span, .. } = self.weights.sizes;
        let projected = self.weights.projected();
        let [raw_h_differs, raw_c_differs] = self.raw_state_differs();
        let room =
            |needed: bool, width: usize| Buffer::recycled(if needed { rows * width } else { 0 });
        BackwardScratch {
            d: Buffer::recycled(block * rows * span),
            raw_dh: room(projected || raw_h_differs, output * if projected { block } else { 1 }),
            raw_dc: room(raw_c_differs, hidden),
            direct_h: room(raw_h_differs, output),
            direct_c: room(raw_c_differs, hidden),
            second: room(projected || K::TWO_STAGES, hidden),
            d_recurrent_input: room(K::TWO_STAGES || !self.mask.is_empty(), output),
            dh_before: room(true, output),
            dc_before: room(K::CELL_STATE, hidden),
            row: Buffer::recycled(K::SCRATCH * hidden + hidden.max(output)),
            extra: self.weights.extra.iter().map(|extra| vec![F::ZERO; extra.len()]).collect(),
        }
    }
}

/// Sets subnormal numbers to zero. Vanishing gradients pass through them, and arithmetic on them is
/// far slower; they are kept only for a recorder.
#[inline(always)]
pub(crate) fn flush_subnormals<F: KernelFloat>(values: &mut [F]) {
    for value in values {
        *value = if value.magnitude() < F::SMALLEST { F::ZERO } else { *value };
    }
}

/// Step `at` of values with `size` per step; empty if the values are not saved.
fn step_slice<F>(values: &[F], at: usize, size: usize) -> &[F] {
    values.get(at * size..(at + 1) * size).unwrap_or_default()
}

/// One step of a tape.
struct SavedStep<'a, F> {
    saved: &'a [F],
    inner: &'a [F],
    raw_h: &'a [F],
    raw_c: &'a [F],
    h_before: &'a [F],
    c_before: &'a [F],
    recurrent_input: &'a [F],
    h: &'a [F],
    c: &'a [F],
}

/// The rows of one step; buffers as in [`BackwardScratch`].
struct StageRows<'a, 'b, F: KernelFloat, K> {
    chunk: &'a Chunk<'b, F, K>,
    t: usize,
    recorded: bool,
    step: &'a SavedStep<'a, F>,
    d: &'a mut [F],
    raw_dh: &'a mut [F],
    raw_dc: &'a mut [F],
    direct_h: &'a mut [F],
    direct_c: &'a mut [F],
    second: &'a mut [F],
    d_recurrent_input: &'a mut [F],
    dh_before: &'a mut [F],
    dc_before: &'a mut [F],
    extra: &'a mut [Vec<F>],
    row: &'a mut [F],
}

/// Some stages of one step, in this order: the driver's additions to the cell, the cell's second
/// stage, its first.
struct BackwardStages<'s, 'a, 'b, F: KernelFloat, K> {
    stages: [bool; 3],
    rows: &'s mut StageRows<'a, 'b, F, K>,
    dh: &'s mut [F],
    dc: &'s mut [F],
}

impl<F: KernelFloat, K: CellKernel> SimdLoop for BackwardStages<'_, '_, '_, F, K> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { stages: [around, finish, first], rows: r, dh: all_dh, dc: all_dc } = self;
        let (stepper, step) = (&r.chunk.stepper, r.step);
        let Sizes { hidden, output, saved: width, span, .. } = stepper.weights.sizes;
        let c_size = if K::CELL_STATE { hidden } else { 0 };
        let [raw_h_differs, raw_c_differs] = stepper.raw_state_differs();
        let projected = stepper.weights.projected();
        let second = projected || K::TWO_STAGES;
        let (scratch, zone) = r.row.split_at_mut(K::SCRATCH * hidden);
        for row in 0..r.chunk.rows.len() {
            let of = |size: usize| row * size..(row + 1) * size;
            let (dh, dc) = (&mut all_dh[of(output)], &mut all_dc[of(c_size)]);
            let d = black_box(&mut r.d[of(span)]); // as in the forward pass
            let dh_before = &mut r.dh_before[of(output)];
            let dc_before = &mut r.dc_before[of(c_size)];
            let d_recurrent_input = if r.d_recurrent_input.is_empty() {
                &mut [][..]
            } else {
                &mut r.d_recurrent_input[of(output)]
            };
            if around {
                d_recurrent_input.fill(F::ZERO);
            }
            let example = r.chunk.rows.start + row;
            if r.t >= r.chunk.time_index.len(example) {
                if around {
                    d.fill(F::ZERO);
                    dh_before.copy_from_slice(dh);
                    dc_before.copy_from_slice(dc);
                    if !r.raw_dh.is_empty() {
                        r.raw_dh[of(output)].fill(F::ZERO);
                    }
                }
                continue;
            }
            if around {
                if !r.recorded {
                    flush_subnormals(dh);
                    flush_subnormals(dc);
                }
                if raw_h_differs {
                    let (raw, direct) = (&mut r.raw_dh[of(output)], &mut r.direct_h[of(output)]);
                    zone_out_backward(stepper.zoneout[0], (r.t, example), zone, dh, raw, direct);
                    if let Some(alpha) = stepper.temporal_residual {
                        for (raw, direct) in raw.iter_mut().zip(direct) {
                            *direct += *raw;
                            *raw = alpha * *raw;
                        }
                    }
                } else if projected {
                    r.raw_dh[of(output)].copy_from_slice(dh);
                }
                if raw_c_differs {
                    let (raw, direct) = (&mut r.raw_dc[of(hidden)], &mut r.direct_c[of(hidden)]);
                    zone_out_backward(stepper.zoneout[1], (r.t, example), zone, dc, raw, direct);
                }
            }
            let raw_dh = if raw_h_differs || projected { &r.raw_dh[of(output)] } else { &*dh };
            let raw_dc = if raw_c_differs { &r.raw_dc[of(hidden)] } else { &*dc };
            let (saved, recurrent_input) =
                (&step.saved[of(width)], &step.recurrent_input[of(output)]);
            let (h_before, c_before) = (&step.h_before[of(output)], &step.c_before[of(c_size)]);
            let h = match (projected, raw_h_differs) {
                (true, _) => &step.inner[of(hidden)],
                (false, true) => &step.raw_h[of(output)],
                (false, false) => &step.h[of(output)],
            };
            let c = if raw_c_differs { &step.raw_c[of(hidden)] } else { &step.c[of(c_size)] };
            let extra = &stepper.weights.extra[..];
            if finish {
                stepper.cell.finish_backward::<F, FUSED>(BackwardRow {
                    saved,
                    recurrent_input,
                    h_before,
                    c_before,
                    h,
                    c,
                    dh: raw_dh,
                    dc: raw_dc,
                    d: &mut *d,
                    dh_before: &mut *dh_before,
                    d_recurrent_input: &mut *d_recurrent_input,
                    dc_before: &mut *dc_before,
                    extra,
                    d_extra: &mut *r.extra,
                    scratch: &mut *scratch,
                });
            }
            if !first {
                continue;
            }
            stepper.cell.backward::<F, FUSED>(BackwardRow {
                saved,
                recurrent_input,
                h_before,
                c_before,
                h,
                c,
                dh: if second { &r.second[of(hidden)] } else { raw_dh },
                dc: raw_dc,
                d: &mut *d,
                dh_before: &mut *dh_before,
                d_recurrent_input,
                dc_before: &mut *dc_before,
                extra,
                d_extra: &mut *r.extra,
                scratch: &mut *scratch,
            });
            if raw_h_differs {
                let direct = &r.direct_h[of(output)];
                dh_before.iter_mut().zip(direct).for_each(|(before, direct)| *before += *direct);
            }
            if raw_c_differs {
                let direct = &r.direct_c[of(hidden)];
                dc_before.iter_mut().zip(direct).for_each(|(before, direct)| *before += *direct);
            }
            if !r.recorded {
                flush_subnormals(d);
            }
        }
    }
}

/// Splits dL/d(new) into (1 − k) dL/d(new) for the cell's value and k dL/d(new) for the value
/// before.
#[inline(always)]
fn zone_out_backward<F: KernelFloat>(
    zoneout: Option<Zoneout>,
    (t, example): (usize, usize),
    k: &mut [F],
    gradient: &[F],
    raw: &mut [F],
    direct: &mut [F],
) {
    let k = &mut k[..gradient.len()];
    match zoneout {
        Some(zoneout) => zoneout.fill(t, example, k, F::from_f64),
        None => k.fill(F::ZERO),
    }
    for (((raw, direct), gradient), k) in raw.iter_mut().zip(direct).zip(gradient).zip(k) {
        *raw = (F::ONE - *k) * *gradient;
        *direct = *k * *gradient;
    }
}
