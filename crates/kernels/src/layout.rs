//! Where the values of a program lie in memory.

use crate::interpreter::block_rows;
use crate::program::{Instruction, Op, Program, Slot, Stage};

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
}

/// The addresses of all slots, and the sizes of the two regions.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    addresses: Vec<Address>,
    pub(crate) tape: usize,
    pub(crate) work: usize,
    /// The most rows of a block of instructions.
    pub(crate) block_rows: usize,
}

struct Allocator {
    layout: Layout,
}

impl Allocator {
    /// Places `steps` steps of `rows` rows of `width` values.
    fn place(
        &mut self,
        slot: usize,
        region: Region,
        [steps, rows, width]: [usize; 3],
        advance: [usize; 3],
    ) {
        let [step, first, row] = advance;
        let end = match region {
            Region::Tape => &mut self.layout.tape,
            Region::Work => &mut self.layout.work,
        };
        self.layout.addresses[slot] = Address { region, base: *end, step, first, row };
        *end += (steps * rows * width).next_multiple_of(ALIGNMENT);
    }
}

impl Layout {
    /// The layout of the forward pass, or with `backward` that of the backward pass. The tape is
    /// the same in both.
    pub(crate) fn new(program: &Program, extent: Extent, backward: bool) -> Self {
        let Extent { rows, steps, block, saved } = extent;
        let Program { graph, slots, sources, .. } = program;
        let widest = graph.fields.iter().chain(&program.temps).copied().max().unwrap_or(1);
        let block_rows = block_rows(widest).min(rows).max(1);
        let nowhere = Address { region: Region::Work, base: 0, step: 0, first: 0, row: 0 };
        let addresses = vec![nowhere; slots.count()];
        let layout = Self { addresses, tape: 0, work: 0, block_rows };
        let mut at = Allocator { layout };
        let by_step = |width: usize| [rows * width, width, width];
        let once = |width: usize| [0, width, width];
        for (field, &size) in graph.fields.iter().enumerate() {
            let (before, after) =
                (slots.index(Slot::Before(field)), slots.index(Slot::After(field)));
            at.place(before, Region::Tape, [steps + 1, rows, size], by_step(size));
            let before = at.layout.addresses[before];
            at.layout.addresses[after] = Address { base: before.base + rows * size, ..before };
        }
        let taped = |width| match saved {
            true => ([steps, rows, width], by_step(width)),
            false => ([1, rows, width], once(width)),
        };
        for (index, &width) in program.saved.iter().enumerate() {
            let (size, advance) = taped(width);
            at.place(slots.index(Slot::Saved(index)), Region::Tape, size, advance);
        }
        for (index, source) in sources.iter().enumerate() {
            if source.slot == Slot::Source(index) {
                let (size, advance) = taped(source.width);
                at.place(slots.index(source.slot), Region::Tape, size, advance);
            }
        }
        for (index, linear) in graph.linears.iter().enumerate() {
            let (slot, size) = (slots.index(Slot::Linear(index)), by_step(linear.width));
            if program.taped[index] {
                let steps = if saved { steps } else { block };
                at.place(slot, Region::Tape, [steps, rows, linear.width], size);
            } else if !backward {
                at.place(slot, Region::Work, [block, rows, linear.width], size);
            }
        }
        let mut work = |slot: Slot, size: [usize; 3], advance: [usize; 3]| {
            at.place(slots.index(slot), Region::Work, size, advance)
        };
        work(Slot::Input, [block, rows, graph.input], by_step(graph.input));
        if program.reads_mask {
            work(Slot::Mask, [1, rows, graph.fields[0]], once(graph.fields[0]));
        }
        for (field, &size) in graph.fields.iter().enumerate() {
            if program.reads_zoneout[field] {
                work(Slot::Zoneout(field), [1, rows, size], once(size));
            }
        }
        for (index, &width) in program.temps.iter().enumerate() {
            work(Slot::Temp(index), [1, block_rows, width], [0, 0, width]);
        }
        for (index, dims) in graph.weights.iter().enumerate() {
            if let [width] = dims[..] {
                work(Slot::Weight(index), [1, 1, width], [0; 3]);
                if backward {
                    work(Slot::WeightGrad(index), [1, 1, width], [0; 3]);
                }
            }
        }
        for index in 0..program.constants.len() {
            work(Slot::Constant(index), [1, 1, 1], [0; 3]);
        }
        if backward {
            for (field, &size) in graph.fields.iter().enumerate() {
                work(Slot::Grad(field), [1, rows, size], once(size));
                work(Slot::GradBefore(field), [1, rows, size], once(size));
            }
            for (index, linear) in graph.linears.iter().enumerate() {
                let advance = by_step(linear.width);
                work(Slot::GradLinear(index), [block, rows, linear.width], advance);
            }
            for (index, source) in sources.iter().enumerate() {
                work(Slot::GradSource(index), [1, rows, source.width], once(source.width));
            }
            for (index, &(width, _)) in program.parts.iter().enumerate() {
                work(Slot::GradParts(index), [1, rows, width], once(width));
            }
            if program.grad_input {
                work(Slot::GradInput, [block, rows, graph.input], by_step(graph.input));
            }
            for (index, &width) in program.kept.iter().enumerate() {
                work(Slot::Kept(index), [1, rows, width], once(width));
            }
        }
        at.layout
    }

    /// The address of a slot.
    pub(crate) fn address(&self, program: &Program, slot: Slot) -> Address {
        self.addresses[program.slots.index(slot)]
    }

    /// The instructions of every stage.
    pub(crate) fn bind(&self, stages: &[Stage]) -> Vec<Vec<Bound>> {
        let instructions =
            |stage: &Stage| stage.instructions.iter().map(|code| self.bound(code)).collect();
        stages.iter().map(instructions).collect()
    }

    fn bound(&self, code: &Instruction) -> Bound {
        let column = |slot: usize, start: usize| {
            let address = self.addresses[slot];
            Address { base: address.base + start, ..address }
        };
        let count = code.op.operands();
        let operands = code.operands.map(|operand| column(operand.slot, operand.start));
        let narrow = code.operands.map(|operand| operand.narrow);
        let fits = |(address, narrow): (&Address, &bool)| match narrow {
            true => address.row == 0,
            false => address.row == code.width,
        };
        let out = column(code.out, code.start);
        let one_column = matches!(code.op, Op::Sum | Op::Scale(_));
        let out_width = if one_column { 1 } else { code.width };
        // These read a row as a whole.
        let by_row = one_column || matches!(code.op, Op::Normalise(_) | Op::NormaliseGrad(_));
        let whole = !by_row && out.row == code.width;
        let dense = whole && operands.iter().zip(&narrow).take(count).all(fits);
        Bound { op: code.op, out, width: code.width, out_width, operands, narrow, dense }
    }
}
