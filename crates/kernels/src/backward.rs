//! The backward pass of a chunk of examples.

use crate::bptt::flush_subnormals;
use crate::buffer::Buffer;
use crate::forward::Chunk;
use crate::gemm::{add_product, set_product, Interleaved, Lhs, MatrixLayout, Output, Packed};
use crate::interpreter::{Memory, Tape};
use crate::layout::{Extent, Region};
use crate::program::{Program, Slot};
use crate::share::Channel;
use crate::step::Pass;
use crate::weights::WeightGrads;
use crate::KernelFloat;
use recurrent_core::GradientAccumulator;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The approximate number of rows (examples times steps) in one product for the gradients of the
/// weights. Each product reads and writes the sums once.
const BLOCK_ROWS: usize = 256;

/// The number of steps of a block of the backward pass.
pub(crate) fn block_steps(rows: usize) -> usize {
    BLOCK_ROWS.div_ceil(rows)
}

/// The arguments of a chunk's backward pass.
pub(crate) struct BackwardArgs<'a, 'd, F: KernelFloat> {
    pub(crate) matrices: &'a [Vec<Packed<F>>],
    /// dL/dys, `(rows, time, output)`, or empty.
    pub(crate) grad_ys: &'a [F],
    /// The gradients of the weights, if they are needed; the pass adds to them.
    pub(crate) grads: Option<&'a mut WeightGrads<F>>,
    /// The gradient of the inputs, `(rows, time, input)`, if it is needed; the pass writes it.
    pub(crate) dxs: Option<&'a Mutex<&'d mut [F]>>,
    /// Whether gradients are recorded, and one accumulator for each field of the state, unless
    /// another member of the team has them.
    pub(crate) recorded: bool,
    pub(crate) accumulators: &'a mut [GradientAccumulator],
}

/// The backward pass over a tape.
struct Tracked<'a, F: KernelFloat> {
    pass: Pass<F>,
    tape: &'a [F],
}

