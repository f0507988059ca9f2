//! Graphs as equations in text.

use super::{Binary, Graph, Node, NodeId, Norm, Term, Unary};
use std::collections::{BTreeMap, BTreeSet};

impl Graph {
    /// The equations of the step as text, one a line. `fields` are the names of the fields.
    ///
    /// σ is the logistic function, ∘ the element-wise product. Named values have equations of their
    /// own; so have values that are used more than once, by the first letters of u, v, w, p, q, s
    /// that are free. Every equation comes after those whose values it reads. A block of rows
    /// of a weight is named after the value whose equation it is in (W_ii are the rows of
    /// `weight_ih` in the equation of i); a block in several equations, or in that of a value
    /// without a name, has the numbers of its rows.
    ///
    /// ```
    /// use recurrent_core::description::Builder;
    ///
    /// # fn main() -> candle_core::Result<()> {
    /// let weights = [
    ///     ("weight_ih".to_string(), vec![10, 3]),
    ///     ("weight_hh".to_string(), vec![10, 5]),
    ///     ("bias_ih".to_string(), vec![10]),
    /// ];
    /// let graph = Builder::describe("mgu", 3, &[5], &weights, Default::default(), |cell| {
    ///     let h = cell.recurrent();
    ///     let [f] = cell.gates(&h);
    ///     let f = f.sigmoid().gate("f");
    ///     let [n] = cell.gates(&(f * h));
    ///     let n = n.tanh().named("n");
    ///     vec![(1.0 - f) * h + f * n]
    /// })?;
    /// let expected = "\
    /// f = σ(W_if x_t + b_if + W_hf h_{t-1})
    /// n = tanh(W_in x_t + b_in + W_hn (f ∘ h_{t-1}))
    /// h_t = (1 − f) ∘ h_{t-1} + f ∘ n
    /// ";
    /// assert_eq!(graph.equations(&["h"]), expected);
    /// # Ok(())
    /// # }
    /// ```
    pub fn equations(&self, fields: &[&str]) -> String {
        Text::new(self, fields).print()
    }
}

/// A value as it is printed: means in the place of their sums.
#[derive(Clone, Copy)]
enum Printed {
    /// A node of the graph.
    Plain(Node),
    /// The columns from `start` on of a wider value.
    Block { of: NodeId, start: usize },
    /// A normalised value, or its mean.
    Row { function: &'static str, of: NodeId },
}

/// A value in blocks: a vector or a matrix of weights, or a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whole {
    Weight(usize),
    Node(NodeId),
}

/// The value on the left of an equation.
#[derive(Clone, Copy)]
struct Equation {
    node: NodeId,
    /// The field that it defines. That of a named value is no definition of a field.
    field: Option<usize>,
}

/// How tightly the parts of a text hold together.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Binding {
    Sum,
    /// A matrix times a vector.
    Matrix,
    Times,
    Atom,
}

struct Text<'a> {
    graph: &'a Graph,
    fields: &'a [&'a str],
    printed: Vec<Printed>,
    /// The equations, in order.
    equations: Vec<Equation>,
    /// The names of the values that have equations.
    names: BTreeMap<NodeId, String>,
    /// The names of blocks, by first column and number of columns.
    blocks: BTreeMap<(Whole, usize, usize), &'static str>,
}

