//! A graph as instructions over rows, in stages with matrix products between them.

use crate::code::Code;
use crate::share::Pieces;
use recurrent_core::description::{Adjoint, Binary, Graph, Node, NodeId, Norm, Piece, Unary};
use std::collections::BTreeSet;

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

/// The number of kinds of slots.
const KINDS: usize = 19;

/// The slots of a program; each has an index.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slots {
    /// The most slots of one kind.
    most: usize,
}

impl Slots {
    /// The number of indices.
    pub(crate) fn count(&self) -> usize {
        KINDS * self.most
    }
}

impl Slot {
    /// Its index: slots of all kinds take turns.
    pub(crate) fn index(self) -> usize {
        let (kind, number) = match self {
            Self::Input => (0, 0),
            Self::Mask => (1, 0),
            Self::GradInput => (2, 0),
            Self::Before(field) => (3, field),
            Self::Zoneout(field) => (4, field),
            Self::After(field) => (5, field),
            Self::Grad(field) => (6, field),
            Self::GradBefore(field) => (7, field),
            Self::Linear(linear) => (8, linear),
            Self::GradLinear(linear) => (9, linear),
            Self::Source(source) => (10, source),
            Self::GradSource(source) => (11, source),
            Self::GradParts(part) => (12, part),
            Self::Saved(value) => (13, value),
            Self::Kept(value) => (14, value),
            Self::Weight(weight) => (15, weight),
            Self::WeightGrad(weight) => (16, weight),
            Self::Constant(constant) => (17, constant),
            Self::Temp(register) => (18, register),
        };
        KINDS * number + kind
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
    /// out = e^a over its sum.
    Softmax,
    /// out = the sums of a up to each column, or from each on if it begins at the last one.
    CumulativeSum { reverse: bool },
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
            | Self::Softmax
            | Self::CumulativeSum { .. }
            | Self::AddToWeight => 1,
            Self::Binary(_) | Self::Normalise(_) | Self::AddProductToWeight => 2,
            Self::Chain(_) | Self::NormaliseGrad(_) => 3,
        }
    }

    /// Whether it reads a row as a whole, so that contiguous rows are not one row.
    pub(crate) fn is_by_row(self) -> bool {
        match self {
            Self::Sum
            | Self::Scale(_)
            | Self::Normalise(_)
            | Self::NormaliseGrad(_)
            | Self::Softmax
            | Self::CumulativeSum { .. } => true,
            Self::Copy
            | Self::Accumulate
            | Self::Unary(_)
            | Self::Binary(_)
            | Self::Chain(_)
            | Self::AddToWeight
            | Self::AddProductToWeight => false,
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
        let mut compiler = Compiler::new(graph);
        compiler.set_places();
        compiler.compile_forward();
        compiler.compile_backward();
        let mut program = compiler.finish();
        program.pieces = Pieces::new(&program);
        program
    }
}

struct Compiler {
    /// The program, as far as it is built.
    program: Program,
    /// Of every node of the step: the slot where the forward pass leaves its value. That of a
    /// computed value without one is in scratch memory.
    places: Vec<Option<Slot>>,
    /// Of every node of the step: the stage that computes it; leaves have level 0.
    levels: Vec<usize>,
    /// Of every node of the derivative, those of the step first: whether a gradient needs it.
    needed: Vec<bool>,
}

impl Compiler {
    fn new(graph: &Graph) -> Self {
        let adjoint = graph.adjoint();
        let constant = |node: &Node| match node {
            Node::Constant(bits) => Some(f64::from_bits(*bits)),
            _ => None,
        };
        let mut needed = vec![false; adjoint.graph.nodes.len()];
        let pieces = adjoint.linears.iter().chain(&adjoint.fields).flatten();
        let weights = adjoint.weights.iter().map(|(_, piece)| piece);
        let parts = adjoint.parts.iter().flat_map(|(_, pieces)| pieces);
        for piece in pieces.chain(&adjoint.input).chain(weights).chain(parts) {
            needed[piece.node] = true;
        }
        mark_operands(&adjoint.graph, &mut needed, adjoint.forward);
        let program = Program {
            constants: adjoint.graph.nodes.iter().filter_map(constant).collect(),
            taped: vec![false; graph.linears.len()],
            grad_input: !adjoint.input.is_empty(),
            graph: graph.clone(),
            adjoint,
            slots: Slots::default(),
            sources: Vec::new(),
            products: Vec::new(),
            saved: Vec::new(),
            kept: Vec::new(),
            temps: Vec::new(),
            parts: Vec::new(),
            forward: Vec::new(),
            backward: Vec::new(),
            fill_linears: Vec::new(),
            fill_fields: Vec::new(),
            reads_input: false,
            reads_mask: false,
            reads_zoneout: Vec::new(),
            pieces: None,
        };
        let places = vec![None; graph.nodes.len()];
        let mut compiler = Self { program, places, levels: Vec::new(), needed };
        for id in 0..graph.nodes.len() {
            let operands = graph.operands(id).map(|id| compiler.levels[id]).max().unwrap_or(0);
            compiler.levels.push(match graph.nodes[id] {
                Node::Linear { linear, .. } => compiler.linear_level(linear),
                Node::Part { .. } => operands,
                _ if graph.is_computed(id) => operands.max(1),
                _ => 0,
            });
        }
        compiler
    }

