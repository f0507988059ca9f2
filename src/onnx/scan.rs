//! Equations as ONNX nodes, and a described cell as a `Scan` of its equations.

use super::proto::{Attribute, Axis, Graph as Body, ValueInfo};
use super::Writer;
use candle_core::{bail, Device, Result, Tensor};
use recurrent_core::description::{Binary, Graph, Node, NodeId, Norm, Term, Unary};
use recurrent_core::{Equations, LayerId, RnnGraph};

/// The values that equations read, by name.
pub(super) struct Leaves<'a> {
    /// The end of the names of everything that is made of them.
    pub(super) own: &'a str,
    /// The input.
    pub(super) input: &'a str,
    /// The fields of the state.
    pub(super) fields: &'a [String],
    /// The factor k of the zoneout of every field.
    pub(super) zoneout: &'a [f64],
}

/// Whether nodes are needed for the result of a graph, and whether they differ by example.
struct Uses {
    needed: Vec<bool>,
    by_example: Vec<bool>,
}

impl Uses {
    fn of(graph: &Graph) -> Self {
        let sources = |id: NodeId| -> Vec<NodeId> {
            match graph.nodes[id] {
                Node::Linear { linear, .. } => {
                    graph.products(linear).map(|(_, _, source)| source).collect()
                }
                _ => graph.operands(id).collect(),
            }
        };
        let mut needed = vec![false; graph.nodes.len()];
        graph.next.iter().for_each(|&id| needed[id] = true);
        for id in (0..graph.nodes.len()).rev() {
            if needed[id] {
                sources(id).into_iter().for_each(|source| needed[source] = true);
            }
        }
        let mut by_example = vec![false; graph.nodes.len()];
        for id in 0..graph.nodes.len() {
            by_example[id] = matches!(graph.nodes[id], Node::Input { .. } | Node::Field { .. })
                || sources(id).into_iter().any(|source| by_example[source]);
        }
        Self { needed, by_example }
    }
}

fn unary(function: Unary) -> &'static str {
    match function {
        Unary::Neg => "Neg",
        Unary::Sigmoid => "Sigmoid",
        Unary::Tanh => "Tanh",
        Unary::Relu => "Relu",
        Unary::Exp => "Exp",
        Unary::Sqrt => "Sqrt",
        Unary::Recip => "Reciprocal",
        Unary::Floor => "Floor",
    }
}

fn binary(function: Binary) -> Result<&'static str> {
    Ok(match function {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::SigmoidGrad | Binary::TanhGrad | Binary::ReluGrad => {
            bail!("onnx: a model has no derivatives, but the equations have {function:?}")
        }
    })
}

