//! Export of layers as an ONNX model, for other runtimes (feature `onnx`).
//!
//! | this crate | ONNX (operator set 14) |
//! |---|---|
//! | vanilla, tanh or ReLU | `RNN` |
//! | LSTM, also with peepholes | `LSTM`; gates i, f, g, o become i, o, f, c; peepholes i, o, f |
//! | LSTM with i = 1 − f | `LSTM` with `input_forget`, where f = 1 − i: the weights of i are those of f, negated |
//! | GRU, reset after or before the product | `GRU` with `linear_before_reset` 1 or 0; gates r, z, n become z, r, h |
//! | any other described cell, also your own ([`Describe`](crate::Describe)) | `Scan` of its equations, one for each direction |
//! | residual connections over time, zoneout | part of the equations, by `Scan` |
//! | layers, two directions | one operator for each layer, `direction` "bidirectional" |
//! | connections over depth | their equations, at every step at once |
//!
//! A cell of your own becomes a standard operator if its graph is that of the library's cell. The
//! model's inputs are `xs` `(batch, time, input)` and, for each layer and each field of its state,
//! `h0_l0` `(directions, batch, size)`, for LSTMs also `c0_l0`. Its outputs are `ys`
//! `(batch, time, output)`, `hn_l0` and `cn_l0`. For streaming, pass the state outputs of one call
//! as the state inputs of the next. There is no input for lengths: all sequences of a batch are as
//! long as `xs`.
//! The model omits dropout and weight drop, which act in training only. It is in f32, whatever the
//! dtype of the weights.

mod operator;
mod proto;
mod scan;

use candle_core::{bail, DType, Device, Result, Tensor};
use operator::Operator;
use prost::Message;
use proto::{Attribute, Axis, Constant, Graph, Model, Node, OperatorSet, ValueInfo, FLOAT, INT64};
use recurrent_core::{Equations, Layer, LayerGraph, LayerId, RnnGraph};
use scan::Leaves;
use std::collections::HashSet;

const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 14; // the last change of LSTM, GRU and RNN before bfloat16

