//! Graphs as source text in C.

use super::{Adjoint, Binary, Graph, Linear, Node, NodeId, Norm, Piece, Term, Unary};

impl Graph {
    /// The step as a function in C99, for one example:
    ///
    /// ```text
    /// void step_forward(const real *const *w, const real *x, const real *const *state,
    ///                   const real *mask, const real *const *zoneout, real *const *next)
    /// ```
    ///
    /// `w` are the weights, matrices row by row, `state` and `next` the fields before and after the
    /// step, which must not overlap. `mask` and `zoneout` are read only if the graph has such
    /// nodes. The text needs a type `real` and the functions of `<tgmath.h>`, which C++ and CUDA
    /// have as overloaded functions.
    ///
    /// ```
    /// use recurrent_core::description::Builder;
    ///
    /// # fn main() -> candle_core::Result<()> {
    /// let weights = [("weight_hh".to_string(), vec![5, 5])];
    /// let graph = Builder::describe("leaky", 3, &[5], &weights, Default::default(), |cell| {
    ///     let h = cell.recurrent();
    ///     vec![0.9 * h + cell.product("weight_hh", h).tanh()]
    /// })?;
    /// let expected = "\
    /// void step_forward(const real *const *w, const real *x, const real *const *state,
    ///                   const real *mask, const real *const *zoneout, real *const *next)
    /// {
    ///     real v2[5] = {0};
    ///     real l0[5] = {0};
    ///     real v4[5] = {0};
    ///     real v5[5] = {0};
    ///     for (int i = 0; i < 5; i++) {
    ///         v2[i] = (real)0.9 * state[0][i];
    ///     }
    ///     for (int i = 0; i < 5; i++)
    ///         for (int k = 0; k < 5; k++) l0[i] += w[0][i * 5 + k] * state[0][k];
    ///     for (int i = 0; i < 5; i++) {
    ///         v4[i] = tanh(l0[i]);
    ///         v5[i] = v2[i] + v4[i];
    ///     }
    ///     for (int i = 0; i < 5; i++) next[0][i] = v5[i];
    /// }
    /// ";
    /// assert_eq!(graph.c_source(), expected);
    ///
    /// // A file that a compiler takes.
    /// let header = "#include <tgmath.h>\ntypedef double real;\n";
    /// let file = [header, &graph.c_source(), &graph.adjoint().c_source()].concat();
    /// # assert!(file.contains("step_backward"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn c_source(&self) -> String {
        let mut source = Source::new(self, &[], &[]);
        source.nodes(self.next.iter().map(|id| id + 1).max().unwrap_or(0));
        for (field, (&id, &size)) in self.next.iter().zip(&self.fields).enumerate() {
            source.each(size, format!("next[{field}][i] = {};", source.at(id, "i")));
        }
        source.function(FORWARD)
    }
}

impl Adjoint {
    /// The derivative of a step as a function in C99, for one example, as [`Graph::c_source`]:
    ///
    /// ```text
    /// void step_backward(const real *const *w, const real *x, const real *const *state,
    ///                    const real *mask, const real *const *zoneout, const real *const *grad,
    ///                    real *const *dw, real *dx, real *const *dstate)
    /// ```
    ///
    /// `grad` are the gradients of the fields after the step. The function computes all values of
    /// the step again, also the few that no gradient needs. It writes the gradients of the input
    /// and of the fields before the step, and adds those of the weights to `dw`, so that a caller
    /// can sum over examples and steps.
    pub fn c_source(&self) -> String {
        let graph = &self.graph;
        let mut source = Source::new(graph, &self.linears, &self.parts);
        source.nodes(graph.nodes.len());
        for (field, (pieces, &size)) in self.fields.iter().zip(&graph.fields).enumerate() {
            source.each(size, format!("dstate[{field}][i] = 0;"));
            source.add_pieces(&format!("dstate[{field}]"), pieces);
        }
        source.each(graph.input, "dx[i] = 0;".into());
        source.add_pieces("dx", &self.input);
        if let Some(input) = (0..self.forward).find(|&id| graph.is_input(id)) {
            source.add_products("dx", input);
        }
        for (weight, piece) in &self.weights {
            source.add_pieces(&format!("dw[{weight}]"), &[*piece]);
        }
        for linear in 0..self.linears.len() {
            if !self.linears[linear].is_empty() {
                source.add_to_weights(linear);
            }
        }
        source.function(BACKWARD)
    }
}