impl Writer {
    /// Adds the nodes of `equations`; returns the names of the fields after the step. The axes
    /// before the last may be any.
    pub(super) fn equations(
        &mut self,
        equations: &Equations,
        leaves: &Leaves,
    ) -> Result<Vec<String>> {
        let (graph, own) = (&equations.graph, leaves.own);
        let Uses { needed, by_example } = Uses::of(graph);
        let mut names = vec![String::new(); graph.nodes.len()];
        let mut linears = vec![None; graph.linears.len()];
        for id in (0..graph.nodes.len()).filter(|id| needed[*id]) {
            let width = graph.widths[id];
            let full = |value: f64| Tensor::full(value as f32, width, &Device::Cpu);
            let named = |function: &str| format!("{}{id}{own}", function.to_lowercase());
            names[id] = match graph.nodes[id] {
                Node::Input { start } => self.columns(leaves.input, graph.input, start, width),
                Node::Field { field, start } => {
                    self.columns(&leaves.fields[field], graph.fields[field], start, width)
                }
                Node::Weight { weight, start } => {
                    let (name, weight) = &equations.weights[weight];
                    self.constant(&format!("{name}{own}"), &weight.narrow(0, start, width)?)?
                }
                Node::Constant(bits) => {
                    self.constant(&named("number"), &full(f64::from_bits(bits))?)?
                }
                Node::Zoneout { field, .. } => {
                    self.constant(&named("zoneout"), &full(leaves.zoneout[field])?)?
                }
                Node::Linear { linear, start } => {
                    let whole = match &linears[linear] {
                        Some(whole) => String::clone(whole),
                        None => self.linear(equations, linear, &names, own)?,
                    };
                    linears[linear] = Some(whole.clone());
                    self.columns(&whole, graph.linears[linear].width, start, width)
                }
                Node::Unary(function, a) => {
                    let op = unary(function);
                    self.node(op, &[&names[a]], &named(op), Vec::new())
                }
                Node::Binary(function, a, b) => {
                    let op = binary(function)?;
                    self.node(op, &[&names[a], &names[b]], &named(op), Vec::new())
                }
                Node::Sum(a) => self.sum(&names[a], &named("sum")),
                Node::Scale(norm, of) => {
                    let v = self.centred(norm, &names[of], graph.widths[of], &named("centred"))?;
                    let squares = self.node("Mul", &[&v, &v], &named("squares"), Vec::new());
                    let mean = self.mean(&squares, graph.widths[of], &named("variance"))?;
                    let eps = self.constant(&named("eps"), &full(norm.eps())?)?;
                    let sum = self.node("Add", &[&mean, &eps], &named("variance_eps"), Vec::new());
                    let root = self.node("Sqrt", &[&sum], &named("deviation"), Vec::new());
                    self.node("Reciprocal", &[&root], &named("scale"), Vec::new())
                }
                Node::Normalise(norm, v, scale) => {
                    let v = self.centred(norm, &names[v], width, &named("centred"))?;
                    self.node("Mul", &[&v, &names[scale]], &named("normalised"), Vec::new())
                }
                Node::Softmax(a) => {
                    let last = vec![Attribute::int("axis", -1)];
                    self.node("Softmax", &[&names[a]], &named("softmax"), last)
                }
                Node::CumulativeSum { of, reverse: false } => {
                    let last = self.integers(&[-1]);
                    self.node("CumSum", &[&names[of], &last], &named("cumsum"), Vec::new())
                }
                Node::Part { of, start } => {
                    self.columns(&names[of], graph.widths[of], start, width)
                }
                Node::Mask { .. }
                | Node::Grad { .. }
                | Node::SourceGrad { .. }
                | Node::PartsGrad { .. }
                | Node::CumulativeSum { reverse: true, .. }
                | Node::NormaliseGrad { .. } => {
                    bail!("onnx: a model has no dropout and no gradients")
                }
            };
        }
        let next = graph.next.iter().zip(leaves.fields);
        let whole = next.map(|(&id, field)| match by_example[id] {
            true => names[id].clone(),
            false => {
                let shape = self.node("Shape", &[field], &format!("shape{own}"), Vec::new());
                self.node("Expand", &[&names[id], &shape], &format!("expand{own}"), Vec::new())
            }
        });
        Ok(whole.collect())
    }

    /// The sum over the columns of `of`.
    fn sum(&mut self, of: &str, name: &str) -> String {
        let last = self.integers(&[-1]);
        self.node("ReduceSum", &[of, &last], name, Vec::new())
    }

    /// The mean over the columns of `of`, which has `width`.
    fn mean(&mut self, of: &str, width: usize, name: &str) -> Result<String> {
        let sum = self.sum(of, &format!("{name}_sum"));
        let share = Tensor::full(1.0 / width as f32, 1, &Device::Cpu)?;
        let share = self.constant(&format!("{name}_share"), &share)?;
        Ok(self.node("Mul", &[&sum, &share], name, Vec::new()))
    }

    /// `of`, less its mean if the normalisation subtracts it.
    fn centred(&mut self, norm: Norm, of: &str, width: usize, name: &str) -> Result<String> {
        if !norm.centred {
            return Ok(of.to_string());
        }
        let mean = self.mean(of, width, &format!("{name}_mean"))?;
        Ok(self.node("Sub", &[of, &mean], name, Vec::new()))
    }

    /// `width` columns of `of`, which has `all`, from column `start` on.
    fn columns(&mut self, of: &str, all: usize, start: usize, width: usize) -> String {
        if width == all {
            return of.to_string();
        }
        let bounds = [start, start + width].map(|column| self.integers(&[column as i64]));
        let last = self.integers(&[-1]);
        let name = format!("{of}_{start}");
        self.node("Slice", &[of, &bounds[0], &bounds[1], &last], &name, Vec::new())
    }

    /// A sum of biases and products.
    fn linear(
        &mut self,
        equations: &Equations,
        index: usize,
        names: &[String],
        own: &str,
    ) -> Result<String> {
        let linear = &equations.graph.linears[index];
        let (mut sum, mut bias): (Option<String>, Option<Tensor>) = (None, None);
        let mut bias_name = String::new();
        for term in &linear.terms {
            match *term {
                Term::Bias { weight, row } => {
                    let (name, weight) = &equations.weights[weight];
                    let part = weight.narrow(0, row, linear.width)?;
                    bias = Some(bias.map_or(Ok(part.clone()), |bias| bias + part)?);
                    bias_name = name.clone();
                }
                Term::Product { weight, row, source } => {
                    let (name, weight) = &equations.weights[weight];
                    let rows = weight.narrow(0, row, linear.width)?.t()?;
                    let matrix = self.constant(&format!("{name}{own}"), &rows)?;
                    let product = format!("product{index}{own}");
                    let product =
                        self.node("MatMul", &[&names[source], &matrix], &product, Vec::new());
                    sum = Some(self.added(sum, product, &format!("linear{index}{own}")));
                }
            }
        }
        match (sum, bias) {
            (sum, Some(bias)) => {
                let bias = self.constant(&format!("{bias_name}{own}"), &bias)?;
                Ok(self.added(sum, bias, &format!("linear{index}{own}")))
            }
            (Some(sum), None) => Ok(sum),
            (None, None) => bail!("onnx: a sum without terms"),
        }
    }

