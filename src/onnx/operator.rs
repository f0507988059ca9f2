//! The cells with an operator of their own in ONNX.

use super::proto::Attribute;
use super::Writer;
use crate::{GruConfig, LstmConfig, Nonlinearity, Reset, VanillaConfig};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use recurrent_core::description::{Additions, Graph};
use recurrent_core::{Cell, CellConfig, RnnGraph};

/// An ONNX operator, and its mapping of gates.
pub(super) struct Operator {
    name: &'static str,
    direction: &'static str,
    /// For each of ONNX's gates, in order, the index of our gate and a sign.
    gates: Vec<(usize, f64)>,
    /// For each of ONNX's peepholes, the name of our weight and a sign.
    peepholes: Vec<(&'static str, f64)>,
    attributes: Vec<Attribute>,
    activation: Option<&'static str>,
}

impl Operator {
    /// The operator that computes these directions of a layer, if there is one.
    pub(super) fn of(directions: &[RnnGraph]) -> Result<Option<Self>> {
        let reverse: Vec<_> = directions.iter().map(|cell| cell.reverse).collect();
        let direction = match reverse[..] {
            [false] => "forward",
            [true] => "reverse",
            [false, true] => "bidirectional",
            _ => return Ok(None),
        };
        let first = &directions[0];
        if directions.iter().any(|cell| !same(cell, &names(first), &first.cell.graph)) {
            return Ok(None);
        }
        Ok(Self::of_cell(first)?.map(|operator| Self { direction, ..operator }))
    }

    fn of_cell(cell: &RnnGraph) -> Result<Option<Self>> {
        let names = names(cell);
        let (bias, peepholes) = (names.contains(&"bias_ih"), names.contains(&"weight_co"));
        let plain = |gates: &[usize]| gates.iter().map(|gate| (*gate, 1.0)).collect();
        let own = |name, gates| Self {
            name,
            direction: "forward",
            gates,
            peepholes: Vec::new(),
            attributes: Vec::new(),
            activation: None,
        };
        for (nonlinearity, name) in [(Nonlinearity::Tanh, "Tanh"), (Nonlinearity::Relu, "Relu")] {
            if describes(&VanillaConfig { nonlinearity, bias, ..VanillaConfig::default() }, cell)? {
                return Ok(Some(Self { activation: Some(name), ..own("RNN", plain(&[0])) }));
            }
        }
        for (reset, after) in [(Reset::After, 1), (Reset::Before, 0)] {
            if describes(&GruConfig { reset, bias, ..GruConfig::default() }, cell)? {
                let attributes = vec![Attribute::int("linear_before_reset", after)];
                return Ok(Some(Self { attributes, ..own("GRU", plain(&[1, 0, 2])) }));
            }
        }
        for coupled in [false, true] {
            if describes(&LstmConfig { coupled, peepholes, bias, ..LstmConfig::default() }, cell)? {
                let (input, gates) = match coupled {
                    false => (("weight_ci", 1.0), plain(&[0, 3, 1, 2])),
                    // Ours are f, g, o. 1 − σ(z) = σ(−z); ONNX does not read the rows of f.
                    true => (("weight_cf", -1.0), vec![(0, -1.0), (2, 1.0), (0, 1.0), (1, 1.0)]),
                };
                let peepholes = match peepholes {
                    true => vec![input, ("weight_co", 1.0), ("weight_cf", 1.0)],
                    false => Vec::new(),
                };
                let attributes = vec![Attribute::int("input_forget", i64::from(coupled))];
                return Ok(Some(Self { peepholes, attributes, ..own("LSTM", gates) }));
            }
        }
        Ok(None)
    }
}

fn names(cell: &RnnGraph) -> Vec<&str> {
    cell.cell.weights.iter().map(|(name, _)| name.as_str()).collect()
}

/// Whether a cell has weights of these names and these equations, whatever it calls its values and
/// in whatever order it has them.
fn same(cell: &RnnGraph, expected: &[&str], equations: &Graph) -> bool {
    let own = &cell.cell.graph;
    let sizes = |graph: &Graph| (graph.input, graph.fields.clone(), graph.weights.clone());
    let text = |graph: &Graph| {
        let unnamed = Graph { gates: Vec::new(), names: Vec::new(), ..graph.clone() };
        unnamed.equations(cell.fields)
    };
    names(cell) == expected && sizes(own) == sizes(equations) && text(own) == text(equations)
}

/// Whether a cell has the equations of this configuration.
fn describes(config: &impl CellConfig, cell: &RnnGraph) -> Result<bool> {
    let graph = &cell.cell.graph;
    let hidden = graph.fields.last().copied().unwrap_or(0);
    let count = cell.cell.weights.iter().map(|(_, weight)| weight.elem_count()).sum::<usize>();
    if config.param_count(graph.input, hidden) != count {
        return Ok(false); // before it is built, for it may be large
    }
    let zeros = VarBuilder::zeros(DType::F32, &Device::Cpu);
    let standard = config.cell(graph.input, hidden, None, zeros)?;
    let params = standard.params();
    let expected: Vec<_> = params.iter().map(|(name, _)| name.as_str()).collect();
    Ok(same(cell, &expected, &standard.graph(Additions::default())?))
}

/// A weight of a cell of which [`Operator::of`] knows that it has it.
fn weight<'a>(cell: &'a RnnGraph, name: &str) -> &'a Tensor {
    let found = cell.cell.weights.iter().find(|(own, _)| own == name);
    &found.expect("a cell of this operator has its weights").1
}

