//! A graph as instructions over rows, in stages with matrix products between them.

use recurrent_core::description::{Adjoint, Binary, Graph, Node, NodeId, Piece, Unary};

/// The rows of a step that an instruction reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// x_t.
    Input,
    /// The mask of dropout.
    Mask,
    /// A field before the step.
    Before(usize),
    /// The factors of zoneout of a field.
    Zoneout(usize),
    /// A field after the step.
    After(usize),
    /// A sum of products.
    Linear(usize),
    /// The left side of a product.
    Source(usize),
    /// A value that later stages or the backward pass read.
    Saved(usize),
    /// The gradient of a field after the step.
    Grad(usize),
    /// The gradient of a field before the step.
    GradBefore(usize),
    /// The gradient of a sum of products.
    GradLinear(usize),
    /// The gradient of the left side of products.
    GradSource(usize),
    /// The direct gradient of the input.
    GradInput,
    /// A value that later stages of the backward pass read.
    Kept(usize),
    /// Scratch memory of one block of rows.
    Temp(usize),
}

/// The numbers of slots of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slots {
    pub(super) fields: usize,
    pub(super) linears: usize,
    pub(super) sources: usize,
    pub(super) saved: usize,
    pub(super) kept: usize,
    pub(super) temps: usize,
}

impl Slots {
    /// The index of a slot in a frame.
    pub(super) fn index(&self, slot: Slot) -> usize {
        let Self { fields, linears, sources, saved, kept, .. } = *self;
        let linear = 3 + 5 * fields;
        let source = linear + 2 * linears;
        let value = source + 2 * sources;
        match slot {
            Slot::Input => 0,
            Slot::Mask => 1,
            Slot::GradInput => 2,
            Slot::Before(f) => 3 + f,
            Slot::Zoneout(f) => 3 + fields + f,
            Slot::After(f) => 3 + 2 * fields + f,
            Slot::Grad(f) => 3 + 3 * fields + f,
            Slot::GradBefore(f) => 3 + 4 * fields + f,
            Slot::Linear(l) => linear + l,
            Slot::GradLinear(l) => linear + linears + l,
            Slot::Source(s) => source + s,
            Slot::GradSource(s) => source + sources + s,
            Slot::Saved(v) => value + v,
            Slot::Kept(v) => value + saved + v,
            Slot::Temp(v) => value + saved + kept + v,
        }
    }

    /// The number of slots.
    pub(super) fn count(&self) -> usize {
        self.index(Slot::Temp(self.temps))
    }
}

/// An operand of an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand {
    /// Columns of a slot, from `start` on.
    Rows { slot: usize, start: usize },
    /// Elements of a vector of weights, from `start` on.
    Weight { weight: usize, start: usize },
    /// A number.
    Constant(f64),
}

/// The function of an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// out = a.
    Copy(Operand),
    /// out += a.
    Accumulate(Operand),
    /// out = f(a).
    Unary(Unary, Operand),
    /// out = f(a, b).
    Binary(Binary, Operand, Operand),
    /// out = the sum of a over its columns.
    Sum(Operand),
    /// Adds a, summed over the examples that run, to the gradient of a vector of weights.
    AddToWeight(usize, Operand),
}

/// An instruction over all rows of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    pub(super) op: Op,
    /// The slot and first column of the result; for [`Op::AddToWeight`] the first element.
    pub(super) out: usize,
    pub(super) start: usize,
    /// The number of columns that the function runs over.
    pub(super) width: usize,
    /// Whether the operands have one column.
    pub(super) narrow: [bool; 2],
}

/// The instructions between two sets of products.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
    /// Forward: the sums of products that run before the instructions. Backward: the sources whose
    /// gradients run after them.
    pub(super) products: Vec<usize>,
    pub(super) instructions: Vec<Instruction>,
}

/// The left side of a product, other than the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) node: NodeId,
    /// The slot that holds it.
    pub(super) slot: Slot,
    pub(super) width: usize,
}