    /// The stage of a sum of products: after those of the values that it multiplies.
    fn linear_level(&self, linear: usize) -> usize {
        let graph = &self.program.graph;
        let sources = graph.products(linear).map(|(.., source)| source);
        // The first stage copies a slice of a leaf; a whole field is read in place.
        let ready = |source: NodeId| match self.whole_field(source) {
            Some(_) => 0,
            None => self.levels[source].max(1),
        };
        1 + sources.filter(|&source| !graph.is_input(source)).map(ready).max().unwrap_or(0)
    }

    /// The field before the step that a node is the whole of.
    fn whole_field(&self, id: NodeId) -> Option<usize> {
        let graph = &self.program.graph;
        match graph.nodes[id] {
            Node::Field { field, start: 0 } => {
                (graph.widths[id] == graph.fields[field]).then_some(field)
            }
            _ => None,
        }
    }

    /// Whether the value of a node of the step is in scratch memory alone.
    fn is_temp(&self, id: NodeId) -> bool {
        self.program.graph.is_computed(id) && self.places[id].is_none()
    }

    /// Whether the backward pass does not find the value of a node of the step.
    fn is_lost(&self, id: NodeId) -> bool {
        match self.program.graph.nodes[id] {
            // A sum of products that is not on the tape is overwritten by the next step.
            Node::Linear { linear, .. } => self.places[id].is_none() && !self.program.taped[linear],
            _ => self.is_temp(id),
        }
    }

    fn set_places(&mut self) {
        let graph = self.program.graph.clone();
        let nodes = 0..graph.nodes.len();
        for (field, &id) in graph.next.iter().enumerate() {
            if self.is_temp(id) {
                self.places[id] = Some(Slot::After(field));
            }
        }
        for id in nodes.clone() {
            match graph.nodes[id] {
                Node::Part { of, .. } if self.is_temp(of) => self.save(of),
                _ => {}
            }
        }
        let linears = 0..graph.linears.len();
        for (.., node) in linears.flat_map(|linear| graph.products(linear)) {
            if graph.is_input(node) || self.source(node).is_some() {
                continue;
            }
            let index = self.program.sources.len();
            let slot = match self.whole_field(node) {
                Some(field) => Slot::Before(field),
                None => self.places[node].unwrap_or(Slot::Source(index)),
            };
            if self.is_temp(node) {
                self.places[node] = Some(slot);
            }
            let (width, grad) = (graph.widths[node], Slot::GradSource(index));
            self.program.sources.push(Source { node, slot, width, grad, adds: false });
        }
        let read: Vec<_> = nodes.clone().filter(|&id| self.needed[id]).collect();
        let mut widths = vec![0; graph.linears.len()];
        for &id in &read {
            if let Node::Linear { linear, .. } = graph.nodes[id] {
                widths[linear] += graph.widths[id];
            }
        }
        let all = widths.iter().zip(&graph.linears).map(|(width, linear)| *width >= linear.width);
        self.program.taped = all.collect();
        for id in read {
            if self.is_lost(id) && !self.is_cheap(id) {
                self.save(id);
            }
        }
        for id in nodes {
            for operand in graph.operands(id) {
                if self.is_temp(operand) && self.levels[operand] < self.levels[id] {
                    self.save(operand);
                }
            }
        }
    }

    /// The place of the left side `node` among the sources.
    fn source(&self, node: NodeId) -> Option<usize> {
        self.program.sources.iter().position(|source| source.node == node)
    }

    fn save(&mut self, id: NodeId) {
        self.places[id] = Some(Slot::Saved(self.program.saved.len()));
        self.program.saved.push(self.program.graph.widths[id]);
    }

