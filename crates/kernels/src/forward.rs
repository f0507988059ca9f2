//! The forward pass of one chunk of rows.

use crate::buffer::Buffer;
use crate::gemm::{add_product, set_product, set_product_and_row, Lhs, Output};
use crate::simd::{dispatch, SimdLoop};
use crate::weights::{PackedWeights, Sizes};
use crate::{CellKernel, ForwardRow, KernelFloat};
use recurrent_core::{Bptt, TimeIndex, Zoneout};
use std::hint::black_box;
use std::ops::Range;

/// The approximate number of rows (examples times steps) that are projected at once: few enough to
/// stay in the second-level cache until their steps run.
const BLOCK_ROWS: usize = 64;

/// Runs one step: the cell, its weights, and the driver's additions.
pub(crate) struct Stepper<'a, F: KernelFloat, K> {
    pub(crate) cell: &'a K,
    pub(crate) weights: &'a PackedWeights<F>,
    /// α of h_t = h_{t-1} + α cell(x_t, h_{t-1}), if the cell has a temporal residual.
    pub(crate) temporal_residual: Option<F>,
    /// The zoneout of h and of c.
    pub(crate) zoneout: [Option<Zoneout>; 2],
    /// Factors of the last output where it enters the recurrent matrices, `(rows, output)`, or
    /// empty.
    pub(crate) mask: &'a [F],
}

/// A chunk of examples.
pub(crate) struct Chunk<'a, F: KernelFloat, K> {
    pub(crate) stepper: Stepper<'a, F, K>,
    pub(crate) time_index: &'a TimeIndex,
    pub(crate) bptt: Bptt,
    pub(crate) rows: Range<usize>,
    pub(crate) xs: &'a [F], // (rows, time, input), of these rows
}

/// A record of some steps, for the backward pass.
pub(crate) struct Tape<F: KernelFloat> {
    pub(crate) saved: Buffer<F>, // (steps, rows, saved)
    pub(crate) h: Buffer<F>,     // (steps + 1, rows, output); step 0 is the state before them
    pub(crate) c: Buffer<F>,     // the same for c, or empty
    pub(crate) inner: Buffer<F>, // (steps, rows, hidden): left side of the second product, or empty
    pub(crate) raw_h: Buffer<F>, // (steps, rows, output): the cell's output if it is not h
    pub(crate) raw_c: Buffer<F>, // (steps, rows, hidden): the same for c
}

/// One step of a tape.
struct TapeStep<'a, F> {
    saved: &'a mut [F],
    inner: &'a mut [F],
    raw_h: &'a mut [F],
    raw_c: &'a mut [F],
    h_before: &'a [F],
    c_before: &'a [F],
    h: &'a mut [F],
    c: &'a mut [F],
}

/// Scratch memory of a step.
pub(crate) struct ForwardScratch<F: KernelFloat> {
    recurrent_input: Buffer<F>,
    row: Buffer<F>,
    zone: Buffer<F>,
}

