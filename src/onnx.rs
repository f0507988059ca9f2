//! Export of layers as an ONNX model, for runtimes with the standard recurrent operators (feature
//! `onnx`).
//!
//! | this crate | ONNX (operator set 14) |
//! |---|---|
//! | vanilla, tanh or ReLU | `RNN` |
//! | LSTM, also with peepholes | `LSTM`; gates i, f, g, o become i, o, f, c; peepholes i, o, f |
//! | LSTM with i = 1 − f | `LSTM` with `input_forget`, where f = 1 − i: the weights of i are those of f, negated |
//! | GRU, reset after or before the product | `GRU` with `linear_before_reset` 1 or 0; gates r, z, n become z, r, h |
//! | layers, two directions | one operator for each layer, `direction` "bidirectional" |
//! | additive residual connections | `MatMul` if sizes differ, and `Add` |
//!
//! The model's inputs are `xs` `(batch, time, input)` and, for each layer, `h0_l0` `(directions,
//! batch, hidden)` and for LSTMs `c0_l0`. Its outputs are `ys` `(batch, time, output)`, `hn_l0` and
//! `cn_l0`. For streaming, pass the state outputs of one call as the state inputs of the next. The
//! model omits dropout and weight drop, which act in training only. It is in f32, whatever the
//! dtype of the weights.

mod proto;

use crate::{CellKind, Connection, Direction, LayerId, Nonlinearity, Reset, RnnConfig};
use candle_core::{bail, DType, Device, Result, Tensor};
use prost::Message;
use proto::{Attribute, Axis, Constant, Graph, Model, Node, OperatorSet, ValueInfo, FLOAT, INT64};
use recurrent_core::Layer;
use std::collections::HashMap;

const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 14; // the last change of LSTM, GRU and RNN before bfloat16

/// The bytes of an ONNX model that computes the evaluation of `layer`, which was built from `spec`.
///
/// ```
/// # use candle_core::{DType, Device};
/// # use candle_nn::{VarBuilder, VarMap};
/// # use recurrent::{CellKind, GruConfig, RnnConfig};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gru = CellKind::Gru(GruConfig::default());
/// let config = RnnConfig { layers: 2, ..RnnConfig::new(gru) };
/// let vars = VarMap::new();
/// let layer = config.build(3, 8, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
/// let bytes = recurrent::onnx::export(&config, &layer)?;
/// # let path = std::env::temp_dir().join(format!("recurrent-{}.onnx", std::process::id()));
/// recurrent::core::write_whole(&path, &bytes)?;
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If ONNX has no operator for the cell, an option in `spec` changes the evaluation and cannot be
/// written, or `layer` does not have the weights of `spec`.
pub fn export(spec: &RnnConfig, layer: &(impl Layer + ?Sized)) -> Result<Vec<u8>> {
    let noise = spec.recurrent_dropout;
    if noise.zoneout_h > 0.0 || noise.zoneout_c > 0.0 {
        bail!("onnx: zoneout mixes states in evaluation too, which no ONNX operator does")
    }
    if spec.learned_start {
        bail!(
            "onnx: a learned initial state is an input of the model; export without \
            learned_start and feed it"
        )
    }
    let params = layer.params().into_iter().map(|(name, tensor)| Ok((name, floats(&tensor)?)));
    let params = params.collect::<Result<HashMap<_, _>>>()?;
    let mut writer = Writer {
        spec,
        operator: Operator::of(&spec.cell)?,
        params,
        graph: Graph::default(),
        hidden: 0,
    };
    writer.graph.name = "recurrent".to_string();
    let ys = writer.layers(layer.input_size())?;
    let end = writer.node("Transpose", &[&ys], "ys", vec![Attribute::ints("perm", &[1, 0, 2])]);
    let axes = [Axis::Named("batch"), Axis::Named("time"), Axis::Of(layer.output_size())];
    writer.graph.output.insert(0, ValueInfo::tensor(end, &axes));
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        graph: Some(writer.graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPERATOR_SET }],
    };
    Ok(model.encode_to_vec())
}

fn floats(tensor: &Tensor) -> Result<Tensor> {
    tensor.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)
}