    /// Whether the backward pass recomputes a value: a sum or product of values that it reads.
    fn is_cheap(&self, id: NodeId) -> bool {
        let graph = &self.program.graph;
        let cheap = matches!(
            graph.nodes[id],
            Node::Unary(Unary::Neg, _) | Node::Binary(Binary::Add | Binary::Sub | Binary::Mul, ..)
        );
        cheap && !graph.operands(id).any(|operand| self.is_lost(operand))
    }

    /// The slot and first column of a leaf, of the step or of the derivative; `None` for a value
    /// that is computed.
    fn leaf(&self, id: NodeId) -> Option<(Slot, usize)> {
        let Program { adjoint, constants, sources, .. } = &self.program;
        Some(match adjoint.graph.nodes[id] {
            Node::Input { start } => (Slot::Input, start),
            Node::Field { field, start } => (Slot::Before(field), start),
            Node::Mask { start } => (Slot::Mask, start),
            Node::Zoneout { field, start } => (Slot::Zoneout(field), start),
            Node::Weight { weight, start } => (Slot::Weight(weight), start),
            Node::Constant(bits) => {
                (Slot::Constant(constants.iter().position(|known| known.to_bits() == bits)?), 0)
            }
            Node::Linear { linear, start } => (Slot::Linear(linear), start),
            Node::Grad { field, start } => (Slot::Grad(field), start),
            Node::SourceGrad { source } => (sources[self.source(source)?].grad, 0),
            Node::Part { of, start } => (self.places[of]?, start),
            Node::PartsGrad { of } => {
                (Slot::GradParts(adjoint.parts.iter().position(|(known, _)| *known == of)?), 0)
            }
            _ => return None,
        })
    }

    fn compile_forward(&mut self) {
        let Program { graph, sources, .. } = &self.program;
        let is_saved = |place: &Option<Slot>| matches!(place, Some(Slot::Saved(_)));
        let mut needed: Vec<_> = self.places.iter().map(is_saved).collect();
        let ends = sources.iter().map(|source| source.node).chain(graph.next.iter().copied());
        ends.for_each(|id| needed[id] = true);
        mark_operands(graph, &mut needed, 0);
        let (mut temps, mut stages) = (Vec::new(), Vec::new());
        for level in 1..=self.levels.iter().copied().max().unwrap_or(0).max(1) {
            let here = |id: NodeId| self.levels[id].max(1) == level;
            let mut code = Code::new(graph);
            for id in (0..needed.len()).filter(|&id| needed[id] && here(id)) {
                match self.places[id].map(|slot| (slot, 0)) {
                    place if graph.is_computed(id) => code.compute(id, place),
                    Some(place) => code.write(Op::Copy, id, place, graph.widths[id]), // of products
                    None => {}
                }
            }
            for source in sources.iter().filter(|source| here(source.node)) {
                if matches!(source.slot, Slot::Source(_)) {
                    code.write(Op::Copy, source.node, (source.slot, 0), source.width);
                }
            }
            for (field, &id) in graph.next.iter().enumerate().filter(|(_, id)| here(**id)) {
                code.write(Op::Copy, id, (Slot::After(field), 0), graph.widths[id]);
            }
            let read = |id: NodeId| match self.places[id] {
                // A saved sum of products is read where it was computed.
                Some(slot) if graph.is_computed(id) => Some((slot, 0)),
                _ => self.leaf(id),
            };
            let linears = 0..graph.linears.len();
            stages.push(Stage {
                products: linears.filter(|&linear| self.linear_level(linear) == level).collect(),
                instructions: code.finish(read, &mut temps),
                completed: Vec::new(),
            });
        }
        (self.program.temps, self.program.forward) = (temps, stages);
    }

    /// The level of each node of the derivative: the stage that computes it. Gradients and values
    /// of the step have level 0.
    fn backward_levels(&self) -> Vec<usize> {
        let adjoint = &self.program.adjoint;
        let graph = &adjoint.graph;
        let mut levels: Vec<usize> = Vec::new();
        for id in 0..graph.nodes.len() {
            let last = |pieces: &[Piece]| pieces.iter().map(|p| levels[p.node].max(1)).max();
            let level = match graph.nodes[id] {
                _ if id < adjoint.forward => usize::from(self.is_temp(id)),
                Node::SourceGrad { source } => {
                    let multiplies =
                        |&linear: &usize| graph.products(linear).any(|(.., of)| of == source);
                    let linears = (0..adjoint.linears.len()).filter(multiplies);
                    linears.filter_map(|linear| last(&adjoint.linears[linear])).max().unwrap_or(0)
                        + 1
                }
                Node::PartsGrad { of } => {
                    let parts = adjoint.parts.iter().filter(|(part, _)| *part == of);
                    parts.filter_map(|(_, pieces)| last(pieces)).max().unwrap_or(1)
                }
                _ if graph.is_computed(id) => {
                    graph.operands(id).map(|id| levels[id]).max().unwrap_or(0).max(1)
                }
                _ => 0,
            };
            levels.push(level);
        }
        levels
    }

