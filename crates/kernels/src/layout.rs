//! Where the values of a program lie in memory.

use crate::interpreter::block_rows;
use crate::program::{Instruction, Op, Program, Slot, Stage};
use crate::share::{Pieces, Share};

/// Addresses are multiples of this, so that rows begin at a cache line.
const ALIGNMENT: usize = 16;

/// The two blocks of memory of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    /// What the backward pass reads.
    Tape,
    /// Scratch memory.
    Work,
}

/// Where the rows of a slot lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) region: Region,
    base: usize,
    /// The distance between steps; 0: the same memory for all.
    step: usize,
    /// The distance between rows, or 0 for memory that every block of rows reuses.
    first: usize,
    /// The distance between rows; 0: the same values for all.
    pub(crate) row: usize,
}

impl Address {
    /// The first value of row `first`, at step `step` of each region.
    #[inline(always)]
    pub(crate) fn start(&self, step: [usize; 2], first: usize) -> usize {
        self.base + self.step * step[self.region as usize] + self.first * first
    }
}

/// An instruction with addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) op: Op,
    pub(crate) out: Address,
    /// The number of columns that the instruction runs over, and that it writes.
    pub(crate) width: usize,
    pub(crate) out_width: usize,
    pub(crate) operands: [Address; 3],
    /// Whether the operands have one column.
    pub(crate) narrow: [bool; 3],
    /// Whether the rows are contiguous.
    pub(crate) dense: bool,
}

/// What a layout is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// The number of examples.
    pub(crate) rows: usize,
    /// The number of steps of the tape.
    pub(crate) steps: usize,
    /// The number of steps whose sums of products lie in memory at once.
    pub(crate) block: usize,
    /// Whether the tape has the values of all steps for the backward pass, or the state alone.
    pub(crate) saved: bool,
    /// The share of the units.
    pub(crate) share: Share,
}

/// The addresses of all slots, and the sizes of the two regions.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    addresses: Vec<Address>,
    pub(crate) tape: usize,
    pub(crate) work: usize,
    /// The most rows of a block of instructions.
    pub(crate) block_rows: usize,
    /// The share of the units that lies here, and how slots are cut into shares.
    share: Share,
    pieces: Option<Pieces>,
}

/// How the rows of a slot lie.
#[derive(Clone, Copy)]
enum Rows {
    /// Those of a number of steps.
    Steps(usize),
    /// Those of one step, for all steps.
    Once,
    /// Those of a block of rows, for all blocks and steps.
    Block,
    /// One row for all.
    One,
}

