//! The columns that each member of a team of threads computes.

use crate::program::{Program, Slot, Stage};
use std::collections::BTreeSet;
use std::ops::Range;

/// Columns of a row that vectors of all instruction sets divide, or nearly.
const VECTOR: usize = 8;

/// One of `count` shares of the units of a layer, as even as they can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

impl Share {
    /// All units.
    pub(crate) const WHOLE: Self = Self { index: 0, count: 1 };

    /// The share of `width` columns: whole vectors, or halves or quarters of them if shares are
    /// small, so that no share differs from the mean by more than an eighth, or one column.
    pub(crate) fn of(self, width: usize) -> Range<usize> {
        let unit = 1 << (width / (VECTOR * self.count)).clamp(1, VECTOR).ilog2();
        let border = |index: usize| match index == self.count {
            true => width,
            false => (width * index + self.count * unit / 2) / (self.count * unit) * unit,
        };
        border(self.index)..border(self.index + 1)
    }

    /// The shares of all members.
    pub(crate) fn all(self) -> impl Iterator<Item = Self> {
        (0..self.count).map(move |index| Self { index, ..self })
    }
}

/// How the columns of the slots of a program are cut into shares: a slot is a row of pieces, each
/// of which the instructions read and write as one, and a share has its part of every piece.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    /// By slot; a slot that every member has as a whole has none.
    by_slot: Vec<Vec<Range<usize>>>,
    /// The columns of the narrowest piece.
    pub(crate) narrowest: usize,
    /// By stage of the forward pass: the left sides of products that its instructions complete.
    pub(crate) completed: Vec<Vec<usize>>,
}

impl Pieces {
    /// `None` if an instruction reads a row as a whole, so that its units cannot be cut.
    pub(crate) fn new(program: &Program) -> Option<Self> {
        let slots = &program.slots;
        let mut by_slot: Vec<Vec<Range<usize>>> = vec![Vec::new(); slots.count()];
        let constants = (0..program.constants.len()).map(Slot::Constant);
        let whole: BTreeSet<_> = constants.chain([Slot::Input]).map(|slot| slot.index()).collect();
        let whole = |slot: usize| whole.contains(&slot);
        if program.grad_input || !program.parts.is_empty() {
            return None;
        }
        // Products of what all hand over keep members together at every step; see `Exchange`.
        if program.backward.iter().all(|stage| stage.products.is_empty()) {
            return None;
        }
        let stages = program.forward.iter().chain(&program.backward);
        for code in stages.flat_map(|stage| &stage.instructions) {
            if code.op.is_by_row() {
                return None;
            }
            let operands = &code.operands[..code.op.operands()];
            if operands.iter().any(|operand| operand.narrow && !whole(operand.slot)) {
                return None;
            }
            let read = operands.iter().map(|operand| (operand.slot, operand.start));
            for (slot, start) in read.chain([(code.out, code.start)]) {
                let piece = start..start + code.width;
                if !whole(slot) && !by_slot[slot].contains(&piece) {
                    by_slot[slot].push(piece);
                }
            }
        }
        // The same columns forward and backward.
        let graph = &program.graph;
        let linears = graph.linears.iter().enumerate().map(|(index, linear)| {
            (vec![Slot::Linear(index), Slot::GradLinear(index)], linear.width, true)
        });
        let vector = |(index, dims): (usize, &Vec<usize>)| match dims[..] {
            [width] => Some((vec![Slot::Weight(index), Slot::WeightGrad(index)], width, true)),
            _ => None,
        };
        let fields = graph.fields.iter().enumerate().map(|(field, &size)| {
            let before = [Slot::Before(field), Slot::GradBefore(field)];
            let after = [Slot::After(field), Slot::Grad(field), Slot::Zoneout(field)];
            ([&before[..], &after].concat(), size, false)
        });
        let values = |widths: &[usize], slot: fn(usize) -> Slot| -> Vec<_> {
            let values = widths.iter().enumerate();
            values.map(|(index, &width)| (vec![slot(index)], width, false)).collect()
        };
        let sources: Vec<_> = program.sources.iter().map(|source| source.width).collect();
        let all = linears
            .chain(graph.weights.iter().enumerate().filter_map(vector))
            .chain(fields)
            .chain([(vec![Slot::Mask], graph.fields[0], false)])
            .chain(values(&sources, Slot::Source))
            .chain(values(&sources, Slot::GradSource))
            .chain(values(&program.saved, Slot::Saved))
            .chain(values(&program.kept, Slot::Kept))
            .chain(values(&program.temps, Slot::Temp));
        for (same, width, several) in all {
            let same: Vec<_> = same.into_iter().map(|slot| slot.index()).collect();
            let mut pieces: Vec<_> =
                same.iter().flat_map(|&slot| by_slot[slot].iter().cloned()).collect();
            pieces.sort_unstable_by_key(|piece| (piece.start, piece.end));
            pieces.dedup();
            if pieces.is_empty() {
                pieces.push(0..width);
            }
            let end =
                pieces.iter().try_fold(0, |end, piece| (piece.start == end).then_some(piece.end));
            if end != Some(width) || (pieces.len() > 1 && !several) {
                return None;
            }
            same.into_iter().for_each(|slot| by_slot[slot] = pieces.clone());
        }
        let sources_are_whole = program.sources.iter().all(|source| {
            by_slot[source.slot.index()].len() == 1 && by_slot[source.grad.index()].len() == 1
        });
        let narrowest = by_slot.iter().flatten().map(Range::len).min().unwrap_or(0);
        let writes = |stage: &Stage, slot| stage.instructions.iter().any(|code| code.out == slot);
        let mut completed = vec![Vec::new(); program.forward.len()];
        for (index, source) in program.sources.iter().enumerate() {
            let slot = source.slot.index();
            let stage = program.forward.iter().rposition(|stage| writes(stage, slot));
            if let (Some(stage), false) = (stage, matches!(source.slot, Slot::Before(_))) {
                completed[stage].push(index);
            }
        }
        sources_are_whole.then_some(Self { by_slot, narrowest, completed })
    }

