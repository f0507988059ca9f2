//! The way there, for one chunk of rows.

use crate::gemm::{add_product, Shape};
use crate::simd::{widest, Pass};
use crate::weights::{Sizes, Weights};
use crate::{Float, RowForth, Rule};
use recurrent_core::Route;
use std::ops::Range;

/// About how many rows (examples times steps) one product over a block has.
const BLOCK_ROWS: usize = 256;

/// How many steps are projected at once for a chunk of `rows` examples.
pub(crate) fn block_steps(rows: usize) -> usize {
    BLOCK_ROWS.div_ceil(rows)
}

/// What a chunk keeps for the way back, by step.
pub(crate) struct Reserve<F> {
    pub(crate) kept: Vec<F>, // (steps, rows, kept)
    pub(crate) h: Vec<F>,    // (steps + 1, rows, hidden); step 0 is the initial state
    pub(crate) c: Vec<F>,    // the same, or empty
    /// The rule's own outputs, `(steps, rows, hidden)`, where a residual connection over time makes the state another.
    pub(crate) inner: Vec<F>,
}

/// One chunk's input and output.
pub(crate) struct Chunk<'a, F, R> {
    pub(crate) rule: &'a R,
    /// α of h_t = h_{t-1} + α rule(x_t, h_{t-1}), if the rule has such a connection around it.
    pub(crate) over_time: Option<F>,
    pub(crate) weights: &'a Weights<F>,
    pub(crate) route: &'a Route,
    pub(crate) rows: Range<usize>,
    pub(crate) xs: &'a [F], // (rows, time, input), of these rows
}

impl<F: Float, R: Rule> Chunk<'_, F, R> {
    fn count(&self) -> usize {
        self.rows.len()
    }

    /// Where row `row` reads or writes at step `t` among values `(rows, time, width)`; nowhere once its example has ended.
    #[inline(always)]
    pub(crate) fn place(&self, row: usize, t: usize, width: usize) -> Option<Range<usize>> {
        let example = self.rows.start + row;
        let at = (row * self.route.time() + self.route.position(example, t)) * width;
        (t < self.route.len(example)).then(|| at..at + width)
    }

    /// The inputs of `steps`, `(steps, rows, input)`; zero where an example has ended.
    pub(crate) fn gather(&self, values: &[F], width: usize, steps: Range<usize>, out: &mut [F]) {
        let mut out = out.chunks_exact_mut(width);
        for t in steps {
            for row in 0..self.count() {
                let out = out.next().expect("room for every step and row");
                match self.place(row, t, width) {
                    Some(place) => out.copy_from_slice(&values[place]),
                    None => out.fill(F::ZERO),
                }
            }
        }
    }

    /// Runs, from and to the state `h`, `c`; writes outputs `(rows, time, hidden)` unless `ys` is empty; keeps what the way back
    /// needs if `keep`.
    pub(crate) fn forth(&self, h: &mut [F], c: &mut [F], ys: &mut [F], keep: bool) -> Option<Reserve<F>> {
        let Sizes { input, hidden, rows, kept: width } = self.weights.sizes;
        let (count, steps) = (self.count(), self.route.steps());
        let (state, memory) = (count * hidden, if R::MEMORY { count * hidden } else { 0 });
        let block = block_steps(count).min(steps);
        let slots = if keep { steps } else { block };
        let mut reserve = Reserve {
            kept: vec![F::ZERO; slots * count * width],
            h: vec![F::ZERO; (slots + 1) * state],
            c: vec![F::ZERO; (slots + 1) * memory],
            inner: vec![F::ZERO; if self.over_time.is_some() { slots * state } else { 0 }],
        };
        reserve.h[..state].copy_from_slice(h);
        reserve.c[..memory].copy_from_slice(c);
        let mut xs = vec![F::ZERO; block * count * input];
        let mut recurrent = vec![F::ZERO; if R::APART { count * rows } else { 0 }];
        let mut scratch = vec![F::ZERO; R::SCRATCH * hidden];
        for first in (0..steps).step_by(block) {
            let last = (first + block).min(steps);
            let base = if keep { first } else { 0 };
            if !keep && first > 0 {
                reserve.h.copy_within(block * state.., 0);
                reserve.c.copy_within(block * memory.., 0);
            }
            self.project(first..last, &mut xs, &mut reserve.kept[base * count * width..]);
            for t in first..last {
                let at = base + t - first;
                let kept = &mut reserve.kept[at * count * width..][..count * width];
                let (h_before, h) = around(&mut reserve.h, at, state);
                let (c_before, c) = around(&mut reserve.c, at, memory);
                let hh_t = (&self.weights.hh_t[..], Shape::rows(hidden, rows));
                let before = (h_before, Shape::rows(count, hidden));
                if R::APART {
                    recurrent
                        .chunks_exact_mut(rows)
                        .for_each(|row| row.copy_from_slice(&self.weights.start_recurrent));
                    add_product((&mut recurrent, Shape::rows(count, rows)), before, hh_t);
                } else {
                    add_product((kept, Shape::strided(count, rows, width)), before, hh_t);
                }
                let inner = reserve.inner.chunks_exact_mut(state).nth(at).unwrap_or_default();
                widest(Step {
                    chunk: self,
                    t,
                    kept,
                    inner,
                    recurrent: &mut recurrent,
                    h_before,
                    c_before,
                    h,
                    c,
                    ys,
                    scratch: &mut scratch,
                });
            }
        }
        let end = if keep { steps } else { (steps - 1) % block + 1 };
        h.copy_from_slice(&reserve.h[end * state..][..state]);
        c.copy_from_slice(&reserve.c[end * memory..][..memory]);
        keep.then_some(reserve)
    }

    /// The input part of the pre-activations of `steps`, with the biases.
    fn project(&self, steps: Range<usize>, xs: &mut [F], kept: &mut [F]) {
        let Sizes { input, rows, kept: width, .. } = self.weights.sizes;
        let count = steps.len() * self.count();
        self.gather(self.xs, input, steps, &mut xs[..count * input]);
        let kept = &mut kept[..count * width];
        kept.chunks_exact_mut(width).for_each(|row| row[..rows].copy_from_slice(&self.weights.start));
        let ih_t = (&self.weights.ih_t[..], Shape::rows(input, rows));
        add_product((kept, Shape::strided(count, rows, width)), (xs, Shape::rows(count, input)), ih_t);
    }
}