/// A graph as instructions.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) graph: Graph,
    pub(super) adjoint: Adjoint,
    pub(super) slots: Slots,
    pub(super) sources: Vec<Source>,
    /// The place in `sources` of the left side of every product of every sum; `None`: the input.
    pub(super) products: Vec<Vec<Option<usize>>>,
    /// The widths of saved values, of kept values, and of scratch memory.
    pub(super) saved: Vec<usize>,
    pub(super) kept: Vec<usize>,
    pub(super) temps: Vec<usize>,
    pub(super) forward: Vec<Stage>,
    pub(super) backward: Vec<Stage>,
    /// The gradients of sums of products that need zeros first; and of fields.
    pub(super) fill_linears: Vec<bool>,
    pub(super) fill_fields: Vec<bool>,
    /// Whether an instruction reads the input; whether one writes its gradient.
    pub(super) reads_input: bool,
    pub(super) grad_input: bool,
}

impl Program {
    pub(super) fn new(graph: &Graph) -> Self {
        Compiler::new(graph).compile()
    }
}

/// Where the forward pass leaves the value of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Leaf,
    Slot(Slot),
    Temp,
}

struct Compiler {
    graph: Graph,
    adjoint: Adjoint,
    slots: Slots,
    sources: Vec<Source>,
    saved: Vec<usize>,
    kept: Vec<usize>,
    temps: Vec<usize>,
    /// Of every node of the step.
    places: Vec<Place>,
    levels: Vec<usize>,
    linear_levels: Vec<usize>,
}

impl Compiler {
    fn new(graph: &Graph) -> Self {
        let mut compiler = Self {
            graph: graph.clone(),
            adjoint: graph.adjoint(),
            slots: Slots {
                fields: graph.fields.len(),
                linears: graph.linears.len(),
                ..Slots::default()
            },
            sources: Vec::new(),
            saved: Vec::new(),
            kept: Vec::new(),
            temps: Vec::new(),
            places: vec![Place::Temp; graph.nodes.len()],
            levels: Vec::new(),
            linear_levels: vec![0; graph.linears.len()],
        };
        compiler.set_levels();
        compiler.set_places();
        compiler
    }

    /// The stage in which each node and each sum of products is computed; leaves are there before
    /// the first, which is stage 1.
    fn set_levels(&mut self) {
        for id in 0..self.graph.nodes.len() {
            let level = match self.graph.nodes[id] {
                Node::Linear { linear, .. } => {
                    let sources = self.graph.products(linear).map(|(.., source)| source);
                    let sources = sources.filter(|&source| !self.graph.is_input(source));
                    // A part of a leaf is copied in the first stage, a whole field is read in
                    // place.
                    let ready = |source: NodeId| match self.whole_field(source) {
                        Some(_) => 0,
                        None => self.levels[source].max(1),
                    };
                    let before = sources.map(ready).max().unwrap_or(0);
                    self.linear_levels[linear] = before + 1;
                    before + 1
                }
                Node::Unary(..) | Node::Binary(..) | Node::Sum(_) => {
                    self.graph.operands(id).map(|id| self.levels[id]).max().unwrap_or(0).max(1)
                }
                _ => 0,
            };
            self.levels.push(level);
        }
    }

    /// The field before the step that a node is the whole of.
    fn whole_field(&self, id: NodeId) -> Option<usize> {
        match self.graph.nodes[id] {
            Node::Field { field, start: 0 } => {
                (self.graph.widths[id] == self.graph.fields[field]).then_some(field)
            }
            _ => None,
        }
    }

    fn is_leaf(&self, id: NodeId) -> bool {
        !matches!(self.graph.nodes[id], Node::Unary(..) | Node::Binary(..) | Node::Sum(_))
    }

