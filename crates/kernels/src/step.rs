//! Single steps of some examples.

use crate::buffer::Buffer;
use crate::gemm::{add_product, set_product_and_row, Lhs, Output};
use crate::interpreter::{Interpreter, Memory, Tape};
use crate::layout::{Bound, Extent, Layout};
use crate::program::{Program, Slot, Stage};
use crate::share::{even_cuts, Channel, Cut, Share};
use crate::simd::dispatch;
use crate::team::Exchange;
use crate::weights::Weights;
use crate::KernelFloat;
use recurrent_core::Zoneout;
use std::borrow::Cow;
use std::ops::Range;

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
    /// The share of the units, and what hands over those of the other members of a team.
    pub(crate) share: Share,
    pub(crate) exchange: Option<&'a Exchange<F>>,
}

/// The instructions of a pass, and its scratch memory.
pub(crate) struct Pass<F: KernelFloat> {
    pub(crate) layout: Layout,
    pub(crate) stages: Vec<Vec<Bound>>,
    pub(crate) work: Buffer<F>,
    /// Whether the example of a row has not ended.
    pub(crate) runs: Vec<bool>,
    /// What a member of a team puts together of what all hand over.
    pub(crate) whole: Whole<F>,
}

/// The rows of all units, for a member of a team.
pub(crate) struct Whole<F: KernelFloat> {
    /// Room for the rows of a step.
    pub(crate) rows: Buffer<F>,
    /// Who has which columns of the left sides of products, and of the sums of products.
    pub(crate) sources: Vec<Vec<Cut>>,
    pub(crate) linears: Vec<Vec<Cut>>,
}

