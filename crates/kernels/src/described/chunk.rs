//! The passes of one chunk of examples.

use super::interpreter::{block_rows, Interpreter, Rows, Vectors};
use super::program::{Instruction, Program, Slot};
use super::weights::{WeightGrads, Weights};
use crate::backward::flush_subnormals;
use crate::bptt::clip;
use crate::buffer::Buffer;
use crate::gemm::{
    add_product, set_product, set_product_and_row, Interleaved, Lhs, MatrixLayout, Output, Packed,
};
use crate::simd::dispatch;
use crate::KernelFloat;
use recurrent_core::{Bptt, GradientAccumulator, TimeIndex, Zoneout};
use std::ops::Range;

/// The approximate number of rows (examples times steps) that are projected at once.
const FORWARD_ROWS: usize = 64;

/// The approximate number of rows in one product for the gradients of the weights.
const BACKWARD_ROWS: usize = 256;

/// Runs single steps of some rows.
pub(super) struct Stepper<'a, F: KernelFloat> {
    pub(super) program: &'a Program,
    pub(super) weights: &'a Weights<F>,
    /// The zoneout of each field.
    pub(super) zoneout: &'a [Option<Zoneout>],
    /// The factors of dropout on the recurrence, `(rows, output)`, or empty.
    pub(super) mask: &'a [F],
    /// The example of the first row, and the number of rows.
    pub(super) first: usize,
    pub(super) rows: usize,
}

/// A record of some steps, for the backward pass.
pub(super) struct Tape<F: KernelFloat> {
    /// (steps + 1, rows, size) of each field.
    pub(super) fields: Vec<Buffer<F>>,
    saved: Vec<Buffer<F>>,   // (steps, rows, width) each
    sources: Vec<Buffer<F>>, // the same; empty if the source is a field
}

/// Scratch memory of a step.
pub(super) struct Scratch<F: KernelFloat> {
    pub(super) linears: Vec<Buffer<F>>, // (block, rows, width) each
    zoneout: Vec<Buffer<F>>,            // (rows, size) each, or empty
    temps: Vec<Buffer<F>>,
    frame: Vec<Rows<'static, F>>,
    block: usize,
    runs: Vec<bool>,
}