/// An ONNX operator, and its mapping of gates.
struct Operator {
    name: &'static str,
    /// For each of ONNX's gates, in order, the index of our gate and a sign.
    gates: Vec<(usize, f64)>,
    /// For each of ONNX's peepholes, the name of our weight and a sign.
    peepholes: Vec<(&'static str, f64)>,
    memory: bool,
    attributes: Vec<Attribute>,
    activation: Option<&'static str>,
}

impl Operator {
    fn of(cell: &CellKind) -> Result<Self> {
        let plain = |gates: &[usize]| gates.iter().map(|gate| (*gate, 1.0)).collect::<Vec<_>>();
        let own = |name, gates| Self {
            name,
            gates,
            peepholes: Vec::new(),
            memory: name == "LSTM",
            attributes: Vec::new(),
            activation: None,
        };
        Ok(match cell {
            CellKind::Vanilla(config) => {
                let activation = match config.nonlinearity {
                    Nonlinearity::Tanh => "Tanh",
                    Nonlinearity::Relu => "Relu",
                };
                Self { activation: Some(activation), ..own("RNN", plain(&[0])) }
            }
            CellKind::Gru(config) => {
                let after = i64::from(config.reset == Reset::After);
                let attributes = vec![Attribute::int("linear_before_reset", after)];
                Self { attributes, ..own("GRU", plain(&[1, 0, 2])) }
            }
            CellKind::Lstm(config) if config.proj.is_none() => {
                let (input, gates) = match config.coupled {
                    false => (("weight_ci", 1.0), plain(&[0, 3, 1, 2])),
                    // Ours are f, g, o. 1 − σ(z) = σ(−z); ONNX does not read the rows of f.
                    true => (("weight_cf", -1.0), vec![(0, -1.0), (2, 1.0), (0, 1.0), (1, 1.0)]),
                };
                let peepholes = if config.peepholes {
                    vec![input, ("weight_co", 1.0), ("weight_cf", 1.0)]
                } else {
                    Vec::new()
                };
                let attributes = vec![Attribute::int("input_forget", i64::from(config.coupled))];
                Self { peepholes, attributes, ..own("LSTM", gates) }
            }
            CellKind::Lstm(_) | CellKind::LstmHalved(_) => {
                bail!("onnx: its LSTM has no projection (proj)")
            }
            _ => bail!(
                "onnx: no standard operator for this cell; there are those of vanilla \
                networks, LSTMs and GRUs"
            ),
        })
    }
}

struct Writer<'a> {
    spec: &'a RnnConfig,
    operator: Operator,
    params: HashMap<String, Tensor>,
    graph: Graph,
    hidden: usize,
}