    /// The columns of a slot that a share has.
    pub(crate) fn columns(
        &self,
        slot: usize,
        share: Share,
    ) -> impl Iterator<Item = Range<usize>> + use<'_> {
        self.by_slot[slot].iter().map(move |piece| {
            let own = share.of(piece.len());
            piece.start + own.start..piece.start + own.end
        })
    }

    /// The number of columns of a slot of `width` columns that a share has.
    pub(crate) fn width(&self, slot: usize, width: usize, share: Share) -> usize {
        match self.by_slot[slot].is_empty() {
            true => width,
            false => self.columns(slot, share).map(|own| own.len()).sum(),
        }
    }

    /// The first column, among those that a share has of a slot, of its part of a piece.
    pub(crate) fn start(&self, slot: usize, piece: Range<usize>, share: Share) -> usize {
        match self.by_slot[slot].is_empty() {
            true => piece.start + if piece.len() > 1 { share.of(piece.len()).start } else { 0 },
            false => {
                let before = self.columns(slot, share).zip(&self.by_slot[slot]);
                let before = before.take_while(|(_, known)| known.start < piece.start);
                before.map(|(own, _)| own.len()).sum()
            }
        }
    }
}

/// Some columns of rows, as a member hands them over.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) member: usize,
    /// The number of columns that the member has, and the first of these.
    pub(crate) stride: usize,
    pub(crate) start: usize,
    /// The columns of the whole.
    pub(crate) columns: Range<usize>,
}

/// `width` columns that are cut as one, by who has them.
pub(crate) fn even_cuts(width: usize, share: Share) -> Vec<Cut> {
    let cut = |member: Share| {
        let columns = member.of(width);
        Cut { member: member.index, stride: columns.len(), start: 0, columns }
    };
    share.all().map(cut).collect()
}

/// What the members of a team hand over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Channel {
    /// The left side of products, at a step.
    Source(usize),
    /// The gradient of a sum of products, at a step.
    GradLinear(usize),
    /// The left side of products, at a block of steps.
    SourceBlock(usize),
    /// The gradient of a field, twice a step.
    Grad(usize),
}

impl Program {
    /// The index of a channel.
    pub(crate) fn channel(&self, channel: Channel) -> usize {
        let (sources, linears) = (self.sources.len(), self.graph.linears.len());
        match channel {
            Channel::Source(index) => index,
            Channel::SourceBlock(index) => sources + index,
            Channel::GradLinear(index) => 2 * sources + index,
            Channel::Grad(field) => 2 * sources + linears + field,
        }
    }

    /// The number of places of every channel; the gradients of sums of products of `block` steps
    /// are read at once.
    pub(crate) fn channels(&self, block: usize) -> Vec<usize> {
        let mut places = vec![0; self.channel(Channel::Grad(self.graph.fields.len()))];
        for source in 0..self.sources.len() {
            places[self.channel(Channel::Source(source))] = 2;
            places[self.channel(Channel::SourceBlock(source))] = 1;
        }
        for linear in 0..self.graph.linears.len() {
            places[self.channel(Channel::GradLinear(linear))] = block + 2;
        }
        for field in 0..self.graph.fields.len() {
            places[self.channel(Channel::Grad(field))] = 4;
        }
        places
    }

