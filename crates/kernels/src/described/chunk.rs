//! The passes of one chunk of examples.

use super::interpreter::{Interpreter, Memory, Tape};
use super::layout::{Address, Bound, Extent, Layout};
use super::program::{Program, Slot, Stage};
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

/// The approximate number of rows (examples times steps) that are projected at once: few enough to
/// stay in the second-level cache until their steps run.
const FORWARD_ROWS: usize = 64;

/// The approximate number of rows in one product for the gradients of the weights. Each product
/// reads and writes the sums once.
const BACKWARD_ROWS: usize = 256;

/// Some examples, and what runs them.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a, F: KernelFloat> {
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

/// The instructions of a pass, and its scratch memory.
pub(super) struct Pass<F: KernelFloat> {
    pub(super) layout: Layout,
    stages: Vec<Vec<Bound>>,
    pub(super) work: Buffer<F>,
    /// Whether the example of a row has not ended.
    pub(super) runs: Vec<bool>,
}

impl<F: KernelFloat> Batch<'_, F> {
    /// A pass of `stages`, with the values that are the same at every step.
    fn pass(&self, extent: Extent, backward: bool, stages: &[Stage]) -> Pass<F> {
        let Program { graph, constants, .. } = self.program;
        let layout = Layout::new(self.program, extent, backward);
        let mut pass = Pass {
            stages: layout.bind(stages),
            work: Buffer::recycled(layout.work),
            runs: vec![true; self.rows],
            layout,
        };
        let mut put = |slot: Slot, values: &[F]| {
            let start = pass.layout.address(self.program, slot).start([0; 2], 0);
            pass.work[start..start + values.len()].copy_from_slice(values);
        };
        if self.program.reads_mask {
            put(Slot::Mask, self.mask);
        }
        for (index, vector) in self.weights.vectors.iter().enumerate() {
            put(Slot::Weight(index), vector);
            if backward {
                put(Slot::WeightGrad(index), &vec![F::ZERO; vector.len()]);
            }
        }
        for (index, value) in constants.iter().enumerate() {
            put(Slot::Constant(index), &[F::from_f64(*value)]);
        }
        debug_assert!(graph.fields.len() == self.zoneout.len());
        pass
    }

    /// The forward pass, over a tape of `steps` steps.
    pub(super) fn forward_pass(&self, steps: usize, block: usize, saved: bool) -> Pass<F> {
        let extent = Extent { rows: self.rows, steps, block, saved };
        self.pass(extent, false, &self.program.forward)
    }

    /// A tape that begins with `state`.
    pub(super) fn tape(&self, pass: &Pass<F>, state: &[&mut [F]]) -> Buffer<F> {
        let mut tape = Buffer::recycled(pass.layout.tape);
        for (field, state) in state.iter().enumerate() {
            let start = pass.layout.address(self.program, Slot::Before(field)).start([0; 2], 0);
            tape[start..start + state.len()].copy_from_slice(state);
        }
        tape
    }

    /// The state before step `at` of a tape, field by field, to write.
    pub(super) fn field<'t>(
        &self,
        layout: &Layout,
        tape: &'t mut [F],
        field: usize,
        at: usize,
    ) -> &'t mut [F] {
        let start = layout.address(self.program, Slot::Before(field)).start([at, 0], 0);
        &mut tape[start..start + self.rows * self.program.graph.fields[field]]
    }

    /// Moves the state before step `at` of a tape to its front.
    pub(super) fn rewind(&self, layout: &Layout, tape: &mut [F], at: usize) {
        for (field, size) in self.program.graph.fields.iter().enumerate() {
            let start = |at| layout.address(self.program, Slot::Before(field)).start([at, 0], 0);
            tape.copy_within(start(at)..start(at) + self.rows * size, start(0));
        }
    }

    /// Starts the sums of products of `steps` steps from step `at` of the tape on: biases, and the
    /// products of the inputs.
    pub(super) fn project(&self, pass: &mut Pass<F>, tape: &mut [F], at: usize, steps: usize) {
        let Program { graph, products, .. } = self.program;
        let rows = steps * self.rows;
        let xs = pass.layout.address(self.program, Slot::Input);
        let mut memory =
            Memory { tape: Tape::Write(tape), work: &mut pass.work, step: [at, 0] };
        for (index, (start, matrices)) in self.weights.linears.iter().enumerate() {
            let width = graph.linears[index].width;
            let out = pass.layout.address(self.program, Slot::Linear(index));
            let (out, xs) = memory.pair((out, rows * width), (xs, rows * graph.input));
            let mut begun = false;
            for (source, matrix) in products[index].iter().zip(matrices) {
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
    fn fill_zoneout(&self, t: usize, pass: &mut Pass<F>) {
        for (field, &size) in self.program.graph.fields.iter().enumerate() {
            let (true, Some(zoneout)) = (self.program.reads_zoneout[field], self.zoneout[field])
            else {
                continue;
            };
            let start = pass.layout.address(self.program, Slot::Zoneout(field)).start([0; 2], 0);
            let rows = pass.work[start..][..self.rows * size].chunks_exact_mut(size);
            for (row, k) in rows.enumerate() {
                zoneout.fill(t, self.first + row, k, F::from_f64);
            }
        }
    }

    fn run(&self, pass: &Layout, stage: &[Bound], memory: &mut Memory<F>, runs: &[bool]) {
        let (rows, block) = (self.rows, pass.block_rows);
        dispatch(Interpreter { instructions: stage, memory, rows, block, runs });
    }

    /// Runs step `t`, which is step `at` of the tape and step `of_block` of the block. Its sums of
    /// products are projected already.
    pub(super) fn step(
        &self,
        pass: &mut Pass<F>,
        tape: &mut [F],
        t: usize,
        [at, of_block]: [usize; 2],
    ) {
        let Program { graph, sources, products, forward, .. } = self.program;
        self.fill_zoneout(t, pass);
        let Pass { layout, stages, work, runs } = pass;
        let mut memory = Memory { tape: Tape::Write(tape), work, step: [at, of_block] };
        for (stage, instructions) in forward.iter().zip(&*stages) {
            for &linear in &stage.products {
                let width = graph.linears[linear].width;
                let out = layout.address(self.program, Slot::Linear(linear));
                let matrices = &self.weights.linears[linear].1;
                for (source, matrix) in products[linear].iter().zip(matrices) {
                    let Some(source) = source.map(|source| sources[source]) else { continue };
                    let left = layout.address(self.program, source.slot);
                    let pair = ((out, self.rows * width), (left, self.rows * source.width));
                    let (out, left) = memory.pair(pair.0, pair.1);
                    let left = Lhs::Rows { values: left, rows: self.rows, stride: source.width };
                    add_product(Output::rows(out, width), left, matrix);
                }
            }
            self.run(layout, instructions, &mut memory, runs);
        }
    }
}

/// A chunk of examples.
pub(super) struct Chunk<'a, F: KernelFloat> {
    pub(super) batch: Batch<'a, F>,
    pub(super) time_index: &'a TimeIndex,
    pub(super) bptt: Bptt,
    pub(super) xs: &'a [F], // (rows, time, input), of these rows
}

/// The arguments of a chunk's backward pass.
pub(super) struct BackwardArgs<'a, F: KernelFloat> {
    pub(super) matrices: &'a [Vec<Packed<F>>],
    /// dL/dys, `(rows, time, output)`, or empty.
    pub(super) grad_ys: &'a [F],
    /// The gradients of the weights, if they are needed; the pass adds to them.
    pub(super) grads: Option<&'a mut WeightGrads<F>>,
    /// The gradient of the inputs, `(rows, time, input)`, or empty; the pass writes it.
    pub(super) dxs: &'a mut [F],
    /// One accumulator for each field of the state, or empty.
    pub(super) accumulators: &'a mut [GradientAccumulator],
}