    fn added(&mut self, sum: Option<String>, term: String, name: &str) -> String {
        match sum {
            Some(sum) => self.node("Add", &[&sum, &term], name, Vec::new()),
            None => term,
        }
    }

    /// The directions of a layer, each by a `Scan`: (time, batch, input) to (time, batch, output).
    pub(super) fn scans(
        &mut self,
        directions: &[RnnGraph],
        xs: &str,
        before: &[String],
        after: Vec<String>,
    ) -> Result<String> {
        let layer = self.layers - 1;
        let axis = |axis| vec![Attribute::int("axis", axis)];
        let zero = self.integers(&[0]);
        let (mut ys, mut ends) = (Vec::new(), vec![Vec::new(); after.len()]);
        for (index, cell) in directions.iter().enumerate() {
            let own = LayerId { layer, reverse: index > 0 }.suffix();
            let direction = self.integers(&[index as i64]);
            let starts: Vec<_> = before
                .iter()
                .map(|start| {
                    let (whole, name) = (format!("{start}_of{own}"), format!("{start}_at{own}"));
                    let whole = self.node("Gather", &[start, &direction], &whole, axis(0));
                    self.node("Squeeze", &[&whole, &zero], &name, Vec::new())
                })
                .collect();
            let (y, end) = self.scan(cell, &own, xs, starts)?;
            ys.push(y);
            for (ends, end) in ends.iter_mut().zip(end) {
                let name = format!("{end}_by_direction");
                ends.push(self.node("Unsqueeze", &[&end, &zero], &name, Vec::new()));
            }
        }
        for (end, name) in ends.into_iter().zip(after) {
            self.push("Concat", end, vec![name], axis(0));
        }
        let name = self.name(format!("ys{}", LayerId::layer(layer).suffix()));
        self.push("Concat", ys, vec![name.clone()], axis(2));
        Ok(name)
    }

    /// A cell over time; returns the names of the outputs and of the fields at the end.
    fn scan(
        &mut self,
        cell: &RnnGraph,
        own: &str,
        xs: &str,
        starts: Vec<String>,
    ) -> Result<(String, Vec<String>)> {
        let graph = &cell.cell.graph;
        let row = |name: &str, size| {
            ValueInfo::tensor(name.to_string(), &[Axis::Named("batch"), Axis::Of(size)])
        };
        let mut body = Body { name: format!("step{own}"), ..Body::default() };
        let mut fields = Vec::new();
        for (field, &size) in cell.fields.iter().zip(&graph.fields) {
            let name = self.name(format!("{field}{own}"));
            body.input.push(row(&name, size));
            fields.push(name);
        }
        let x = self.name(format!("x{own}"));
        body.input.push(row(&x, graph.input));
        let around = std::mem::take(&mut self.graph.node);
        let leaves = Leaves { own, input: &x, fields: &fields, zoneout: &cell.zoneout };
        let next = self.equations(&cell.cell, &leaves)?;
        let outputs = next.iter().zip(&graph.fields).zip(cell.fields);
        let outputs = outputs.map(|((next, size), field)| (next, *size, format!("{field}_next")));
        let output = (&next[0], graph.fields[0], "y".to_string());
        for (value, size, name) in outputs.chain([output]) {
            // A value of its own, for several outputs may be one value, or an input.
            let name = self.node("Identity", &[value], &format!("{name}{own}"), Vec::new());
            body.output.push(row(&name, size));
        }
        body.node = std::mem::replace(&mut self.graph.node, around);
        let ends: Vec<_> =
            cell.fields.iter().map(|field| self.name(format!("{field}_end{own}"))).collect();
        let ys = self.name(format!("ys_of{own}"));
        let order = [i64::from(cell.reverse)];
        let attributes = vec![
            Attribute::graph("body", body),
            Attribute::int("num_scan_inputs", 1),
            Attribute::ints("scan_input_directions", &order),
            Attribute::ints("scan_output_directions", &order),
        ];
        let inputs = [starts, vec![xs.to_string()]].concat();
        self.push("Scan", inputs, [ends.clone(), vec![ys.clone()]].concat(), attributes);
        Ok((ys, ends))
    }
}
