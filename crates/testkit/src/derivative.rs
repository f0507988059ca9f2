//! The derivative of a description against finite differences, and faults to plant in it.

use crate::{finite_difference, noise, Result};
use candle_core::Tensor;
use recurrent_core::description::{
    Adjoint, Binary, Graph, Node, NodeId, Norm, Piece, StepInput, Unary,
};

const BATCH: usize = 2;

/// The number of elements of every field that are checked one by one.
const COORDINATES: usize = 5;

/// Checks the vector-Jacobian product of `adjoint` against differences of the step of `graph`, in
/// f64 at random values. Every field must have an effect.
///
/// # Errors
/// If they differ, or a shape does not fit.
pub fn check(what: &str, graph: &Graph, adjoint: &Adjoint) -> Result<()> {
    let weight = |(index, dims): (usize, &Vec<usize>)| -> Result<Tensor> {
        Ok((noise(&format!("{what}, weight {index}"), dims)? * 0.5)?)
    };
    let weights = graph.weights.iter().enumerate().map(weight).collect::<Result<Vec<_>>>()?;
    let rows = |name: &str| -> Result<Vec<Tensor>> {
        let field = |(index, size): (usize, &usize)| {
            noise(&format!("{what}, {name} {index}"), &[BATCH, *size])
        };
        graph.fields.iter().enumerate().map(field).collect()
    };
    let (state, grad) = (rows("field")?, rows("gradient")?);
    let x = noise(&format!("{what}, input"), &[BATCH, graph.input])?;
    let input = StepInput { weights: &weights, x: &x, state: &state, masked: None };
    for (field, found) in adjoint.vjp(input, &grad)?.iter().enumerate() {
        let loss = |at: &Tensor| {
            let mut state = state.clone();
            state[field] = at.clone();
            let after = graph.step(StepInput { state: &state, ..input })?;
            let terms = after.iter().zip(&grad);
            let terms =
                terms.map(|(after, grad)| Ok((after * grad)?.sum_all()?.to_scalar::<f64>()?));
            terms.sum()
        };
        let name = format!("{what}, field {field}");
        finite_difference::check(&name, &state[field], found, COORDINATES, loss)?;
    }
    Ok(())
}

/// Copies of a derivative, each with one fault, and what it is:
///
/// - a sign: of an operand of a node, or of a gradient that arrives at a field or a sum of
///   products;
/// - another function in the place of a node's;
/// - a gradient that is lost;
/// - the gradients of two blocks of columns exchanged.
///
/// Nodes of the derivative on which no field's gradient depends have none: [`check`] does not see
/// them.
pub fn faults(adjoint: &Adjoint) -> Vec<(String, Adjoint)> {
    let reached = Reached::new(adjoint);
    let mut faults = Vec::new();
    for id in (adjoint.forward..adjoint.graph.nodes.len()).filter(|&id| reached.nodes[id]) {
        let node = adjoint.graph.nodes[id];
        let negated: &[usize] = match node {
            Node::Binary(Binary::Add | Binary::Sub, ..) => &[0, 1],
            Node::Binary(..) | Node::Unary(..) | Node::Sum(_) | Node::CumulativeSum { .. } => &[0],
            // The sign of the value, operand 1, does not matter: it occurs twice.
            Node::NormaliseGrad { .. } => &[0, 2],
            _ => &[],
        };
        for &place in negated {
            let name = format!("{node:?} with the sign of operand {place}");
            faults.push((name, with_negated_operand(adjoint, id, place)));
        }
        for other in others(node) {
            let mut faulty = adjoint.clone();
            faulty.graph.nodes[id] = other;
            faults.push((format!("{other:?} in the place of {node:?}"), faulty));
        }
    }
    let fields = (0..adjoint.fields.len()).map(Target::Field);
    let linears = (0..adjoint.linears.len()).filter(|&linear| reached.linears[linear]);
    let parts = (0..adjoint.parts.len()).map(Target::Parts);
    for target in fields.chain(linears.map(Target::Linear)).chain(parts) {
        faults.extend(pieces_with_fault(adjoint, target));
    }
    faults
}

/// What a gradient arrives at.
#[derive(Clone, Copy, Debug)]
enum Target {
    Field(usize),
    Linear(usize),
    Parts(usize),
}

impl Target {
    fn of(self, adjoint: &mut Adjoint) -> &mut Vec<Piece> {
        match self {
            Self::Field(index) => &mut adjoint.fields[index],
            Self::Linear(index) => &mut adjoint.linears[index],
            Self::Parts(index) => &mut adjoint.parts[index].1,
        }
    }
}

/// The part of a derivative on which the gradients of the fields depend.
struct Reached {
    nodes: Vec<bool>,
    linears: Vec<bool>,
}