const FORWARD: &str = "\
void step_forward(const real *const *w, const real *x, const real *const *state,
                  const real *mask, const real *const *zoneout, real *const *next)
";

const BACKWARD: &str = "\
void step_backward(const real *const *w, const real *x, const real *const *state,
                   const real *mask, const real *const *zoneout, const real *const *grad,
                   real *const *dw, real *dx, real *const *dstate)
";

/// The body of a function. Node 7 is the array `v7`, sum 2 is `l2`, its gradient `d2`; leaves are
/// read where they are.
struct Source<'a> {
    graph: &'a Graph,
    /// The gradients of sums, and of values through their parts, in a derivative.
    grads: &'a [Vec<Piece>],
    parts: &'a [(NodeId, Vec<Piece>)],
    arrays: String,
    statements: String,
    /// The width of the open loop of element-wise functions; 0 if there is none.
    open: usize,
}

impl<'a> Source<'a> {
    fn new(graph: &'a Graph, grads: &'a [Vec<Piece>], parts: &'a [(NodeId, Vec<Piece>)]) -> Self {
        let (arrays, statements) = (String::new(), String::new());
        Self { graph, grads, parts, arrays, statements, open: 0 }
    }

    /// The whole function.
    fn function(mut self, signature: &str) -> String {
        self.close();
        format!("{signature}{{\n{}{}}}\n", self.arrays, self.statements)
    }

    /// Whether there was no array `name` before, of zeros.
    fn declare(&mut self, name: &str, width: usize) -> bool {
        let array = format!("    real {name}[{width}] = {{0}};\n");
        let is_new = !self.arrays.contains(&array);
        if is_new {
            self.arrays += &array;
        }
        is_new
    }

    fn line(&mut self, line: String) {
        self.close();
        self.statements += &format!("    {line}\n");
    }

    /// `statement` for every i below `width`.
    fn each(&mut self, width: usize, statement: String) {
        self.line(format!("for (int i = 0; i < {width}; i++) {statement}"));
    }

    /// `statement` for every i below `rows` and every k below `columns`.
    fn each_of(&mut self, rows: usize, columns: usize, statement: String) {
        self.line(format!("for (int i = 0; i < {rows}; i++)"));
        self.line(format!("    for (int k = 0; k < {columns}; k++) {statement}"));
    }

