//! The derivative of a graph, as a graph.

use super::{Binary, Graph, Node, NodeId, Unary};

/// A part of a gradient: columns from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first column.
    pub start: usize,
    /// The number of columns.
    pub width: usize,
    /// The gradient; if it has one column, it is the same for all columns.
    pub node: NodeId,
}

/// The vector-Jacobian product of a step: the gradients of everything that a graph reads, from
/// those of the fields after the step.
///
/// The nodes of the step come first, so that a gradient can read them. Pieces of one gradient with
/// different columns may overlap; the gradient is their sum.
#[derive(Clone, Debug)]
pub struct Adjoint {
    /// The nodes of the step, then those of the derivative.
    pub graph: Graph,
    /// The number of nodes of the step.
    pub forward: usize,
    /// The gradient of every sum of products.
    pub linears: Vec<Vec<Piece>>,
    /// The gradient of every field before the step, including that through products.
    pub fields: Vec<Vec<Piece>>,
    /// The gradient of every value that has parts, through these: the value, and its pieces.
    pub parts: Vec<(NodeId, Vec<Piece>)>,
    /// The gradient of the input, without that through products.
    pub input: Vec<Piece>,
    /// The gradients of the vectors of weights, for each example, without those through sums of
    /// products: the weight, and the piece of it.
    pub weights: Vec<(usize, Piece)>,
}

impl Graph {
    /// The derivative.
    pub fn adjoint(&self) -> Adjoint {
        let forward = self.nodes.len();
        let mut adjoint = Adjoint {
            graph: self.clone(),
            forward,
            linears: vec![Vec::new(); self.linears.len()],
            fields: vec![Vec::new(); self.fields.len()],
            parts: Vec::new(),
            input: Vec::new(),
            weights: Vec::new(),
        };
        let tracked = self.tracked();
        let mut grads = vec![None; forward];
        for (field, (&id, &width)) in self.next.iter().zip(&self.fields).enumerate() {
            let grad = adjoint.graph.intern(Node::Grad { field, start: 0 }, width);
            adjoint.add(&mut grads, id, grad);
        }
        for id in (0..forward).rev().filter(|&id| tracked[id]) {
            if !self.is_input(id) && adjoint.is_multiplied(id) {
                let grad = Node::SourceGrad { source: id };
                let grad = adjoint.graph.intern(grad, self.widths[id]);
                match self.nodes[id] {
                    // A separate piece, so that the product can add to it in place.
                    Node::Field { .. } => adjoint.back(&mut grads, &tracked, id, grad),
                    _ => adjoint.add(&mut grads, id, grad),
                }
            }
            if adjoint.parts.iter().any(|(of, _)| *of == id) {
                let grad = adjoint.graph.intern(Node::PartsGrad { of: id }, self.widths[id]);
                adjoint.add(&mut grads, id, grad);
            }
            if let Some(grad) = grads[id] {
                adjoint.back(&mut grads, &tracked, id, grad);
            }
        }
        adjoint
    }

    /// The nodes that depend on the input, the state or a weight.
    fn tracked(&self) -> Vec<bool> {
        let mut tracked: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for (id, node) in self.nodes.iter().enumerate() {
            let depends = match node {
                Node::Input { .. }
                | Node::Field { .. }
                | Node::Weight { .. }
                | Node::Linear { .. } => true,
                _ => self.operands(id).any(|operand| tracked[operand]),
            };
            tracked.push(depends);
        }
        tracked
    }
}

impl Adjoint {
    /// Adds `grad` to the gradient of `id`.
    fn add(&mut self, grads: &mut [Option<NodeId>], id: NodeId, grad: NodeId) {
        grads[id] = Some(match grads[id] {
            None => grad,
            Some(sum) => self.sum(sum, grad),
        });
    }

    fn add_part(&mut self, of: NodeId, piece: Piece) {
        match self.parts.iter_mut().find(|(known, _)| *known == of) {
            Some((_, pieces)) => pieces.push(piece),
            None => self.parts.push((of, vec![piece])),
        }
    }

    /// a + b; a − y if b is −y, and a (1 − z) if b is −a z.
    fn sum(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let Node::Unary(Unary::Neg, y) = self.graph.nodes[b] else {
            return self.graph.binary(Binary::Add, a, b);
        };
        let share = match self.graph.nodes[y] {
            Node::Binary(Binary::Mul, first, second) if first == a => Some(second),
            Node::Binary(Binary::Mul, first, second) if second == a => Some(first),
            _ => None,
        };
        let Some(share) = share else { return self.graph.binary(Binary::Sub, a, y) };
        let one = self.graph.constant(1.0);
        let rest = self.graph.binary(Binary::Sub, one, share);
        self.graph.binary(Binary::Mul, a, rest)
    }

    /// Whether a sum of products with a gradient multiplies `id`.
    fn is_multiplied(&self, id: NodeId) -> bool {
        let reached = (0..self.linears.len()).filter(|&linear| !self.linears[linear].is_empty());
        reached.into_iter().any(|linear| self.graph.products(linear).any(|(.., of)| of == id))
    }