    /// The columns of a sum of products, in order, by who has them.
    pub(crate) fn linear_cuts(&self, index: usize, share: Share) -> Vec<Cut> {
        let Some(pieces) = &self.pieces else { return Vec::new() };
        let (slot, width) = (Slot::Linear(index).index(), self.graph.linears[index].width);
        let cut = |(piece, member): (&Range<usize>, Share)| {
            let own = member.of(piece.len());
            Cut {
                member: member.index,
                stride: pieces.width(slot, width, member),
                start: pieces.start(slot, piece.clone(), member),
                columns: piece.start + own.start..piece.start + own.end,
            }
        };
        let all = pieces.by_slot[slot].iter();
        all.flat_map(|piece| share.all().map(move |member| (piece, member))).map(cut).collect()
    }

    /// The columns of a sum of products that a share has.
    pub(crate) fn linear_columns(&self, index: usize, share: Share) -> Vec<Range<usize>> {
        self.columns(Slot::Linear(index), self.graph.linears[index].width, share)
    }

    /// The elements of a vector of weights that a share has.
    pub(crate) fn vector_columns(&self, index: usize, share: Share) -> Vec<Range<usize>> {
        self.columns(Slot::Weight(index), self.graph.weights[index][0], share)
    }

    fn columns(&self, slot: Slot, width: usize, share: Share) -> Vec<Range<usize>> {
        match &self.pieces {
            Some(pieces) if share.count > 1 => pieces.columns(slot.index(), share).collect(),
            _ => std::iter::once(0..width).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recurrent_core::description::{Additions, Builder};

    /// An LSTM of `units` units and 3 input features, with or without a normalised cell state.
    fn lstm(units: usize, normed: bool) -> Program {
        let weights = [
            ("weight_ih", vec![4 * units, 3]),
            ("weight_hh", vec![4 * units, units]),
            ("bias_ih", vec![4 * units]),
            ("bias_hh", vec![4 * units]),
        ];
        let weights = weights.map(|(name, dims)| (name.to_string(), dims));
        let fields = [units, units];
        let additions = Additions::default();
        let graph = Builder::describe("lstm", 3, &fields, &weights, additions, |cell| {
            let [i, f, g, o] = cell.gates(&cell.recurrent());
            let c = f.sigmoid() * cell.state(1) + i.sigmoid() * g.tanh();
            let shown = if normed { c - c.sum() } else { c };
            vec![o.sigmoid() * shown.tanh(), c]
        });
        Program::new(&graph.expect("a graph"))
    }

    /// What the members of a team get of an LSTM: columns of every gate, together all columns once.
    #[test]
    fn members_have_even_parts_of_every_gate() {
        let units = 333;
        let program = lstm(units, false);
        for count in 2..9 {
            let mut seen = vec![0; 4 * units];
            for share in (Share { index: 0, count }).all() {
                let own = program.linear_columns(0, share);
                assert_eq!(own.len(), 4, "a piece of each gate");
                let work: usize = own.iter().map(Range::len).sum();
                let even = 4.0 * units as f64 / count as f64;
                assert!((work as f64 / even - 1.0).abs() < 0.125, "{work} of {even}");
                own.into_iter().flatten().for_each(|column| seen[column] += 1);
            }
            assert!(seen.iter().all(|&times| times == 1));
            // What a member needs of all others, in the order of the columns.
            let cuts = program.linear_cuts(0, Share { index: 0, count });
            let columns = cuts.into_iter().flat_map(|cut| cut.columns);
            assert!(columns.eq(0..4 * units));
        }
    }

    #[test]
    fn what_reads_a_row_is_not_cut() {
        assert!(lstm(16, false).pieces.is_some());
        assert!(lstm(16, true).pieces.is_none());
    }

    #[test]
    fn shares_are_even() {
        for count in 1..20 {
            for width in [count, 7 * count + 3, 100, 128, 333, 512, 1000].map(|w| w.max(count)) {
                let shares: Vec<_> = Share { index: 0, count }.all().map(|s| s.of(width)).collect();
                assert_eq!((shares[0].start, shares[count - 1].end), (0, width));
                assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
                let even = width as f64 / count as f64;
                for own in &shares {
                    assert!(!own.is_empty());
                    let most = 1f64.max(even / 8.0);
                    assert!((own.len() as f64 - even).abs() <= most, "{own:?} of {width}");
                }
            }
        }
    }
}