/// States `at` and `at + 1` of a history.
fn around<F>(history: &mut [F], at: usize, size: usize) -> (&[F], &mut [F]) {
    let (before, after) = history[at * size..(at + 2) * size].split_at_mut(size);
    (before, after)
}

/// One step of all rows.
struct Step<'a, 'b, F, R> {
    chunk: &'a Chunk<'b, F, R>,
    t: usize,
    kept: &'a mut [F],
    inner: &'a mut [F],
    recurrent: &'a mut [F],
    h_before: &'a [F],
    c_before: &'a [F],
    h: &'a mut [F],
    c: &'a mut [F],
    ys: &'a mut [F],
    scratch: &'a mut [F],
}

impl<F: Float, R: Rule> Pass for Step<'_, '_, F, R> {
    #[inline(always)]
    fn run(self) {
        let Sizes { hidden, rows, kept: width, .. } = self.chunk.weights.sizes;
        let memory = if R::MEMORY { hidden } else { 0 };
        for row in 0..self.chunk.count() {
            let kept = &mut self.kept[row * width..][..width];
            let h_before = &self.h_before[row * hidden..][..hidden];
            let c_before = &self.c_before[row * memory..][..memory];
            let h = &mut self.h[row * hidden..][..hidden];
            let c = &mut self.c[row * memory..][..memory];
            let Some(place) = self.chunk.place(row, self.t, hidden) else {
                h.copy_from_slice(h_before);
                c.copy_from_slice(c_before);
                continue;
            };
            let apart = if R::APART { rows } else { 0 };
            self.chunk.rule.forth(RowForth {
                kept,
                recurrent: &mut self.recurrent[row * apart..][..apart],
                h_before,
                c_before,
                h: &mut *h,
                c,
                own: &self.chunk.weights.own,
                scratch: &mut *self.scratch,
            });
            if let Some(alpha) = self.chunk.over_time {
                let inner = &mut self.inner[row * hidden..][..hidden];
                for ((h, inner), before) in h.iter_mut().zip(inner).zip(h_before) {
                    *inner = *h;
                    *h = *before + alpha * *h;
                }
            }
            if !self.ys.is_empty() {
                self.ys[place].copy_from_slice(h);
            }
        }
    }
}