impl<F: KernelFloat> Chunk<'_, F> {
    /// Where row `row` reads or writes at step `t` among values `(rows, time, width)`; `None` once
    /// its example has ended.
    #[inline(always)]
    fn row_range(&self, row: usize, t: usize, width: usize) -> Option<Range<usize>> {
        let example = self.batch.first + row;
        let at = (row * self.time_index.time() + self.time_index.position(example, t)) * width;
        (t < self.time_index.len(example)).then(|| at..at + width)
    }

    /// Gathers the inputs of `steps`, `(steps, rows, input)`; zero where an example has ended.
    fn gather(&self, steps: Range<usize>, pass: &mut Pass<F>) {
        let width = self.batch.program.graph.input;
        let start = pass.layout.address(self.batch.program, Slot::Input).start([0; 2], 0);
        let mut out = pass.work[start..].chunks_exact_mut(width);
        for t in steps {
            for row in 0..self.batch.rows {
                let out = out.next().expect("room for every step and row");
                match self.row_range(row, t, width) {
                    Some(range) => out.copy_from_slice(&self.xs[range]),
                    None => out.fill(F::ZERO),
                }
            }
        }
    }

    /// Marks the rows that run at step `t`; whether all do.
    fn set_runs(&self, t: usize, runs: &mut [bool]) -> bool {
        for (row, runs) in runs.iter_mut().enumerate() {
            *runs = t < self.time_index.len(self.batch.first + row);
        }
        runs.iter().all(|runs| *runs)
    }

    /// Runs `steps`, from and to `state`. Writes the outputs `(rows, time, output)` unless `ys` is
    /// empty; returns the tape if `save`.
    pub(super) fn forward(
        &self,
        steps: Range<usize>,
        state: &mut [&mut [F]],
        ys: &mut [F],
        save: bool,
    ) -> Option<Buffer<F>> {
        let batch = &self.batch;
        let (fields, rows) = (&batch.program.graph.fields, batch.rows);
        let output = fields[0];
        let block = FORWARD_ROWS.div_ceil(rows).min(steps.len());
        let mut pass =
            batch.forward_pass(if save { steps.len() } else { block }, block, save);
        let mut tape = batch.tape(&pass, state);
        let mut at = 0;
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
                batch.step(&mut pass, &mut tape, t, [at, t - first]);
                for (field, &size) in fields.iter().enumerate().filter(|_| !all) {
                    let start = pass.layout.address(batch.program, Slot::Before(field));
                    let start = start.start([at, 0], 0);
                    for row in (0..rows).filter(|&row| !pass.runs[row]) {
                        let own = start + row * size..start + (row + 1) * size;
                        tape.copy_within(own, start + (rows + row) * size);
                    }
                }
                at += 1;
                if !ys.is_empty() {
                    let h = &*batch.field(&pass.layout, &mut tape, 0, at);
                    for (row, h) in h.chunks_exact(output).enumerate() {
                        if let Some(range) = self.row_range(row, t, output) {
                            ys[range].copy_from_slice(h);
                        }
                    }
                }
            }
        }
        for (field, state) in state.iter_mut().enumerate() {
            state.copy_from_slice(batch.field(&pass.layout, &mut tape, field, at));
        }
        save.then_some(tape)
    }

    /// Runs backward over the `steps` of `tape`. `grad` is the gradient of the state after them,
    /// then of the state before them.
    pub(super) fn backward(
        &self,
        steps: Range<usize>,
        tape: &[F],
        grad: &mut [&mut [F]],
        args: &mut BackwardArgs<F>,
    ) {
        let batch = &self.batch;
        let program = batch.program;
        let graph = &program.graph;
        let rows = batch.rows;
        let block = BACKWARD_ROWS.div_ceil(rows).min(steps.len());
        let extent = Extent { rows, steps: steps.len(), block, saved: true };
        let mut pass = batch.pass(extent, true, &program.backward);
        let address = |pass: &Pass<F>, slot| pass.layout.address(program, slot).start([0; 2], 0);
        let widest = program.sources.iter().map(|source| source.width).max().unwrap_or(0);
        let mut room = Buffer::recycled(block * rows * widest.max(graph.input));
        for first in steps.clone().step_by(block).rev() {
            let last = (first + block).min(steps.end);
            if args.grads.is_some() || program.reads_input {
                self.gather(first..last, &mut pass);
            }
            if program.grad_input {
                let start = address(&pass, Slot::GradInput);
                pass.work[start..][..block * rows * graph.input].fill(F::ZERO);
            }
            for t in (first..last).rev() {
                self.add_outputs(args.grad_ys, t, grad[0]);
                self.clip_hidden_grad(t, grad[0]);
                self.record(args.accumulators, t + 1, grad);
                let recorded = !args.accumulators.is_empty();
                let at = [t - steps.start, t - first];
                self.step_backward(&mut pass, t, at, tape, grad, args.matrices, recorded);
                self.truncate(t, grad);
            }
            let count = last - first;
            if let Some(grads) = &mut args.grads {
                self.add_weight_grads(&pass, first - steps.start, count, tape, grads, &mut room);
            }
            if !args.dxs.is_empty() {
                self.input_grads(&mut pass, count, args.matrices);
                let start = address(&pass, Slot::Input);
                self.scatter(&pass.work[start..], first..last, args.dxs);
            }
        }
        if let Some(grads) = &mut args.grads {
            for (index, sum) in grads.vectors.iter_mut().enumerate() {
                let start = address(&pass, Slot::WeightGrad(index));
                sum.iter_mut().zip(&pass.work[start..]).for_each(|(sum, value)| *sum += *value);
            }
        }
        if steps.start == 0 {
            self.record(args.accumulators, 0, grad);
        }
    }

    /// Runs step `t` backward, which is step `at` of the tape and of the block. `grad` is the
    /// gradient of the state after it, then of the state before it.
    #[allow(clippy::too_many_arguments)]
    fn step_backward(
        &self,
        pass: &mut Pass<F>,
        t: usize,
        at: [usize; 2],
        tape: &[F],
        grad: &mut [&mut [F]],
        matrices: &[Vec<Packed<F>>],
        recorded: bool,
    ) {
        let batch = &self.batch;
        let Program { graph, adjoint, sources, products, backward, .. } = batch.program;
        let all = self.set_runs(t, &mut pass.runs);
        batch.fill_zoneout(t, pass);
        let Pass { layout, stages, work, runs } = pass;
        let address = |slot| layout.address(batch.program, slot);
        for (field, grad) in grad.iter_mut().enumerate() {
            if !recorded {
                flush_subnormals(grad);
            }
            work[address(Slot::Grad(field)).start(at, 0)..][..grad.len()].copy_from_slice(grad);
            if batch.program.fill_fields[field] {
                let start = address(Slot::GradBefore(field)).start(at, 0);
                work[start..start + grad.len()].fill(F::ZERO);
            }
        }
        for (index, linear) in graph.linears.iter().enumerate() {
            if batch.program.fill_linears[index] {
                let start = address(Slot::GradLinear(index)).start(at, 0);
                work[start..start + batch.rows * linear.width].fill(F::ZERO);
            }
        }
        let mut memory = Memory { tape: Tape::Read(tape), work: &mut *work, step: at };
        for (stage, instructions) in backward.iter().zip(&*stages) {
            batch.run(layout, instructions, &mut memory, runs);
            for &index in &stage.products {
                let source = sources[index];
                let out = (address(source.grad), batch.rows * source.width);
                let mut begun = source.adds;
                for linear in (0..graph.linears.len()).filter(|l| !adjoint.linears[*l].is_empty()) {
                    let width = graph.linears[linear].width;
                    for (of, matrix) in products[linear].iter().zip(&matrices[linear]) {
                        if *of != Some(index) {
                            continue;
                        }
                        let d = (address(Slot::GradLinear(linear)), batch.rows * width);
                        let (out, d) = memory.pair(out, d);
                        let d = Lhs::Rows { values: d, rows: batch.rows, stride: width };
                        match begun {
                            false => set_product(Output::rows(out, source.width), d, matrix),
                            true => add_product(Output::rows(out, source.width), d, matrix),
                        }
                        begun = true;
                    }
                }
            }
        }
        for (index, linear) in graph.linears.iter().enumerate() {
            let start = address(Slot::GradLinear(index)).start(at, 0);
            let own = &mut work[start..start + batch.rows * linear.width];
            let ended = own.chunks_exact_mut(linear.width).zip(&*runs).filter(|(_, runs)| !**runs);
            ended.for_each(|(d, _)| d.fill(F::ZERO));
            if !recorded {
                flush_subnormals(own);
            }
        }
        for (field, (grad, &size)) in grad.iter_mut().zip(&graph.fields).enumerate() {
            let before = &work[address(Slot::GradBefore(field)).start(at, 0)..][..grad.len()];
            if all {
                grad.copy_from_slice(before);
                continue;
            }
            let rows = grad.chunks_exact_mut(size).zip(before.chunks_exact(size)).zip(&*runs);
            let running = rows.filter(|(_, runs)| **runs);
            running.for_each(|((grad, before), _)| grad.copy_from_slice(before));
        }
    }

    /// Adds dL/dy_t to dL/dh.
    fn add_outputs(&self, grad_ys: &[F], t: usize, dh: &mut [F]) {
        let output = self.batch.program.graph.fields[0];
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
        let output = self.batch.program.graph.fields[0];
        for (row, dh) in dh.chunks_exact_mut(output).enumerate() {
            if t < self.time_index.len(self.batch.first + row) {
                clip(dh, bound);
            }
        }
    }

    /// Sets the gradient of the state before step `t` to zero where backpropagation is truncated.
    fn truncate(&self, t: usize, grad: &mut [&mut [F]]) {
        if self.bptt.truncation.is_none() {
            return;
        }
        for (grad, &size) in grad.iter_mut().zip(&self.batch.program.graph.fields) {
            for (row, grad) in grad.chunks_exact_mut(size).enumerate() {
                if self.bptt.ends(t, self.time_index.len(self.batch.first + row)) {
                    grad.fill(F::ZERO);
                }
            }
        }
    }

    fn record(&self, accumulators: &mut [GradientAccumulator], step: usize, grad: &[&mut [F]]) {
        let sizes = &self.batch.program.graph.fields;
        for (accumulator, (grad, &size)) in accumulators.iter_mut().zip(grad.iter().zip(sizes)) {
            for (row, grad) in grad.chunks_exact(size).enumerate() {
                accumulator.put(self.batch.first + row, step, grad);
            }
        }
    }

    /// Adds the gradients of the weights of a block of `steps` steps, from step `at` of the tape
    /// on. `room` holds as many elements as the widest left side.
    fn add_weight_grads(
        &self,
        pass: &Pass<F>,
        at: usize,
        steps: usize,
        tape: &[F],
        grads: &mut WeightGrads<F>,
        room: &mut [F],
    ) {
        let Program { graph, adjoint, sources, products, .. } = self.batch.program;
        let rows = steps * self.batch.rows;
        let values = |address: Address, width: usize| -> &[F] {
            let start = address.start([at, 0], 0);
            match address.region {
                super::layout::Region::Tape => &tape[start..start + rows * width],
                super::layout::Region::Work => &pass.work[start..start + rows * width],
            }
        };
        let address = |slot| pass.layout.address(self.batch.program, slot);
        for (linear, (bias, sums)) in grads.linears.iter_mut().enumerate() {
            if adjoint.linears[linear].is_empty() {
                continue;
            }
            let width = graph.linears[linear].width;
            let d = values(address(Slot::GradLinear(linear)), width);
            for row in d.chunks_exact(width) {
                bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
            }
            let right = Packed::pack(d, MatrixLayout::rows(rows, width));
            for (source, sum) in products[linear].iter().zip(sums) {
                let (slot, size) = match *source {
                    None => (Slot::Input, graph.input),
                    Some(index) => (sources[index].slot, sources[index].width),
                };
                let left = Interleaved::new(values(address(slot), size), size, room);
                add_product(sum.out(), Lhs::Interleaved(&left), &right);
            }
        }
    }

    /// The gradient of the inputs of a block of `steps` steps, in the place of the inputs.
    fn input_grads(&self, pass: &mut Pass<F>, steps: usize, matrices: &[Vec<Packed<F>>]) {
        let Program { graph, adjoint, products, .. } = self.batch.program;
        let rows = steps * self.batch.rows;
        let address = |slot| pass.layout.address(self.batch.program, slot);
        let out = (address(Slot::Input), rows * graph.input);
        let mut memory =
            Memory { tape: Tape::Read(&[]), work: &mut pass.work, step: [0; 2] };
        let mut begun = false;
        for linear in (0..graph.linears.len()).filter(|l| !adjoint.linears[*l].is_empty()) {
            let stride = graph.linears[linear].width;
            for (source, matrix) in products[linear].iter().zip(&matrices[linear]) {
                if source.is_some() {
                    continue;
                }
                let (out, d) =
                    memory.pair(out, (address(Slot::GradLinear(linear)), rows * stride));
                let d = Lhs::Rows { values: d, rows, stride };
                match begun {
                    false => set_product(Output::rows(out, graph.input), d, matrix),
                    true => add_product(Output::rows(out, graph.input), d, matrix),
                }
                begun = true;
            }
        }
        let direct = (address(Slot::GradInput), rows * graph.input);
        let direct = if self.batch.program.grad_input { direct } else { (direct.0, 0) };
        let (out, direct) = memory.pair(out, direct);
        if !begun {
            out.fill(F::ZERO);
        }
        out.iter_mut().zip(direct).for_each(|(out, direct)| *out += *direct);
    }

    /// The inverse of [`Chunk::gather`]; padding is left alone.
    fn scatter(&self, by_step: &[F], steps: Range<usize>, out: &mut [F]) {
        let width = self.batch.program.graph.input;
        let mut values = by_step.chunks_exact(width);
        for t in steps {
            for row in 0..self.batch.rows {
                let value = values.next().expect("a value for every step and row");
                if let Some(range) = self.row_range(row, t, width) {
                    out[range].copy_from_slice(value);
                }
            }
        }
    }
}