    fn set_places(&mut self) {
        for id in 0..self.graph.nodes.len() {
            if self.is_leaf(id) {
                self.places[id] = Place::Leaf;
            }
        }
        for (field, &id) in self.graph.next.iter().enumerate() {
            if self.places[id] == Place::Temp {
                self.places[id] = Place::Slot(Slot::After(field));
            }
        }
        let linears = 0..self.graph.linears.len();
        let all: Vec<_> = linears.flat_map(|linear| self.graph.products(linear)).collect();
        for (.., node) in all {
            if self.graph.is_input(node) || self.sources.iter().any(|known| known.node == node) {
                continue;
            }
            let width = self.graph.widths[node];
            let slot = match (self.whole_field(node), self.places[node]) {
                (Some(field), _) => Slot::Before(field),
                (None, Place::Slot(slot @ Slot::After(_))) => slot,
                (None, _) => Slot::Source(self.sources.len()),
            };
            if matches!(slot, Slot::Source(_)) && self.places[node] == Place::Temp {
                self.places[node] = Place::Slot(slot);
            }
            self.sources.push(Source { node, slot, width });
        }
        self.slots.sources = self.sources.len();
        for id in self.read_backward() {
            if self.places[id] == Place::Temp && !self.is_cheap(id) {
                self.save(id);
            }
            // A sum of products is overwritten by the next step.
            if let (Node::Linear { .. }, Place::Leaf) = (self.graph.nodes[id], self.places[id]) {
                self.save(id);
            }
        }
        for id in 0..self.graph.nodes.len() {
            for operand in self.graph.operands(id).collect::<Vec<_>>() {
                if self.places[operand] == Place::Temp && self.levels[operand] < self.levels[id] {
                    self.save(operand);
                }
            }
        }
        self.slots.saved = self.saved.len();
    }

    fn save(&mut self, id: NodeId) {
        self.places[id] = Place::Slot(Slot::Saved(self.saved.len()));
        self.saved.push(self.graph.widths[id]);
    }

    /// Whether the backward pass computes a value again rather than reading it: sums and products
    /// of values that it has.
    fn is_cheap(&self, id: NodeId) -> bool {
        let cheap = matches!(
            self.graph.nodes[id],
            Node::Unary(Unary::Neg, _) | Node::Binary(Binary::Add | Binary::Sub | Binary::Mul, ..)
        );
        let unknown = |operand: NodeId| {
            matches!(
                (self.graph.nodes[operand], self.places[operand]),
                (Node::Linear { .. }, Place::Leaf) | (_, Place::Temp)
            )
        };
        cheap && !self.graph.operands(id).any(unknown)
    }

    /// The nodes that the derivative needs: its own and those of the step.
    fn needed_backward(&self) -> Vec<bool> {
        let adjoint = &self.adjoint;
        let mut needed = vec![false; adjoint.graph.nodes.len()];
        let pieces = adjoint.linears.iter().chain(&adjoint.fields).flatten();
        let weights = adjoint.weights.iter().map(|(_, piece)| piece);
        for piece in pieces.chain(&adjoint.input).chain(weights) {
            needed[piece.node] = true;
        }
        for id in (adjoint.forward..needed.len()).rev() {
            if needed[id] {
                adjoint.graph.operands(id).for_each(|operand| needed[operand] = true);
            }
        }
        needed
    }

    /// The nodes of the step that the derivative reads.
    fn read_backward(&self) -> Vec<NodeId> {
        let needed = self.needed_backward();
        (0..self.adjoint.forward).filter(|&id| needed[id]).collect()
    }

    /// The operand for a leaf, forward and backward; `None` for a value that is computed.
    fn leaf(&self, graph: &Graph, id: NodeId) -> Option<Operand> {
        let rows = |slot, start| Some(Operand::Rows { slot: self.slots.index(slot), start });
        match graph.nodes[id] {
            Node::Input { start } => rows(Slot::Input, start),
            Node::Field { field, start } => rows(Slot::Before(field), start),
            Node::Mask { start } => rows(Slot::Mask, start),
            Node::Zoneout { field, start } => rows(Slot::Zoneout(field), start),
            Node::Weight { weight, start } => Some(Operand::Weight { weight, start }),
            Node::Constant(bits) => Some(Operand::Constant(f64::from_bits(bits))),
            Node::Linear { linear, start } => rows(Slot::Linear(linear), start),
            Node::Grad { field, start } => rows(Slot::Grad(field), start),
            Node::SourceGrad { source } => {
                let index = self.sources.iter().position(|known| known.node == source)?;
                rows(Slot::GradSource(index), 0)
            }
            Node::Unary(..) | Node::Binary(..) | Node::Sum(_) => None,
        }
    }