impl<F: KernelFloat> Stepper<'_, F> {
    /// A tape for `steps` steps, from `state`.
    pub(super) fn tape(&self, steps: usize, state: &[&mut [F]]) -> Tape<F> {
        let Program { graph, saved, sources, .. } = self.program;
        let room = |width: usize| Buffer::recycled(steps * self.rows * width);
        let field = |(size, state): (&usize, &&mut [F])| {
            let mut field = Buffer::recycled((steps + 1) * self.rows * size);
            field[..state.len()].copy_from_slice(state);
            field
        };
        Tape {
            fields: graph.fields.iter().zip(state).map(field).collect(),
            saved: saved.iter().map(|&width| room(width)).collect(),
            sources: sources
                .iter()
                .map(|source| match source.slot {
                    Slot::Source(_) => room(source.width),
                    _ => room(0),
                })
                .collect(),
        }
    }

    /// Scratch memory for sums of products of `block` steps.
    pub(super) fn scratch(&self, block: usize) -> Scratch<F> {
        let Program { graph, temps, .. } = self.program;
        let widest = graph.fields.iter().copied().max().unwrap_or(1);
        let rows = block_rows(widest).min(self.rows);
        let zoneout = |(size, zoneout): (&usize, &Option<Zoneout>)| {
            Buffer::recycled(zoneout.map_or(0, |_| self.rows * size))
        };
        Scratch {
            linears: graph
                .linears
                .iter()
                .map(|linear| Buffer::recycled(block * self.rows * linear.width))
                .collect(),
            zoneout: graph.fields.iter().zip(self.zoneout).map(zoneout).collect(),
            temps: temps.iter().map(|width| Buffer::recycled(rows * width)).collect(),
            frame: Vec::with_capacity(self.program.slots.count()),
            block: rows,
            runs: vec![true; self.rows],
        }
    }

    /// Starts the sums of products of `steps` steps: biases, and the products of the inputs
    /// `(steps, rows, input)`.
    pub(super) fn project(&self, xs: &[F], steps: usize, linears: &mut [Buffer<F>]) {
        let graph = &self.program.graph;
        let rows = steps * self.rows;
        for (index, out) in linears.iter_mut().enumerate() {
            let width = graph.linears[index].width;
            let (start, matrices) = &self.weights.linears[index];
            let out = &mut out[..rows * width];
            let mut begun = false;
            for (source, matrix) in self.program.products[index].iter().zip(matrices) {
                if source.is_some() {
                    continue;
                }
                let xs = Lhs::Rows { values: xs, rows, stride: graph.input };
                match begun {
                    false => set_product_and_row(Output::rows(out, width), xs, matrix, start),
                    true => add_product(Output::rows(out, width), xs, matrix),
                }
                begun = true;
            }
            if !begun {
                out.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(start));
            }
        }
    }

    /// Fills the factors of zoneout for step `t`.
    fn fill_zoneout(&self, t: usize, zoneout: &mut [Buffer<F>]) {
        let fields = self.program.graph.fields.iter().zip(self.zoneout).zip(zoneout);
        for ((&size, zoneout), out) in fields {
            let Some(zoneout) = zoneout else { continue };
            for (row, k) in out.chunks_exact_mut(size).enumerate() {
                zoneout.fill(t, self.first + row, k, F::from_f64);
            }
        }
    }

    fn run(
        &self,
        instructions: &[Instruction],
        frame: &mut [Rows<F>],
        grads: &mut [Vec<F>],
        block: usize,
        runs: &[bool],
    ) {
        let mut vectors = Vectors { values: &self.weights.vectors, grads };
        dispatch(Interpreter {
            instructions,
            frame,
            vectors: &mut vectors,
            rows: self.rows,
            block,
            runs,
        });
    }

    /// Runs step `t`, from and to step `at` of the tape; step `of_block` of the sums of products is
    /// projected already. `x` is its input, `(rows, input)`.
    pub(super) fn step(
        &self,
        t: usize,
        tape: &mut Tape<F>,
        at: usize,
        x: &[F],
        scratch: &mut Scratch<F>,
        of_block: usize,
    ) {
        let Program { graph, slots, sources, forward, .. } = self.program;
        let rows = self.rows;
        self.fill_zoneout(t, &mut scratch.zoneout);
        let mut frame = emptied(std::mem::take(&mut scratch.frame));
        frame.resize_with(slots.count(), || Rows::None);
        let mut put = |slot: Slot, rows| frame[slots.index(slot)] = rows;
        put(Slot::Input, Rows::Read(x, graph.input));
        put(Slot::Mask, Rows::Read(self.mask, graph.fields[0]));
        for (field, (values, &size)) in tape.fields.iter_mut().zip(&graph.fields).enumerate() {
            let (before, after) =
                values[at * rows * size..(at + 2) * rows * size].split_at_mut(rows * size);
            put(Slot::Before(field), Rows::Read(before, size));
            put(Slot::After(field), Rows::Write(after, size));
            put(Slot::Zoneout(field), Rows::Read(&scratch.zoneout[field], size));
        }
        for (index, (values, linear)) in scratch.linears.iter_mut().zip(&graph.linears).enumerate()
        {
            let width = linear.width;
            let own = &mut values[of_block * rows * width..][..rows * width];
            put(Slot::Linear(index), Rows::Write(own, width));
        }
        for (index, (values, source)) in tape.sources.iter_mut().zip(sources).enumerate() {
            if matches!(source.slot, Slot::Source(_)) {
                let own = &mut values[at * rows * source.width..][..rows * source.width];
                put(Slot::Source(index), Rows::Write(own, source.width));
            }
        }
        for (index, (values, &width)) in tape.saved.iter_mut().zip(&self.program.saved).enumerate()
        {
            let own = &mut values[at * rows * width..][..rows * width];
            put(Slot::Saved(index), Rows::Write(own, width));
        }
        for (index, (values, &width)) in
            scratch.temps.iter_mut().zip(&self.program.temps).enumerate()
        {
            put(Slot::Temp(index), Rows::Temp(values, width));
        }
        for stage in forward {
            for &linear in &stage.products {
                let own = slots.index(Slot::Linear(linear));
                let mut out = std::mem::replace(&mut frame[own], Rows::None);
                let Rows::Write(values, width) = &mut out else { unreachable!("it was put there") };
                let matrices = &self.weights.linears[linear].1;
                for (source, matrix) in self.program.products[linear].iter().zip(matrices) {
                    let Some(source) = source.map(|source| sources[source]) else { continue };
                    let (left, stride) = frame[slots.index(source.slot)].from(0);
                    let left = Lhs::Rows { values: left, rows, stride };
                    add_product(Output::rows(values, *width), left, matrix);
                }
                frame[own] = out;
            }
            self.run(&stage.instructions, &mut frame, &mut [], scratch.block, &scratch.runs);
        }
        scratch.frame = emptied(frame);
    }
}