impl<F: KernelFloat, K: CellKernel> Stepper<'_, F, K> {
    /// Whether h, and c, differ from the values that the cell writes.
    pub(crate) fn raw_state_differs(&self) -> [bool; 2] {
        [self.temporal_residual.is_some() || self.zoneout[0].is_some(), self.zoneout[1].is_some()]
    }

    /// The input of the recurrent matrices, `(rows, output)`: `h`, masked by dropout.
    pub(crate) fn mask_recurrent_input<'a>(
        &self,
        h: &[F],
        recurrent_input: &'a mut [F],
    ) -> &'a [F] {
        let pairs = h.iter().zip(self.mask);
        recurrent_input
            .iter_mut()
            .zip(pairs)
            .for_each(|(recurrent_input, (h, mask))| *recurrent_input = *h * *mask);
        recurrent_input
    }

    fn has_second_product(&self) -> bool {
        K::TWO_STAGES || self.weights.projected()
    }

    /// A tape for `steps` steps of `rows` rows, starting from the state `h`, `c`.
    pub(crate) fn tape(&self, steps: usize, rows: usize, h: &[F], c: &[F]) -> Tape<F> {
        let Sizes { hidden, output, saved, .. } = self.weights.sizes;
        let room = |needed: bool, width: usize| {
            Buffer::recycled(if needed { steps * rows * width } else { 0 })
        };
        let [raw_h_differs, raw_c_differs] = self.raw_state_differs();
        let mut tape = Tape {
            saved: room(true, saved),
            h: Buffer::recycled((steps + 1) * rows * output),
            c: Buffer::recycled(if K::CELL_STATE { (steps + 1) * rows * hidden } else { 0 }),
            inner: room(self.has_second_product(), hidden),
            raw_h: room(raw_h_differs, output),
            raw_c: room(raw_c_differs, hidden),
        };
        tape.h[..h.len()].copy_from_slice(h);
        tape.c[..c.len()].copy_from_slice(c);
        tape
    }

    pub(crate) fn work(&self, rows: usize) -> ForwardScratch<F> {
        let Sizes { hidden, output, .. } = self.weights.sizes;
        ForwardScratch {
            recurrent_input: Buffer::recycled(if self.mask.is_empty() { 0 } else { rows * output }),
            row: Buffer::recycled(K::SCRATCH * hidden),
            zone: Buffer::recycled(hidden.max(output)),
        }
    }

    /// Writes W_ih x + b of `rows` rows of `xs` into rows of `saved`.
    pub(crate) fn project(&self, xs: &[F], rows: usize, saved: &mut [F]) {
        let Sizes { input, saved: width, span, gates, .. } = self.weights.sizes;
        let saved = &mut saved[..rows * width];
        let (start, behind) = self.weights.start.split_at(gates);
        if !behind.is_empty() {
            saved.chunks_exact_mut(width).for_each(|row| row[gates..span].copy_from_slice(behind));
        }
        let xs = Lhs::Rows { values: xs, rows, stride: input };
        set_product_and_row(Output::rows(saved, width), xs, &self.weights.forward.ih, start);
    }

    /// Runs step `t` of `rows` rows, which are projected already, from and to step `at` of the
    /// tape. `range` is where a row's output goes in `ys`; `None` if its example has ended.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn step(
        &self,
        t: usize,
        rows: Range<usize>,
        tape: &mut Tape<F>,
        at: usize,
        work: &mut ForwardScratch<F>,
        ys: &mut [F],
        range: impl Fn(usize) -> Option<Range<usize>>,
    ) {
        let Sizes { hidden, output, saved: width, gates, .. } = self.weights.sizes;
        let count = rows.len();
        let mut step_tape = tape.step_mut(at, count, [hidden, output, width]);
        let recurrent_input = if self.mask.is_empty() {
            step_tape.h_before
        } else {
            self.mask_recurrent_input(step_tape.h_before, &mut work.recurrent_input)
        };
        let gate = K::RECURRENT_OFFSET * hidden;
        let out = Output::rows(&mut step_tape.saved[gate..], width);
        add_product(
            out,
            Lhs::Rows { values: recurrent_input, rows: count, stride: output },
            &self.weights.forward.hh,
        );
        let scratch = (&mut work.row[..], &mut work.zone[..]);
        let stages = |stages| StageRows {
            stepper: self,
            t,
            first: rows.start,
            count,
            stages,
            recurrent_input,
            range: &range,
        };
        match &self.weights.forward.second {
            None => dispatch(ForwardStages {
                rows: stages([true, false, true]),
                step_tape: &mut step_tape,
                scratch,
                ys,
            }),
            Some(second) => {
                dispatch(ForwardStages {
                    rows: stages([true, false, false]),
                    step_tape: &mut step_tape,
                    scratch: (&mut *scratch.0, &mut *scratch.1),
                    ys: &mut [],
                });
                let inner = Lhs::Rows { values: &*step_tape.inner, rows: count, stride: hidden };
                if K::TWO_STAGES {
                    let last = Output::rows(&mut step_tape.saved[gates - hidden..], width);
                    add_product(last, inner, second);
                } else {
                    let raw = if step_tape.raw_h.is_empty() {
                        &mut *step_tape.h
                    } else {
                        &mut *step_tape.raw_h
                    };
                    set_product(Output::rows(raw, output), inner, second);
                }
                dispatch(ForwardStages {
                    rows: stages([false, K::TWO_STAGES, true]),
                    step_tape: &mut step_tape,
                    scratch,
                    ys,
                });
            }
        }
    }
}

