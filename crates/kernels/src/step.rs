//! Single steps of some examples.

use crate::buffer::Buffer;
use crate::gemm::{add_product, set_product_and_row, Lhs, Output};
use crate::interpreter::{Interpreter, Memory, Tape};
use crate::layout::{Bound, Extent, Layout};
use crate::program::{Program, Slot, Stage};
use crate::simd::dispatch;
use crate::weights::Weights;
use crate::KernelFloat;
use recurrent_core::Zoneout;

/// Some examples, and what runs them.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a, F: KernelFloat> {
    pub(crate) program: &'a Program,
    pub(crate) weights: &'a Weights<F>,
    /// The zoneout of each field.
    pub(crate) zoneout: &'a [Option<Zoneout>],
    /// The factors of dropout on the recurrence, `(rows, output)`, or empty.
    pub(crate) mask: &'a [F],
    /// The example of the first row, and the number of rows.
    pub(crate) first: usize,
    pub(crate) rows: usize,
}

/// The instructions of a pass, and its scratch memory.
pub(crate) struct Pass<F: KernelFloat> {
    pub(crate) layout: Layout,
    pub(crate) stages: Vec<Vec<Bound>>,
    pub(crate) work: Buffer<F>,
    /// Whether the example of a row has not ended.
    pub(crate) runs: Vec<bool>,
}

impl<F: KernelFloat> Batch<'_, F> {
    /// A pass of `stages`, with the values that are the same at every step.
    pub(crate) fn pass(&self, extent: Extent, backward: bool, stages: &[Stage]) -> Pass<F> {
        let Program { constants, .. } = self.program;
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
        pass
    }

    /// The forward pass, over a tape of `steps` steps.
    pub(crate) fn forward_pass(&self, steps: usize, block: usize, saved: bool) -> Pass<F> {
        let extent = Extent { rows: self.rows, steps, block, saved };
        self.pass(extent, false, &self.program.forward)
    }

    /// A tape that begins with `state`.
    pub(crate) fn tape(&self, pass: &Pass<F>, state: &[&mut [F]]) -> Buffer<F> {
        let mut tape = Buffer::recycled(pass.layout.tape);
        for (field, state) in state.iter().enumerate() {
            let start = pass.layout.address(self.program, Slot::Before(field)).start([0; 2], 0);
            tape[start..start + state.len()].copy_from_slice(state);
        }
        tape
    }

    /// The state before step `at` of a tape, field by field, to write.
    pub(crate) fn field<'t>(
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
    pub(crate) fn rewind(&self, layout: &Layout, tape: &mut [F], at: usize) {
        for (field, size) in self.program.graph.fields.iter().enumerate() {
            let start = |at| layout.address(self.program, Slot::Before(field)).start([at, 0], 0);
            tape.copy_within(start(at)..start(at) + self.rows * size, start(0));
        }
    }

    /// Starts the sums of products of `steps` steps from step `at` of the tape on: biases, and the
    /// products of the inputs.
    pub(crate) fn project(&self, pass: &mut Pass<F>, tape: &mut [F], at: usize, steps: usize) {
        let Program { graph, products, .. } = self.program;
        let rows = steps * self.rows;
        let xs = pass.layout.address(self.program, Slot::Input);
        let mut memory = Memory { tape: Tape::Write(tape), work: &mut pass.work, step: [at, 0] };
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
    pub(crate) fn fill_zoneout(&self, t: usize, pass: &mut Pass<F>) {
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

    /// Runs the instructions of a stage.
    pub(crate) fn run(
        &self,
        layout: &Layout,
        instructions: &[Bound],
        memory: &mut Memory<F>,
        runs: &[bool],
    ) {
        let (rows, block) = (self.rows, layout.block_rows);
        dispatch(Interpreter { instructions, memory, rows, block, runs });
    }

    /// Runs step `t`, which is step `at` of the tape and step `of_block` of the block. Its sums of
    /// products are projected already.
    pub(crate) fn step(
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
