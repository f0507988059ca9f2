//! A graph as instructions over rows, in stages with matrix products between them.

use crate::code::Code;
use crate::share::Pieces;
use recurrent_core::description::{Adjoint, Binary, Graph, Node, NodeId, Norm, Piece, Unary};

/// The rows of a step that an instruction reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
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
    /// The gradient of a value through its parts.
    GradParts(usize),
    /// The direct gradient of the input.
    GradInput,
    /// A value that later stages of the backward pass read.
    Kept(usize),
    /// A vector of weights, and its gradient.
    Weight(usize),
    WeightGrad(usize),
    /// A number.
    Constant(usize),
    /// Scratch memory of one block of rows.
    Temp(usize),
}

/// The numbers of slots of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slots {
    pub(crate) fields: usize,
    pub(crate) linears: usize,
    pub(crate) sources: usize,
    pub(crate) parts: usize,
    pub(crate) saved: usize,
    pub(crate) kept: usize,
    pub(crate) weights: usize,
    pub(crate) constants: usize,
    pub(crate) temps: usize,
}

impl Slots {
    /// The index of a slot.
    pub(crate) fn index(&self, slot: Slot) -> usize {
        let Self { fields, linears, sources, parts, saved, kept, weights, constants, .. } = *self;
        let linear = 3 + 5 * fields;
        let source = linear + 2 * linears;
        let part = source + 2 * sources;
        let value = part + parts;
        let weight = value + saved + kept;
        let constant = weight + 2 * weights;
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
            Slot::GradParts(p) => part + p,
            Slot::Saved(v) => value + v,
            Slot::Kept(v) => value + saved + v,
            Slot::Weight(w) => weight + w,
            Slot::WeightGrad(w) => weight + weights + w,
            Slot::Constant(c) => constant + c,
            Slot::Temp(v) => constant + constants + v,
        }
    }

    /// The number of slots.
    pub(crate) fn count(&self) -> usize {
        self.index(Slot::Temp(self.temps))
    }
}

/// An operand of an instruction: columns of a slot, from `start` on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operand {
    pub(crate) slot: usize,
    pub(crate) start: usize,
    /// Whether it has one column, for all columns of the result.
    pub(crate) narrow: bool,
}

/// A function of two functions of two numbers: the first of a and b, the second of that and c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// a b + c.
    MulAdd,
    /// a b c.
    MulMul,
    /// (a − b) c.
    SubMul,
    /// a + b + c.
    AddAdd,
    /// The gradient a b through c = σ(·).
    MulSigmoidGrad,
    /// The gradient a b through c = tanh(·).
    MulTanhGrad,
}

/// The function of an instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// out = a.
    Copy,
    /// out += a.
    Accumulate,
    /// out = f(a).
    Unary(Unary),
    /// out = f(a, b).
    Binary(Binary),
    /// out = f(a, b, c).
    Chain(Chain),
    /// out = the sum of a over its columns.
    Sum,
    /// out = the scale of a row of a.
    Scale(Norm),
    /// out = (a − mean a) b, or a b.
    Normalise(Norm),
    /// out = c (a − mean a − b mean (a ∘ b)), the second term only if the mean is subtracted.
    NormaliseGrad(Norm),
    /// out += a, summed over the examples that run.
    AddToWeight,
    /// out += a b, summed over the examples that run.
    AddProductToWeight,
}

impl Op {
    /// The number of operands.
    pub(crate) fn operands(self) -> usize {
        match self {
            Self::Copy
            | Self::Accumulate
            | Self::Unary(_)
            | Self::Sum
            | Self::Scale(_)
            | Self::AddToWeight => 1,
            Self::Binary(_) | Self::Normalise(_) | Self::AddProductToWeight => 2,
            Self::Chain(_) | Self::NormaliseGrad(_) => 3,
        }
    }
}

/// An instruction over all rows of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instruction {
    pub(crate) op: Op,
    /// The slot and first column of the result.
    pub(crate) out: usize,
    pub(crate) start: usize,
    /// The number of columns that the function runs over.
    pub(crate) width: usize,
    pub(crate) operands: [Operand; 3],
}