/// An empty vector with the memory of `frame`.
fn emptied<'b, F>(mut frame: Vec<Rows<'_, F>>) -> Vec<Rows<'b, F>> {
    frame.clear();
    frame.into_iter().map(|_| Rows::None).collect() // in place
}

impl<F: KernelFloat> Tape<F> {
    /// Moves the state of `rows` rows after `steps` steps to the front.
    pub(super) fn keep_last_state(&mut self, steps: usize, rows: usize, sizes: &[usize]) {
        for (field, size) in self.fields.iter_mut().zip(sizes) {
            let size = rows * size;
            field.copy_within(steps * size..(steps + 1) * size, 0);
        }
    }
}

/// A chunk of examples.
pub(super) struct Chunk<'a, F: KernelFloat> {
    pub(super) stepper: Stepper<'a, F>,
    pub(super) time_index: &'a TimeIndex,
    pub(super) bptt: Bptt,
    pub(super) xs: &'a [F], // (rows, time, input), of these rows
}

/// The arguments of a chunk's backward pass.
pub(super) struct BackwardArgs<'a, F: KernelFloat> {
    pub(super) matrices: &'a [Vec<Packed<F>>],
    /// dL/dys, `(rows, time, output)`, or empty.
    pub(super) grad_ys: &'a [F],
    /// The gradients of the weights; the pass adds to them.
    pub(super) grads: &'a mut WeightGrads<F>,
    /// Whether the gradients of the weights are needed.
    pub(super) needs_weights: bool,
    /// The gradient of the inputs, `(rows, time, input)`, or empty; the pass writes it.
    pub(super) dxs: &'a mut [F],
    /// One accumulator for each field of the state, or empty.
    pub(super) accumulators: &'a mut [GradientAccumulator],
}

/// Scratch memory of the backward pass through one segment.
struct BackwardScratch<F: KernelFloat> {
    linears: Vec<Buffer<F>>, // (block, rows, width): gradients of the sums of products
    sources: Vec<Buffer<F>>, // (rows, width): gradients of the left sides
    before: Vec<Buffer<F>>,  // (rows, size): gradients of the state before the step
    kept: Vec<Buffer<F>>,    // (rows, width)
    zoneout: Vec<Buffer<F>>,
    temps: Vec<Buffer<F>>,
    input: Buffer<F>, // (block, rows, input): the direct gradient of the input, or empty
    frame: Vec<Rows<'static, F>>,
    block: usize,
    runs: Vec<bool>,
}

