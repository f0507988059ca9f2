//! The way there, for one chunk of rows.

use crate::gemm::{add_product, set_product, set_product_and_row, Left, Out};
use crate::simd::{widest, Pass};
use crate::weights::{Sizes, Weights};
use crate::workspace::Buffer;
use crate::{KernelFloat, RowForth, Rule};
use recurrent_core::{Bptt, TimeIndex, Zoneout};
use std::hint::black_box;
use std::ops::Range;

/// About how many rows (examples times steps) are projected at once: so few that the steps find them in the second cache.
const BLOCK_ROWS: usize = 64;

/// What makes a step: the rule, its weights, and what is around it.
pub(crate) struct Stepper<'a, F: KernelFloat, R> {
    pub(crate) rule: &'a R,
    pub(crate) weights: &'a Weights<F>,
    /// α of h_t = h_{t-1} + α rule(x_t, h_{t-1}), if the rule has such a connection around it.
    pub(crate) temporal_residual: Option<F>,
    /// The zoneout of h and of c.
    pub(crate) zoneout: [Option<Zoneout>; 2],
    /// What the last output is multiplied by where it enters the recurrent matrices, `(rows, output)`, or empty.
    pub(crate) mask: &'a [F],
}

/// One chunk's input and output.
pub(crate) struct Chunk<'a, F: KernelFloat, R> {
    pub(crate) stepper: Stepper<'a, F, R>,
    pub(crate) time_index: &'a TimeIndex,
    pub(crate) bptt: Bptt,
    pub(crate) rows: Range<usize>,
    pub(crate) xs: &'a [F], // (rows, time, input), of these rows
}

/// A history of some steps, by step: what the way back needs.
pub(crate) struct History<F: KernelFloat> {
    pub(crate) kept: Buffer<F>,  // (steps, rows, kept)
    pub(crate) h: Buffer<F>,     // (steps + 1, rows, output); step 0 is the state before them
    pub(crate) c: Buffer<F>,     // the same of c, or empty
    pub(crate) inner: Buffer<F>, // (steps, rows, hidden): what goes into the second product, or empty
    pub(crate) own_h: Buffer<F>, // (steps, rows, output): the rule's outputs where the state is another, or empty
    pub(crate) own_c: Buffer<F>, // (steps, rows, hidden): the same of c
}

/// One step's part of a history.
struct Slot<'a, F> {
    kept: &'a mut [F],
    inner: &'a mut [F],
    own_h: &'a mut [F],
    own_c: &'a mut [F],
    h_before: &'a [F],
    c_before: &'a [F],
    h: &'a mut [F],
    c: &'a mut [F],
}

/// Memory that a step works in.
pub(crate) struct Work<F: KernelFloat> {
    seen: Buffer<F>,
    row: Buffer<F>,
    zone: Buffer<F>,
}