/// The bytes of an ONNX model that computes the evaluation of `layer`.
///
/// ```
/// # use candle_core::{DType, Device};
/// # use candle_nn::{VarBuilder, VarMap};
/// # use recurrent::{CellKind, LayerNormGruConfig, RnnConfig};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gru = CellKind::LayerNormGru(LayerNormGruConfig::default());
/// let config = RnnConfig { layers: 2, ..RnnConfig::new(gru) };
/// let vars = VarMap::new();
/// let layer = config.build(3, 8, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
/// let bytes = recurrent::onnx::export(&layer)?;
/// # let path = std::env::temp_dir().join(format!("recurrent-{}.onnx", std::process::id()));
/// recurrent::core::write_whole(&path, &bytes)?;
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the layer learns its initial state, or a part of it is not described as data:
/// [`Layer::graph`].
pub fn export(layer: &(impl Layer + ?Sized)) -> Result<Vec<u8>> {
    let mut writer = Writer::default();
    writer.graph.name = "recurrent".to_string();
    let axes = |features| [Axis::Named("batch"), Axis::Named("time"), Axis::Of(features)];
    let xs = writer.name("xs");
    writer.graph.input.push(ValueInfo::tensor(xs.clone(), &axes(layer.input_size())));
    let end = writer.name("ys");
    writer.graph.output.push(ValueInfo::tensor(end.clone(), &axes(layer.output_size())));
    // Time-major inside, as the operators need it.
    let swap = || vec![Attribute::ints("perm", &[1, 0, 2])];
    let xs = writer.node("Transpose", &[&xs], "xs_by_time", swap());
    let ys = writer.layer(&layer.graph()?, &xs)?;
    writer.push("Transpose", vec![ys], vec![end], swap());
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

#[derive(Default)]
struct Writer {
    graph: Graph,
    /// The names of values and constants so far, of which each is given once.
    names: HashSet<String>,
    /// The number of recurrent layers so far.
    layers: usize,
}

impl Writer {
    /// This name, or one like it that is not taken.
    fn name(&mut self, wanted: impl Into<String>) -> String {
        let wanted = wanted.into();
        let mut name = wanted.clone();
        for count in 2.. {
            if self.names.insert(name.clone()) {
                break;
            }
            name = format!("{wanted}_{count}");
        }
        name
    }

    fn push(
        &mut self,
        op_type: &str,
        input: Vec<String>,
        output: Vec<String>,
        attribute: Vec<Attribute>,
    ) {
        let (name, op_type) = (output[0].clone(), op_type.to_string());
        self.graph.node.push(Node { input, output, name, op_type, attribute });
    }

    /// Adds a node with one output, and returns the name of the output.
    fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<Attribute>,
    ) -> String {
        let output = self.name(output);
        let inputs = inputs.iter().map(ToString::to_string).collect();
        self.push(op, inputs, vec![output.clone()], attributes);
        output
    }

    /// Adds an f32 constant, and returns its name.
    fn constant(&mut self, name: &str, tensor: &Tensor) -> Result<String> {
        let values = floats(tensor)?.flatten_all()?.to_vec1::<f32>()?;
        let name = self.name(name);
        self.graph.initializer.push(Constant {
            dims: tensor.dims().iter().map(|size| *size as i64).collect(),
            data_type: FLOAT,
            name: name.clone(),
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        });
        Ok(name)
    }

    /// The i64 vector `values`, as a constant that its values name.
    fn integers(&mut self, values: &[i64]) -> String {
        let digits: Vec<_> = values.iter().map(ToString::to_string).collect();
        let name = format!("integers_{}", digits.join("_"));
        if self.names.insert(name.clone()) {
            self.graph.initializer.push(Constant {
                dims: vec![values.len() as i64],
                data_type: INT64,
                name: name.clone(),
                raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            });
        }
        name
    }

    /// A layer: (time, batch, input) to (time, batch, output); returns the name of the output.
    fn layer(&mut self, layer: &LayerGraph, xs: &str) -> Result<String> {
        match layer {
            LayerGraph::Recurrent(directions) => self.recurrent(directions, xs),
            LayerGraph::Stack(layers) => {
                layers.iter().try_fold(xs.to_string(), |xs, layer| self.layer(layer, &xs))
            }
            LayerGraph::Connected { layer, connection } => {
                let ys = self.layer(layer, xs)?;
                self.connection(connection, xs, ys)
            }
        }
    }

    /// A connection, at all steps at once.
    fn connection(&mut self, connection: &Equations, xs: &str, ys: String) -> Result<String> {
        let own = format!("_around{}", LayerId::layer(self.layers.saturating_sub(1)).suffix());
        let fields = [ys];
        let leaves = Leaves { own: &own, input: xs, fields: &fields, zoneout: &[] };
        Ok(self.equations(connection, &leaves)?.swap_remove(0))
    }

    /// The cells of one layer: (time, batch, input) to (time, batch, output).
    fn recurrent(&mut self, directions: &[RnnGraph], xs: &str) -> Result<String> {
        if directions.iter().any(|cell| cell.learned_start) {
            bail!(
                "onnx: a learned initial state is an input of the model; export without \
                learned_start and feed it"
            )
        }
        let own = LayerId::layer(self.layers).suffix();
        self.layers += 1;
        let first = &directions[0];
        for cell in directions {
            let (expected, sizes) = (&first.cell.graph.fields, &cell.cell.graph.fields);
            if cell.fields != first.fields || sizes != expected {
                bail!(
                    "onnx: expected the same state in both directions, got the fields {:?} with \
                     the sizes {expected:?}, and {:?} with {sizes:?}",
                    first.fields,
                    cell.fields
                )
            }
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (field, size) in first.fields.iter().zip(&first.cell.graph.fields) {
            let axes = [Axis::Of(directions.len()), Axis::Named("batch"), Axis::Of(*size)];
            let start = self.name(format!("{field}0{own}"));
            self.graph.input.push(ValueInfo::tensor(start.clone(), &axes));
            before.push(start);
            let end = self.name(format!("{field}n{own}"));
            self.graph.output.push(ValueInfo::tensor(end.clone(), &axes));
            after.push(end);
        }
        match Operator::of(directions)? {
            Some(operator) => self.operator(&operator, directions, &own, xs, before, after),
            None => self.scans(directions, xs, &before, after),
        }
    }
}

#[cfg(test)]
mod tests;