    /// Propagates the gradient of `id` to its operands.
    fn back(&mut self, grads: &mut [Option<NodeId>], tracked: &[bool], id: NodeId, grad: NodeId) {
        let width = self.graph.widths[id];
        let piece = |start| Piece { start, width, node: grad };
        match self.graph.nodes[id] {
            Node::Input { start } => self.input.push(piece(start)),
            Node::Field { field, start } => self.fields[field].push(piece(start)),
            Node::Weight { weight, start } => self.weights.push((weight, piece(start))),
            Node::Linear { linear, start } => self.linears[linear].push(piece(start)),
            Node::Unary(Unary::Floor, _) => {}
            Node::Unary(function, a) => {
                let grad = self.unary(function, id, grad);
                self.add(grads, a, grad);
            }
            Node::Sum(a) => self.add(grads, a, grad),
            // Its scale is a function of the same row: the gradient through it is part of this.
            Node::Normalise(norm, v, scale) => {
                let grad = self.widened(id, grad);
                let through = Node::NormaliseGrad { norm, grad, value: id, scale };
                let grad = self.graph.intern(through, width);
                self.add(grads, v, grad);
            }
            // y (dy − sum (dy ∘ y))
            Node::Softmax(v) => {
                let product = self.graph.binary(Binary::Mul, grad, id);
                let along = self.graph.intern(Node::Sum(product), 1);
                let rest = self.graph.binary(Binary::Sub, grad, along);
                let grad = self.graph.binary(Binary::Mul, rest, id);
                self.add(grads, v, grad);
            }
            Node::CumulativeSum { of, reverse } => {
                let grad = self.widened(id, grad);
                let through = Node::CumulativeSum { of: grad, reverse: !reverse };
                let grad = self.graph.intern(through, width);
                self.add(grads, of, grad);
            }
            Node::Part { of, start } => self.add_part(of, piece(start)),
            Node::Binary(function, a, b) => {
                let (of_a, of_b) = match function {
                    Binary::Mul => (
                        tracked[a].then(|| self.graph.binary(Binary::Mul, grad, b)),
                        tracked[b].then(|| self.graph.binary(Binary::Mul, grad, a)),
                    ),
                    Binary::Add => (Some(grad), Some(grad)),
                    Binary::Sub => (Some(grad), tracked[b].then(|| self.negated(grad))),
                    Binary::SigmoidGrad | Binary::TanhGrad | Binary::ReluGrad => {
                        unreachable!("steps have no such function")
                    }
                };
                for (operand, grad) in [(a, of_a), (b, of_b)] {
                    let Some(grad) = grad.filter(|_| tracked[operand]) else { continue };
                    let grad = self.reduced(grad, width, self.graph.widths[operand]);
                    self.add(grads, operand, grad);
                }
            }
            Node::Mask { .. }
            | Node::Zoneout { .. }
            | Node::Constant(_)
            | Node::Scale(..)
            | Node::Grad { .. }
            | Node::SourceGrad { .. }
            | Node::PartsGrad { .. }
            | Node::NormaliseGrad { .. } => {}
        }
    }

    /// The gradient of `id` with all its columns; one with one column is that of all columns.
    fn widened(&mut self, id: NodeId, grad: NodeId) -> NodeId {
        let width = self.graph.widths[id];
        if self.graph.widths[grad] == width {
            return grad;
        }
        self.add_part(id, Piece { start: 0, width, node: grad });
        self.graph.intern(Node::PartsGrad { of: id }, width)
    }

    /// The gradient of the operand of the function whose value is `y`.
    fn unary(&mut self, function: Unary, y: NodeId, grad: NodeId) -> NodeId {
        let graph = &mut self.graph;
        match function {
            Unary::Neg => self.negated(grad),
            Unary::Sigmoid => graph.binary(Binary::SigmoidGrad, grad, y),
            Unary::Tanh => graph.binary(Binary::TanhGrad, grad, y),
            Unary::Relu => graph.binary(Binary::ReluGrad, grad, y),
            Unary::Exp => graph.binary(Binary::Mul, grad, y),
            Unary::Sqrt => {
                let width = graph.widths[y];
                let slope = graph.intern(Node::Unary(Unary::Recip, y), width);
                let half = graph.constant(0.5);
                let slope = graph.binary(Binary::Mul, slope, half);
                graph.binary(Binary::Mul, grad, slope)
            }
            Unary::Recip => {
                let square = graph.binary(Binary::Mul, y, y);
                let product = graph.binary(Binary::Mul, grad, square);
                self.negated(product)
            }
            Unary::Floor => unreachable!("it has no gradient"),
        }
    }

    fn negated(&mut self, grad: NodeId) -> NodeId {
        let width = self.graph.widths[grad];
        self.graph.intern(Node::Unary(Unary::Neg, grad), width)
    }

    /// The gradient of an operand with `operand` columns of a value with `width` columns.
    fn reduced(&mut self, grad: NodeId, width: usize, operand: usize) -> NodeId {
        if operand == width || operand != 1 {
            return grad;
        }
        if self.graph.widths[grad] == 1 {
            let count = self.graph.constant(width as f64);
            return self.graph.binary(Binary::Mul, grad, count);
        }
        self.graph.intern(Node::Sum(grad), 1)
    }
}
