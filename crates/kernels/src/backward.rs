//! The backward pass of a chunk of examples.

use crate::bptt::flush_subnormals;
use crate::buffer::Buffer;
use crate::forward::Chunk;
use crate::gemm::{add_product, set_product, Interleaved, Lhs, MatrixLayout, Output, Packed};
use crate::interpreter::{Memory, Tape};
use crate::layout::{Address, Extent, Region};
use crate::program::{Program, Slot};
use crate::step::Pass;
use crate::weights::WeightGrads;
use crate::KernelFloat;
use recurrent_core::GradientAccumulator;
use std::ops::Range;

/// The approximate number of rows (examples times steps) in one product for the gradients of the
/// weights. Each product reads and writes the sums once.
const BLOCK_ROWS: usize = 256;

/// The arguments of a chunk's backward pass.
pub(crate) struct BackwardArgs<'a, F: KernelFloat> {
    pub(crate) matrices: &'a [Vec<Packed<F>>],
    /// dL/dys, `(rows, time, output)`, or empty.
    pub(crate) grad_ys: &'a [F],
    /// The gradients of the weights, if they are needed; the pass adds to them.
    pub(crate) grads: Option<&'a mut WeightGrads<F>>,
    /// The gradient of the inputs, `(rows, time, input)`, or empty; the pass writes it.
    pub(crate) dxs: &'a mut [F],
    /// One accumulator for each field of the state, or empty.
    pub(crate) accumulators: &'a mut [GradientAccumulator],
}

impl<F: KernelFloat> Chunk<'_, F> {
    /// Runs backward over the `steps` of `tape`. `grad` is the gradient of the state after them,
    /// then of the state before them.
    pub(crate) fn backward(
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
        let block = BLOCK_ROWS.div_ceil(rows).min(steps.len());
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
        for (index, &(width, fill)) in batch.program.parts.iter().enumerate() {
            if fill {
                let start = address(Slot::GradParts(index)).start(at, 0);
                work[start..start + batch.rows * width].fill(F::ZERO);
            }
        }
        let mut memory = Memory { tape: Tape::Read(tape), work: &mut work[..], step: at };
        for (stage, instructions) in backward.iter().zip(&*stages) {
            batch.run(layout, instructions, &mut memory, runs);
            for &linear in &stage.completed {
                let width = graph.linears[linear].width;
                let start = address(Slot::GradLinear(linear)).start(at, 0);
                let own = &mut memory.work[start..start + batch.rows * width];
                let ended = own.chunks_exact_mut(width).zip(&*runs).filter(|(_, runs)| !**runs);
                ended.for_each(|(d, _)| d.fill(F::ZERO));
                if !recorded {
                    flush_subnormals(own);
                }
            }
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
                Region::Tape => &tape[start..start + rows * width],
                Region::Work => &pass.work[start..start + rows * width],
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
        let mut memory = Memory { tape: Tape::Read(&[]), work: &mut pass.work, step: [0; 2] };
        let mut begun = false;
        for linear in (0..graph.linears.len()).filter(|l| !adjoint.linears[*l].is_empty()) {
            let stride = graph.linears[linear].width;
            for (source, matrix) in products[linear].iter().zip(&matrices[linear]) {
                if source.is_some() {
                    continue;
                }
                let (out, d) = memory.pair(out, (address(Slot::GradLinear(linear)), rows * stride));
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