impl Reached {
    fn new(adjoint: &Adjoint) -> Self {
        let graph = &adjoint.graph;
        let mut reached = Self {
            nodes: vec![false; graph.nodes.len()],
            linears: vec![false; graph.linears.len()],
        };
        let mut open: Vec<_> = adjoint.fields.iter().flatten().map(|piece| piece.node).collect();
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut reached.nodes[id], true) {
                continue;
            }
            open.extend(graph.operands(id));
            if let Node::PartsGrad { of } = graph.nodes[id] {
                let parts = adjoint.parts.iter().filter(|(part, _)| *part == of);
                open.extend(parts.flat_map(|(_, pieces)| pieces).map(|piece| piece.node));
            }
            let Node::SourceGrad { source } = graph.nodes[id] else { continue };
            for (linear, pieces) in adjoint.linears.iter().enumerate() {
                if graph.products(linear).any(|(.., of)| of == source) {
                    reached.linears[linear] = true;
                    open.extend(pieces.iter().map(|piece| piece.node));
                }
            }
        }
        reached
    }
}

/// The node with every other function.
fn others(node: Node) -> Vec<Node> {
    match node {
        Node::Unary(own, a) => {
            let others = Unary::ALL.into_iter().filter(|other| *other != own);
            others.map(|other| Node::Unary(other, a)).collect()
        }
        Node::Binary(own, a, b) => {
            let others = Binary::ALL.into_iter().filter(|other| *other != own);
            others.map(|other| Node::Binary(other, a, b)).collect()
        }
        Node::CumulativeSum { of, reverse } => vec![Node::CumulativeSum { of, reverse: !reverse }],
        Node::NormaliseGrad { norm, grad, value, scale } => {
            let norm = Norm { centred: !norm.centred, ..norm };
            vec![Node::NormaliseGrad { norm, grad, value, scale }]
        }
        _ => Vec::new(),
    }
}

/// `id`, a node of the derivative, reads the negative of its operand number `place`.
fn with_negated_operand(adjoint: &Adjoint, id: NodeId, place: usize) -> Adjoint {
    let mut faulty = adjoint.clone();
    let operand = adjoint.graph.operands(id).nth(place).expect("the node has this operand");
    // The negative comes just before the node; all from there on move by one.
    let moved = |node: NodeId| if node >= id { node + 1 } else { node };
    for node in &mut faulty.graph.nodes[id..] {
        *node = with_operands(*node, |_, operand| moved(operand));
    }
    let node = faulty.graph.nodes[id];
    faulty.graph.nodes[id] =
        with_operands(node, |index, operand| if index == place { id } else { operand });
    let width = adjoint.graph.widths[operand];
    faulty.graph.nodes.insert(id, Node::Unary(Unary::Neg, operand));
    faulty.graph.widths.insert(id, width);
    let parts = faulty.parts.iter_mut().map(|(_, pieces)| pieces);
    let lists = faulty.linears.iter_mut().chain(&mut faulty.fields).chain(parts);
    let pieces = lists.flatten().chain(&mut faulty.input);
    for piece in pieces.chain(faulty.weights.iter_mut().map(|(_, piece)| piece)) {
        piece.node = moved(piece.node);
    }
    faulty
}

/// The node with other operands; `operand` has the place and the operand.
fn with_operands(node: Node, operand: impl Fn(usize, NodeId) -> NodeId) -> Node {
    match node {
        Node::Unary(function, a) => Node::Unary(function, operand(0, a)),
        Node::Sum(a) => Node::Sum(operand(0, a)),
        Node::CumulativeSum { of, reverse } => Node::CumulativeSum { of: operand(0, of), reverse },
        Node::Binary(function, a, b) => Node::Binary(function, operand(0, a), operand(1, b)),
        Node::NormaliseGrad { norm, grad, value, scale } => Node::NormaliseGrad {
            norm,
            grad: operand(0, grad),
            value: operand(1, value),
            scale: operand(2, scale),
        },
        other => other,
    }
}

/// The faults of the gradients that arrive at `target`.
fn pieces_with_fault(adjoint: &Adjoint, target: Target) -> Vec<(String, Adjoint)> {
    let mut faults = Vec::new();
    let pieces = target.of(&mut adjoint.clone()).clone();
    for (index, piece) in pieces.iter().enumerate() {
        let mut with = |name: &str, node: Node, width: usize| {
            let mut faulty = adjoint.clone();
            faulty.graph.nodes.push(node);
            faulty.graph.widths.push(width);
            let node = faulty.graph.nodes.len() - 1;
            target.of(&mut faulty)[index].node = node;
            faults.push((format!("{target:?}, {name} of {piece:?}"), faulty));
        };
        let width = adjoint.graph.widths[piece.node];
        with("sign", Node::Unary(Unary::Neg, piece.node), width);
        with("loss", Node::Constant(0f64.to_bits()), 1);
    }
    for (index, pair) in pieces.windows(2).enumerate() {
        if pair[0].start != pair[1].start && pair[0].width == pair[1].width {
            let mut faulty = adjoint.clone();
            let own = target.of(&mut faulty);
            (own[index].start, own[index + 1].start) = (pair[1].start, pair[0].start);
            faults.push((format!("{target:?}, exchange of {pair:?}"), faulty));
        }
    }
    faults
}