    fn compile(mut self) -> Program {
        // The slots of scratch values come last, so the others are final once these are counted.
        let backward_levels = self.backward_levels();
        let kept = self.kept_backward(&backward_levels);
        self.slots.kept = self.kept.len();
        let forward = self.forward();
        let (backward, fill_linears, fill_fields) = self.backward(&backward_levels, &kept);
        self.slots.temps = self.temps.len();
        let reads = |slot: Slot| {
            let index = self.slots.index(slot);
            let stages = forward.iter().chain(&backward).flat_map(|stage| &stage.instructions);
            stages.into_iter().any(|instruction| instruction.operands().any(|o| o == Some(index)))
        };
        let source = |node: NodeId| self.sources.iter().position(|source| source.node == node);
        let products = (0..self.graph.linears.len())
            .map(|linear| self.graph.products(linear).map(|(.., node)| source(node)).collect());
        Program {
            products: products.collect(),
            reads_input: reads(Slot::Input),
            grad_input: !self.adjoint.input.is_empty(),
            graph: self.graph,
            adjoint: self.adjoint,
            slots: self.slots,
            sources: self.sources,
            saved: self.saved,
            kept: self.kept,
            temps: self.temps,
            forward,
            backward,
            fill_linears,
            fill_fields,
        }
    }

    fn forward(&mut self) -> Vec<Stage> {
        let graph = self.graph.clone();
        let mut needed = vec![false; graph.nodes.len()];
        graph.next.iter().for_each(|&id| needed[id] = true);
        self.sources.iter().for_each(|source| needed[source.node] = true);
        for (id, place) in self.places.iter().enumerate() {
            needed[id] |= matches!(place, Place::Slot(Slot::Saved(_)));
        }
        for id in (0..needed.len()).rev().filter(|&id| needed[id]).collect::<Vec<_>>() {
            let mut all = vec![id];
            while let Some(id) = all.pop() {
                needed[id] = true;
                all.extend(graph.operands(id).filter(|&operand| !needed[operand]));
            }
        }
        let last = self.levels.iter().copied().max().unwrap_or(0).max(1);
        let mut temps = std::mem::take(&mut self.temps);
        let mut stages = Vec::new();
        for level in 1..=last {
            let products =
                (0..graph.linears.len()).filter(|&l| self.linear_levels[l] == level).collect();
            let mut code = Code::new(&graph);
            for id in (0..graph.nodes.len()).filter(|&id| needed[id]) {
                if self.levels[id].max(1) != level {
                    continue;
                }
                if !self.is_leaf(id) {
                    let out = match self.places[id] {
                        Place::Slot(slot) => Some((slot, 0)),
                        Place::Leaf | Place::Temp => None,
                    };
                    code.compute(id, out);
                    continue;
                }
                if let Place::Slot(slot @ Slot::Saved(_)) = self.places[id] {
                    code.copy(id, (slot, 0)); // a sum of products
                }
            }
            for source in self.sources.clone() {
                let copied = matches!(source.slot, Slot::Source(_)) && self.is_leaf(source.node);
                if copied && self.levels[source.node].max(1) == level {
                    code.copy(source.node, (source.slot, 0));
                }
            }
            for (field, &id) in graph.next.iter().enumerate() {
                let own = self.places[id] == Place::Slot(Slot::After(field));
                if !own && self.levels[id].max(1) == level {
                    code.copy(id, (Slot::After(field), 0));
                }
            }
            let read = |id: NodeId| match self.places[id] {
                // A saved sum of products is read where it was computed.
                Place::Slot(slot) if !self.is_leaf(id) => {
                    Some(Operand::Rows { slot: self.slots.index(slot), start: 0 })
                }
                _ => self.leaf(&graph, id),
            };
            let instructions = code.finish(&self.slots, read, &mut temps);
            stages.push(Stage { products, instructions });
        }
        self.temps = temps;
        stages
    }