impl<F: KernelFloat> Chunk<'_, F> {
    /// Runs backward over the `steps` of `tape`. `grad` is the gradient of the state after them,
    /// then of the state before them.
    pub(crate) async fn backward(
        &self,
        steps: Range<usize>,
        tape: &[F],
        grad: &mut [Vec<F>],
        args: &mut BackwardArgs<'_, '_, F>,
    ) {
        let batch = &self.batch;
        let program = batch.program;
        let graph = &program.graph;
        let rows = batch.rows;
        let block = block_steps(rows).min(steps.len());
        let extent = Extent { rows, steps: steps.len(), block, saved: true, share: batch.share };
        let widest = program.sources.iter().map(|source| source.width).max().unwrap_or(0);
        let room = block * rows * widest.max(graph.input);
        let gathered = if batch.exchange.is_some() { block * rows * widest } else { 0 };
        let mut run = Tracked { pass: batch.pass(extent, true, &program.backward), tape };
        // Room for the left sides of products for the gradients of the weights.
        let mut rooms = [Buffer::recycled(room), Buffer::recycled(gathered)];
        let address = |pass: &Pass<F>, slot| pass.layout.address(slot).start([0; 2], 0);
        for first in steps.clone().step_by(block).rev() {
            let last = (first + block).min(steps.end);
            if args.grads.is_some() || program.reads_input {
                self.gather(first..last, &mut run.pass);
            }
            if program.grad_input {
                let start = address(&run.pass, Slot::GradInput);
                run.pass.work[start..][..block * rows * graph.input].fill(F::ZERO);
            }
            for t in (first..last).rev() {
                self.add_outputs(args.grad_ys, t, &mut grad[0]);
                self.clip_hidden_grad(t, &mut grad[0]).await;
                self.record(args, t + 1, grad).await;
                let at = [t - steps.start, t - first];
                self.step_backward(&mut run, t, at, grad, args).await;
                self.truncate(t, grad);
            }
            let at = first - steps.start;
            if let Some(grads) = &mut args.grads {
                self.add_weight_grads(&run, at, last - first, grads, &mut rooms).await;
            }
            match (args.dxs, batch.exchange) {
                (Some(dxs), None) => {
                    self.input_grads(&mut run.pass, last - first, args.matrices);
                    let start = address(&run.pass, Slot::Input);
                    let mut dxs = dxs.lock().unwrap_or_else(PoisonError::into_inner);
                    self.scatter(&run.pass.work[start..], first..last, &mut dxs);
                }
                (Some(dxs), Some(exchange)) => {
                    exchange.others(batch.share.index).await;
                    let own = batch.share.of(last - first);
                    let own = first + own.start..first + own.end;
                    let own_dxs = self.shared_input_grads(&run.pass, own.clone(), args.matrices);
                    let mut dxs = dxs.lock().unwrap_or_else(PoisonError::into_inner);
                    self.scatter(&own_dxs, own, &mut dxs);
                }
                (None, _) => {}
            }
        }
        if let Some(grads) = &mut args.grads {
            for (index, sum) in grads.vectors.iter_mut().enumerate() {
                let start = address(&run.pass, Slot::WeightGrad(index));
                sum.iter_mut().zip(&run.pass.work[start..]).for_each(|(sum, value)| *sum += *value);
            }
        }
        if steps.start == 0 {
            self.record(args, 0, grad).await;
        }
    }

    /// Runs step `t` backward, which is step `at` of the tape and of the block. `grad` is the
    /// gradient of the state after it, then of the state before it.
    async fn step_backward(
        &self,
        run: &mut Tracked<'_, F>,
        t: usize,
        at: [usize; 2],
        grad: &mut [Vec<F>],
        args: &BackwardArgs<'_, '_, F>,
    ) {
        let batch = &self.batch;
        let all = self.set_runs(t, &mut run.pass.runs);
        batch.fill_zoneout(t, &mut run.pass);
        self.start_grads(&mut run.pass, at, grad, args.recorded);
        for stage in 0..batch.program.backward.len() {
            self.run_stage(run, t, at, stage, args.recorded);
            if !batch.program.backward[stage].products.is_empty() {
                if let Some(exchange) = batch.exchange {
                    exchange.others(batch.share.index).await;
                }
                self.source_grads(run, t, at, stage, args.matrices);
            }
        }
        let Pass { layout, work, runs, .. } = &run.pass;
        for (field, grad) in grad.iter_mut().enumerate() {
            let address = layout.address(Slot::GradBefore(field));
            let before = &work[address.start(at, 0)..][..grad.len()];
            if all {
                grad.copy_from_slice(before);
                continue;
            }
            let own = address.row;
            let rows = grad.chunks_exact_mut(own).zip(before.chunks_exact(own)).zip(runs);
            let running = rows.filter(|(_, runs)| **runs);
            running.for_each(|((grad, before), _)| grad.copy_from_slice(before));
        }
    }

    /// Puts the gradient of the state after a step in its place, and zeros where gradients are
    /// added up.
    fn start_grads(&self, pass: &mut Pass<F>, at: [usize; 2], grad: &mut [Vec<F>], recorded: bool) {
        let (program, rows) = (self.batch.program, self.batch.rows);
        let Pass { layout, work, .. } = pass;
        let range = |slot| {
            let address = layout.address(slot);
            let start = address.start(at, 0);
            start..start + rows * address.row
        };
        for (field, grad) in grad.iter_mut().enumerate() {
            if !recorded {
                flush_subnormals(grad);
            }
            work[range(Slot::Grad(field))].copy_from_slice(grad);
            if program.fill_fields[field] {
                work[range(Slot::GradBefore(field))].fill(F::ZERO);
            }
        }
        for (index, _) in program.fill_linears.iter().enumerate().filter(|(_, fill)| **fill) {
            work[range(Slot::GradLinear(index))].fill(F::ZERO);
        }
        for (index, _) in program.parts.iter().enumerate().filter(|(_, (_, fill))| *fill) {
            work[range(Slot::GradParts(index))].fill(F::ZERO);
        }
    }

    /// Runs the instructions of a stage, and hands over the gradients of sums of products that they
    /// complete.
    fn run_stage(
        &self,
        run: &mut Tracked<'_, F>,
        t: usize,
        at: [usize; 2],
        stage: usize,
        recorded: bool,
    ) {
        let batch = &self.batch;
        let Pass { layout, stages, work, runs, .. } = &mut run.pass;
        let mut memory = Memory { tape: Tape::Read(run.tape), work: &mut work[..], step: at };
        batch.run(layout, &stages[stage], &mut memory, runs);
        let completed = &batch.program.backward[stage].completed;
        for &linear in completed {
            let address = layout.address(Slot::GradLinear(linear));
            let own = memory.out((address, batch.rows * address.row));
            let ended = own.chunks_exact_mut(address.row).zip(&*runs).filter(|(_, runs)| !**runs);
            ended.for_each(|(d, _)| d.fill(F::ZERO));
            if !recorded {
                flush_subnormals(own);
            }
            if let Some(exchange) = batch.exchange {
                let channel = batch.program.channel(Channel::GradLinear(linear));
                exchange.put(batch.share.index, channel, t, own);
            }
        }
        if let (Some(exchange), false) = (batch.exchange, completed.is_empty()) {
            exchange.count(batch.share.index);
        }
    }

    /// Adds the products for the gradients of the left sides that follow a stage.
    fn source_grads(
        &self,
        run: &mut Tracked<'_, F>,
        t: usize,
        at: [usize; 2],
        stage: usize,
        matrices: &[Vec<Packed<F>>],
    ) {
        let batch = &self.batch;
        let Program { graph, adjoint, sources, products, backward, .. } = batch.program;
        let Pass { layout, work, whole, .. } = &mut run.pass;
        let mut memory = Memory { tape: Tape::Read(run.tape), work: &mut work[..], step: at };
        let rows = batch.rows;
        for &index in &backward[stage].products {
            let source = sources[index];
            let out = layout.address(source.grad);
            let (out, width) = ((out, rows * out.row), out.row);
            let mut begun = source.adds;
            for linear in (0..products.len()).filter(|l| !adjoint.linears[*l].is_empty()) {
                for (of, matrix) in products[linear].iter().zip(&matrices[linear]) {
                    if *of != Some(index) {
                        continue;
                    }
                    let stride = graph.linears[linear].width;
                    let (out, values) = match batch.exchange {
                        None => {
                            let d = layout.address(Slot::GradLinear(linear));
                            memory.pair(out, (d, rows * stride))
                        }
                        Some(exchange) => {
                            let channel = batch.program.channel(Channel::GradLinear(linear));
                            let d = &mut whole.rows[..rows * stride];
                            exchange.get(channel, t, &whole.linears[linear], stride, d);
                            (memory.out(out), &*d)
                        }
                    };
                    let d = Lhs::Rows { values, rows, stride };
                    match begun {
                        false => set_product(Output::rows(out, width), d, matrix),
                        true => add_product(Output::rows(out, width), d, matrix),
                    }
                    begun = true;
                }
            }
        }
    }

    /// Adds dL/dy_t to dL/dh.
    fn add_outputs(&self, grad_ys: &[F], t: usize, dh: &mut [F]) {
        let output = self.batch.program.graph.fields[0];
        let own = self.batch.share.of(output);
        if grad_ys.is_empty() {
            return;
        }
        for (row, dh) in dh.chunks_exact_mut(own.len()).enumerate() {
            if let Some(range) = self.row_range(row, t, output) {
                let dy = &grad_ys[range][own.clone()];
                dh.iter_mut().zip(dy).for_each(|(dh, dy)| *dh += *dy);
            }
        }
    }

    /// Records the gradient of the state before step `step`.
    async fn record(&self, args: &mut BackwardArgs<'_, '_, F>, step: usize, grad: &[Vec<F>]) {
        if !args.recorded {
            return;
        }
        for (field, &size) in self.batch.program.graph.fields.iter().enumerate() {
            let grad = self.whole_grad(field, 2 * step, &grad[field]).await;
            let Some(accumulator) = args.accumulators.get_mut(field) else { continue };
            for (row, grad) in grad.chunks_exact(size).enumerate() {
                accumulator.put(self.batch.first + row, step, grad);
            }
        }
    }

    /// Adds the gradients of the weights of a block of `steps` steps, from step `at` of the tape
    /// on.
    async fn add_weight_grads(
        &self,
        run: &Tracked<'_, F>,
        at: usize,
        steps: usize,
        grads: &mut WeightGrads<F>,
        rooms: &mut [Buffer<F>; 2],
    ) {
        let batch = &self.batch;
        let program = batch.program;
        if let Some(exchange) = batch.exchange {
            for (index, source) in program.sources.iter().enumerate() {
                let channel = program.channel(Channel::SourceBlock(index));
                exchange.put(
                    batch.share.index,
                    channel,
                    0,
                    self.block(run, source.slot, at, steps),
                );
            }
            exchange.count(batch.share.index);
            exchange.others(batch.share.index).await;
        }
        self.add_block_grads(run, at, steps, grads, rooms);
    }

    /// The rows of a slot at a block of `steps` steps, from step `at` of the tape on.
    fn block<'r>(&self, run: &'r Tracked<'_, F>, slot: Slot, at: usize, steps: usize) -> &'r [F] {
        let address = run.pass.layout.address(slot);
        let region = match address.region {
            Region::Tape => run.tape,
            Region::Work => &run.pass.work,
        };
        &region[address.start([at, 0], 0)..][..steps * self.batch.rows * address.row]
    }

    /// Adds the gradients of the weights of a block, once the left sides of its products are handed
    /// over.
    fn add_block_grads(
        &self,
        run: &Tracked<'_, F>,
        at: usize,
        steps: usize,
        grads: &mut WeightGrads<F>,
        [room, whole]: &mut [Buffer<F>; 2],
    ) {
        let batch = &self.batch;
        let Program { graph, adjoint, sources, products, .. } = batch.program;
        let rows = steps * batch.rows;
        for (linear, (bias, sums)) in grads.linears.iter_mut().enumerate() {
            if adjoint.linears[linear].is_empty() {
                continue;
            }
            let width = bias.len();
            let d = self.block(run, Slot::GradLinear(linear), at, steps);
            for row in d.chunks_exact(width) {
                bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
            }
            let right = Packed::pack(d, MatrixLayout::rows(rows, width));
            for (source, sum) in products[linear].iter().zip(sums) {
                let (values, size) = match (*source, batch.exchange) {
                    (None, _) => (self.block(run, Slot::Input, at, steps), graph.input),
                    (Some(index), None) => {
                        (self.block(run, sources[index].slot, at, steps), sources[index].width)
                    }
                    (Some(index), Some(exchange)) => {
                        let size = sources[index].width;
                        let channel = batch.program.channel(Channel::SourceBlock(index));
                        let whole = &mut whole[..rows * size];
                        exchange.get(channel, 0, &run.pass.whole.sources[index], size, whole);
                        (&*whole, size)
                    }
                };
                let left = Interleaved::new(values, size, room);
                add_product(sum.out(), Lhs::Interleaved(&left), &right);
            }
        }
    }

    /// The gradient of the inputs of a block of `steps` steps, in the place of the inputs.
    fn input_grads(&self, pass: &mut Pass<F>, steps: usize, matrices: &[Vec<Packed<F>>]) {
        let Program { graph, adjoint, products, .. } = self.batch.program;
        let rows = steps * self.batch.rows;
        let address = |slot| pass.layout.address(slot);
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

    /// The gradient of the inputs of some steps, of what all members have handed over.
    fn shared_input_grads(
        &self,
        pass: &Pass<F>,
        steps: Range<usize>,
        matrices: &[Vec<Packed<F>>],
    ) -> Vec<F> {
        let Program { graph, adjoint, products, .. } = self.batch.program;
        let rows = steps.len() * self.batch.rows;
        let mut dxs = vec![F::ZERO; rows * graph.input];
        for linear in (0..graph.linears.len()).filter(|l| !adjoint.linears[*l].is_empty()) {
            let width = graph.linears[linear].width;
            let with_matrices = products[linear].iter().zip(&matrices[linear]);
            let mut of_input = with_matrices.filter(|(source, _)| source.is_none()).peekable();
            if of_input.peek().is_none() {
                continue;
            }
            let d = self.whole_linear(pass, linear, steps.clone());
            for (_, matrix) in of_input {
                let d = Lhs::Rows { values: &d, rows, stride: width };
                add_product(Output::rows(&mut dxs, graph.input), d, matrix);
            }
        }
        dxs
    }

    /// The gradient of a sum of products at some steps, `(steps, rows, width)`, of what all members
    /// have handed over.
    fn whole_linear(&self, pass: &Pass<F>, linear: usize, steps: Range<usize>) -> Buffer<F> {
        let Some(exchange) = self.batch.exchange else { return Buffer::recycled(0) };
        let width = self.batch.program.graph.linears[linear].width;
        let channel = self.batch.program.channel(Channel::GradLinear(linear));
        let mut d = Buffer::recycled(steps.len() * self.batch.rows * width);
        for (t, d) in steps.zip(d.chunks_exact_mut(self.batch.rows * width)) {
            exchange.get(channel, t, &pass.whole.linears[linear], width, d);
        }
        d
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
