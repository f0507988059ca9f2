//! The instructions of a stage: fusion, and the choice of scratch memory.

use crate::program::{Chain, Instruction, Op, Operand, Slot};
use recurrent_core::description::{Binary, Graph, Node, NodeId};

/// An instruction before registers are chosen.
struct Draft {
    op: Op,
    operands: Vec<NodeId>,
    /// The value that it computes, if other instructions may read it.
    value: Option<NodeId>,
    /// The slot and first column of the result; `None`: scratch memory.
    to: Option<(Slot, usize)>,
    /// The number of columns that it runs over.
    width: usize,
}

/// The instructions of a stage.
pub(crate) struct Code<'g> {
    graph: &'g Graph,
    drafts: Vec<Draft>,
}

impl<'g> Code<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Self {
        Self { graph, drafts: Vec::new() }
    }

    pub(crate) fn compute(&mut self, id: NodeId, to: Option<(Slot, usize)>) {
        let operands: Vec<_> = self.graph.operands(id).collect();
        let op = match self.graph.nodes[id] {
            Node::Unary(function, _) => Op::Unary(function),
            Node::Binary(function, ..) => Op::Binary(function),
            Node::Scale(norm, _) => Op::Scale(norm),
            Node::Normalise(norm, ..) => Op::Normalise(norm),
            Node::NormaliseGrad { norm, .. } => Op::NormaliseGrad(norm),
            Node::Softmax(_) => Op::Softmax,
            Node::CumulativeSum { reverse, .. } => Op::CumulativeSum { reverse },
            _ => Op::Sum,
        };
        let widest = operands.iter().map(|&id| self.graph.widths[id]).max();
        let width = widest.unwrap_or(0).max(self.graph.widths[id]);
        self.drafts.push(Draft { op, operands, value: Some(id), to, width });
    }

    /// Writes a value to `width` columns from `to` on, or adds it to them; a value that is computed
    /// there is not copied.
    pub(crate) fn write(&mut self, op: Op, node: NodeId, to: (Slot, usize), width: usize) {
        let (value, to) = (Some(node), Some(to));
        let computed = self.drafts.iter().any(|draft| draft.value == value && draft.to == to);
        if !(computed && matches!(op, Op::Copy)) {
            self.drafts.push(Draft { op, operands: vec![node], value: None, to, width });
        }
    }

    /// Fuses a function of two numbers into the one instruction that reads it.
    fn fuse(&mut self) {
        let mut at = 0;
        while at < self.drafts.len() {
            let inner = (0..self.drafts[at].operands.len())
                .find_map(|operand| Some((operand, self.fusible(at, operand)?)));
            let Some((operand, (from, op))) = inner else {
                at += 1;
                continue;
            };
            let first = self.drafts.remove(from);
            at -= 1;
            let draft = &mut self.drafts[at];
            draft.operands.remove(operand);
            draft.operands.splice(0..0, first.operands);
            draft.op = op;
        }
    }

    /// The draft that computes operand `operand` of draft `at`, and the instruction that does both.
    fn fusible(&self, at: usize, operand: usize) -> Option<(usize, Op)> {
        let (outer, id) = (&self.drafts[at], self.drafts[at].operands[operand]);
        let from = self.drafts.iter().position(|draft| draft.value == Some(id))?;
        let inner = &self.drafts[from];
        let readers = self.drafts.iter().flat_map(|draft| &draft.operands);
        let once = readers.filter(|read| **read == id).count() == 1;
        let operands = outer.operands.iter().chain(&inner.operands);
        let wide = operands.clone().all(|id| self.graph.widths[*id] == outer.width);
        if inner.to.is_some() || !once || !wide {
            return None;
        }
        let op = match (inner.op, outer.op, operand) {
            (Op::Binary(Binary::Mul), Op::AddToWeight, _) => Op::AddProductToWeight,
            (Op::Binary(first), Op::Binary(second), _) => {
                Op::Chain(match (first, second, operand) {
                    (Binary::Mul, Binary::Add, _) => Chain::MulAdd,
                    (Binary::Mul, Binary::Mul, _) => Chain::MulMul,
                    (Binary::Sub, Binary::Mul, _) => Chain::SubMul,
                    (Binary::Add, Binary::Add, _) => Chain::AddAdd,
                    (Binary::Mul, Binary::SigmoidGrad, 0) => Chain::MulSigmoidGrad,
                    (Binary::Mul, Binary::TanhGrad, 0) => Chain::MulTanhGrad,
                    _ => return None,
                })
            }
            _ => return None,
        };
        Some((from, op))
    }

    /// Chooses scratch memory: a register is free again after its last use. `read` is the slot and
    /// first column of a value that is not computed here. `temps` are the widths of the registers,
    /// which grow.
    pub(crate) fn finish(
        mut self,
        read: impl Fn(NodeId) -> Option<(Slot, usize)>,
        temps: &mut Vec<usize>,
    ) -> Vec<Instruction> {
        self.fuse();
        let graph = self.graph;
        let mut last_use = vec![0; graph.nodes.len()];
        for (at, draft) in self.drafts.iter().enumerate() {
            draft.operands.iter().for_each(|&id| last_use[id] = at);
        }
        let mut places: Vec<Option<(Slot, usize)>> = vec![None; graph.nodes.len()];
        let mut registers: Vec<Option<NodeId>> = vec![None; temps.len()];
        let mut instructions = Vec::new();
        for (at, draft) in self.drafts.iter().enumerate() {
            let mut operands = [Operand::default(); 3];
            for (operand, &id) in operands.iter_mut().zip(&draft.operands) {
                let place = places[id].or_else(|| read(id));
                let (slot, start) = place.expect("a value is there before it is read");
                let narrow = graph.widths[id] == 1 && draft.width != 1;
                *operand = Operand { slot: slot.index(), start, narrow };
            }
            let (slot, start) = draft.to.unwrap_or_else(|| {
                let width = draft.value.map_or(draft.width, |id| graph.widths[id]);
                let mut all = registers.iter().zip(temps.iter());
                let free = all.position(|(held, own)| held.is_none() && *own == width);
                let register = free.unwrap_or_else(|| {
                    registers.push(None);
                    temps.push(width);
                    temps.len() - 1
                });
                registers[register] = draft.value;
                (Slot::Temp(register), 0)
            });
            if let Some(id) = draft.value {
                places[id] = Some((slot, start));
            }
            let Draft { op, width, .. } = *draft;
            instructions.push(Instruction { op, out: slot.index(), start, width, operands });
            for held in &mut registers {
                if held.is_some_and(|id| last_use[id] <= at) {
                    *held = None;
                }
            }
        }
        instructions
    }
}