/// The instructions between two sets of products.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage {
    /// Forward: the sums of products that run before the instructions. Backward: the sources whose
    /// gradients run after them.
    pub(crate) products: Vec<usize>,
    pub(crate) instructions: Vec<Instruction>,
    /// Backward: the sums of products whose gradients the instructions complete.
    pub(crate) completed: Vec<usize>,
}

/// The left side of products, other than the input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) node: NodeId,
    /// The slot that holds it.
    pub(crate) slot: Slot,
    pub(crate) width: usize,
    /// The slot of its gradient through the products.
    pub(crate) grad: Slot,
    /// Whether the products add to that slot.
    pub(crate) adds: bool,
}

/// A graph as instructions.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) graph: Graph,
    pub(crate) adjoint: Adjoint,
    pub(crate) slots: Slots,
    pub(crate) sources: Vec<Source>,
    /// The place in `sources` of the left side of every product of every sum; `None`: the input.
    pub(crate) products: Vec<Vec<Option<usize>>>,
    /// The widths of saved values, of kept values, and of scratch memory.
    pub(crate) saved: Vec<usize>,
    pub(crate) kept: Vec<usize>,
    pub(crate) temps: Vec<usize>,
    pub(crate) constants: Vec<f64>,
    /// The values with parts, and their widths, and whether their gradients need zeros first.
    pub(crate) parts: Vec<(usize, bool)>,
    /// Whether the backward pass reads a sum of products where the products wrote it.
    pub(crate) taped: Vec<bool>,
    pub(crate) forward: Vec<Stage>,
    pub(crate) backward: Vec<Stage>,
    /// The gradients of sums of products that need zeros first; and of fields.
    pub(crate) fill_linears: Vec<bool>,
    pub(crate) fill_fields: Vec<bool>,
    /// Whether an instruction reads the input, the mask, and the zoneout of each field; whether one
    /// writes the gradient of the input.
    pub(crate) reads_input: bool,
    pub(crate) reads_mask: bool,
    pub(crate) reads_zoneout: Vec<bool>,
    pub(crate) grad_input: bool,
    /// How slots are cut into shares of the units, if they can be.
    pub(crate) pieces: Option<Pieces>,
}