    /// Whether the backward pass computes a value, of the derivative or again of the step.
    fn is_computed_backward(&self, id: NodeId) -> bool {
        let Adjoint { graph, forward, .. } = &self.program.adjoint;
        if id < *forward {
            self.is_temp(id)
        } else {
            graph.is_computed(id)
        }
    }

    /// The slot of every node whose value a later stage of the derivative reads.
    fn kept_backward(&mut self, levels: &[usize]) -> Vec<Option<Slot>> {
        let graph = &self.program.adjoint.graph;
        let (mut kept, mut widths) = (vec![None; levels.len()], Vec::new());
        for id in (0..levels.len()).filter(|&id| self.needed[id] && self.is_computed_backward(id)) {
            for operand in graph.operands(id) {
                let later = self.is_computed_backward(operand) && levels[operand] < levels[id];
                if later && kept[operand].is_none() {
                    kept[operand] = Some(Slot::Kept(widths.len()));
                    widths.push(graph.widths[operand]);
                }
            }
        }
        self.program.kept = widths;
        kept
    }

    /// Lets products add to the gradient of a field in place, if all its other terms are complete.
    fn add_products_in_place(&mut self, levels: &[usize]) {
        let Program { adjoint, sources, .. } = &mut self.program;
        for source in sources {
            let Slot::Before(field) = source.slot else { continue };
            let through = Node::SourceGrad { source: source.node };
            let pieces = adjoint.fields[field].iter().map(|piece| piece.node);
            let (own, others): (Vec<_>, Vec<_>) =
                pieces.partition(|&id| adjoint.graph.nodes[id] == through);
            let [own] = own[..] else { continue };
            if others.iter().all(|&id| levels[id].max(1) < levels[own]) {
                source.grad = Slot::GradBefore(field);
                source.adds = !others.is_empty();
            }
        }
    }

    /// What the backward pass writes, in order. Notes which of it needs zeros first.
    fn targets(&mut self) -> Vec<Target> {
        let Program { adjoint, sources, .. } = &self.program;
        let graph = &adjoint.graph;
        let linears = adjoint.linears.iter().zip(&graph.linears).enumerate();
        let linears =
            linears.map(|(at, (pieces, linear))| (Slot::GradLinear(at), linear.width, pieces));
        let fields = adjoint.fields.iter().zip(&graph.fields).enumerate();
        let fields = fields.map(|(at, (pieces, width))| (Slot::GradBefore(at), *width, pieces));
        let parts = adjoint.parts.iter().enumerate();
        let parts =
            parts.map(|(at, (of, pieces))| (Slot::GradParts(at), graph.widths[*of], pieces));
        let (mut targets, mut fills) = (Vec::new(), Vec::new());
        for (slot, width, pieces) in linears.chain(fields).chain(parts) {
            // A gradient that a product is added to, or writes, is not copied there.
            let written = sources.iter().find(|source| source.grad == slot);
            let through = written.map(|source| Node::SourceGrad { source: source.node });
            let pieces = pieces.iter().filter(|piece| Some(graph.nodes[piece.node]) != through);
            let pieces: Vec<_> = pieces.copied().collect();
            let fill = written.is_none_or(|source| source.adds) && !covers(&pieces, width);
            let op = if fill { Op::Accumulate } else { Op::Copy };
            targets.extend(pieces.into_iter().map(|piece| Target { op, slot, piece }));
            fills.push(fill);
        }
        let input = adjoint.input.iter().map(|&piece| (Op::Accumulate, Slot::GradInput, piece));
        let weights = adjoint.weights.iter();
        let weights = weights.map(|&(at, piece)| (Op::AddToWeight, Slot::WeightGrad(at), piece));
        let rest = input.chain(weights).map(|(op, slot, piece)| Target { op, slot, piece });
        targets.extend(rest);
        let widths: Vec<_> = adjoint.parts.iter().map(|(of, _)| graph.widths[*of]).collect();
        let (linears, fields) = (graph.linears.len(), graph.fields.len());
        let mut fills = fills.into_iter();
        self.program.fill_linears = fills.by_ref().take(linears).collect();
        self.program.fill_fields = fills.by_ref().take(fields).collect();
        self.program.parts = widths.into_iter().zip(fills).collect();
        targets
    }