impl<'a> Text<'a> {
    fn new(graph: &'a Graph, fields: &'a [&'a str]) -> Self {
        let mut text = Self {
            graph,
            fields,
            printed: Vec::new(),
            equations: Vec::new(),
            names: BTreeMap::new(),
            blocks: BTreeMap::new(),
        };
        let live = text.live();
        text.printed = (0..graph.nodes.len()).map(|id| text.folded(id, &live)).collect();
        text.collect_equations();
        text.name_blocks();
        text
    }

    fn print(&self) -> String {
        let mut lines: Vec<_> = self.equations.iter().map(|equation| self.line(equation)).collect();
        let mut norms = BTreeSet::new();
        for id in self.reached() {
            if let Node::Normalise(norm, ..) = self.graph.nodes[id] {
                norms.insert((name(norm), norm.eps));
            }
        }
        for (function, eps) in norms {
            let (a, eps) =
                (if function == "LN" { "(a − mean(a))" } else { "a" }, f64::from_bits(eps));
            lines.push(format!("{function}(a) = {a} / √(mean({a}²) + {})", number(eps)));
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    // What is printed in the place of a node.

    /// The values that the step reads, operand by operand.
    fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.graph.nodes.len()];
        let mut open = self.graph.next.clone();
        while let Some(id) = open.pop() {
            if !std::mem::replace(&mut live[id], true) {
                open.extend(self.graph.operands(id));
                open.extend(self.sources(id));
            }
        }
        live
    }

    /// The values that the products of a node multiply.
    fn sources(&self, id: NodeId) -> Vec<NodeId> {
        match self.graph.nodes[id] {
            Node::Linear { linear, .. } => {
                self.graph.products(linear).map(|(.., source)| source).collect()
            }
            _ => Vec::new(),
        }
    }

    fn folded(&self, id: NodeId, live: &[bool]) -> Printed {
        match self.graph.nodes[id] {
            Node::Part { of, start } => return Printed::Block { of, start },
            Node::Normalise(norm, of, _) => return Printed::Row { function: name(norm), of },
            _ => {}
        }
        if !self.is_leaf(id) {
            for (of, &live) in live.iter().enumerate() {
                let worth = live || self.given_name(of).is_some();
                let more = self.graph.widths[of].checked_sub(self.graph.widths[id]);
                let Some(more) = more.filter(|&more| more > 0 && worth) else { continue };
                if let Some(start) = (0..=more).find(|&start| self.is_block(of, id, start)) {
                    return Printed::Block { of, start };
                }
            }
        }
        match self.mean(id) {
            Some(of) => Printed::Row { function: "mean", of },
            None => Printed::Plain(self.graph.nodes[id]),
        }
    }

    fn is_leaf(&self, id: NodeId) -> bool {
        let of_others = matches!(self.graph.nodes[id], Node::Linear { .. } | Node::Part { .. });
        !of_others && !self.graph.is_computed(id)
    }

    /// Whether `id` is the columns of `of` from `start` on.
    fn is_block(&self, of: NodeId, id: NodeId, start: usize) -> bool {
        let graph = self.graph;
        if graph.widths[of] == 1 {
            return of == id;
        }
        match (graph.nodes[of], graph.nodes[id]) {
            (Node::Input { start: a }, Node::Input { start: b }) => a + start == b,
            (Node::Field { field: f, start: a }, Node::Field { field: g, start: b }) => {
                f == g && a + start == b
            }
            (Node::Weight { weight: f, start: a }, Node::Weight { weight: g, start: b }) => {
                f == g && a + start == b
            }
            (Node::Linear { linear: f, start: a }, Node::Linear { linear: g, start: b }) => {
                f == g && a + start == b
            }
            (Node::Part { of: f, start: a }, Node::Part { of: g, start: b }) => {
                f == g && a + start == b
            }
            (
                Node::Normalise(..) | Node::Softmax(_) | Node::CumulativeSum { .. },
                Node::Part { of: part, start: b },
            ) => part == of && start == b,
            (Node::Unary(f, a), Node::Unary(g, b)) => f == g && self.is_block(a, b, start),
            (Node::Binary(f, a, b), Node::Binary(g, c, d)) => {
                f == g && self.is_block(a, c, start) && self.is_block(b, d, start)
            }
            _ => false,
        }
    }

    fn constant(&self, id: NodeId) -> Option<f64> {
        match self.graph.nodes[id] {
            Node::Constant(bits) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }

    /// v, if the node is its mean.
    fn mean(&self, id: NodeId) -> Option<NodeId> {
        let Node::Binary(Binary::Mul, sum, factor) = self.graph.nodes[id] else { return None };
        let Node::Sum(v) = self.graph.nodes[sum] else { return None };
        let one_by_width = 1.0 / self.graph.widths[v] as f64;
        (self.constant(factor) == Some(one_by_width)).then_some(v)
    }

    // Equations and their order.

    /// The name that the description gives to a value.
    fn given_name(&self, id: NodeId) -> Option<&'static str> {
        self.graph.names.iter().find(|(node, _)| *node == id).map(|(_, name)| *name)
    }

    /// The values that the text of a node reads.
    fn operands(&self, id: NodeId) -> Vec<NodeId> {
        match self.printed[id] {
            Printed::Plain(_) => self.graph.operands(id).chain(self.sources(id)).collect(),
            Printed::Block { of, .. } | Printed::Row { of, .. } => vec![of],
        }
    }

    /// All values of the text.
    fn reached(&self) -> BTreeSet<NodeId> {
        let mut reached = BTreeSet::new();
        let mut open = self.graph.next.clone();
        while let Some(id) = open.pop() {
            if reached.insert(id) {
                open.extend(self.operands(id));
            }
        }
        reached
    }

    fn collect_equations(&mut self) {
        let reached = self.reached();
        let mut uses: BTreeMap<NodeId, usize> = BTreeMap::new();
        for id in reached.iter().flat_map(|&id| self.operands(id)) {
            *uses.entry(id).or_default() += 1;
        }
        let mut defined = BTreeMap::new();
        for (field, &node) in self.graph.next.iter().enumerate() {
            let own = !self.is_leaf(node) && self.given_name(node).is_none();
            if !own || defined.contains_key(&node) {
                self.equations.push(Equation { node, field: Some(field) });
            } else {
                defined.insert(node, Some(field));
            }
        }
        for &node in &reached {
            let shared = uses.get(&node) > Some(&1) && self.is_shareable(node);
            if self.given_name(node).is_some() || shared {
                defined.entry(node).or_insert(None);
            }
        }
        // By the number of equations that must come before, then as described.
        let mut levels = BTreeMap::new();
        for &node in defined.keys() {
            self.level(node, &defined, &mut levels);
        }
        let mut ordered: Vec<_> = defined.into_iter().collect();
        ordered.sort_by_key(|(node, _)| (levels[node], *node));
        let own = ordered.iter().map(|&(node, field)| Equation { node, field });
        self.equations.splice(0..0, own);
        let taken =
            self.graph.names.iter().map(|(_, name)| *name).chain(self.fields.iter().copied());
        let taken: BTreeSet<_> = taken.collect();
        let mut free =
            ["u", "v", "w", "p", "q", "s"].into_iter().filter(|name| !taken.contains(name));
        for (index, (node, field)) in ordered.into_iter().enumerate() {
            let name = match (field, self.given_name(node)) {
                (Some(field), _) => format!("{}_t", self.field(field)),
                (None, Some(name)) => name.to_string(),
                (None, None) => free.next().map_or_else(|| format!("u{index}"), String::from),
            };
            self.names.insert(node, name);
        }
    }

    fn is_shareable(&self, id: NodeId) -> bool {
        !self.is_leaf(id) && !matches!(self.printed[id], Printed::Block { .. })
    }

    /// The length of the longest chain of equations that `node` reads.
    fn level(
        &self,
        node: NodeId,
        defined: &BTreeMap<NodeId, Option<usize>>,
        levels: &mut BTreeMap<NodeId, usize>,
    ) -> usize {
        if let Some(level) = levels.get(&node) {
            return *level;
        }
        let of = |operand: &NodeId, levels: &mut _| {
            self.level(*operand, defined, levels) + usize::from(defined.contains_key(operand))
        };
        let level = self.operands(node).iter().map(|id| of(id, levels)).max().unwrap_or(0);
        levels.insert(node, level);
        level
    }

    /// Names every block that is in the equation of one named value, and is its only one.
    fn name_blocks(&mut self) {
        let mut readers: BTreeMap<(Whole, usize, usize), BTreeSet<NodeId>> = BTreeMap::new();
        for equation in &self.equations {
            let mut open = vec![equation.node];
            while let Some(id) = open.pop() {
                for block in self.own_blocks(id) {
                    readers.entry(block).or_default().insert(equation.node);
                }
                open.extend(self.operands(id).iter().filter(|id| !self.names.contains_key(id)));
            }
        }
        let alone = readers.iter().filter_map(|(block, nodes)| {
            let [node] = nodes.iter().copied().collect::<Vec<_>>()[..] else { return None };
            let only = |(whole, ..): &&(Whole, usize, usize)| *whole == block.0;
            let of_node = readers.iter().filter(|(_, nodes)| nodes.contains(&node));
            let single = of_node.map(|(block, _)| block).filter(only).count() == 1;
            Some((*block, self.given_name(node).filter(|_| single)?))
        });
        self.blocks = alone.collect();
    }

    /// The parts of weights and of wider values that the text of a node itself shows.
    fn own_blocks(&self, id: NodeId) -> Vec<(Whole, usize, usize)> {
        let width = self.graph.widths[id];
        match self.printed[id] {
            Printed::Block { of, start } => vec![(Whole::Node(of), start, width)],
            Printed::Plain(Node::Weight { weight, start }) => {
                vec![(Whole::Weight(weight), start, width)]
            }
            Printed::Plain(Node::Linear { linear, start }) => {
                let terms = self.graph.linears[linear].terms.iter();
                let block = |term: &Term| {
                    let (Term::Bias { weight, row } | Term::Product { weight, row, .. }) = *term;
                    (Whole::Weight(weight), row + start, width)
                };
                terms.map(block).collect()
            }
            _ => Vec::new(),
        }
    }

    // The text of one equation.

    fn line(&self, equation: &Equation) -> String {
        let Equation { node, field } = *equation;
        let left = match field {
            Some(field) => format!("{}_t", self.field(field)),
            None => self.names[&node].clone(),
        };
        let right = match self.names.get(&node) {
            Some(name) if *name != left => name.clone(),
            _ => self.expression(node).0,
        };
        format!("{left} = {right}")
    }

    fn field(&self, field: usize) -> String {
        self.fields.get(field).map_or_else(|| format!("field{field}"), |name| name.to_string())
    }

    /// The text of a value, in parentheses if it binds less than `least`.
    fn value(&self, id: NodeId, least: Binding) -> String {
        let (text, binding) = match self.names.get(&id) {
            Some(name) => (name.clone(), Binding::Atom),
            None => self.expression(id),
        };
        if binding < least {
            format!("({text})")
        } else {
            text
        }
    }

    fn call(&self, function: &str, of: NodeId) -> (String, Binding) {
        (format!("{function}({})", self.value(of, Binding::Sum)), Binding::Atom)
    }

    fn expression(&self, id: NodeId) -> (String, Binding) {
        let width = self.graph.widths[id];
        let leaf = |name: String, start: usize, whole: usize| {
            (columns(name, start, width, whole), Binding::Atom)
        };
        let sizes = &self.graph.fields;
        match self.printed[id] {
            Printed::Row { function, of } => self.call(function, of),
            Printed::Block { of, start } => {
                (self.block(Whole::Node(of), start, width), Binding::Atom)
            }
            Printed::Plain(node) => match node {
                Node::Input { start } => leaf("x_t".into(), start, self.graph.input),
                Node::Field { field, start } => {
                    leaf(format!("{}_{{t-1}}", self.field(field)), start, sizes[field])
                }
                Node::Mask { start } => leaf("mask".into(), start, sizes[0]),
                Node::Zoneout { field, start } => {
                    leaf(format!("k_{}", self.field(field)), start, sizes[field])
                }
                Node::Grad { field, start } => {
                    leaf(format!("d{}_t", self.field(field)), start, sizes[field])
                }
                Node::SourceGrad { source: of } | Node::PartsGrad { of } => self.call("d", of),
                Node::NormaliseGrad { grad, .. } => self.call("dLN", grad),
                Node::Normalise(norm, of, _) => self.call(name(norm), of),
                Node::Scale(_, of) => self.call("scale", of),
                Node::Softmax(of) => self.call("softmax", of),
                Node::CumulativeSum { of, reverse: false } => self.call("cumsum", of),
                Node::CumulativeSum { of, reverse: true } => self.call("cumsum from the end", of),
                Node::Part { of, start } => {
                    (self.block(Whole::Node(of), start, width), Binding::Atom)
                }
                Node::Weight { weight, start } => {
                    (self.block(Whole::Weight(weight), start, width), Binding::Atom)
                }
                Node::Constant(bits) => (number(f64::from_bits(bits)), Binding::Atom),
                Node::Linear { linear, start } => self.linear(linear, start, width),
                Node::Sum(a) => self.call("sum", a),
                Node::Unary(function, a) => self.unary(function, a),
                Node::Binary(function, a, b) => self.binary(function, a, b),
            },
        }
    }

    fn unary(&self, function: Unary, a: NodeId) -> (String, Binding) {
        match function {
            Unary::Neg => (format!("−{}", self.value(a, Binding::Times)), Binding::Matrix),
            Unary::Sigmoid => self.call("σ", a),
            Unary::Tanh => self.call("tanh", a),
            Unary::Relu => self.call("relu", a),
            Unary::Exp => self.call("exp", a),
            Unary::Sqrt => (format!("√{}", self.value(a, Binding::Atom)), Binding::Atom),
            Unary::Recip => (format!("1 / {}", self.value(a, Binding::Atom)), Binding::Times),
            Unary::Floor => (format!("⌊{}⌋", self.value(a, Binding::Sum)), Binding::Atom),
        }
    }

    fn binary(&self, function: Binary, a: NodeId, b: NodeId) -> (String, Binding) {
        let unnamed = |id: NodeId| match self.printed[id] {
            Printed::Plain(Node::Unary(function, a)) if !self.names.contains_key(&id) => {
                Some((function, a))
            }
            _ => None,
        };
        let infix = |left: Binding, sign: &str, b: NodeId, right: Binding| {
            format!("{}{sign}{}", self.value(a, left), self.value(b, right))
        };
        match (function, unnamed(b)) {
            (Binary::Add, Some((Unary::Neg, b))) => {
                (infix(Binding::Sum, " − ", b, Binding::Times), Binding::Sum)
            }
            (Binary::Add, _) => (infix(Binding::Sum, " + ", b, Binding::Sum), Binding::Sum),
            (Binary::Sub, _) => (infix(Binding::Sum, " − ", b, Binding::Times), Binding::Sum),
            (Binary::Mul, Some((Unary::Recip, b))) => {
                (infix(Binding::Times, " / ", b, Binding::Atom), Binding::Times)
            }
            (Binary::Mul, _) if a == b => {
                (format!("{}²", self.value(a, Binding::Atom)), Binding::Atom)
            }
            (Binary::Mul, _) => (self.times(a, b), Binding::Times),
            (Binary::SigmoidGrad, _) => {
                let (a, b) = (self.value(a, Binding::Times), self.value(b, Binding::Atom));
                (format!("{a} ∘ {b} ∘ (1 − {b})"), Binding::Times)
            }
            (Binary::TanhGrad, _) => {
                let (a, b) = (self.value(a, Binding::Times), self.value(b, Binding::Atom));
                (format!("{a} ∘ (1 − {b}²)"), Binding::Times)
            }
            (Binary::ReluGrad, _) => {
                let (a, b) = (self.value(a, Binding::Times), self.value(b, Binding::Sum));
                (format!("{a} ∘ [{b} > 0]"), Binding::Times)
            }
        }
    }

    /// a ∘ b; the point is that of two rows, numbers come first.
    fn times(&self, a: NodeId, b: NodeId) -> String {
        let (a, b) = if self.constant(b).is_some() { (b, a) } else { (a, b) };
        let narrow = [a, b].iter().any(|&id| self.graph.widths[id] == 1);
        let sign = match (self.constant(a), narrow) {
            (Some(_), _) => " ",
            (None, true) => " · ",
            (None, false) => " ∘ ",
        };
        format!("{}{sign}{}", self.value(a, Binding::Times), self.value(b, Binding::Times))
    }

    /// A sum of products and biases, every bias after the product with the same subscript.
    fn linear(&self, linear: usize, start: usize, width: usize) -> (String, Binding) {
        let block = |weight, row| self.block(Whole::Weight(weight), row + start, width);
        let subscript = |weight: usize| symbol(&self.graph.weight_names[weight], "").1;
        let mut biases: Vec<_> = self.graph.biases(linear).collect();
        let mut terms = Vec::new();
        for (weight, row, source) in self.graph.products(linear) {
            terms.push(format!("{} {}", block(weight, row), self.value(source, Binding::Atom)));
            biases.retain(|&(bias, first)| {
                let other = subscript(bias) != subscript(weight);
                if !other {
                    terms.push(block(bias, first));
                }
                other
            });
        }
        terms.extend(biases.iter().map(|&(bias, first)| block(bias, first)));
        let binding = if terms.len() > 1 { Binding::Sum } else { Binding::Matrix };
        (terms.join(" + "), binding)
    }

    /// The columns or rows of a whole from `start` on.
    fn block(&self, of: Whole, start: usize, width: usize) -> String {
        let name = self.blocks.get(&(of, start, width));
        match of {
            Whole::Node(id) => match name {
                Some(name) => format!("{}_{name}", self.value(id, Binding::Atom)),
                None => {
                    let whole = self.graph.widths[id];
                    columns(self.value(id, Binding::Atom), start, width, whole)
                }
            },
            Whole::Weight(weight) => {
                let dims = &self.graph.weights[weight];
                let letter = if dims.len() == 1 { "w" } else { "W" };
                let (symbol, subscript) = symbol(&self.graph.weight_names[weight], letter);
                let whole = match subscript {
                    "" => symbol.to_string(),
                    _ => format!("{symbol}_{subscript}"),
                };
                match (name, subscript) {
                    _ if width == dims[0] => whole,
                    (Some(name), "ih" | "hh") => format!("{symbol}_{}{name}", &subscript[..1]),
                    (Some(name), _) => format!("{whole}_{name}"),
                    (None, _) => columns(whole, start, width, dims[0]),
                }
            }
        }
    }
}

/// The name of a normalisation.
fn name(norm: Norm) -> &'static str {
    match norm.centred {
        true => "LN",
        false => "RMS",
    }
}

/// The symbol of a weight, `letter` if it is called `weight`, and its subscript.
fn symbol<'a>(name: &'a str, letter: &'a str) -> (&'a str, &'a str) {
    let (symbol, subscript) = name.split_once('_').unwrap_or((name, ""));
    match symbol {
        "weight" => (letter, subscript),
        "bias" => ("b", subscript),
        _ => (symbol, subscript),
    }
}

fn columns(name: String, start: usize, width: usize, whole: usize) -> String {
    match width {
        _ if width == whole => name,
        _ => format!("{name}[{start}..{}]", start + width),
    }
}

fn number(value: f64) -> String {
    match value {
        _ if value != 0.0 && value.abs() < 0.01 => format!("{value:e}"),
        _ => format!("{value}"),
    }
}