impl Program {
    pub(crate) fn new(graph: &Graph) -> Self {
        let mut program = Compiler::new(graph).compile();
        program.pieces = Pieces::new(&program);
        program
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
    constants: Vec<u64>,
    taped: Vec<bool>,
    /// Of every node of the step.
    places: Vec<Place>,
    levels: Vec<usize>,
    linear_levels: Vec<usize>,
}

impl Compiler {
    fn new(graph: &Graph) -> Self {
        let adjoint = graph.adjoint();
        let constant = |node: &Node| match node {
            Node::Constant(bits) => Some(*bits),
            _ => None,
        };
        let constants: Vec<_> = adjoint.graph.nodes.iter().filter_map(constant).collect();
        let parts = adjoint.parts.len();
        let mut compiler = Self {
            graph: graph.clone(),
            adjoint,
            slots: Slots {
                fields: graph.fields.len(),
                linears: graph.linears.len(),
                weights: graph.weights.len(),
                constants: constants.len(),
                parts,
                ..Slots::default()
            },
            constants,
            taped: vec![false; graph.linears.len()],
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

    /// The level of each node and each sum of products: the stage that computes it. Leaves have
    /// level 0.
    fn set_levels(&mut self) {
        for id in 0..self.graph.nodes.len() {
            let level = match self.graph.nodes[id] {
                Node::Linear { linear, .. } => {
                    let sources = self.graph.products(linear).map(|(.., source)| source);
                    let sources = sources.filter(|&source| !self.graph.is_input(source));
                    // The first stage copies a slice of a leaf; a whole field is read in place.
                    let ready = |source: NodeId| match self.whole_field(source) {
                        Some(_) => 0,
                        None => self.levels[source].max(1),
                    };
                    let before = sources.map(ready).max().unwrap_or(0);
                    self.linear_levels[linear] = before + 1;
                    before + 1
                }
                Node::Part { of, .. } => self.levels[of],
                _ if self.graph.is_computed(id) => {
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

    /// Whether no instruction computes a node.
    fn is_leaf(&self, id: NodeId) -> bool {
        !self.graph.is_computed(id)
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
        for id in 0..self.graph.nodes.len() {
            if let Node::Part { of, .. } = self.graph.nodes[id] {
                if self.places[of] == Place::Temp {
                    self.save(of);
                }
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
                (None, Place::Slot(slot @ (Slot::After(_) | Slot::Saved(_)))) => slot,
                (None, _) => Slot::Source(self.sources.len()),
            };
            if matches!(slot, Slot::Source(_)) && self.places[node] == Place::Temp {
                self.places[node] = Place::Slot(slot);
            }
            let grad = Slot::GradSource(self.sources.len());
            self.sources.push(Source { node, slot, width, grad, adds: false });
        }
        self.slots.sources = self.sources.len();
        let read = self.read_backward();
        let mut parts = vec![0; self.graph.linears.len()];
        for &id in &read {
            if let Node::Linear { linear, .. } = self.graph.nodes[id] {
                parts[linear] += self.graph.widths[id];
            }
        }
        for (linear, &width) in parts.iter().enumerate() {
            self.taped[linear] = width >= self.graph.linears[linear].width;
        }
        for id in read {
            let save = match (self.graph.nodes[id], self.places[id]) {
                // A sum of products that is not on the tape is overwritten by the next step.
                (Node::Linear { linear, .. }, Place::Leaf) => !self.taped[linear],
                (_, place) => place == Place::Temp && !self.is_cheap(id),
            };
            if save {
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

    /// Whether the backward pass recomputes a value: a sum or product of values that it reads.
    fn is_cheap(&self, id: NodeId) -> bool {
        let cheap = matches!(
            self.graph.nodes[id],
            Node::Unary(Unary::Neg, _) | Node::Binary(Binary::Add | Binary::Sub | Binary::Mul, ..)
        );
        let unknown = |operand: NodeId| match (self.graph.nodes[operand], self.places[operand]) {
            (Node::Linear { linear, .. }, Place::Leaf) => !self.taped[linear],
            (_, place) => place == Place::Temp,
        };
        cheap && !self.graph.operands(id).any(unknown)
    }

    /// The nodes that the derivative needs: its own and those of the step.
    fn needed_backward(&self) -> Vec<bool> {
        let adjoint = &self.adjoint;
        let mut needed = vec![false; adjoint.graph.nodes.len()];
        let pieces = adjoint.linears.iter().chain(&adjoint.fields).flatten();
        let weights = adjoint.weights.iter().map(|(_, piece)| piece);
        let parts = adjoint.parts.iter().flat_map(|(_, pieces)| pieces);
        for piece in pieces.chain(&adjoint.input).chain(weights).chain(parts) {
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

    /// The place of a leaf, forward and backward; `None` for a value that is computed.
    fn leaf(&self, graph: &Graph, id: NodeId) -> Option<(Slot, usize)> {
        Some(match graph.nodes[id] {
            Node::Input { start } => (Slot::Input, start),
            Node::Field { field, start } => (Slot::Before(field), start),
            Node::Mask { start } => (Slot::Mask, start),
            Node::Zoneout { field, start } => (Slot::Zoneout(field), start),
            Node::Weight { weight, start } => (Slot::Weight(weight), start),
            Node::Constant(bits) => {
                (Slot::Constant(self.constants.iter().position(|known| *known == bits)?), 0)
            }
            Node::Linear { linear, start } => (Slot::Linear(linear), start),
            Node::Grad { field, start } => (Slot::Grad(field), start),
            Node::SourceGrad { source } => {
                (self.sources.iter().find(|known| known.node == source)?.grad, 0)
            }
            Node::Part { of, start } => match self.places[of] {
                Place::Slot(slot) => (slot, start),
                Place::Leaf | Place::Temp => return None,
            },
            Node::PartsGrad { of } => {
                (Slot::GradParts(self.adjoint.parts.iter().position(|(known, _)| *known == of)?), 0)
            }
            _ => return None,
        })
    }

    fn compile(mut self) -> Program {
        // The slots of scratch values come last, so the others are final once these are counted.
        let backward_levels = self.backward_levels();
        let kept = self.kept_backward(&backward_levels);
        self.slots.kept = self.kept.len();
        let forward = self.forward();
        let (backward, [fill_linears, fill_fields, fill_parts]) =
            self.backward(&backward_levels, &kept);
        self.slots.temps = self.temps.len();
        let reads = |slot: Slot| {
            let index = self.slots.index(slot);
            let mut all = forward.iter().chain(&backward).flat_map(|stage| &stage.instructions);
            all.any(|code| code.operands[..code.op.operands()].iter().any(|o| o.slot == index))
        };
        let source = |node: NodeId| self.sources.iter().position(|source| source.node == node);
        let products = (0..self.graph.linears.len())
            .map(|linear| self.graph.products(linear).map(|(.., node)| source(node)).collect());
        let part_widths = self.adjoint.parts.iter().map(|(of, _)| self.graph.widths[*of]);
        Program {
            products: products.collect(),
            reads_input: reads(Slot::Input),
            reads_mask: reads(Slot::Mask),
            reads_zoneout: (0..self.graph.fields.len()).map(|f| reads(Slot::Zoneout(f))).collect(),
            constants: self.constants.into_iter().map(f64::from_bits).collect(),
            parts: part_widths.zip(fill_parts).collect(),
            taped: self.taped,
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
            pieces: None,
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
        for id in (0..needed.len()).rev() {
            if needed[id] {
                graph.operands(id).for_each(|operand| needed[operand] = true);
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
                    code.copy(id, (slot, 0), graph.widths[id]); // a sum of products
                }
            }
            for source in self.sources.clone() {
                let copied = matches!(source.slot, Slot::Source(_)) && self.is_leaf(source.node);
                if copied && self.levels[source.node].max(1) == level {
                    code.copy(source.node, (source.slot, 0), source.width);
                }
            }
            for (field, &id) in graph.next.iter().enumerate() {
                let own = self.places[id] == Place::Slot(Slot::After(field));
                if !own && self.levels[id].max(1) == level {
                    code.copy(id, (Slot::After(field), 0), graph.widths[id]);
                }
            }
            let read = |id: NodeId| match self.places[id] {
                // A saved sum of products is read where it was computed.
                Place::Slot(slot) if !self.is_leaf(id) => Some((slot, 0)),
                _ => self.leaf(&graph, id),
            };
            let instructions = code.finish(&self.slots, read, &mut temps);
            stages.push(Stage { products, instructions, completed: Vec::new() });
        }
        self.temps = temps;
        stages
    }

    /// The level of each node of the derivative: the stage that computes it. Gradients and values
    /// of the step have level 0.
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
                Node::PartsGrad { of } => {
                    let parts = adjoint.parts.iter().filter(|(part, _)| *part == of);
                    let pieces = parts.flat_map(|(_, pieces)| pieces);
                    pieces.map(|piece| levels[piece.node].max(1)).max().unwrap_or(1)
                }
                _ if adjoint.graph.is_computed(id) => {
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
        let computes = self.adjoint.graph.is_computed(id);
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

    /// Lets products add to the gradient of a field in place, if all its other terms are complete.
    fn add_products_in_place(&mut self, levels: &[usize]) {
        for source in &mut self.sources {
            let Slot::Before(field) = source.slot else { continue };
            let through = Node::SourceGrad { source: source.node };
            let nodes = &self.adjoint.graph.nodes;
            let pieces = self.adjoint.fields[field].iter().map(|piece| piece.node);
            let (own, others): (Vec<_>, Vec<_>) = pieces.partition(|&id| nodes[id] == through);
            let [own] = own[..] else { continue };
            if others.iter().all(|&id| levels[id].max(1) < levels[own]) {
                source.grad = Slot::GradBefore(field);
                source.adds = !others.is_empty();
            }
        }
    }

    fn backward(
        &mut self,
        levels: &[usize],
        kept: &[Option<Slot>],
    ) -> (Vec<Stage>, [Vec<bool>; 3]) {
        let adjoint = self.adjoint.clone();
        let graph = &adjoint.graph;
        let needed = self.needed_backward();
        let source_grads = |id: &NodeId| matches!(graph.nodes[*id], Node::SourceGrad { .. });
        let all: Vec<_> = (0..levels.len()).filter(|&id| needed[id]).collect();
        let last = all.iter().map(|&id| levels[id]).max().unwrap_or(0).max(1);
        self.add_products_in_place(levels);
        // Pieces: (target, piece), and whether the target needs zeros first.
        let mut targets = Vec::new();
        let mut fills = [Vec::new(), Vec::new(), Vec::new()];
        let linears = graph.linears.iter().map(|linear| linear.width).enumerate();
        let linears = linears
            .map(|(at, width)| (0, Slot::GradLinear(at), width, adjoint.linears[at].clone()));
        let fields = graph.fields.iter().copied().enumerate();
        let fields =
            fields.map(|(at, width)| (1, Slot::GradBefore(at), width, adjoint.fields[at].clone()));
        let parts = adjoint.parts.iter().enumerate();
        let parts = parts
            .map(|(at, (of, pieces))| (2, Slot::GradParts(at), graph.widths[*of], pieces.clone()));
        for (kind, slot, width, mut pieces) in linears.chain(fields).chain(parts) {
            // A gradient that a product is added to, or writes, is not copied there.
            let written = self.sources.iter().find(|source| source.grad == slot);
            pieces.retain(|piece| {
                let through = |source| Node::SourceGrad { source };
                written.is_none_or(|source| graph.nodes[piece.node] != through(source.node))
            });
            let fill = written.is_none_or(|source| source.adds) && !covers(&pieces, width);
            fills[kind].push(fill);
            targets.extend(pieces.into_iter().map(|piece| (slot, piece, fill)));
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
            let emit = |code: &mut Code, id: NodeId| {
                for (slot, piece, fill) in targets.iter().filter(|(_, piece, _)| piece.node == id) {
                    match fill {
                        true => code.accumulate(*piece, *slot),
                        false if code.is_at(id, (*slot, piece.start)) => {}
                        false => code.copy(id, (*slot, piece.start), piece.width),
                    }
                }
                for (weight, piece) in adjoint.weights.iter().filter(|(_, piece)| piece.node == id)
                {
                    code.add_to_weight(*weight, *piece);
                }
            };
            let here = |id: &&NodeId| levels[**id].max(1) == level;
            let (computed, given): (Vec<_>, Vec<_>) =
                all.iter().filter(here).partition(|id| self.is_computed_backward(**id));
            given.into_iter().for_each(|&id| emit(&mut code, id));
            for &id in computed {
                // Written where it is needed, unless an instruction would read and write the rows.
                let own = |(slot, piece, fill): &&(Slot, Piece, bool)| {
                    let alone = match *slot {
                        Slot::GradLinear(linear) => graph.linears[linear].width == piece.width,
                        _ => false,
                    };
                    let whole = graph.widths[id] == piece.width;
                    piece.node == id && !fill && whole && (alone || uses[id] == 1)
                };
                let direct = targets.iter().find(own).map(|(slot, piece, _)| (*slot, piece.start));
                let out = kept[id].map(|slot| (slot, 0)).or(direct);
                code.compute(id, out);
                emit(&mut code, id);
            }
            let mut products = Vec::new();
            for &id in all.iter().filter(|id| source_grads(id)) {
                let Node::SourceGrad { source } = graph.nodes[id] else { continue };
                if levels[id] == level + 1 {
                    products.extend(self.sources.iter().position(|known| known.node == source));
                }
            }
            let read = |id: NodeId| match kept[id] {
                Some(slot) => Some((slot, 0)),
                None if id < adjoint.forward => match self.places[id] {
                    Place::Slot(slot) => Some((slot, 0)),
                    Place::Leaf => self.leaf(graph, id),
                    Place::Temp => None,
                },
                None => self.leaf(graph, id),
            };
            let instructions = code.finish(&self.slots, read, &mut temps);
            let last = |pieces: &[Piece]| pieces.iter().map(|p| levels[p.node].max(1)).max();
            let completed = (0..graph.linears.len())
                .filter(|&linear| last(&adjoint.linears[linear]) == Some(level))
                .collect();
            stages.push(Stage { products, instructions, completed });
        }
        self.temps = temps;
        (stages, fills)
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