    /// The stage of the derivative in which each node is computed; gradients and values of the step
    /// are there before the first, which is stage 1.
    fn backward_levels(&self) -> Vec<usize> {
        let adjoint = &self.adjoint;
        let mut levels: Vec<usize> = Vec::new();
        for id in 0..adjoint.graph.nodes.len() {
            let operands = adjoint.graph.operands(id);
            let level = match adjoint.graph.nodes[id] {
                _ if id < adjoint.forward => usize::from(self.is_recomputed(id)),
                Node::SourceGrad { source } => {
                    let linears = (0..adjoint.linears.len()).filter(|&linear| {
                        adjoint.graph.products(linear).any(|(.., of)| of == source)
                    });
                    let pieces = linears.flat_map(|linear| &adjoint.linears[linear]);
                    pieces.map(|piece| levels[piece.node].max(1)).max().unwrap_or(0) + 1
                }
                Node::Unary(..) | Node::Binary(..) | Node::Sum(_) => {
                    operands.map(|id| levels[id]).max().unwrap_or(0).max(1)
                }
                _ => 0,
            };
            levels.push(level);
        }
        levels
    }

    /// Whether the derivative computes a value of the step again.
    fn is_recomputed(&self, id: NodeId) -> bool {
        id < self.adjoint.forward && self.places[id] == Place::Temp
    }

    fn is_computed_backward(&self, id: NodeId) -> bool {
        let node = self.adjoint.graph.nodes[id];
        let computes = matches!(node, Node::Unary(..) | Node::Binary(..) | Node::Sum(_));
        computes && (id >= self.adjoint.forward || self.is_recomputed(id))
    }

    /// The slot of every node whose value a later stage of the derivative reads.
    fn kept_backward(&mut self, levels: &[usize]) -> Vec<Option<Slot>> {
        let needed = self.needed_backward();
        let mut kept = vec![None; levels.len()];
        for id in (0..levels.len()).filter(|&id| needed[id]) {
            if !self.is_computed_backward(id) {
                continue;
            }
            for operand in self.adjoint.graph.operands(id).collect::<Vec<_>>() {
                let later = self.is_computed_backward(operand) && levels[operand] < levels[id];
                if later && kept[operand].is_none() {
                    kept[operand] = Some(Slot::Kept(self.kept.len()));
                    self.kept.push(self.adjoint.graph.widths[operand]);
                }
            }
        }
        kept
    }

    fn backward(
        &mut self,
        levels: &[usize],
        kept: &[Option<Slot>],
    ) -> (Vec<Stage>, Vec<bool>, Vec<bool>) {
        let adjoint = self.adjoint.clone();
        let graph = &adjoint.graph;
        let needed = self.needed_backward();
        let source_grads = |id: &NodeId| matches!(graph.nodes[*id], Node::SourceGrad { .. });
        let all: Vec<_> = (0..levels.len()).filter(|&id| needed[id]).collect();
        let last = all.iter().map(|&id| levels[id]).max().unwrap_or(0).max(1);
        // Pieces: (target, node, stage), and whether the target needs zeros first.
        let mut targets = Vec::new();
        let mut fills = [Vec::new(), Vec::new()];
        let whole = [
            (&adjoint.linears, graph.linears.iter().map(|linear| linear.width).collect::<Vec<_>>()),
            (&adjoint.fields, graph.fields.clone()),
        ];
        for (kind, (pieces, widths)) in whole.into_iter().enumerate() {
            for (index, (pieces, width)) in pieces.iter().zip(widths).enumerate() {
                let slot = match kind {
                    0 => Slot::GradLinear(index),
                    _ => Slot::GradBefore(index),
                };
                let fill = !covers(pieces, width);
                fills[kind].push(fill);
                targets.extend(pieces.iter().map(|piece| (slot, *piece, fill)));
            }
        }
        targets.extend(adjoint.input.iter().map(|piece| (Slot::GradInput, *piece, true)));
        let mut uses = vec![0; levels.len()];
        for &id in all.iter().filter(|&&id| self.is_computed_backward(id)) {
            graph.operands(id).for_each(|operand| uses[operand] += 1);
        }
        targets.iter().for_each(|(_, piece, _)| uses[piece.node] += 1);
        adjoint.weights.iter().for_each(|(_, piece)| uses[piece.node] += 1);
        let mut stages = Vec::new();
        let mut temps = std::mem::take(&mut self.temps);
        for level in 1..=last {
            let mut code = Code::new(graph);
            for &id in &all {
                if levels[id] != level || !self.is_computed_backward(id) {
                    continue;
                }
                // Written where it is needed, if nothing else reads it.
                let own = |(_, piece, fill): &&(Slot, Piece, bool)| {
                    let whole = graph.widths[id] == piece.width;
                    piece.node == id && !fill && whole && uses[id] == 1
                };
                let direct = targets.iter().find(own).map(|(slot, piece, _)| (*slot, piece.start));
                let out = kept[id].map(|slot| (slot, 0)).or(direct);
                code.compute(id, out);
            }
            for (slot, piece, fill) in &targets {
                if levels[piece.node].max(1) != level {
                    continue;
                }
                match fill {
                    true => code.accumulate(*piece, *slot),
                    false if code.is_at(piece.node, (*slot, piece.start)) => {}
                    false => code.copy_piece(*piece, *slot),
                }
            }
            for (weight, piece) in &adjoint.weights {
                if levels[piece.node].max(1) == level {
                    code.add_to_weight(*weight, *piece);
                }
            }
            let mut products = Vec::new();
            for &id in all.iter().filter(|id| source_grads(id)) {
                let Node::SourceGrad { source } = graph.nodes[id] else { continue };
                if levels[id] == level + 1 {
                    products.extend(self.sources.iter().position(|known| known.node == source));
                }
            }
            let read = |id: NodeId| match kept[id] {
                Some(slot) => Some(Operand::Rows { slot: self.slots.index(slot), start: 0 }),
                None if id < adjoint.forward => match self.places[id] {
                    Place::Slot(slot) => {
                        Some(Operand::Rows { slot: self.slots.index(slot), start: 0 })
                    }
                    Place::Leaf => self.leaf(graph, id),
                    Place::Temp => None,
                },
                None => self.leaf(graph, id),
            };
            let instructions = code.finish(&self.slots, read, &mut temps);
            stages.push(Stage { products, instructions });
        }
        self.temps = temps;
        let [linears, fields] = fills;
        (stages, linears, fields)
    }
}