impl<F: KernelFloat> Tape<F> {
    fn step_mut(
        &mut self,
        at: usize,
        rows: usize,
        [hidden, output, width]: [usize; 3],
    ) -> TapeStep<'_, F> {
        fn part<F>(values: &mut [F], at: usize, size: usize) -> &mut [F] {
            match values.is_empty() {
                true => values,
                false => &mut values[at * size..][..size],
            }
        }
        fn around<F>(values: &mut [F], at: usize, size: usize) -> (&[F], &mut [F]) {
            match values.is_empty() {
                true => (&[], values),
                false => {
                    let (before, after) = values[at * size..(at + 2) * size].split_at_mut(size);
                    (before, after)
                }
            }
        }
        let (h_before, h) = around(&mut self.h, at, rows * output);
        let (c_before, c) = around(&mut self.c, at, rows * hidden);
        TapeStep {
            saved: part(&mut self.saved, at, rows * width),
            inner: part(&mut self.inner, at, rows * hidden),
            raw_h: part(&mut self.raw_h, at, rows * output),
            raw_c: part(&mut self.raw_c, at, rows * hidden),
            h_before,
            c_before,
            h,
            c,
        }
    }

    /// Moves the state after `steps` steps to the front.
    pub(crate) fn keep_last_state(&mut self, steps: usize, h: usize, c: usize) {
        self.h.copy_within(steps * h..(steps + 1) * h, 0);
        if !self.c.is_empty() {
            self.c.copy_within(steps * c..(steps + 1) * c, 0);
        }
    }
}

impl<F: KernelFloat, K: CellKernel> Chunk<'_, F, K> {
    /// Where row `row` reads or writes at step `t` among values `(rows, time, width)`; `None` once
    /// its example has ended.
    #[inline(always)]
    pub(crate) fn row_range(&self, row: usize, t: usize, width: usize) -> Option<Range<usize>> {
        let example = self.rows.start + row;
        let at = (row * self.time_index.time() + self.time_index.position(example, t)) * width;
        (t < self.time_index.len(example)).then(|| at..at + width)
    }

    /// Gathers the inputs of `steps`, `(steps, rows, input)`; zero where an example has ended.
    pub(crate) fn gather(&self, steps: Range<usize>, out: &mut [F]) {
        let width = self.stepper.weights.sizes.input;
        let mut out = out.chunks_exact_mut(width);
        for t in steps {
            for row in 0..self.rows.len() {
                let out = out.next().expect("room for every step and row");
                match self.row_range(row, t, width) {
                    Some(range) => out.copy_from_slice(&self.xs[range]),
                    None => out.fill(F::ZERO),
                }
            }
        }
    }

    /// Runs `steps`, from and to the state `h`, `c`. Writes the outputs `(rows, time, output)`
    /// unless `ys` is empty; returns the tape if `save`.
    pub(crate) fn forward(
        &self,
        steps: Range<usize>,
        h: &mut [F],
        c: &mut [F],
        ys: &mut [F],
        save: bool,
    ) -> Option<Tape<F>> {
        let Sizes { input, output, saved: width, .. } = self.stepper.weights.sizes;
        let count = self.rows.len();
        let block = BLOCK_ROWS.div_ceil(count).min(steps.len());
        let steps_saved = if save { steps.len() } else { block };
        let mut tape = self.stepper.tape(steps_saved, count, h, c);
        let mut work = self.stepper.work(count);
        let mut xs = Buffer::recycled(block * count * input);
        let mut end = 0;
        for first in steps.clone().step_by(block) {
            let last = (first + block).min(steps.end);
            if !save && end > 0 {
                tape.keep_last_state(end, h.len(), c.len());
                end = 0;
            }
            let rows = (last - first) * count;
            self.gather(first..last, &mut xs[..rows * input]);
            self.stepper.project(&xs[..rows * input], rows, &mut tape.saved[end * count * width..]);
            for t in first..last {
                let range = |row| self.row_range(row, t, output);
                self.stepper.step(t, self.rows.clone(), &mut tape, end, &mut work, ys, range);
                end += 1;
            }
        }
        h.copy_from_slice(&tape.h[end * h.len()..][..h.len()]);
        c.copy_from_slice(&tape.c[end * c.len()..][..c.len()]);
        save.then_some(tape)
    }
}

/// The rows of one step, and which stages to run.
struct StageRows<'a, 'b, F: KernelFloat, K, P> {
    stepper: &'a Stepper<'b, F, K>,
    t: usize,
    /// The example of the first row.
    first: usize,
    count: usize,
    /// Whether to run `forward`, `finish`, and the driver's additions.
    stages: [bool; 3],
    recurrent_input: &'a [F],
    range: &'a P,
}