    /// A node from its column i, in one loop with its neighbours of the same width.
    fn element(&mut self, id: NodeId, value: String) {
        let width = self.graph.widths[id];
        if self.open != width {
            self.line(format!("for (int i = 0; i < {width}; i++) {{"));
            self.open = width;
        }
        self.statements += &format!("        {} = {value};\n", self.at(id, "i"));
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) > 0 {
            self.statements += "    }\n";
        }
    }

    /// Column `column` of a value; the only one of a value that has one.
    fn at(&self, id: NodeId, column: &str) -> String {
        if let Node::Constant(bits) = self.graph.nodes[id] {
            return number(f64::from_bits(bits));
        }
        let (array, start) = self.array(id);
        match self.graph.widths[id] {
            1 => format!("{array}[{start}]"),
            _ => format!("{array}[{}]", from(start, column)),
        }
    }

    /// The array of a value, and where it begins there.
    fn array(&self, id: NodeId) -> (String, usize) {
        match self.graph.nodes[id] {
            Node::Input { start } => ("x".into(), start),
            Node::Field { field, start } => (format!("state[{field}]"), start),
            Node::Mask { start } => ("mask".into(), start),
            Node::Zoneout { field, start } => (format!("zoneout[{field}]"), start),
            Node::Weight { weight, start } => (format!("w[{weight}]"), start),
            Node::Constant(_) => ("".into(), 0),
            Node::Linear { linear, start } => (format!("l{linear}"), start),
            Node::Grad { field, start } => (format!("grad[{field}]"), start),
            Node::Part { of, start } => {
                let (array, first) = self.array(of);
                (array, first + start)
            }
            _ => (format!("v{id}"), 0),
        }
    }

    /// The first `count` nodes. What a node reads comes before it.
    fn nodes(&mut self, count: usize) {
        for id in 0..count {
            let (array, _) = self.array(id);
            if array == format!("v{id}") {
                self.declare(&array, self.graph.widths[id]);
            }
            self.node(id);
        }
    }

    fn node(&mut self, id: NodeId) {
        let widths = &self.graph.widths;
        match self.graph.nodes[id] {
            Node::Unary(function, a) => self.element(id, unary(function, &self.at(a, "i"))),
            Node::Binary(function, a, b) => {
                self.element(id, binary(function, &self.at(a, "i"), &self.at(b, "i")));
            }
            Node::Linear { linear, .. } => self.linear(linear),
            Node::Sum(a) => self.each(widths[a], format!("v{id}[0] += {};", self.at(a, "i"))),
            Node::Scale(norm, v) => {
                let (count, v) = (widths[v], self.centred(id, norm, v));
                let eps = number(norm.eps());
                self.each(count, format!("v{id}[0] += {v} * {v};"));
                self.line(format!("v{id}[0] = 1 / sqrt(v{id}[0] / {count} + {eps});"));
            }
            Node::Normalise(norm, v, scale) => {
                let v = self.centred(id, norm, v);
                self.element(id, format!("{v} * {}", self.at(scale, "i")));
            }
            Node::Softmax(v) => {
                let (count, v) = (widths[v], self.at(v, "i"));
                self.close();
                let largest = format!("m{id}");
                self.declare(&largest, 1);
                self.declare(&format!("a{id}"), 1);
                // The first, then every larger one.
                let larger = format!("i == 0 || {v} > {largest}[0]");
                self.each(count, format!("if ({larger}) {largest}[0] = {v};"));
                self.each(count, format!("a{id}[0] += v{id}[i] = exp({v} - {largest}[0]);"));
                self.each(count, format!("v{id}[i] /= a{id}[0];"));
            }
            Node::CumulativeSum { of, reverse } => {
                let (count, last) = (widths[id], widths[id] - 1);
                let index = if reverse { format!("{last} - i") } else { "i".into() };
                self.close();
                self.declare(&format!("a{id}"), 1);
                let of = self.at(of, &index);
                self.each(count, format!("v{id}[{index}] = a{id}[0] += {of};"));
            }
            Node::NormaliseGrad { norm, grad, value, scale } => {
                let (count, y, s) = (widths[id], self.at(value, "i"), self.at(scale, "i"));
                self.declare(&format!("a{id}"), 1);
                self.each(count, format!("a{id}[0] += {} * {y};", self.at(grad, "i")));
                let grad = self.centred(id, norm, grad);
                self.element(id, format!("({grad} - {y} * a{id}[0] / {count}) * {s}"));
            }
            Node::SourceGrad { source } => self.add_products(&format!("v{id}"), source),
            Node::PartsGrad { of } => {
                let parts = self.parts.iter().filter(|(whole, _)| *whole == of);
                for (_, pieces) in parts {
                    self.add_pieces(&format!("v{id}"), pieces);
                }
            }
            // The loop that computes the whole ends before a part is read.
            Node::Part { .. } => self.close(),
            Node::Input { .. }
            | Node::Field { .. }
            | Node::Mask { .. }
            | Node::Zoneout { .. }
            | Node::Weight { .. }
            | Node::Constant(_)
            | Node::Grad { .. } => {}
        }
    }

    /// Column i of v, less the mean if the normalisation subtracts it.
    fn centred(&mut self, id: NodeId, norm: Norm, v: NodeId) -> String {
        let (count, v) = (self.graph.widths[v], self.at(v, "i"));
        if !norm.centred {
            self.close();
            return v;
        }
        self.declare(&format!("m{id}"), 1);
        self.each(count, format!("m{id}[0] += {v};"));
        format!("({v} - m{id}[0] / {count})")
    }

    fn linear(&mut self, linear: usize) {
        let Linear { width, terms } = &self.graph.linears[linear];
        let to = format!("l{linear}");
        if !self.declare(&to, *width) {
            return;
        }
        for term in terms {
            match *term {
                Term::Bias { weight, row } => {
                    self.each(*width, format!("{to}[i] += w[{weight}][{}];", from(row, "i")));
                }
                Term::Product { weight, row, source } => {
                    let (columns, place) = self.place(weight, row);
                    let source = self.at(source, "k");
                    self.each_of(*width, columns, format!("{to}[i] += w{place} * {source};"));
                }
            }
        }
    }

    /// The gradient of a sum.
    fn linear_grad(&mut self, linear: usize) {
        let to = format!("d{linear}");
        if self.declare(&to, self.graph.linears[linear].width) {
            self.add_pieces(&to, &self.grads[linear]);
        }
    }

    /// The number of columns of a matrix of weights; the place of row i, counted from `row` on, and
    /// column k.
    fn place(&self, weight: usize, row: usize) -> (usize, String) {
        let columns = self.graph.weights[weight][1];
        let place = from(row * columns, &format!("i * {columns} + k"));
        (columns, format!("[{weight}][{place}]"))
    }

    fn add_pieces(&mut self, to: &str, pieces: &[Piece]) {
        for &Piece { start, width, node } in pieces {
            let value = self.at(node, "i");
            self.each(width, format!("{to}[{}] += {value};", from(start, "i")));
        }
    }

    /// Adds Wᵀ d for all products that multiply `source`.
    fn add_products(&mut self, to: &str, source: NodeId) {
        for linear in 0..self.grads.len() {
            for (weight, row, of) in self.graph.products(linear) {
                if of == source && !self.grads[linear].is_empty() {
                    self.linear_grad(linear);
                    let (columns, place) = self.place(weight, row);
                    let width = self.graph.linears[linear].width;
                    self.each_of(width, columns, format!("{to}[k] += w{place} * d{linear}[i];"));
                }
            }
        }
    }

    /// Adds the gradients of the weights of a sum.
    fn add_to_weights(&mut self, linear: usize) {
        self.linear_grad(linear);
        let width = self.graph.linears[linear].width;
        for (weight, row) in self.graph.biases(linear) {
            self.each(width, format!("dw[{weight}][{}] += d{linear}[i];", from(row, "i")));
        }
        for (weight, row, source) in self.graph.products(linear) {
            let (columns, place) = self.place(weight, row);
            let source = self.at(source, "k");
            self.each_of(width, columns, format!("dw{place} += d{linear}[i] * {source};"));
        }
    }
}