/// Whether the pieces lie side by side and fill `width` columns.
fn covers(pieces: &[Piece], width: usize) -> bool {
    let mut sorted: Vec<_> = pieces.iter().map(|piece| (piece.start, piece.width)).collect();
    sorted.sort_unstable();
    let end =
        sorted.iter().try_fold(0, |end, (start, width)| (*start == end).then_some(end + width));
    end == Some(width)
}

impl Instruction {
    /// The slots of the operands.
    fn operands(&self) -> impl Iterator<Item = Option<usize>> {
        let slot = |operand: Operand| match operand {
            Operand::Rows { slot, .. } => Some(slot),
            _ => None,
        };
        let (a, b) = match self.op {
            Op::Copy(a) | Op::Accumulate(a) | Op::Unary(_, a) | Op::Sum(a) => (slot(a), None),
            Op::AddToWeight(_, a) => (slot(a), None),
            Op::Binary(_, a, b) => (slot(a), slot(b)),
        };
        [a, b].into_iter()
    }
}

/// A step of a stage before registers are chosen.
enum Draft {
    Compute(NodeId),
    Copy { node: NodeId, to: (Slot, usize), width: usize, add: bool },
    AddToWeight { weight: usize, piece: Piece },
}

/// The instructions of a stage.
struct Code<'g> {
    graph: &'g Graph,
    drafts: Vec<Draft>,
    /// The nodes that are computed here, and where they are written; `None`: scratch memory.
    outputs: Vec<(NodeId, Option<(Slot, usize)>)>,
}

impl<'g> Code<'g> {
    fn new(graph: &'g Graph) -> Self {
        Self { graph, drafts: Vec::new(), outputs: Vec::new() }
    }

    fn compute(&mut self, id: NodeId, out: Option<(Slot, usize)>) {
        self.drafts.push(Draft::Compute(id));
        self.outputs.push((id, out));
    }

    fn copy(&mut self, node: NodeId, to: (Slot, usize)) {
        let width = self.graph.widths[node];
        self.drafts.push(Draft::Copy { node, to, width, add: false });
    }

    fn copy_piece(&mut self, piece: Piece, slot: Slot) {
        let to = (slot, piece.start);
        self.drafts.push(Draft::Copy { node: piece.node, to, width: piece.width, add: false });
    }

    fn accumulate(&mut self, piece: Piece, slot: Slot) {
        let to = (slot, piece.start);
        self.drafts.push(Draft::Copy { node: piece.node, to, width: piece.width, add: true });
    }