impl<F: KernelFloat> Chunk<'_, F> {
    /// Where row `row` reads or writes at step `t` among values `(rows, time, width)`; `None` once
    /// its example has ended.
    fn row_range(&self, row: usize, t: usize, width: usize) -> Option<Range<usize>> {
        let example = self.stepper.first + row;
        let at = (row * self.time_index.time() + self.time_index.position(example, t)) * width;
        (t < self.time_index.len(example)).then(|| at..at + width)
    }

    /// Gathers the inputs of `steps`, `(steps, rows, input)`; zero where an example has ended.
    fn gather(&self, steps: Range<usize>, out: &mut [F]) {
        let width = self.stepper.program.graph.input;
        let mut out = out.chunks_exact_mut(width);
        for t in steps {
            for row in 0..self.stepper.rows {
                let out = out.next().expect("room for every step and row");
                match self.row_range(row, t, width) {
                    Some(range) => out.copy_from_slice(&self.xs[range]),
                    None => out.fill(F::ZERO),
                }
            }
        }
    }

    fn set_runs(&self, t: usize, runs: &mut [bool]) {
        for (row, runs) in runs.iter_mut().enumerate() {
            *runs = t < self.time_index.len(self.stepper.first + row);
        }
    }

    /// Runs `steps`, from and to `state`. Writes the outputs `(rows, time, output)` unless `ys` is
    /// empty; returns the tape if `save`.
    pub(super) fn forward(
        &self,
        steps: Range<usize>,
        state: &mut [&mut [F]],
        ys: &mut [F],
        save: bool,
    ) -> Option<Tape<F>> {
        let stepper = &self.stepper;
        let (graph, rows) = (&stepper.program.graph, stepper.rows);
        let output = graph.fields[0];
        let block = FORWARD_ROWS.div_ceil(rows).min(steps.len());
        let mut tape = stepper.tape(if save { steps.len() } else { 1 }, state);
        let mut scratch = stepper.scratch(block);
        let mut xs = Buffer::recycled(block * rows * graph.input);
        for first in steps.clone().step_by(block) {
            let last = (first + block).min(steps.end);
            self.gather(first..last, &mut xs[..(last - first) * rows * graph.input]);
            stepper.project(&xs, last - first, &mut scratch.linears);
            for t in first..last {
                let at = if save { t - steps.start } else { 0 };
                self.set_runs(t, &mut scratch.runs);
                let x = &xs[(t - first) * rows * graph.input..][..rows * graph.input];
                stepper.step(t, &mut tape, at, x, &mut scratch, t - first);
                for (field, &size) in tape.fields.iter_mut().zip(&graph.fields) {
                    let (before, after) =
                        field[at * rows * size..(at + 2) * rows * size].split_at_mut(rows * size);
                    for row in (0..rows).filter(|&row| !scratch.runs[row]) {
                        let own = row * size..(row + 1) * size;
                        after[own.clone()].copy_from_slice(&before[own]);
                    }
                }
                if !ys.is_empty() {
                    let h = &tape.fields[0][(at + 1) * rows * output..][..rows * output];
                    for (row, h) in h.chunks_exact(output).enumerate() {
                        if let Some(range) = self.row_range(row, t, output) {
                            ys[range].copy_from_slice(h);
                        }
                    }
                }
                if !save {
                    tape.keep_last_state(1, rows, &graph.fields);
                }
            }
        }
        let end = if save { steps.len() } else { 0 };
        for (state, field) in state.iter_mut().zip(&tape.fields) {
            let size = state.len();
            state.copy_from_slice(&field[end * size..][..size]);
        }
        save.then_some(tape)
    }

    /// Runs backward over the `steps` of `tape`. `grad` is the gradient of the state after them,
    /// then of the state before them.
    pub(super) fn backward(
        &self,
        steps: Range<usize>,
        tape: &Tape<F>,
        grad: &mut [&mut [F]],
        args: &mut BackwardArgs<F>,
    ) {
        let graph = &self.stepper.program.graph;
        let rows = self.stepper.rows;
        let block = BACKWARD_ROWS.div_ceil(rows).min(steps.len());
        let mut work = self.backward_scratch(block);
        let mut xs = Buffer::recycled(block * rows * graph.input);
        for first in steps.clone().step_by(block).rev() {
            let last = (first + block).min(steps.end);
            let gathered = args.needs_weights || self.stepper.program.reads_input;
            if gathered {
                self.gather(first..last, &mut xs[..(last - first) * rows * graph.input]);
            }
            work.input.fill(F::ZERO);
            for t in (first..last).rev() {
                self.add_outputs(args.grad_ys, t, grad[0]);
                self.clip_hidden_grad(t, grad[0]);
                self.record(args.accumulators, t + 1, grad);
                let x = &xs[(t - first) * rows * graph.input..][..rows * graph.input];
                self.step_backward(t, t - first, (tape, t - steps.start), x, grad, &mut work, args);
                self.truncate(t, grad);
            }
            let rows = (last - first) * rows;
            if args.needs_weights {
                self.add_weight_grads(first - steps.start, rows, tape, &xs, &work, args.grads);
            }
            if !args.dxs.is_empty() {
                let out = &mut xs[..rows * graph.input];
                self.input_grads(rows, &work, args.matrices, out);
                self.scatter(out, first..last, args.dxs);
            }
        }
        if steps.start == 0 {
            self.record(args.accumulators, 0, grad);
        }
    }

    fn backward_scratch(&self, block: usize) -> BackwardScratch<F> {
        let Program { graph, sources, kept, .. } = self.stepper.program;
        let rows = self.stepper.rows;
        let Scratch { linears, zoneout, temps, frame, block: rows_at_once, runs } =
            self.stepper.scratch(block);
        let room = |width: usize| Buffer::recycled(rows * width);
        let input = if self.stepper.program.grad_input { block * rows * graph.input } else { 0 };
        BackwardScratch {
            linears,
            sources: sources.iter().map(|source| room(source.width)).collect(),
            before: graph.fields.iter().map(|&size| room(size)).collect(),
            kept: kept.iter().map(|&width| room(width)).collect(),
            zoneout,
            temps,
            input: Buffer::recycled(input),
            frame,
            block: rows_at_once,
            runs,
        }
    }

    /// Runs step `t` backward; it is step `of_block` of the block, and step `at` of the tape.
    #[allow(clippy::too_many_arguments)]
    fn step_backward(
        &self,
        t: usize,
        of_block: usize,
        (tape, at): (&Tape<F>, usize),
        x: &[F],
        grad: &mut [&mut [F]],
        work: &mut BackwardScratch<F>,
        args: &mut BackwardArgs<F>,
    ) {
        let stepper = &self.stepper;
        let Program { graph, adjoint, slots, sources, backward, .. } = stepper.program;
        let (rows, recorded) = (stepper.rows, !args.accumulators.is_empty());
        self.set_runs(t, &mut work.runs);
        stepper.fill_zoneout(t, &mut work.zoneout);
        if !recorded {
            grad.iter_mut().for_each(|grad| flush_subnormals(grad));
        }
        let mut frame = emptied(std::mem::take(&mut work.frame));
        frame.resize_with(slots.count(), || Rows::None);
        let mut put = |slot: Slot, rows| frame[slots.index(slot)] = rows;
        put(Slot::Input, Rows::Read(x, graph.input));
        put(Slot::Mask, Rows::Read(stepper.mask, graph.fields[0]));
        for (field, &size) in graph.fields.iter().enumerate() {
            let (values, size_at) = (&tape.fields[field], rows * size);
            put(Slot::Before(field), Rows::Read(&values[at * size_at..][..size_at], size));
            put(Slot::After(field), Rows::Read(&values[(at + 1) * size_at..][..size_at], size));
            put(Slot::Zoneout(field), Rows::Read(&work.zoneout[field], size));
            put(Slot::Grad(field), Rows::Read(grad[field], size));
        }
        for (index, (values, &size)) in work.before.iter_mut().zip(&graph.fields).enumerate() {
            if stepper.program.fill_fields[index] {
                values.fill(F::ZERO);
            }
            put(Slot::GradBefore(index), Rows::Write(values, size));
        }
        for (index, (values, linear)) in work.linears.iter_mut().zip(&graph.linears).enumerate() {
            let width = linear.width;
            let own = &mut values[of_block * rows * width..][..rows * width];
            if stepper.program.fill_linears[index] {
                own.fill(F::ZERO);
            }
            put(Slot::GradLinear(index), Rows::Write(own, width));
        }
        for (index, (values, source)) in work.sources.iter_mut().zip(sources).enumerate() {
            put(Slot::GradSource(index), Rows::Write(values, source.width));
        }
        for (index, (values, source)) in tape.sources.iter().zip(sources).enumerate() {
            if matches!(source.slot, Slot::Source(_)) {
                let own = &values[at * rows * source.width..][..rows * source.width];
                put(Slot::Source(index), Rows::Read(own, source.width));
            }
        }
        for (index, (values, &width)) in tape.saved.iter().zip(&stepper.program.saved).enumerate() {
            put(
                Slot::Saved(index),
                Rows::Read(&values[at * rows * width..][..rows * width], width),
            );
        }
        for (index, (values, &width)) in work.kept.iter_mut().zip(&stepper.program.kept).enumerate()
        {
            put(Slot::Kept(index), Rows::Write(values, width));
        }
        for (index, (values, &width)) in
            work.temps.iter_mut().zip(&stepper.program.temps).enumerate()
        {
            put(Slot::Temp(index), Rows::Temp(values, width));
        }
        if !work.input.is_empty() {
            let own = &mut work.input[of_block * rows * graph.input..][..rows * graph.input];
            put(Slot::GradInput, Rows::Write(own, graph.input));
        }
        for stage in backward {
            let grads = &mut args.grads.vectors;
            stepper.run(&stage.instructions, &mut frame, grads, work.block, &work.runs);
            for &source in &stage.products {
                let own = slots.index(Slot::GradSource(source));
                let mut out = std::mem::replace(&mut frame[own], Rows::None);
                let Rows::Write(values, width) = &mut out else { unreachable!("it was put there") };
                let mut begun = false;
                for linear in 0..graph.linears.len() {
                    if adjoint.linears[linear].is_empty() {
                        continue;
                    }
                    let products = &stepper.program.products[linear];
                    for (of, matrix) in products.iter().zip(&args.matrices[linear]) {
                        if *of != Some(source) {
                            continue;
                        }
                        let (d, stride) = frame[slots.index(Slot::GradLinear(linear))].from(0);
                        let d = Lhs::Rows { values: d, rows, stride };
                        match begun {
                            false => set_product(Output::rows(values, *width), d, matrix),
                            true => add_product(Output::rows(values, *width), d, matrix),
                        }
                        begun = true;
                    }
                }
                frame[own] = out;
            }
        }
        work.frame = emptied(frame);
        for (values, linear) in work.linears.iter_mut().zip(&graph.linears) {
            let own = &mut values[of_block * rows * linear.width..][..rows * linear.width];
            for (row, d) in own.chunks_exact_mut(linear.width).enumerate() {
                if !work.runs[row] {
                    d.fill(F::ZERO);
                }
            }
            if !recorded {
                flush_subnormals(own);
            }
        }
        for ((grad, before), &size) in grad.iter_mut().zip(&work.before).zip(&graph.fields) {
            let pairs = grad.chunks_exact_mut(size).zip(before.chunks_exact(size)).enumerate();
            for (_, (grad, before)) in pairs.filter(|(row, _)| work.runs[*row]) {
                grad.copy_from_slice(before);
            }
        }
    }

    /// Adds dL/dy_t to dL/dh.
    fn add_outputs(&self, grad_ys: &[F], t: usize, dh: &mut [F]) {
        let output = self.stepper.program.graph.fields[0];
        if grad_ys.is_empty() {
            return;
        }
        for (row, dh) in dh.chunks_exact_mut(output).enumerate() {
            if let Some(range) = self.row_range(row, t, output) {
                dh.iter_mut().zip(&grad_ys[range]).for_each(|(dh, dy)| *dh += *dy);
            }
        }
    }

    /// Clips dL/dh after step `t`, of the examples that run there.
    fn clip_hidden_grad(&self, t: usize, dh: &mut [F]) {
        let Some(bound) = self.bptt.clip else { return };
        let output = self.stepper.program.graph.fields[0];
        for (row, dh) in dh.chunks_exact_mut(output).enumerate() {
            if t < self.time_index.len(self.stepper.first + row) {
                clip(dh, bound);
            }
        }
    }

    /// Sets the gradient of the state before step `t` to zero where backpropagation is truncated.
    fn truncate(&self, t: usize, grad: &mut [&mut [F]]) {
        if self.bptt.truncation.is_none() {
            return;
        }
        for (grad, &size) in grad.iter_mut().zip(&self.stepper.program.graph.fields) {
            for (row, grad) in grad.chunks_exact_mut(size).enumerate() {
                if self.bptt.ends(t, self.time_index.len(self.stepper.first + row)) {
                    grad.fill(F::ZERO);
                }
            }
        }
    }

    fn record(&self, accumulators: &mut [GradientAccumulator], step: usize, grad: &[&mut [F]]) {
        let sizes = &self.stepper.program.graph.fields;
        for (accumulator, (grad, &size)) in accumulators.iter_mut().zip(grad.iter().zip(sizes)) {
            for (row, grad) in grad.chunks_exact(size).enumerate() {
                accumulator.put(self.stepper.first + row, step, grad);
            }
        }
    }

    /// Adds the gradients of the weights of a block of `rows` rows that begins at step `at` of the
    /// tape.
    fn add_weight_grads(
        &self,
        at: usize,
        rows: usize,
        tape: &Tape<F>,
        xs: &[F],
        work: &BackwardScratch<F>,
        grads: &mut WeightGrads<F>,
    ) {
        let Program { graph, adjoint, sources, .. } = self.stepper.program;
        let widest = sources.iter().map(|source| source.width).max().unwrap_or(0).max(graph.input);
        let mut room = Buffer::recycled(rows * widest);
        for (linear, (bias, products)) in grads.linears.iter_mut().enumerate() {
            if adjoint.linears[linear].is_empty() {
                continue;
            }
            let width = graph.linears[linear].width;
            let d = &work.linears[linear][..rows * width];
            for row in d.chunks_exact(width) {
                bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
            }
            let right = Packed::pack(d, MatrixLayout::rows(rows, width));
            for (source, sum) in self.stepper.program.products[linear].iter().zip(products) {
                let (left, size) = match *source {
                    None => (&xs[..rows * graph.input], graph.input),
                    Some(index) => {
                        let size = sources[index].width;
                        let first = at * self.stepper.rows * size;
                        let values = match sources[index].slot {
                            Slot::Before(field) => &tape.fields[field][first..],
                            Slot::After(field) => {
                                &tape.fields[field][first + self.stepper.rows * size..]
                            }
                            _ => &tape.sources[index][first..],
                        };
                        (&values[..rows * size], size)
                    }
                };
                let left = Interleaved::new(left, size, &mut room);
                add_product(sum.out(), Lhs::Interleaved(&left), &right);
            }
        }
    }

    /// The gradient of the inputs of a block.
    fn input_grads(
        &self,
        rows: usize,
        work: &BackwardScratch<F>,
        matrices: &[Vec<Packed<F>>],
        out: &mut [F],
    ) {
        let Program { graph, adjoint, .. } = self.stepper.program;
        let mut begun = false;
        for (linear, matrices) in matrices.iter().enumerate() {
            if adjoint.linears[linear].is_empty() {
                continue;
            }
            for (source, matrix) in self.stepper.program.products[linear].iter().zip(matrices) {
                if source.is_some() {
                    continue;
                }
                let stride = graph.linears[linear].width;
                let d = Lhs::Rows { values: &work.linears[linear], rows, stride };
                match begun {
                    false => set_product(Output::rows(out, graph.input), d, matrix),
                    true => add_product(Output::rows(out, graph.input), d, matrix),
                }
                begun = true;
            }
        }
        if !begun {
            out.fill(F::ZERO);
        }
        out.iter_mut().zip(&*work.input).for_each(|(out, direct)| *out += *direct);
    }

    /// The inverse of [`Chunk::gather`]; padding is left alone.
    fn scatter(&self, by_step: &[F], steps: Range<usize>, out: &mut [F]) {
        let width = self.stepper.program.graph.input;
        let mut values = by_step.chunks_exact(width);
        for t in steps {
            for row in 0..self.stepper.rows {
                let value = values.next().expect("a value for every step and row");
                if let Some(range) = self.row_range(row, t, width) {
                    out[range].copy_from_slice(value);
                }
            }
        }
    }
}