impl Writer {
    /// One layer by its operator: (time, batch, input) to (time, batch, directions * hidden).
    pub(super) fn operator(
        &mut self,
        operator: &Operator,
        directions: &[RnnGraph],
        own: &str,
        xs: &str,
        before: Vec<String>,
        after: Vec<String>,
    ) -> Result<String> {
        let hidden = directions[0].cell.graph.fields[0];
        // A weight with its gates in ONNX's order.
        let rows = |cell: &RnnGraph, name: &str| {
            let weight = weight(cell, name);
            let gate = |(gate, sign): &(usize, f64)| {
                weight.narrow(0, gate * hidden, hidden)?.affine(*sign, 0.0)
            };
            Tensor::cat(&operator.gates.iter().map(gate).collect::<Result<Vec<_>>>()?, 0)
        };
        let side_by_side = |of: &dyn Fn(&RnnGraph) -> Result<Tensor>| {
            Tensor::stack(&directions.iter().map(of).collect::<Result<Vec<_>>>()?, 0)
        };
        let name = |base: &str| format!("{base}{own}");
        // X, W, R, B, the lengths, h, and for LSTMs c and the peepholes. An empty name omits an
        // input, such as the lengths.
        let ih = side_by_side(&|cell| rows(cell, "weight_ih"))?;
        let hh = side_by_side(&|cell| rows(cell, "weight_hh"))?;
        let mut inputs = vec![xs.to_string()];
        inputs.push(self.constant(&name("W"), &ih)?);
        inputs.push(self.constant(&name("R"), &hh)?);
        inputs.push(match names(&directions[0]).contains(&"bias_ih") {
            true => {
                let bias = side_by_side(&|cell| {
                    Tensor::cat(&[rows(cell, "bias_ih")?, rows(cell, "bias_hh")?], 0)
                })?;
                self.constant(&name("B"), &bias)?
            }
            false => String::new(),
        });
        inputs.push(String::new());
        inputs.extend(before);
        if !operator.peepholes.is_empty() {
            let peepholes = side_by_side(&|cell| {
                let one = |(base, sign): &(&str, f64)| weight(cell, base).affine(*sign, 0.0);
                let parts = operator.peepholes.iter().map(one).collect::<Result<Vec<_>>>()?;
                Tensor::cat(&parts, 0)
            })?;
            inputs.push(self.constant(&name("P"), &peepholes)?);
        }
        let mut attributes = operator.attributes.clone();
        attributes.push(Attribute::int("hidden_size", hidden as i64));
        attributes.push(Attribute::string("direction", operator.direction));
        if let Some(activation) = operator.activation {
            let activations = vec![activation; directions.len()];
            attributes.push(Attribute::strings("activations", &activations));
        }
        let ys = self.name(name("by_direction"));
        let outputs = [vec![ys.clone()], after].concat();
        self.push(operator.name, inputs, outputs, attributes);
        // (time, directions, batch, hidden) to (time, batch, directions * hidden)
        let perm = Attribute::ints("perm", &[0, 2, 1, 3]);
        let apart = self.node("Transpose", &[&ys], &name("by_example"), vec![perm]);
        let side_by_side = self.integers(&[0, 0, -1]);
        Ok(self.node("Reshape", &[&apart, &side_by_side], &name("ys"), Vec::new()))
    }
}