/// An index, counted from `start` on.
fn from(start: usize, index: &str) -> String {
    match start {
        0 => index.to_string(),
        _ => format!("{start} + {index}"),
    }
}

fn number(value: f64) -> String {
    format!("(real){value:?}").replace("inf", "INFINITY").replace("NaN", "NAN")
}

fn unary(function: Unary, a: &str) -> String {
    match function {
        Unary::Neg => format!("-{a}"),
        Unary::Sigmoid => format!("1 / (1 + exp(-{a}))"),
        Unary::Tanh => format!("tanh({a})"),
        Unary::Relu => format!("{a} <= 0 ? 0 : {a}"), // NaN stays
        Unary::Exp => format!("exp({a})"),
        Unary::Sqrt => format!("sqrt({a})"),
        Unary::Recip => format!("1 / {a}"),
        Unary::Floor => format!("floor({a})"),
    }
}

fn binary(function: Binary, a: &str, b: &str) -> String {
    match function {
        Binary::Add => format!("{a} + {b}"),
        Binary::Sub => format!("{a} - {b}"),
        Binary::Mul => format!("{a} * {b}"),
        Binary::SigmoidGrad => format!("{a} * {b} * (1 - {b})"),
        Binary::TanhGrad => format!("{a} * (1 - {b} * {b})"),
        Binary::ReluGrad => format!("{b} > 0 ? {a} : 0"),
    }
}