    fn add_to_weight(&mut self, weight: usize, piece: Piece) {
        self.drafts.push(Draft::AddToWeight { weight, piece });
    }

    fn is_at(&self, node: NodeId, place: (Slot, usize)) -> bool {
        self.outputs.contains(&(node, Some(place)))
    }

    /// The operands of a draft.
    fn operands(&self, draft: &Draft) -> Vec<NodeId> {
        match draft {
            Draft::Compute(id) => self.graph.operands(*id).collect(),
            Draft::Copy { node, .. } => vec![*node],
            Draft::AddToWeight { piece, .. } => vec![piece.node],
        }
    }

    /// Chooses scratch memory: a register is free again after its last use. `read` is the operand
    /// of a value that is not computed here. `temps` are the widths of the registers, which grow.
    fn finish(
        self,
        slots: &Slots,
        read: impl Fn(NodeId) -> Option<Operand>,
        temps: &mut Vec<usize>,
    ) -> Vec<Instruction> {
        let mut last_use = vec![0; self.graph.nodes.len()];
        for (at, draft) in self.drafts.iter().enumerate() {
            self.operands(draft).into_iter().for_each(|id| last_use[id] = at);
        }
        let mut registers: Vec<Option<NodeId>> = vec![None; temps.len()];
        let mut instructions = Vec::new();
        for (at, draft) in self.drafts.iter().enumerate() {
            let operand = |id: NodeId, registers: &[Option<NodeId>]| {
                let output = self.outputs.iter().find(|(node, _)| *node == id);
                match output {
                    Some((_, Some((slot, start)))) => {
                        Operand::Rows { slot: slots.index(*slot), start: *start }
                    }
                    Some((_, None)) => {
                        let register = registers.iter().position(|held| *held == Some(id));
                        let register = register.expect("a value is computed before it is read");
                        Operand::Rows { slot: slots.index(Slot::Temp(register)), start: 0 }
                    }
                    None => read(id).expect("a value is there before it is read"),
                }
            };
            let ids = self.operands(draft);
            let operands: Vec<_> = ids.iter().map(|&id| operand(id, &registers)).collect();
            let narrow = |index: usize, width: usize| {
                ids.get(index).is_some_and(|&id| self.graph.widths[id] == 1 && width != 1)
            };
            let (op, out, start, width) = match *draft {
                Draft::Copy { to: (slot, start), width, add, .. } => {
                    let op = if add { Op::Accumulate(operands[0]) } else { Op::Copy(operands[0]) };
                    (op, slots.index(slot), start, width)
                }
                Draft::AddToWeight { weight, piece } => {
                    (Op::AddToWeight(weight, operands[0]), usize::MAX, piece.start, piece.width)
                }
                Draft::Compute(id) => {
                    let op = match self.graph.nodes[id] {
                        Node::Unary(function, _) => Op::Unary(function, operands[0]),
                        Node::Binary(function, ..) => {
                            Op::Binary(function, operands[0], operands[1])
                        }
                        _ => Op::Sum(operands[0]),
                    };
                    let width = match op {
                        Op::Sum(_) => self.graph.widths[ids[0]],
                        _ => self.graph.widths[id],
                    };
                    let place = self.outputs.iter().find(|(node, _)| *node == id);
                    let (slot, start) = match place.and_then(|(_, place)| *place) {
                        Some(place) => place,
                        None => {
                            let own = self.graph.widths[id];
                            let mut free = registers.iter().zip(temps.iter());
                            let free =
                                free.position(|(held, width)| held.is_none() && *width == own);
                            let register = free.unwrap_or(registers.len());
                            if register == registers.len() {
                                registers.push(None);
                                temps.push(own);
                            }
                            registers[register] = Some(id);
                            (Slot::Temp(register), 0)
                        }
                    };
                    (op, slots.index(slot), start, width)
                }
            };
            let narrow = [narrow(0, width), narrow(1, width)];
            instructions.push(Instruction { op, out, start, width, narrow });
            for held in &mut registers {
                if held.is_some_and(|id| last_use[id] <= at) {
                    *held = None;
                }
            }
        }
        instructions
    }
}