impl<F: KernelFloat, R: Rule> Stepper<'_, F, R> {
    /// Whether the state is another than what the rule writes: of h, and of c.
    pub(crate) fn apart(&self) -> [bool; 2] {
        [self.temporal_residual.is_some() || self.zoneout[0].is_some(), self.zoneout[1].is_some()]
    }

    /// What the recurrent matrices see of `h`, `(rows, output)`, where dropout hides a part.
    pub(crate) fn masked<'a>(&self, h: &[F], seen: &'a mut [F]) -> &'a [F] {
        let pairs = h.iter().zip(self.mask);
        seen.iter_mut().zip(pairs).for_each(|(seen, (h, mask))| *seen = *h * *mask);
        seen
    }

    fn second(&self) -> bool {
        R::TWO_STAGES || self.weights.projected()
    }

    /// Room for so many steps of so many rows, from the state `h`, `c`.
    pub(crate) fn history(&self, steps: usize, rows: usize, h: &[F], c: &[F]) -> History<F> {
        let Sizes { hidden, output, kept, .. } = self.weights.sizes;
        let room =
            |needed: bool, width: usize| Buffer::any(if needed { steps * rows * width } else { 0 });
        let [apart_h, apart_c] = self.apart();
        let mut history = History {
            kept: room(true, kept),
            h: Buffer::any((steps + 1) * rows * output),
            c: Buffer::any(if R::MEMORY { (steps + 1) * rows * hidden } else { 0 }),
            inner: room(self.second(), hidden),
            own_h: room(apart_h, output),
            own_c: room(apart_c, hidden),
        };
        history.h[..h.len()].copy_from_slice(h);
        history.c[..c.len()].copy_from_slice(c);
        history
    }

    pub(crate) fn work(&self, rows: usize) -> Work<F> {
        let Sizes { hidden, output, .. } = self.weights.sizes;
        Work {
            seen: Buffer::any(if self.mask.is_empty() { 0 } else { rows * output }),
            row: Buffer::any(R::SCRATCH * hidden),
            zone: Buffer::any(hidden.max(output)),
        }
    }

    /// The input part of the pre-activations of `rows` rows of `xs`, with the biases, into rows of `kept`.
    pub(crate) fn project(&self, xs: &[F], rows: usize, kept: &mut [F]) {
        let Sizes { input, kept: width, span, gates, .. } = self.weights.sizes;
        let kept = &mut kept[..rows * width];
        let (start, behind) = self.weights.start.split_at(gates);
        if !behind.is_empty() {
            kept.chunks_exact_mut(width).for_each(|row| row[gates..span].copy_from_slice(behind));
        }
        let xs = Left::Rows { values: xs, rows, stride: input };
        set_product_and_row(Out::rows(kept, width), xs, &self.weights.forth.ih, start);
    }

    /// Step `t` of `rows` rows, projected before, from and to slot `at` of the history. `place` says where a row's output goes in `ys`; nowhere if its
    /// example has ended.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn step(
        &self,
        t: usize,
        rows: Range<usize>,
        history: &mut History<F>,
        at: usize,
        work: &mut Work<F>,
        ys: &mut [F],
        place: impl Fn(usize) -> Option<Range<usize>>,
    ) {
        let Sizes { hidden, output, kept: width, gates, .. } = self.weights.sizes;
        let count = rows.len();
        let mut slot = history.slot(at, count, [hidden, output, width]);
        let seen = if self.mask.is_empty() {
            slot.h_before
        } else {
            self.masked(slot.h_before, &mut work.seen)
        };
        let gate = R::RECURRENT_AT * hidden;
        let out = Out::rows(&mut slot.kept[gate..], width);
        add_product(
            out,
            Left::Rows { values: seen, rows: count, stride: output },
            &self.weights.forth.hh,
        );
        let scratch = (&mut work.row[..], &mut work.zone[..]);
        let stages = |stages| Rows {
            stepper: self,
            t,
            first: rows.start,
            count,
            stages,
            seen,
            place: &place,
        };
        match &self.weights.forth.second {
            None => {
                widest(Settling { rows: stages([true, false, true]), slot: &mut slot, scratch, ys })
            }
            Some(second) => {
                widest(Settling {
                    rows: stages([true, false, false]),
                    slot: &mut slot,
                    scratch: (&mut *scratch.0, &mut *scratch.1),
                    ys: &mut [],
                });
                let inner = Left::Rows { values: &*slot.inner, rows: count, stride: hidden };
                if R::TWO_STAGES {
                    let last = Out::rows(&mut slot.kept[gates - hidden..], width);
                    add_product(last, inner, second);
                } else {
                    let own = if slot.own_h.is_empty() { &mut *slot.h } else { &mut *slot.own_h };
                    set_product(Out::rows(own, output), inner, second);
                }
                widest(Settling {
                    rows: stages([false, R::TWO_STAGES, true]),
                    slot: &mut slot,
                    scratch,
                    ys,
                });
            }
        }
    }
}

impl<F: KernelFloat> History<F> {
    fn slot(&mut self, at: usize, rows: usize, [hidden, output, width]: [usize; 3]) -> Slot<'_, F> {
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
        Slot {
            kept: part(&mut self.kept, at, rows * width),
            inner: part(&mut self.inner, at, rows * hidden),
            own_h: part(&mut self.own_h, at, rows * output),
            own_c: part(&mut self.own_c, at, rows * hidden),
            h_before,
            c_before,
            h,
            c,
        }
    }

    /// Moves the state behind the last of `steps` steps to the front.
    pub(crate) fn turn(&mut self, steps: usize, h: usize, c: usize) {
        self.h.copy_within(steps * h..(steps + 1) * h, 0);
        if !self.c.is_empty() {
            self.c.copy_within(steps * c..(steps + 1) * c, 0);
        }
    }
}

impl<F: KernelFloat, R: Rule> Chunk<'_, F, R> {
    /// Where row `row` reads or writes at step `t` among values `(rows, time, width)`; nowhere once its example has ended.
    #[inline(always)]
    pub(crate) fn place(&self, row: usize, t: usize, width: usize) -> Option<Range<usize>> {
        let example = self.rows.start + row;
        let at = (row * self.time_index.time() + self.time_index.position(example, t)) * width;
        (t < self.time_index.len(example)).then(|| at..at + width)
    }

    /// The inputs of `steps`, `(steps, rows, input)`; zero where an example has ended.
    pub(crate) fn gather(&self, steps: Range<usize>, out: &mut [F]) {
        let width = self.stepper.weights.sizes.input;
        let mut out = out.chunks_exact_mut(width);
        for t in steps {
            for row in 0..self.rows.len() {
                let out = out.next().expect("room for every step and row");
                match self.place(row, t, width) {
                    Some(place) => out.copy_from_slice(&self.xs[place]),
                    None => out.fill(F::ZERO),
                }
            }
        }
    }

    /// Runs `steps`, from and to the state `h`, `c`; writes outputs `(rows, time, output)` unless `ys` is empty; gives what the way back
    /// needs if `keep`.
    pub(crate) fn forth(
        &self,
        steps: Range<usize>,
        h: &mut [F],
        c: &mut [F],
        ys: &mut [F],
        keep: bool,
    ) -> Option<History<F>> {
        let Sizes { input, output, kept: width, .. } = self.stepper.weights.sizes;
        let count = self.rows.len();
        let block = BLOCK_ROWS.div_ceil(count).min(steps.len());
        let slots = if keep { steps.len() } else { block };
        let mut history = self.stepper.history(slots, count, h, c);
        let mut work = self.stepper.work(count);
        let mut xs = Buffer::any(block * count * input);
        let mut end = 0;
        for first in steps.clone().step_by(block) {
            let last = (first + block).min(steps.end);
            if !keep && end > 0 {
                history.turn(end, h.len(), c.len());
                end = 0;
            }
            let rows = (last - first) * count;
            self.gather(first..last, &mut xs[..rows * input]);
            self.stepper.project(
                &xs[..rows * input],
                rows,
                &mut history.kept[end * count * width..],
            );
            for t in first..last {
                let place = |row| self.place(row, t, output);
                self.stepper.step(t, self.rows.clone(), &mut history, end, &mut work, ys, place);
                end += 1;
            }
        }
        h.copy_from_slice(&history.h[end * h.len()..][..h.len()]);
        c.copy_from_slice(&history.c[end * c.len()..][..c.len()]);
        keep.then_some(history)
    }
}

