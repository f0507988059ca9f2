//! Graphs written as equations.

use super::{Binary, GateNode, Graph, Linear, Node, NodeId, Norm, Term, Unary};
use crate::Nonlinearity;
use candle_core::{bail, Result};
use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// What the driver adds to a cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Additions {
    /// α of h_t = h_{t-1} + α cell(x_t, h_{t-1}).
    pub temporal_residual: Option<f64>,
    /// Whether there is dropout on the recurrence.
    pub mask: bool,
    /// The fields with zoneout; a field that is not listed has none.
    pub zoneout: Vec<bool>,
}

/// Writes the graph of a cell; see the [module](super).
pub struct Builder {
    graph: RefCell<Graph>,
    additions: Additions,
    /// The first fault, with the words that it needs.
    fault: RefCell<Option<String>>,
    /// The rows of `weight_ih` and of `weight_hh` that gates have taken.
    rows: RefCell<[usize; 2]>,
}

/// A value of a graph. Arithmetic on values makes new ones; an operand with one column is the same
/// for all columns.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    cell: &'a Builder,
    id: NodeId,
}

impl Builder {
    /// The graph of the cell `name` that `equations` describe, which return the value of every
    /// field after the step. `weights` are the names and shapes of the cell's parameters, `fields`
    /// the sizes of its state.
    ///
    /// # Errors
    /// If a weight is missing or not used, shapes do not fit, or the number or sizes of the fields
    /// differ.
    pub fn describe(
        name: &str,
        input: usize,
        fields: &[usize],
        weights: &[(String, Vec<usize>)],
        additions: Additions,
        equations: impl FnOnce(&Self) -> Vec<Value<'_>>,
    ) -> Result<Graph> {
        let cell = Self {
            graph: RefCell::new(Graph {
                input,
                fields: fields.to_vec(),
                weights: weights.iter().map(|(_, dims)| dims.clone()).collect(),
                weight_names: weights.iter().map(|(name, _)| name.clone()).collect(),
                nodes: Vec::new(),
                widths: Vec::new(),
                linears: Vec::new(),
                next: Vec::new(),
                gates: Vec::new(),
                names: Vec::new(),
            }),
            additions,
            fault: RefCell::new(None),
            rows: RefCell::new([0; 2]),
        };
        let next: Vec<NodeId> = equations(&cell).iter().map(|value| value.id).collect();
        cell.finish(name, next)
    }

    fn finish(self, name: &str, next: Vec<NodeId>) -> Result<Graph> {
        if next.len() != self.graph.borrow().fields.len() {
            let (expected, found) = (self.graph.borrow().fields.len(), next.len());
            bail!("{name}: expected a value for each of {expected} fields, got {found}")
        }
        let next: Vec<_> = next.into_iter().enumerate().map(|(i, id)| self.added(i, id)).collect();
        if let Some(fault) = self.fault.borrow_mut().take() {
            bail!("{name}: {fault}")
        }
        let mut graph = self.graph.into_inner();
        for (index, (&id, &size)) in next.iter().zip(&graph.fields).enumerate() {
            if graph.widths[id] != size {
                let found = graph.widths[id];
                bail!("{name}: field {index}: expected {size} columns, got {found}")
            }
        }
        let mut used = vec![false; graph.weights.len()];
        for term in graph.linears.iter().flat_map(|linear| &linear.terms) {
            let (Term::Bias { weight, .. } | Term::Product { weight, .. }) = term;
            used[*weight] = true;
        }
        for node in &graph.nodes {
            if let Node::Weight { weight, .. } = node {
                used[*weight] = true;
            }
        }
        if let Some(weight) = used.iter().position(|used| !used) {
            bail!("{name}: the weight {} is not used", graph.weight_names[weight])
        }
        graph.next = next;
        Ok(graph)
    }

    /// The field after the step, with the residual over time and the zoneout.
    fn added(&self, field: usize, id: NodeId) -> NodeId {
        let mut next = Value { cell: self, id };
        let before = self.state(field);
        if let (0, Some(alpha)) = (field, self.additions.temporal_residual) {
            next = before + next * alpha;
        }
        if self.additions.zoneout.get(field) == Some(&true) {
            let size = self.graph.borrow().fields[field];
            let k = self.node(Node::Zoneout { field, start: 0 }, size);
            next = k * before + (1.0 - k) * next;
        }
        next.id
    }

    /// Remembers the first fault. The graph goes on with values of the right shape.
    fn fault(&self, words: String) {
        self.fault.borrow_mut().get_or_insert(words);
    }