impl<F: KernelFloat> Whole<F> {
    fn new(batch: &Batch<F>) -> Self {
        let Program { graph, sources, .. } = batch.program;
        let linears = graph.linears.iter().map(|linear| linear.width);
        let widths = sources.iter().map(|source| source.width).chain(linears);
        let widest = batch.exchange.and(widths.max()).unwrap_or(0);
        let linear_cuts = |linear| batch.program.linear_cuts(linear, batch.share);
        Self {
            rows: Buffer::recycled(batch.rows * widest),
            sources: sources.iter().map(|source| even_cuts(source.width, batch.share)).collect(),
            linears: (0..graph.linears.len()).map(linear_cuts).collect(),
        }
    }
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
            whole: Whole::new(self),
            layout,
        };
        let mut put = |slot: Slot, values: &[F]| {
            let start = pass.layout.address(slot).start([0; 2], 0);
            pass.work[start..start + values.len()].copy_from_slice(values);
        };
        if self.program.reads_mask {
            put(Slot::Mask, &self.own(self.mask, self.program.graph.fields[0]));
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
        let extent = Extent { rows: self.rows, steps, block, saved, share: self.share };
        self.pass(extent, false, &self.program.forward)
    }

    /// The share of rows of `width` values.
    pub(crate) fn own<'v>(&self, values: &'v [F], width: usize) -> Cow<'v, [F]> {
        let own = self.share.of(width);
        match self.share.count {
            1 => Cow::Borrowed(values),
            _ => values.chunks_exact(width).flat_map(|row| &row[own.clone()]).copied().collect(),
        }
    }

    /// A tape that begins with `state`.
    pub(crate) fn tape(&self, pass: &Pass<F>, state: &[Vec<F>]) -> Buffer<F> {
        let mut tape = Buffer::recycled(pass.layout.tape);
        for (field, state) in state.iter().enumerate() {
            self.field(&pass.layout, &mut tape, field, 0).copy_from_slice(state);
        }
        tape
    }

    /// Where the rows of the state before step `at` of a tape lie.
    fn field_range(&self, layout: &Layout, field: usize, at: usize) -> Range<usize> {
        let address = layout.address(Slot::Before(field));
        let start = address.start([at, 0], 0);
        start..start + self.rows * address.row
    }

    /// The state before step `at` of a tape, field by field, to write.
    pub(crate) fn field<'t>(
        &self,
        layout: &Layout,
        tape: &'t mut [F],
        field: usize,
        at: usize,
    ) -> &'t mut [F] {
        &mut tape[self.field_range(layout, field, at)]
    }

    /// Moves the state before step `at` of a tape to its front.
    pub(crate) fn rewind(&self, layout: &Layout, tape: &mut [F], at: usize) {
        for field in 0..self.program.graph.fields.len() {
            let to = self.field_range(layout, field, 0).start;
            tape.copy_within(self.field_range(layout, field, at), to);
        }
    }

    /// Hands over the state before step `t`, which is step `at` of the tape.
    pub(crate) fn hand_over_state(&self, layout: &Layout, tape: &[F], t: usize, at: usize) {
        let Some(exchange) = self.exchange else { return };
        for (index, source) in self.program.sources.iter().enumerate() {
            if let Slot::Before(field) = source.slot {
                let channel = self.program.channel(Channel::Source(index));
                let values = &tape[self.field_range(layout, field, at)];
                exchange.put(self.share.index, channel, t, values);
            }
        }
        exchange.count(self.share.index);
    }

    /// Starts the sums of products of `steps` steps from step `at` of the tape on: biases, and the
    /// products of the inputs.
    pub(crate) fn project(&self, pass: &mut Pass<F>, tape: &mut [F], at: usize, steps: usize) {
        let Program { graph, products, .. } = self.program;
        let rows = steps * self.rows;
        let xs = pass.layout.address(Slot::Input);
        let mut memory = Memory { tape: Tape::Write(tape), work: &mut pass.work, step: [at, 0] };
        for (index, (start, matrices)) in self.weights.linears.iter().enumerate() {
            let width = start.len();
            let out = pass.layout.address(Slot::Linear(index));
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
            let own = self.share.of(size);
            let start = pass.layout.address(Slot::Zoneout(field)).start([0; 2], 0);
            let rows = pass.work[start..][..self.rows * own.len()].chunks_exact_mut(own.len());
            for (row, k) in rows.enumerate() {
                zoneout.fill(t, self.first + row, own.start, k, F::from_f64);
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
    /// products are projected already, and the state before it is handed over.
    pub(crate) async fn step(
        &self,
        pass: &mut Pass<F>,
        tape: &mut [F],
        t: usize,
        [at, of_block]: [usize; 2],
    ) {
        self.fill_zoneout(t, pass);
        for (index, stage) in self.program.forward.iter().enumerate() {
            if let (Some(exchange), false) = (self.exchange, stage.products.is_empty()) {
                exchange.others(self.share.index).await;
            }
            self.stage(pass, tape, t, [at, of_block], index);
        }
    }

    /// Runs a stage of step `t`.
    fn stage(&self, pass: &mut Pass<F>, tape: &mut [F], t: usize, step: [usize; 2], index: usize) {
        let Program { sources, products, forward, pieces, .. } = self.program;
        let Pass { layout, stages, work, runs, whole } = pass;
        let mut memory = Memory { tape: Tape::Write(tape), work, step };
        for &linear in &forward[index].products {
            let (start, matrices) = &self.weights.linears[linear];
            let width = start.len();
            let out = (layout.address(Slot::Linear(linear)), self.rows * width);
            for (source, matrix) in products[linear].iter().zip(matrices) {
                let Some(index) = *source else { continue };
                let source = sources[index];
                let Some(exchange) = self.exchange else {
                    let left = layout.address(source.slot);
                    let (out, left) = memory.pair(out, (left, self.rows * source.width));
                    let left = Lhs::Rows { values: left, rows: self.rows, stride: source.width };
                    add_product(Output::rows(out, width), left, matrix);
                    continue;
                };
                let channel = self.program.channel(Channel::Source(index));
                let (cuts, left) = (&whole.sources[index], &mut whole.rows);
                let left = &mut left[..self.rows * source.width];
                exchange.get(channel, t, cuts, source.width, left);
                let left = Lhs::Rows { values: left, rows: self.rows, stride: source.width };
                add_product(Output::rows(memory.out(out), width), left, matrix);
            }
        }
        self.run(layout, &stages[index], &mut memory, runs);
        let (Some(exchange), Some(pieces)) = (self.exchange, pieces) else { return };
        for &source in &pieces.completed[index] {
            let address = layout.address(sources[source].slot);
            let values = memory.read(address, self.rows * address.row);
            let channel = self.program.channel(Channel::Source(source));
            exchange.put(self.share.index, channel, t, values);
        }
        if !pieces.completed[index].is_empty() {
            exchange.count(self.share.index);
        }
    }
}