/// The stages of one step, over all rows.
struct ForwardStages<'a, 'b, 'c, F: KernelFloat, K, P> {
    rows: StageRows<'a, 'b, F, K, P>,
    step_tape: &'a mut TapeStep<'c, F>,
    scratch: (&'a mut [F], &'a mut [F]),
    ys: &'a mut [F],
}

impl<F: KernelFloat, K: CellKernel, P: Fn(usize) -> Option<Range<usize>>> SimdLoop
    for ForwardStages<'_, '_, '_, F, K, P>
{
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { rows, step_tape, scratch: (scratch, zone), ys } = self;
        let stepper = rows.stepper;
        let Sizes { hidden, output, saved: width, .. } = stepper.weights.sizes;
        let c_size = if K::CELL_STATE { hidden } else { 0 };
        let [forward, finish, store] = rows.stages;
        let ([raw_h_differs, raw_c_differs], second) =
            (stepper.raw_state_differs(), stepper.has_second_product());
        for row in 0..rows.count {
            let range = (rows.range)(row);
            let h_before = &step_tape.h_before[row * output..][..output];
            let c_before = &step_tape.c_before[row * c_size..][..c_size];
            let h = &mut step_tape.h[row * output..][..output];
            let c = &mut step_tape.c[row * c_size..][..c_size];
            let Some(range) = range else {
                h.copy_from_slice(h_before);
                c.copy_from_slice(c_before);
                if second && forward {
                    step_tape.inner[row * hidden..][..hidden].fill(F::ZERO);
                }
                continue;
            };
            // `black_box`: the optimiser must not know that this row is one of many. Then it sees
            // that the parts of the row do not overlap, which the parts of all rows do.
            let saved = black_box(&mut step_tape.saved[row * width..][..width]);
            let recurrent_input = &rows.recurrent_input[row * output..][..output];
            let extra = &stepper.weights.extra[..];
            if forward {
                let h = match (second, raw_h_differs) {
                    (true, _) => &mut step_tape.inner[row * hidden..][..hidden],
                    (false, true) => &mut step_tape.raw_h[row * output..][..output],
                    (false, false) => &mut *h,
                };
                let c = if raw_c_differs {
                    &mut step_tape.raw_c[row * hidden..][..hidden]
                } else {
                    &mut *c
                };
                let scratch = &mut *scratch;
                stepper.cell.forward::<F, FUSED>(ForwardRow {
                    saved: &mut *saved,
                    recurrent_input,
                    h_before,
                    c_before,
                    h,
                    c,
                    extra,
                    scratch,
                });
            }
            if finish {
                let h = if raw_h_differs {
                    &mut step_tape.raw_h[row * output..][..output]
                } else {
                    &mut *h
                };
                let (c, scratch) = (&mut [][..], &mut *scratch);
                stepper.cell.finish::<F, FUSED>(ForwardRow {
                    saved,
                    recurrent_input,
                    h_before,
                    c_before,
                    h,
                    c,
                    extra,
                    scratch,
                });
            }
            if !store {
                continue;
            }
            if raw_h_differs {
                h.copy_from_slice(&step_tape.raw_h[row * output..][..output]);
                if let Some(alpha) = stepper.temporal_residual {
                    h.iter_mut().zip(h_before).for_each(|(h, before)| *h = *before + alpha * *h);
                }
                zone_out(stepper.zoneout[0], rows.t, rows.first + row, zone, h, h_before);
            }
            if raw_c_differs {
                c.copy_from_slice(&step_tape.raw_c[row * hidden..][..hidden]);
                zone_out(stepper.zoneout[1], rows.t, rows.first + row, zone, c, c_before);
            }
            if !ys.is_empty() {
                ys[range].copy_from_slice(h);
            }
        }
    }
}

/// new = k ∘ before + (1 − k) ∘ new.
#[inline(always)]
fn zone_out<F: KernelFloat>(
    zoneout: Option<Zoneout>,
    t: usize,
    example: usize,
    k: &mut [F],
    new: &mut [F],
    before: &[F],
) {
    let Some(zoneout) = zoneout else { return };
    let k = &mut k[..new.len()];
    zoneout.fill(t, example, k, F::from_f64);
    for ((new, before), k) in new.iter_mut().zip(before).zip(k) {
        *new = *k * *before + (F::ONE - *k) * *new;
    }
}
