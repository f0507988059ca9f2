//! A cell as data: a graph of named values, from which everything else about the cell follows.
//!
//! A [`Graph`] has *leaves* (the input of the step, the fields of the state before it, vectors of
//! weights, constants), sums of matrix products ([`Linear`]), element-wise functions and functions
//! of a row. It says what each field of the state becomes. [`Builder`] writes one as equations:
//!
//! ```
//! use recurrent_core::description::{Builder, Value};
//!
//! /// LSTM (Hochreiter and Schmidhuber 1997; Gers et al. 2000).
//! fn lstm(cell: &Builder) -> Vec<Value<'_>> {
//!     let (h, c) = (cell.recurrent(), cell.state(1));
//!     let [i, f, g, o] = cell.gates(&h); // W_ih x + b_ih + W_hh h + b_hh
//!     let (i, f, o) = (i.sigmoid(), f.sigmoid(), o.sigmoid());
//!     let c = f * c + i * g.tanh();
//!     vec![o * c.tanh(), c]
//! }
//! # let weight = |name: &str, dims: &[usize]| (name.to_string(), dims.to_vec());
//! # let weights = [weight("weight_ih", &[8, 3]), weight("weight_hh", &[8, 2])];
//! # let additions = Default::default();
//! # let graph = Builder::describe("lstm", 3, &[2; 2], &weights, additions, |cell| lstm(cell));
//! # assert!(graph.is_ok());
//! ```
//!
//! From the graph come the definition in candle's operations ([`Graph::step`]), the gates, the
//! vector-Jacobian product ([`Adjoint::vjp`]), the derivative as a graph of its own
//! ([`Graph::adjoint`]), the equations as text ([`Graph::equations`]), both as source text in C
//! ([`Graph::c_source`], [`Adjoint::c_source`]), and the kernels of `recurrent-kernels`.

mod adjoint;
mod builder;
mod definition;
mod source;
#[cfg(test)]
mod tests;
mod text;

pub use adjoint::{Adjoint, Piece};
pub use builder::{Additions, Builder, Value};
pub use definition::StepInput;

/// The index of a node of a [`Graph`].
pub type NodeId = usize;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// −a.
    Neg,
    /// 1 / (1 + e^(−a)).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// max(a, 0).
    Relu,
    /// e^a. Kernels bound a to the range in which e^a is a normal number.
    Exp,
    /// √a.
    Sqrt,
    /// 1 / a.
    Recip,
    /// ⌊a⌋, the largest whole number up to a. Its derivative is 0.
    Floor,
}

impl Unary {
    /// All functions.
    pub const ALL: [Self; 8] = [
        Self::Neg,
        Self::Sigmoid,
        Self::Tanh,
        Self::Relu,
        Self::Exp,
        Self::Sqrt,
        Self::Recip,
        Self::Floor,
    ];
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// a + b.
    Add,
    /// a − b.
    Sub,
    /// a b.
    Mul,
    /// a b (1 − b): the gradient a through b = σ(·).
    SigmoidGrad,
    /// a (1 − b²): the gradient a through b = tanh(·).
    TanhGrad,
    /// a where b > 0, else 0: the gradient a through b = max(·, 0).
    ReluGrad,
}

impl Binary {
    /// All functions.
    pub const ALL: [Self; 6] =
        [Self::Add, Self::Sub, Self::Mul, Self::SigmoidGrad, Self::TanhGrad, Self::ReluGrad];
}

/// A normalisation of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Norm {
    /// Whether the mean is subtracted first.
    pub centred: bool,
    /// The bits of eps, which is added to the mean of squares.
    pub eps: u64,
}

impl Norm {
    /// The number that is added to the mean of squares.
    pub fn eps(self) -> f64 {
        f64::from_bits(self.eps)
    }
}

/// A value of a step: a row of numbers for each example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// The input x_t, from element `start` on.
    Input {
        /// The first element.
        start: usize,
    },
    /// A field of the state before the step, from element `start` on.
    Field {
        /// The index of the field.
        field: usize,
        /// The first element.
        start: usize,
    },
    /// The mask of dropout on the recurrence, `(batch, output)`, the same at every step.
    Mask {
        /// The first element.
        start: usize,
    },
    /// The factors k of the zoneout of a field: 1 where the unit keeps its value.
    Zoneout {
        /// The index of the field.
        field: usize,
        /// The first element.
        start: usize,
    },
    /// A vector of weights, the same for all examples, from element `start` on.
    Weight {
        /// The index of the weight.
        weight: usize,
        /// The first element.
        start: usize,
    },
    /// A number, by its bits; one column.
    Constant(u64),
    /// A sum of products, from column `start` on.
    Linear {
        /// The index in [`Graph::linears`].
        linear: usize,
        /// The first column.
        start: usize,
    },
    /// An element-wise function.
    Unary(Unary, NodeId),
    /// An element-wise function. An operand with one column is the same for all columns.
    Binary(Binary, NodeId, NodeId),
    /// The sum over all columns; one column.
    Sum(NodeId),
    /// The scale s = 1 / √(mean (v − m)² + eps) of a normalisation, with m the mean of v, or 0; one
    /// column.
    Scale(Norm, NodeId),
    /// (v − m) s, with s the scale of v.
    Normalise(Norm, NodeId, NodeId),
    /// e^v over the sum of e^v over all columns.
    Softmax(NodeId),
    /// The sum over all columns up to each, or from each on.
    CumulativeSum {
        /// The value.
        of: NodeId,
        /// Whether the sums begin at the last column; only in an [`Adjoint`].
        reverse: bool,
    },
    /// Columns of a value that is computed as a whole.
    Part {
        /// The value.
        of: NodeId,
        /// The first column.
        start: usize,
    },
    /// The gradient of a field of the state after the step; only in an [`Adjoint`].
    Grad {
        /// The index of the field.
        field: usize,
        /// The first element.
        start: usize,
    },
    /// The gradient of a value through all products that multiply it; only in an [`Adjoint`].
    SourceGrad {
        /// The multiplied value.
        source: NodeId,
    },
    /// The gradient of a value through its parts; only in an [`Adjoint`].
    PartsGrad {
        /// The value.
        of: NodeId,
    },
    /// The gradient of v through y = (v − m) s, from that of y:
    /// s (dy − mean dy − y mean (dy ∘ y)), the second term only if the mean is subtracted; only in
    /// an [`Adjoint`].
    NormaliseGrad {
        /// The normalisation.
        norm: Norm,
        /// dy.
        grad: NodeId,
        /// y.
        value: NodeId,
        /// s.
        scale: NodeId,
    },
}