impl Layout {
    /// The layout of the forward pass, or with `backward` that of the backward pass. The tape is
    /// the same in both.
    pub(crate) fn new(program: &Program, extent: Extent, backward: bool) -> Self {
        let Extent { rows, steps, block, saved, share } = extent;
        let Program { graph, slots, sources, .. } = program;
        let widest = graph.fields.iter().chain(&program.temps).copied().max().unwrap_or(1);
        let widest = if share.count > 1 { share.of(widest).len() } else { widest };
        let nowhere = Address { region: Region::Work, base: 0, step: 0, first: 0, row: 0 };
        let mut layout = Self {
            addresses: vec![nowhere; slots.count()],
            tape: 0,
            work: 0,
            block_rows: block_rows(widest).min(rows).max(1),
            share,
            pieces: program.pieces.clone().filter(|_| share.count > 1),
        };
        let mut place = |slot: Slot, region: Region, lie: Rows, width: usize| {
            let slot = slot.index();
            layout.place(slot, region, (lie, rows), width);
        };
        let taped = if saved { Rows::Steps(steps) } else { Rows::Once };
        for (field, &size) in graph.fields.iter().enumerate() {
            place(Slot::Before(field), Region::Tape, Rows::Steps(steps + 1), size);
        }
        for (index, &width) in program.saved.iter().enumerate() {
            place(Slot::Saved(index), Region::Tape, taped, width);
        }
        for (index, source) in sources.iter().enumerate() {
            if source.slot == Slot::Source(index) {
                place(source.slot, Region::Tape, taped, source.width);
            }
        }
        for (index, linear) in graph.linears.iter().enumerate() {
            if program.taped[index] {
                let steps = Rows::Steps(if saved { steps } else { block });
                place(Slot::Linear(index), Region::Tape, steps, linear.width);
            } else if !backward {
                place(Slot::Linear(index), Region::Work, Rows::Steps(block), linear.width);
            }
        }
        let mut work = |slot, lie, width| place(slot, Region::Work, lie, width);
        work(Slot::Input, Rows::Steps(block), graph.input);
        if program.reads_mask {
            work(Slot::Mask, Rows::Once, graph.fields[0]);
        }
        for (field, &size) in graph.fields.iter().enumerate() {
            if program.reads_zoneout[field] {
                work(Slot::Zoneout(field), Rows::Once, size);
            }
        }
        for (index, &width) in program.temps.iter().enumerate() {
            work(Slot::Temp(index), Rows::Block, width);
        }
        for (index, dims) in graph.weights.iter().enumerate() {
            if let [width] = dims[..] {
                work(Slot::Weight(index), Rows::One, width);
                if backward {
                    work(Slot::WeightGrad(index), Rows::One, width);
                }
            }
        }
        for index in 0..program.constants.len() {
            work(Slot::Constant(index), Rows::One, 1);
        }
        if backward {
            for (field, &size) in graph.fields.iter().enumerate() {
                work(Slot::Grad(field), Rows::Once, size);
                work(Slot::GradBefore(field), Rows::Once, size);
            }
            for (index, linear) in graph.linears.iter().enumerate() {
                work(Slot::GradLinear(index), Rows::Steps(block), linear.width);
            }
            for (index, source) in sources.iter().enumerate() {
                work(Slot::GradSource(index), Rows::Once, source.width);
            }
            for (index, &(width, _)) in program.parts.iter().enumerate() {
                work(Slot::GradParts(index), Rows::Once, width);
            }
            if program.grad_input {
                work(Slot::GradInput, Rows::Steps(block), graph.input);
            }
            for (index, &width) in program.kept.iter().enumerate() {
                work(Slot::Kept(index), Rows::Once, width);
            }
        }
        for field in 0..graph.fields.len() {
            let before = layout.addresses[Slot::Before(field).index()];
            let after = Address { base: before.base + before.step, ..before };
            layout.addresses[Slot::After(field).index()] = after;
        }
        layout
    }

    /// Places rows of a slot of `width` columns, as many as there are examples unless `lie` says
    /// otherwise.
    fn place(&mut self, slot: usize, region: Region, (lie, rows): (Rows, usize), width: usize) {
        let width = self.pieces.as_ref().map_or(width, |p| p.width(slot, width, self.share));
        let (size, [step, first, row]) = match lie {
            Rows::Steps(steps) => (steps * rows, [rows * width, width, width]),
            Rows::Once => (rows, [0, width, width]),
            Rows::Block => (self.block_rows, [0, 0, width]),
            Rows::One => (1, [0; 3]),
        };
        let end = match region {
            Region::Tape => &mut self.tape,
            Region::Work => &mut self.work,
        };
        self.addresses[slot] = Address { region, base: *end, step, first, row };
        *end += (size * width).next_multiple_of(ALIGNMENT);
    }

    /// The address of a slot.
    pub(crate) fn address(&self, slot: Slot) -> Address {
        self.addresses[slot.index()]
    }

    /// The instructions of every stage.
    pub(crate) fn bind(&self, stages: &[Stage]) -> Vec<Vec<Bound>> {
        let instructions =
            |stage: &Stage| stage.instructions.iter().map(|code| self.bound(code)).collect();
        stages.iter().map(instructions).collect()
    }

    fn bound(&self, code: &Instruction) -> Bound {
        let column = |slot: usize, start: usize, width: usize| {
            let start = match &self.pieces {
                Some(pieces) => pieces.start(slot, start..start + width, self.share),
                None => start,
            };
            let address = self.addresses[slot];
            Address { base: address.base + start, ..address }
        };
        let width = match &self.pieces {
            Some(_) => self.share.of(code.width).len(),
            None => code.width,
        };
        let count = code.op.operands();
        let operands = code.operands.map(|operand| {
            column(operand.slot, operand.start, if operand.narrow { 1 } else { code.width })
        });
        let narrow = code.operands.map(|operand| operand.narrow);
        let fits = |(address, narrow): (&Address, &bool)| match narrow {
            true => address.row == 0,
            false => address.row == width,
        };
        let out = column(code.out, code.start, code.width);
        let one_column = matches!(code.op, Op::Sum | Op::Scale(_));
        let out_width = if one_column { 1 } else { width };
        let whole = !code.op.is_by_row() && out.row == width;
        let dense = whole && operands.iter().zip(&narrow).take(count).all(fits);
        Bound { op: code.op, out, width, out_width, operands, narrow, dense }
    }
}
