//! The forward pass of a chunk of examples.

use crate::buffer::Buffer;
use crate::program::{Program, Slot};
use crate::step::{Batch, Pass};
use crate::KernelFloat;
use recurrent_core::{Bptt, TimeIndex};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The approximate number of rows (examples times steps) that are projected at once: few enough to
/// stay in the second-level cache until their steps run.
const BLOCK_ROWS: usize = 64;

/// A chunk of examples.
pub(crate) struct Chunk<'a, F: KernelFloat> {
    pub(crate) batch: Batch<'a, F>,
    pub(crate) time_index: &'a TimeIndex,
    pub(crate) bptt: Bptt,
    pub(crate) xs: &'a [F], // (rows, time, input), of these rows
}

impl<F: KernelFloat> Chunk<'_, F> {
    /// Where row `row` reads or writes at step `t` among values `(rows, time, width)`; `None` once
    /// its example has ended.
    #[inline(always)]
    pub(crate) fn row_range(&self, row: usize, t: usize, width: usize) -> Option<Range<usize>> {
        let example = self.batch.first + row;
        let at = (row * self.time_index.time() + self.time_index.position(example, t)) * width;
        (t < self.time_index.len(example)).then(|| at..at + width)
    }

    /// Gathers the inputs of `steps`, `(steps, rows, input)`. An example that has ended repeats its
    /// last input: a cell may divide by it, and zero would give its gradients NaN.
    pub(crate) fn gather(&self, steps: Range<usize>, pass: &mut Pass<F>) {
        let width = self.batch.program.graph.input;
        let start = pass.layout.address(Slot::Input).start([0; 2], 0);
        let mut out = pass.work[start..].chunks_exact_mut(width);
        for t in steps {
            for row in 0..self.batch.rows {
                let out = out.next().expect("room for every step and row");
                let last = self.time_index.len(self.batch.first + row).saturating_sub(1);
                match self.row_range(row, t.min(last), width) {
                    Some(range) => out.copy_from_slice(&self.xs[range]),
                    None => out.fill(F::ZERO),
                }
            }
        }
    }

    /// Marks the rows that run at step `t`; whether all do.
    pub(crate) fn set_runs(&self, t: usize, runs: &mut [bool]) -> bool {
        for (row, runs) in runs.iter_mut().enumerate() {
            *runs = t < self.time_index.len(self.batch.first + row);
        }
        runs.iter().all(|runs| *runs)
    }

    /// Runs `steps`, from and to `state`, and returns their tape, whole if `save`. Writes the
    /// outputs `(rows, time, output)` if they are wanted.
    pub(crate) async fn forward(
        &self,
        steps: Range<usize>,
        state: &mut [Vec<F>],
        ys: Option<&Mutex<&mut [F]>>,
        save: bool,
    ) -> Buffer<F> {
        let batch = &self.batch;
        let block = BLOCK_ROWS.div_ceil(batch.rows).min(steps.len());
        let mut pass = batch.forward_pass(if save { steps.len() } else { block }, block, save);
        let mut tape = batch.tape(&pass, state);
        let mut at = 0;
        batch.hand_over_state(&pass.layout, &tape, steps.start, at);
        for first in steps.clone().step_by(block) {
            let last = (first + block).min(steps.end);
            if !save && at > 0 {
                batch.rewind(&pass.layout, &mut tape, at);
                at = 0;
            }
            self.gather(first..last, &mut pass);
            batch.project(&mut pass, &mut tape, at, last - first);
            for t in first..last {
                let all = self.set_runs(t, &mut pass.runs);
                batch.step(&mut pass, &mut tape, t, [at, t - first]).await;
                if !all {
                    self.keep_ended(&pass, &mut tape, at);
                }
                at += 1;
                batch.hand_over_state(&pass.layout, &tape, t + 1, at);
            }
            if let Some(ys) = ys {
                let mut ys = ys.lock().unwrap_or_else(PoisonError::into_inner);
                self.put_outputs(&pass, &mut tape, first..last, at, &mut ys);
            }
        }
        for (field, state) in state.iter_mut().enumerate() {
            state.copy_from_slice(batch.field(&pass.layout, &mut tape, field, at));
        }
        tape
    }

    /// Writes the outputs of `steps`, which end before step `at` of the tape.
    fn put_outputs(
        &self,
        pass: &Pass<F>,
        tape: &mut [F],
        steps: Range<usize>,
        at: usize,
        ys: &mut [F],
    ) {
        let output = self.batch.program.graph.fields[0];
        let own = self.batch.share.of(output);
        let first = at - steps.len();
        for (step, t) in steps.enumerate() {
            let h = &*self.batch.field(&pass.layout, tape, 0, first + step + 1);
            for (row, h) in h.chunks_exact(own.len()).enumerate() {
                if let Some(range) = self.row_range(row, t, output) {
                    ys[range][own.clone()].copy_from_slice(h);
                }
            }
        }
    }

    /// Keeps the state of examples that have ended before step `at` of the tape. Sets what products
    /// multiply there to zero: it is no value of a sequence, and may be infinite.
    fn keep_ended(&self, pass: &Pass<F>, tape: &mut [F], at: usize) {
        let Program { graph, sources, .. } = self.batch.program;
        let address = |slot| pass.layout.address(slot);
        for row in (0..self.batch.rows).filter(|&row| !pass.runs[row]) {
            for field in 0..graph.fields.len() {
                let (before, after) = (address(Slot::Before(field)), address(Slot::After(field)));
                let from = before.start([at, 0], row);
                tape.copy_within(from..from + before.row, after.start([at, 0], row));
            }
            for source in sources {
                if matches!(source.slot, Slot::Source(_) | Slot::Saved(_)) {
                    let own = address(source.slot);
                    let from = own.start([at, 0], row);
                    tape[from..from + own.row].fill(F::ZERO);
                }
            }
        }
    }
}