    fn node(&self, node: Node, width: usize) -> Value<'_> {
        let id = self.graph.borrow_mut().intern(node, width);
        Value { cell: self, id }
    }

    /// x_t.
    pub fn input(&self) -> Value<'_> {
        let width = self.graph.borrow().input;
        self.node(Node::Input { start: 0 }, width)
    }

    /// The field `field` of the state before the step; 0 is the output h.
    pub fn state(&self, field: usize) -> Value<'_> {
        let width = self.graph.borrow().fields.get(field).copied();
        if width.is_none() {
            self.fault(format!("field {field} does not exist"));
        }
        self.node(Node::Field { field: width.map_or(0, |_| field), start: 0 }, width.unwrap_or(1))
    }

    /// h_{t-1} as the recurrent matrices see it: masked by dropout, if there is dropout on the
    /// recurrence.
    pub fn recurrent(&self) -> Value<'_> {
        let h = self.state(0);
        if !self.additions.mask {
            return h;
        }
        let width = h.width();
        h * self.node(Node::Mask { start: 0 }, width)
    }

    /// A number.
    pub fn constant(&self, value: f64) -> Value<'_> {
        self.node(Node::Constant(value.to_bits()), 1)
    }

    /// The index and the shape of a weight.
    fn lookup(&self, name: &str) -> Option<(usize, Vec<usize>)> {
        let graph = self.graph.borrow();
        let index = graph.weight_names.iter().position(|known| known == name)?;
        Some((index, graph.weights[index].clone()))
    }

    /// Whether the cell has the weight `name`.
    pub fn has(&self, name: &str) -> bool {
        self.lookup(name).is_some()
    }

    /// The vector of weights `name`, the same for all examples.
    pub fn weight(&self, name: &str) -> Value<'_> {
        match self.lookup(name) {
            Some((weight, dims)) if dims.len() == 1 => {
                self.node(Node::Weight { weight, start: 0 }, dims[0])
            }
            Some((_, dims)) => {
                self.fault(format!("weight {name}: expected a vector, got the shape {dims:?}"));
                self.constant(0.0)
            }
            None => {
                self.fault(format!("weight {name}: the cell does not have it"));
                self.constant(0.0)
            }
        }
    }

    fn linear(&self, width: usize, terms: Vec<Term>) -> Value<'_> {
        let linear = {
            let mut graph = self.graph.borrow_mut();
            let new = Linear { width, terms };
            graph.linears.iter().position(|known| *known == new).unwrap_or_else(|| {
                graph.linears.push(new);
                graph.linears.len() - 1
            })
        };
        self.node(Node::Linear { linear, start: 0 }, width)
    }

    /// `rows` rows of the matrix `name` times `source`, from row `first` on.
    fn term(&self, name: &str, first: usize, rows: usize, source: Value<'_>) -> Vec<Term> {
        match self.lookup(name) {
            Some((weight, dims))
                if dims.len() == 2 && dims[1] == source.width() && first + rows <= dims[0] =>
            {
                vec![Term::Product { weight, row: first, source: source.id }]
            }
            Some((_, dims)) => {
                let width = source.width();
                let last = first + rows;
                self.fault(format!(
                    "weight {name}: expected at least {last} rows of {width} columns, got the \
                     shape {dims:?}"
                ));
                Vec::new()
            }
            None => {
                self.fault(format!("weight {name}: the cell does not have it"));
                Vec::new()
            }
        }
    }

    fn bias(&self, name: &str, first: usize, rows: usize) -> Vec<Term> {
        match self.lookup(name) {
            Some((weight, dims)) if dims.len() == 1 && first + rows <= dims[0] => {
                vec![Term::Bias { weight, row: first }]
            }
            Some((_, dims)) => {
                let last = first + rows;
                self.fault(format!("weight {name}: expected {last} elements, got {dims:?}"));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// W v, with W the matrix of weights `name`.
    pub fn product<'a>(&'a self, name: &str, source: Value<'a>) -> Value<'a> {
        let rows = self.lookup(name).map_or(1, |(_, dims)| dims[0]);
        self.linear(rows, self.term(name, 0, rows, source))
    }

    /// The number of units: the size of the last field.
    fn hidden(&self) -> usize {
        self.graph.borrow().fields.last().copied().unwrap_or(1)
    }

    /// The next `rows` rows of `weight_ih`, `weight_hh`; the first of them.
    fn take(&self, matrix: usize, rows: usize) -> usize {
        let mut taken = self.rows.borrow_mut();
        taken[matrix] += rows;
        taken[matrix] - rows
    }

    /// The pre-activations of the next N gates, W_ih x + b_ih + W_hh h + b_hh with `h` the value
    /// that the recurrent matrix multiplies. Gates take the rows of both matrices in the order in
    /// which they are asked for.
    pub fn gates<const N: usize>(&self, h: &Value<'_>) -> [Value<'_>; N] {
        let width = N * self.hidden();
        let (ih, hh) = (self.take(0, width), self.take(1, width));
        let terms = [
            self.bias("bias_ih", ih, width),
            self.bias("bias_hh", hh, width),
            self.term("weight_ih", ih, width, self.input()),
            self.term("weight_hh", hh, width, *h),
        ];
        self.linear(width, terms.concat()).chunks()
    }

    /// The input part of the next N gates, W_ih x + b_ih.
    pub fn input_gates<const N: usize>(&self) -> [Value<'_>; N] {
        let width = N * self.hidden();
        let ih = self.take(0, width);
        let input = self.term("weight_ih", ih, width, self.input());
        self.linear(width, [self.bias("bias_ih", ih, width), input].concat()).chunks()
    }

    /// The recurrent part of the next N gates, W_hh h + b_hh.
    pub fn recurrent_gates<const N: usize>(&self, h: &Value<'_>) -> [Value<'_>; N] {
        let width = N * self.hidden();
        let hh = self.take(1, width);
        let recurrent = self.term("weight_hh", hh, width, *h);
        self.linear(width, [self.bias("bias_hh", hh, width), recurrent].concat()).chunks()
    }
}

impl<'a> Value<'a> {
    /// The number of columns.
    pub fn width(&self) -> usize {
        self.cell.graph.borrow().widths[self.id]
    }

    fn unary(self, function: Unary) -> Self {
        self.cell.node(Node::Unary(function, self.id), self.width())
    }

    fn binary(self, function: Binary, other: Self) -> Self {
        let (a, b) = (self.width(), other.width());
        if a != b && a != 1 && b != 1 {
            self.cell.fault(format!("{function:?}: expected equal widths, got {a} and {b}"));
        }
        self.cell.node(Node::Binary(function, self.id, other.id), a.max(b))
    }

    /// 1 / (1 + e^(−v)).
    pub fn sigmoid(self) -> Self {
        self.unary(Unary::Sigmoid)
    }

    /// The hyperbolic tangent.
    pub fn tanh(self) -> Self {
        self.unary(Unary::Tanh)
    }

    /// max(v, 0).
    pub fn relu(self) -> Self {
        self.unary(Unary::Relu)
    }

    /// φ(v).
    pub fn nonlinearity(self, function: Nonlinearity) -> Self {
        match function {
            Nonlinearity::Tanh => self.tanh(),
            Nonlinearity::Relu => self.relu(),
        }
    }

    /// e^v.
    pub fn exp(self) -> Self {
        self.unary(Unary::Exp)
    }

    /// √v.
    pub fn sqrt(self) -> Self {
        self.unary(Unary::Sqrt)
    }

    /// 1 / v.
    pub fn recip(self) -> Self {
        self.unary(Unary::Recip)
    }

    /// ⌊v⌋, the largest whole number up to v, with the derivative 0. v − ⌊v⌋ is the phase of a
    /// clock with the period 1; a field that grows by one at every step is its time.
    pub fn floor(self) -> Self {
        self.unary(Unary::Floor)
    }

    /// The sum over all columns; one column.
    pub fn sum(self) -> Self {
        match self.width() {
            1 => self,
            _ => self.cell.node(Node::Sum(self.id), 1),
        }
    }

    /// The mean over all columns; one column.
    pub fn mean(self) -> Self {
        let count = self.width() as f64;
        self.sum() * (1.0 / count)
    }

    /// LN(v) = (v − mean v) / √(variance v + eps) (Ba, Kiros and Hinton 2016).
    pub fn layer_norm(self, eps: f64) -> Self {
        self.normalised(Norm { centred: true, eps: eps.to_bits() })
    }

    /// RMS(v) = v / √(mean v² + eps) (Zhang and Sennrich 2019).
    pub fn rms_norm(self, eps: f64) -> Self {
        self.normalised(Norm { centred: false, eps: eps.to_bits() })
    }

    /// e^v / sum e^v over all columns. The kernels and the definition subtract the largest v first.
    pub fn softmax(self) -> Self {
        self.cell.node(Node::Softmax(self.id), self.width())
    }

    /// The sum over all columns up to each. That of a softmax is the cumax of ON-LSTM (Shen et al.
    /// 2019, arXiv:1810.09536).
    pub fn cumulative_sum(self) -> Self {
        match self.width() {
            1 => self,
            width => self.cell.node(Node::CumulativeSum { of: self.id, reverse: false }, width),
        }
    }

    fn normalised(self, norm: Norm) -> Self {
        let scale = self.cell.node(Node::Scale(norm, self.id), 1);
        self.cell.node(Node::Normalise(norm, self.id, scale.id), self.width())
    }

    /// Names the value, for [`Graph::equations`].
    pub fn named(self, name: &'static str) -> Self {
        self.cell.graph.borrow_mut().names.push((self.id, name));
        self
    }

    /// Names the value, and records it as a gate.
    pub fn gate(self, name: &'static str) -> Self {
        self.recorded(name, false)
    }

    /// Names the value, and records it as a gate, the factor of the previous state.
    pub fn keep(self, name: &'static str) -> Self {
        self.recorded(name, true)
    }

    fn recorded(self, name: &'static str, keeps: bool) -> Self {
        let gate = GateNode { name, node: self.id, keeps };
        self.cell.graph.borrow_mut().gates.push(gate);
        self.named(name)
    }

    /// `width` columns, from column `start` on.
    pub fn slice(self, start: usize, width: usize) -> Self {
        if start + width > self.width() {
            let (last, found) = (start + width, self.width());
            self.cell.fault(format!("slice: expected at least {last} columns, got {found}"));
            return self;
        }
        self.sliced(start, width)
    }

    /// The slice of an element-wise function is the function of the slices, so a graph has slices
    /// of leaves, of products and of functions of a row alone.
    fn sliced(self, start: usize, width: usize) -> Self {
        let own = self.width();
        if own == width || own == 1 {
            return self;
        }
        let node = self.cell.graph.borrow().nodes[self.id];
        let operand = |id| Value { cell: self.cell, id }.sliced(start, width).id;
        let node = match node {
            Node::Input { start: first } => Node::Input { start: first + start },
            Node::Field { field, start: first } => Node::Field { field, start: first + start },
            Node::Mask { start: first } => Node::Mask { start: first + start },
            Node::Zoneout { field, start: first } => Node::Zoneout { field, start: first + start },
            Node::Weight { weight, start: first } => Node::Weight { weight, start: first + start },
            Node::Linear { linear, start: first } => Node::Linear { linear, start: first + start },
            Node::Unary(function, a) => Node::Unary(function, operand(a)),
            Node::Binary(function, a, b) => Node::Binary(function, operand(a), operand(b)),
            Node::Normalise(..) | Node::Softmax(_) | Node::CumulativeSum { .. } => {
                Node::Part { of: self.id, start }
            }
            Node::Part { of, start: first } => Node::Part { of, start: first + start },
            Node::Constant(_)
            | Node::Sum(_)
            | Node::Scale(..)
            | Node::Grad { .. }
            | Node::SourceGrad { .. }
            | Node::PartsGrad { .. }
            | Node::NormaliseGrad { .. } => {
                unreachable!("these have one column, or belong to an adjoint")
            }
        };
        self.cell.node(node, width)
    }

    /// N parts of equal width.
    pub fn chunks<const N: usize>(self) -> [Self; N] {
        let width = self.width() / N;
        std::array::from_fn(|index| self.slice(index * width, width))
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $function:expr) => {
        impl<'a> $trait for Value<'a> {
            type Output = Self;

            fn $method(self, other: Self) -> Self {
                self.binary($function, other)
            }
        }

        impl<'a> $trait<f64> for Value<'a> {
            type Output = Self;

            fn $method(self, other: f64) -> Self {
                self.binary($function, self.cell.constant(other))
            }
        }

        impl<'a> $trait<Value<'a>> for f64 {
            type Output = Value<'a>;

            fn $method(self, other: Value<'a>) -> Value<'a> {
                other.cell.constant(self).binary($function, other)
            }
        }
    };
}

operator!(Add, add, Binary::Add);
operator!(Sub, sub, Binary::Sub);
operator!(Mul, mul, Binary::Mul);

impl<'a> Div for Value<'a> {
    type Output = Self;

    #[allow(clippy::suspicious_arithmetic_impl)] // a / b is a · (1 / b)
    fn div(self, other: Self) -> Self {
        self * other.recip()
    }
}

impl<'a> Neg for Value<'a> {
    type Output = Self;

    fn neg(self) -> Self {
        self.unary(Unary::Neg)
    }
}