impl Writer<'_> {
    fn param(&self, name: &str) -> Result<&Tensor> {
        match self.params.get(name) {
            Some(tensor) => Ok(tensor),
            None => {
                let mut names: Vec<_> = self.params.keys().collect();
                names.sort_unstable();
                bail!("onnx: expected the weight {name} of the spec, got {names:?}")
            }
        }
    }

    /// Adds a node with one output of this name, and returns the name.
    fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<Attribute>,
    ) -> String {
        self.graph.node.push(Node {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_string()],
            name: output.to_string(),
            op_type: op.to_string(),
            attribute: attributes,
        });
        output.to_string()
    }

    /// Adds an f32 constant, and returns its name.
    fn constant(&mut self, name: String, tensor: &Tensor) -> Result<String> {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        self.graph.initializer.push(Constant {
            dims: tensor.dims().iter().map(|size| *size as i64).collect(),
            data_type: FLOAT,
            name: name.clone(),
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        });
        Ok(name)
    }

    /// Adds all layers, time-major as the operators need it; returns the name of the topmost
    /// output.
    fn layers(&mut self, input: usize) -> Result<String> {
        let axes = [Axis::Named("batch"), Axis::Named("time"), Axis::Of(input)];
        self.graph.input.push(ValueInfo::tensor("xs".to_string(), &axes));
        let shape: Vec<u8> = [0i64, 0, -1].iter().flat_map(|axis| axis.to_le_bytes()).collect();
        let name = "side_by_side".to_string();
        self.graph.initializer.push(Constant {
            dims: vec![3],
            data_type: INT64,
            name,
            raw_data: shape,
        });
        let mut xs = self.node(
            "Transpose",
            &["xs"],
            "xs_by_time",
            vec![Attribute::ints("perm", &[1, 0, 2])],
        );
        for index in 0..self.spec.layers {
            let layer_id = LayerId::layer(index);
            let ys = self.recurrent(&xs, layer_id)?;
            xs = self.connected(&xs, &ys, layer_id)?;
        }
        Ok(xs)
    }

    /// One layer with its directions: (time, batch, input) to (time, batch, directions * hidden).
    fn recurrent(&mut self, xs: &str, layer_id: LayerId) -> Result<String> {
        let (directions, direction) = match self.spec.direction {
            Direction::Forward => (vec![layer_id], "forward"),
            Direction::Bidirectional => {
                (vec![layer_id, LayerId { reverse: true, ..layer_id }], "bidirectional")
            }
        };
        let (own, memory) = (layer_id.suffix(), self.operator.memory);
        self.hidden = self.param(&format!("weight_hh{own}"))?.dim(1)?;
        let side_by_side = |of: &dyn Fn(&LayerId) -> Result<Tensor>| {
            Tensor::stack(&directions.iter().map(of).collect::<Result<Vec<_>>>()?, 0)
        };
        let name = |base: &str| format!("{base}{own}");
        let ih = side_by_side(&|layer_id| self.rows("weight_ih", *layer_id))?;
        let hh = side_by_side(&|layer_id| self.rows("weight_hh", *layer_id))?;
        let bias = match self.params.contains_key(&name("bias_ih")) {
            true => Some(side_by_side(&|layer_id| {
                Tensor::cat(
                    &[self.rows("bias_ih", *layer_id)?, self.rows("bias_hh", *layer_id)?],
                    0,
                )
            })?),
            false => None,
        };
        let peepholes = match self.operator.peepholes.is_empty() {
            true => None,
            false => Some(side_by_side(&|layer_id| {
                let one = |(base, sign): &(&str, f64)| {
                    self.param(&format!("{base}{}", layer_id.suffix()))?.affine(*sign, 0.0)
                };
                Tensor::cat(
                    &self.operator.peepholes.iter().map(one).collect::<Result<Vec<_>>>()?,
                    0,
                )
            })?),
        };

        // X, W, R, B, the lengths, h, and for LSTMs c and the peepholes. An empty name omits an
        // input, such as the lengths.
        let mut inputs =
            vec![xs.to_string(), self.constant(name("W"), &ih)?, self.constant(name("R"), &hh)?];
        inputs.push(bias.map_or(Ok(String::new()), |bias| self.constant(name("B"), &bias))?);
        inputs.push(String::new());
        let mut outputs = vec![name("by_direction")];
        for field in ["h", "c"].iter().take(if memory { 2 } else { 1 }) {
            let axes = [Axis::Of(directions.len()), Axis::Named("batch"), Axis::Of(self.hidden)];
            let (before, after) = (name(&format!("{field}0")), name(&format!("{field}n")));
            self.graph.input.push(ValueInfo::tensor(before.clone(), &axes));
            self.graph.output.push(ValueInfo::tensor(after.clone(), &axes));
            inputs.push(before);
            outputs.push(after);
        }
        if let Some(peepholes) = peepholes {
            inputs.push(self.constant(name("P"), &peepholes)?);
        }
        let mut attribute = self.operator.attributes.clone();
        attribute.push(Attribute::int("hidden_size", self.hidden as i64));
        attribute.push(Attribute::string("direction", direction));
        if let Some(activation) = self.operator.activation {
            attribute.push(Attribute::strings("activations", &vec![activation; directions.len()]));
        }
        let op_type = self.operator.name.to_string();
        self.graph.node.push(Node {
            input: inputs,
            output: outputs,
            name: name("layer"),
            op_type,
            attribute,
        });
        // (time, directions, batch, hidden) to (time, batch, directions * hidden)
        let perm = Attribute::ints("perm", &[0, 2, 1, 3]);
        let apart =
            self.node("Transpose", &[&name("by_direction")], &name("by_example"), vec![perm]);
        Ok(self.node("Reshape", &[&apart, "side_by_side"], &name("ys"), Vec::new()))
    }

    /// A weight with its gates in ONNX's order.
    fn rows(&self, base: &str, layer_id: LayerId) -> Result<Tensor> {
        let weight = self.param(&format!("{base}{}", layer_id.suffix()))?;
        let gate = |(gate, sign): &(usize, f64)| {
            weight.narrow(0, gate * self.hidden, self.hidden)?.affine(*sign, 0.0)
        };
        Tensor::cat(&self.operator.gates.iter().map(gate).collect::<Result<Vec<_>>>()?, 0)
    }

    /// The connection around a layer.
    fn connected(&mut self, xs: &str, ys: &str, layer_id: LayerId) -> Result<String> {
        match self.spec.connection {
            Connection::None => Ok(ys.to_string()),
            Connection::Residual => {
                let own = layer_id.suffix();
                let around = match self.params.get(&format!("proj.weight{own}")).cloned() {
                    None => xs.to_string(),
                    Some(weight) => {
                        let weight = self.constant(format!("proj.weight{own}"), &weight.t()?)?;
                        self.node("MatMul", &[xs, &weight], &format!("around{own}"), Vec::new())
                    }
                };
                Ok(self.node("Add", &[ys, &around], &format!("joined{own}"), Vec::new()))
            }
            other => {
                bail!("onnx: expected no connection around layers, or residual, got {other:?}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