/// A sum of biases and of matrix products, one row for each example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// The number of columns.
    pub width: usize,
    /// The terms.
    pub terms: Vec<Term>,
}

/// A term of a [`Linear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// `width` elements of a vector of weights, from element `row` on.
    Bias {
        /// The index of the weight.
        weight: usize,
        /// The first element.
        row: usize,
    },
    /// W v, with W `width` rows of a matrix of weights, from row `row` on.
    Product {
        /// The index of the weight.
        weight: usize,
        /// The first row.
        row: usize,
        /// v, as wide as the matrix.
        source: NodeId,
    },
}

/// A gate: a named value in (0, 1) that multiplies something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateNode {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub node: NodeId,
    /// Whether it is the factor of the previous state.
    pub keeps: bool,
}

/// A cell as data; see the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The number of input features.
    pub input: usize,
    /// The sizes of the fields of the state.
    pub fields: Vec<usize>,
    /// The shapes of the weights, in the order of the cell's parameters.
    pub weights: Vec<Vec<usize>>,
    /// The names of the weights.
    pub weight_names: Vec<String>,
    /// The nodes, operands first.
    pub nodes: Vec<Node>,
    /// The number of columns of every node.
    pub widths: Vec<usize>,
    /// The sums of products.
    pub linears: Vec<Linear>,
    /// The value of every field after the step.
    pub next: Vec<NodeId>,
    /// The gates.
    pub gates: Vec<GateNode>,
    /// The names of values, of gates and others.
    pub names: Vec<(NodeId, &'static str)>,
}

impl Graph {
    /// The products of a sum, as (weight, first row, source).
    pub fn products(&self, linear: usize) -> impl Iterator<Item = (usize, usize, NodeId)> + '_ {
        self.linears[linear].terms.iter().filter_map(|term| match *term {
            Term::Product { weight, row, source } => Some((weight, row, source)),
            Term::Bias { .. } => None,
        })
    }

    /// The biases of a sum, as (weight, first element).
    pub fn biases(&self, linear: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.linears[linear].terms.iter().filter_map(|term| match *term {
            Term::Bias { weight, row } => Some((weight, row)),
            Term::Product { .. } => None,
        })
    }

    /// Whether a node is the whole input of the step.
    pub fn is_input(&self, node: NodeId) -> bool {
        matches!(self.nodes[node], Node::Input { start: 0 }) && self.widths[node] == self.input
    }

    /// The node `node`, as wide as `width`, which exists from now on.
    pub(crate) fn intern(&mut self, node: Node, width: usize) -> NodeId {
        let same = |(known, known_width): (&Node, &usize)| *known == node && *known_width == width;
        if let Some(id) = self.nodes.iter().zip(&self.widths).position(same) {
            return id;
        }
        self.nodes.push(node);
        self.widths.push(width);
        self.nodes.len() - 1
    }

    /// a ∘ b, as wide as the wider.
    pub(crate) fn binary(&mut self, function: Binary, a: NodeId, b: NodeId) -> NodeId {
        let width = self.widths[a].max(self.widths[b]);
        self.intern(Node::Binary(function, a, b), width)
    }

    /// A number.
    pub(crate) fn constant(&mut self, value: f64) -> NodeId {
        self.intern(Node::Constant(value.to_bits()), 1)
    }

    /// Whether a node is computed from its operands: an element-wise function, or a function of a
    /// row.
    pub fn is_computed(&self, node: NodeId) -> bool {
        matches!(
            self.nodes[node],
            Node::Unary(..)
                | Node::Binary(..)
                | Node::Sum(_)
                | Node::Scale(..)
                | Node::Normalise(..)
                | Node::Softmax(_)
                | Node::CumulativeSum { .. }
                | Node::NormaliseGrad { .. }
        )
    }

    /// The operands of a node that is computed, and the whole of a part.
    pub fn operands(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let operands = match self.nodes[node] {
            Node::Unary(_, a)
            | Node::Sum(a)
            | Node::Scale(_, a)
            | Node::Softmax(a)
            | Node::CumulativeSum { of: a, .. }
            | Node::Part { of: a, .. } => [Some(a), None, None],
            Node::Binary(_, a, b) | Node::Normalise(_, a, b) => [Some(a), Some(b), None],
            Node::NormaliseGrad { grad, value, scale, .. } => {
                [Some(grad), Some(value), Some(scale)]
            }
            _ => [None; 3],
        };
        operands.into_iter().flatten()
    }
}