    fn compile_backward(&mut self) {
        let levels = &self.backward_levels()[..];
        let kept = self.kept_backward(levels);
        self.add_products_in_place(levels);
        let targets = self.targets();
        let Adjoint { graph, linears, .. } = &self.program.adjoint;
        let all: Vec<_> = (0..levels.len()).filter(|&id| self.needed[id]).collect();
        let mut uses = vec![0; levels.len()];
        for &id in all.iter().filter(|&&id| self.is_computed_backward(id)) {
            graph.operands(id).for_each(|operand| uses[operand] += 1);
        }
        targets.iter().for_each(|target| uses[target.piece.node] += 1);
        let (mut temps, mut stages) = (self.program.temps.clone(), Vec::new());
        for level in 1..=all.iter().map(|&id| levels[id]).max().unwrap_or(0).max(1) {
            let mut code = Code::new(graph);
            let here = all.iter().copied().filter(|&id| levels[id].max(1) == level);
            let mut here: Vec<_> = here.collect();
            here.sort_by_key(|&id| self.is_computed_backward(id)); // first what is given
            for id in here {
                let own = targets.iter().filter(|target| target.piece.node == id);
                if self.is_computed_backward(id) {
                    // Written where it is needed, unless an instruction would read and write the
                    // rows.
                    let direct = own.clone().find(|target| {
                        let Piece { width, .. } = target.piece;
                        let alone = match target.slot {
                            Slot::GradLinear(linear) => graph.linears[linear].width == width,
                            _ => false,
                        };
                        let whole = graph.widths[id] == width;
                        matches!(target.op, Op::Copy) && whole && (alone || uses[id] == 1)
                    });
                    let direct = direct.map(|target| (target.slot, target.piece.start));
                    code.compute(id, kept[id].map(|slot| (slot, 0)).or(direct));
                }
                for Target { op, slot, piece } in own {
                    code.write(*op, id, (*slot, piece.start), piece.width);
                }
            }
            let source = |&id: &NodeId| match graph.nodes[id] {
                Node::SourceGrad { source } if levels[id] == level + 1 => self.source(source),
                _ => None,
            };
            let read = |id: NodeId| {
                let place = kept[id].or_else(|| *self.places.get(id)?);
                place.map(|slot| (slot, 0)).or_else(|| self.leaf(id))
            };
            let last = |pieces: &[Piece]| pieces.iter().map(|p| levels[p.node].max(1)).max();
            stages.push(Stage {
                products: all.iter().filter_map(source).collect(),
                instructions: code.finish(read, &mut temps),
                completed: (0..linears.len())
                    .filter(|&linear| last(&linears[linear]) == Some(level))
                    .collect(),
            });
        }
        (self.program.temps, self.program.backward) = (temps, stages);
    }

    fn finish(self) -> Program {
        let Program { graph, forward, backward, .. } = &self.program;
        let instructions = forward.iter().chain(backward).flat_map(|stage| &stage.instructions);
        let operands = instructions.flat_map(|code| &code.operands[..code.op.operands()]);
        let read: BTreeSet<_> = operands.map(|operand| operand.slot).collect();
        let reads = |slot: Slot| read.contains(&slot.index());
        let products =
            |linear| graph.products(linear).map(|(.., node)| self.source(node)).collect();
        let Program { sources, saved, kept, temps, constants, parts, .. } = &self.program;
        let widths = [saved.len(), kept.len(), temps.len(), constants.len(), parts.len()];
        let sizes = [graph.fields.len(), graph.linears.len(), graph.weights.len(), sources.len()];
        Program {
            slots: Slots { most: widths.into_iter().chain(sizes).max().unwrap_or(0) },
            products: (0..graph.linears.len()).map(products).collect(),
            reads_input: reads(Slot::Input),
            reads_mask: reads(Slot::Mask),
            reads_zoneout: (0..graph.fields.len()).map(|f| reads(Slot::Zoneout(f))).collect(),
            ..self.program
        }
    }
}

/// A gradient that the backward pass writes, or adds to.
struct Target {
    op: Op,
    slot: Slot,
    piece: Piece,
}

/// Marks the operands of all marked nodes from `first` on.
fn mark_operands(graph: &Graph, marked: &mut [bool], first: NodeId) {
    for id in (first..marked.len()).rev() {
        if marked[id] {
            graph.operands(id).for_each(|operand| marked[operand] = true);
        }
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