/// The rows of one step.
struct Rows<'a, 'b, F: KernelFloat, R, P> {
    stepper: &'a Stepper<'b, F, R>,
    t: usize,
    /// The example of the first row.
    first: usize,
    count: usize,
    /// Whether `forth`, `finish` and what is around the rule are to be done.
    stages: [bool; 3],
    seen: &'a [F],
    place: &'a P,
}

/// One step of all rows.
struct Settling<'a, 'b, 'c, F: KernelFloat, R, P> {
    rows: Rows<'a, 'b, F, R, P>,
    slot: &'a mut Slot<'c, F>,
    scratch: (&'a mut [F], &'a mut [F]),
    ys: &'a mut [F],
}

impl<F: KernelFloat, R: Rule, P: Fn(usize) -> Option<Range<usize>>> Pass
    for Settling<'_, '_, '_, F, R, P>
{
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { rows, slot, scratch: (scratch, zone), ys } = self;
        let stepper = rows.stepper;
        let Sizes { hidden, output, kept: width, .. } = stepper.weights.sizes;
        let memory = if R::MEMORY { hidden } else { 0 };
        let [forth, finish, settle] = rows.stages;
        let ([apart_h, apart_c], second) = (stepper.apart(), stepper.second());
        for row in 0..rows.count {
            let place = (rows.place)(row);
            let h_before = &slot.h_before[row * output..][..output];
            let c_before = &slot.c_before[row * memory..][..memory];
            let h = &mut slot.h[row * output..][..output];
            let c = &mut slot.c[row * memory..][..memory];
            let Some(place) = place else {
                h.copy_from_slice(h_before);
                c.copy_from_slice(c_before);
                if second && forth {
                    slot.inner[row * hidden..][..hidden].fill(F::ZERO);
                }
                continue;
            };
            // The parts of a row that is not known to be one of many are soon seen to lie apart; those of all rows lie between each other.
            let kept = black_box(&mut slot.kept[row * width..][..width]);
            let seen = &rows.seen[row * output..][..output];
            let own = &stepper.weights.own[..];
            if forth {
                let h = match (second, apart_h) {
                    (true, _) => &mut slot.inner[row * hidden..][..hidden],
                    (false, true) => &mut slot.own_h[row * output..][..output],
                    (false, false) => &mut *h,
                };
                let c = if apart_c { &mut slot.own_c[row * hidden..][..hidden] } else { &mut *c };
                let scratch = &mut *scratch;
                stepper.rule.forth::<F, FUSED>(RowForth {
                    kept: &mut *kept,
                    seen,
                    h_before,
                    c_before,
                    h,
                    c,
                    own,
                    scratch,
                });
            }
            if finish {
                let h = if apart_h { &mut slot.own_h[row * output..][..output] } else { &mut *h };
                let (c, scratch) = (&mut [][..], &mut *scratch);
                stepper.rule.finish::<F, FUSED>(RowForth {
                    kept,
                    seen,
                    h_before,
                    c_before,
                    h,
                    c,
                    own,
                    scratch,
                });
            }
            if !settle {
                continue;
            }
            if apart_h {
                h.copy_from_slice(&slot.own_h[row * output..][..output]);
                if let Some(alpha) = stepper.temporal_residual {
                    h.iter_mut().zip(h_before).for_each(|(h, before)| *h = *before + alpha * *h);
                }
                zone_out(stepper.zoneout[0], rows.t, rows.first + row, zone, h, h_before);
            }
            if apart_c {
                c.copy_from_slice(&slot.own_c[row * hidden..][..hidden]);
                zone_out(stepper.zoneout[1], rows.t, rows.first + row, zone, c, c_before);
            }
            if !ys.is_empty() {
                ys[place].copy_from_slice(h);
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
