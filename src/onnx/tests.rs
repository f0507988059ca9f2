//! The contents of exported models, and the values of those without a standard operator.
//! `tests/data/check_onnx.py` tests that all compute the same in onnxruntime.

mod evaluation;

use super::*;
use crate::layernorm::{Norm, NormInput, Placement, Scope};
use crate::{
    Carry, CellConfig, CellKind, Connection, Describe, Described, Direction, ForwardContext,
    GatedCell, GatedConfig, GruConfig, LayerNormGruConfig, LayerNormLstmConfig,
    LayerNormVanillaConfig, LstmConfig, Nonlinearity, RecurrentDropout, ResidualLstmConfig, Rnn,
    RnnConfig, Sequence, Stack, VanillaConfig,
};
use candle_nn::VarMap;
use recurrent_core::description::{Builder, Value};
use recurrent_core::{init, linear, Cell, HiddenState, LstmState, Params};
use std::collections::HashMap;

fn model(layer: &(impl Layer + ?Sized)) -> Result<Model> {
    Ok(Model::decode(&export(layer)?[..]).expect("it was encoded"))
}

fn exported(spec: &RnnConfig) -> Result<(Box<dyn Layer>, Model)> {
    let vars = VarMap::new();
    let layer = spec.build(3, 4, init::seeded(&vars, 1, DType::F32, &Device::Cpu))?;
    for (name, var) in vars.data().lock().expect("one thread").iter() {
        if name.starts_with("rezero") {
            var.set(&Tensor::new(&[0.7f32], &Device::Cpu)?)?; // not its initial 0
        }
    }
    let model = model(&layer)?;
    Ok((layer, model))
}

fn constant(graph: &Graph, name: &str) -> (Vec<i64>, Vec<f32>) {
    let found = graph
        .initializer
        .iter()
        .find(|constant| constant.name == name)
        .expect("a constant of this name");
    let floats =
        found.raw_data.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]]));
    (found.dims.clone(), floats.collect())
}

fn param(layer: &dyn Layer, name: &str) -> Vec<f32> {
    let (_, tensor) =
        layer.params().into_iter().find(|(own, _)| own == name).expect("a weight of this name");
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32")
}

fn layers(graph: &Graph) -> Vec<&Node> {
    graph
        .node
        .iter()
        .filter(|node| ["LSTM", "GRU", "RNN"].contains(&node.op_type.as_str()))
        .collect()
}

#[test]
fn gates_take_the_order_of_the_operator() -> Result<()> {
    for (cell, order) in [
        (CellKind::Lstm(LstmConfig::default()), &[0, 3, 1, 2][..]), // i, f, g, o to i, o, f, c
        (CellKind::Gru(GruConfig::default()), &[1, 0, 2]),          // r, z, n to z, r, h
        (CellKind::Vanilla(VanillaConfig::default()), &[0]),
    ] {
        let (layer, model) = exported(&RnnConfig::new(cell))?;
        let graph = model.graph.expect("a graph");
        for (theirs, ours, width) in [("W_l0", "weight_ih_l0", 3), ("R_l0", "weight_hh_l0", 4)] {
            let (dims, values) = constant(&graph, theirs);
            assert_eq!(dims, [1, 4 * order.len() as i64, width as i64]);
            let weight = param(&layer, ours);
            for (at, gate) in order.iter().enumerate() {
                let size = 4 * width;
                assert_eq!(
                    values[at * size..][..size],
                    weight[gate * size..][..size],
                    "{theirs}, gate {at}"
                );
            }
        }
        let (dims, bias) = constant(&graph, "B_l0");
        assert_eq!(dims, [1, 8 * order.len() as i64]);
        let (ih, hh) = (param(&layer, "bias_ih_l0"), param(&layer, "bias_hh_l0"));
        for (at, gate) in order.iter().enumerate() {
            assert_eq!(bias[at * 4..][..4], ih[gate * 4..][..4]);
            assert_eq!(bias[(order.len() + at) * 4..][..4], hh[gate * 4..][..4]);
        }
    }
    Ok(())
}

#[test]
fn layers_directions_and_states_are_wired() -> Result<()> {
    let cell = CellKind::Lstm(LstmConfig { peepholes: true, bias: false, ..LstmConfig::default() });
    let spec = RnnConfig { layers: 2, direction: Direction::Bidirectional, ..RnnConfig::new(cell) };
    let (_, model) = exported(&spec)?;
    let graph = model.graph.expect("a graph");
    let names =
        |values: &[ValueInfo]| values.iter().map(|value| value.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&graph.input), ["xs", "h0_l0", "c0_l0", "h0_l1", "c0_l1"]);
    assert_eq!(names(&graph.output), ["ys", "hn_l0", "cn_l0", "hn_l1", "cn_l1"]);
    let [first, second] = layers(&graph)[..] else { panic!("expected two operators") };
    assert_eq!(first.input, ["xs_by_time", "W_l0", "R_l0", "", "", "h0_l0", "c0_l0", "P_l0"]);
    assert_eq!(second.input[0], "ys_l0");
    assert_eq!(constant(&graph, "W_l1").0, [2, 16, 8]);
    let direction =
        first.attribute.iter().find(|each| each.name == "direction").expect("a direction");
    assert_eq!(direction.s.as_deref(), Some(&b"bidirectional"[..]));
    Ok(())
}

#[test]
fn coupled_gates_are_those_of_f_negated() -> Result<()> {
    let cell = CellKind::Lstm(LstmConfig { coupled: true, ..LstmConfig::default() });
    let (layer, model) = exported(&RnnConfig::new(cell))?;
    let (_, values) = constant(&model.graph.expect("a graph"), "W_l0");
    let negated: Vec<_> = param(&layer, "weight_ih_l0")[..12].iter().map(|w| -w).collect();
    assert_eq!(values[..12], negated);
    Ok(())
}

/// Values between −1 and 1.
fn wave(shape: &[usize], speed: f64) -> Result<Tensor> {
    let count = shape.iter().product::<usize>();
    let values: Vec<_> = (0..count).map(|i| (i as f64 * speed).sin() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// A cell that is described, in ways that no cell of the library is.
#[derive(Clone, Params)]
struct Odd {
    weight_ih: Tensor, // (4, 2)
    gain: Tensor,      // (4)
    #[param(skip)]
    kind: OddKind,
}

#[derive(Clone, Copy)]
enum OddKind {
    /// A field becomes another, an input of the step.
    Exchanged,
    /// A field becomes the same for all examples.
    Constant,
    /// Functions of a row, whole and in part, and a phase.
    Rows,
}

impl Describe for Odd {
    type State = LstmState;

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let (h, c) = (cell.recurrent(), cell.state(1));
        let a = cell.product("weight_ih", cell.input().slice(1, 2)) + h * cell.weight("gain");
        let b = (a.exp() + 1.0).sqrt().recip() - (a * a).mean() + c.slice(1, 1) * 0.5;
        match self.kind {
            OddKind::Exchanged => vec![c, -b.tanh()],
            OddKind::Constant => vec![b.relu(), cell.weight("gain").sigmoid()],
            OddKind::Rows => {
                let cumax = b.softmax().cumulative_sum();
                let phase = c * 3.0 - (c * 3.0).floor();
                vec![cumax * h + (1.0 - cumax) * b.tanh(), phase * cumax.slice(2, 1)]
            }
        }
    }
}

fn odd(kind: OddKind) -> Result<Rnn<Described<Odd>>> {
    let (weight_ih, gain) = (wave(&[4, 2], 0.3)?, wave(&[4], 0.8)?);
    Ok(Rnn::from_cell(Described::new(3, &[4; 2], Odd { weight_ih, gain, kind })?))
}

/// The largest difference between a layer and its model, over outputs and final states.
fn deviation(layer: &dyn Layer, model: &Model) -> Result<f32> {
    let xs = wave(&[2, 6, layer.input_size()], 0.7)?;
    let run = |xs: &Tensor, carry: Option<&Carry>| {
        layer.run(&Sequence::new(xs.clone())?, carry, &ForwardContext::default())
    };
    let start = run(&wave(&[2, 3, layer.input_size()], 0.9)?, None)?.1.into_initial();
    let (ys, end) = run(&xs, Some(&start))?;
    let graph = model.graph.as_ref().expect("a graph");
    // In the order of the cells: layer 0 forward, layer 0 reverse, layer 1 forward.
    let states = |carry: &Carry, values: &[ValueInfo]| -> Result<HashMap<String, Tensor>> {
        let (mut named, mut cells) = (HashMap::new(), carry.cells().into_iter());
        let mut values = values[1..].iter().peekable();
        while let Some(first) = values.peek() {
            let directions = directions(first);
            let cells: Vec<_> = cells.by_ref().take(directions).collect();
            for field in 0..cells[0].len() {
                let parts: Vec<_> = cells.iter().map(|cell| &cell[field].1).collect();
                let value = values.next().expect("a value for every field");
                named.insert(value.name.clone(), Tensor::stack(&parts, 0)?);
            }
        }
        Ok(named)
    };
    let mut inputs = states(&start, &graph.input)?;
    inputs.insert("xs".to_string(), xs);
    let outputs = evaluation::outputs(graph, inputs)?;
    let mut expected = states(&end, &graph.output)?;
    expected.insert("ys".to_string(), ys.into_values());
    let mut worst = 0f32;
    for (name, expected) in &expected {
        let off = (&outputs[name] - expected)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        assert!(!off.is_nan(), "{name}");
        worst = worst.max(off);
    }
    Ok(worst)
}

/// The first axis of a state.
fn directions(value: &ValueInfo) -> usize {
    let tensor = value.kind.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref()).expect("a shape");
    shape.dim[0].value.expect("a known size") as usize
}

#[test]
fn models_of_equations_compute_the_same() -> Result<()> {
    let lstm = || CellKind::Lstm(LstmConfig::default());
    let layernorm = LayerNormLstmConfig::default;
    let around = |cell| CellKind::TemporalResidual { cell: Box::new(cell), alpha: 0.3 };
    let mut cells = vec![
        CellKind::ResidualLstm(ResidualLstmConfig::default()),
        CellKind::ResidualLstm(ResidualLstmConfig { bias: false, ..Default::default() }),
        CellKind::LayerNormGru(LayerNormGruConfig::default()),
        CellKind::LayerNormLstm(LayerNormLstmConfig { norm: Norm::Rms, ..layernorm() }),
        CellKind::LayerNormLstm(LayerNormLstmConfig { scope: Scope::PerGate, ..layernorm() }),
        around(lstm()),
        around(CellKind::Gru(GruConfig::default())),
    ];
    for (coupled, peepholes) in [(false, false), (true, false), (false, true), (true, true)] {
        let config = LstmConfig { proj: Some(3), coupled, peepholes, ..LstmConfig::default() };
        cells.push(CellKind::Lstm(config));
    }
    for placement in
        [Placement::PyTorchScript, Placement::TfAddons, Placement::Haste, Placement::Burn]
    {
        cells.push(CellKind::LayerNormLstm(LayerNormLstmConfig { placement, ..layernorm() }));
    }
    for nonlinearity in [Nonlinearity::Tanh, Nonlinearity::Relu] {
        for norm_input in [NormInput::Separate, NormInput::Sum] {
            let config = LayerNormVanillaConfig { nonlinearity, norm_input, ..Default::default() };
            cells.push(CellKind::LayerNormVanilla(config));
        }
    }
    let mut specs: Vec<_> = cells.into_iter().map(RnnConfig::new).collect();
    let zoneout = RecurrentDropout::zoneout(0.2, 0.4);
    specs.push(RnnConfig { recurrent_dropout: zoneout, ..RnnConfig::new(around(lstm())) });
    let highway = Connection::Highway { bias: -1.0 };
    for connection in [Connection::None, Connection::Residual, highway, Connection::ReZero] {
        let noisy = RnnConfig { recurrent_dropout: zoneout, ..RnnConfig::new(lstm()) };
        specs.push(RnnConfig { layers: 2, connection, ..noisy });
    }
    for spec in specs {
        for direction in [Direction::Forward, Direction::Bidirectional] {
            let spec = RnnConfig { direction, ..spec.clone() };
            let (layer, model) = exported(&spec)?;
            let off = deviation(layer.as_ref(), &model)?;
            assert!(off < 2e-6, "{spec:?}: {off}");
        }
    }
    for kind in [OddKind::Exchanged, OddKind::Constant, OddKind::Rows] {
        for layer in [odd(kind)?, odd(kind)?.reversed()] {
            let off = deviation(&layer, &model(&layer)?)?;
            assert!(off < 2e-6, "{off}");
        }
    }
    Ok(())
}

#[test]
fn a_cell_without_an_operator_is_a_scan_in_each_direction() -> Result<()> {
    let proj = CellKind::Lstm(LstmConfig { proj: Some(2), ..LstmConfig::default() });
    let spec = RnnConfig { direction: Direction::Bidirectional, ..RnnConfig::new(proj) };
    let graph = exported(&spec)?.1.graph.expect("a graph");
    assert!(layers(&graph).is_empty());
    let scans: Vec<_> = graph.node.iter().filter(|node| node.op_type == "Scan").collect();
    let [forward, reverse] = scans[..] else { panic!("expected two scans") };
    for (scan, order) in [(forward, 0), (reverse, 1)] {
        let attribute = |name: &str| {
            scan.attribute.iter().find(|each| each.name == name).expect("an attribute")
        };
        assert_eq!(attribute("num_scan_inputs").i, Some(1));
        assert_eq!(attribute("scan_input_directions").ints, [order]);
        assert_eq!(attribute("scan_output_directions").ints, [order]);
        let body = attribute("body").g.as_ref().expect("a graph");
        assert_eq!((scan.input.len(), body.input.len()), (3, 3)); // h, c and x
        assert_eq!((scan.output.len(), body.output.len()), (3, 3));
        assert_eq!(scan.input[2], "xs_by_time");
    }
    let dims = |value: &ValueInfo| -> Vec<_> {
        let tensor = value.kind.as_ref().and_then(|kind| kind.tensor_type.as_ref());
        let shape = tensor.and_then(|tensor| tensor.shape.clone()).expect("a shape");
        shape.dim.iter().map(|dim| dim.value).collect()
    };
    assert_eq!(dims(&graph.input[1]), [Some(2), None, Some(2)]); // h0_l0: the projected output
    assert_eq!(dims(&graph.input[2]), [Some(2), None, Some(4)]); // c0_l0
    assert_eq!(dims(&graph.output[0]), [None, None, Some(4)]);
    Ok(())
}

/// The LSTM of a user: the equations of the library's, without names of gates.
#[derive(Clone)]
struct OwnLstm;

impl GatedCell for OwnLstm {
    type State = LstmState;

    const GATES: init::Gates = init::Gates::new(&["i", "f", "g", "o"]);

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let (h, c) = (cell.recurrent(), cell.state(1));
        let [i, f, g, o] = cell.gates(&h);
        let (i, f) = (i.sigmoid(), f.sigmoid());
        let c = f * c + i * g.tanh();
        vec![o.sigmoid() * c.tanh(), c]
    }
}

#[test]
fn equations_of_a_standard_operator_become_it() -> Result<()> {
    let own = |input| {
        let vb = init::seeded(&VarMap::new(), 1, DType::F32, &Device::Cpu);
        Result::Ok(Rnn::from_cell(GatedConfig::new(OwnLstm).cell(input, 4, None, vb)?))
    };
    let graph = model(&own(3)?.reversed())?.graph.expect("a graph");
    let [operator] = layers(&graph)[..] else { panic!("expected one operator") };
    let direction =
        operator.attribute.iter().find(|each| each.name == "direction").expect("a direction");
    assert_eq!(operator.op_type, "LSTM");
    assert_eq!(direction.s.as_deref(), Some(&b"reverse"[..]));
    // Both layers have weights of the same names; those of the model are by layer.
    let stack = Stack::from_layers(vec![Box::new(own(3)?), Box::new(own(4)?)])?;
    let graph = model(&stack)?.graph.expect("a graph");
    assert_eq!(constant(&graph, "W_l0").0, [1, 16, 3]);
    assert_eq!(constant(&graph, "W_l1").0, [1, 16, 4]);
    Ok(())
}

/// A cell whose `step` is its only definition.
#[derive(Clone, Params)]
struct Elman {
    w: Tensor,
}

impl Cell for Elman {
    type State = HiddenState;

    fn input_size(&self) -> usize {
        self.w.dims()[1]
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.w.dims()[0]]
    }

    fn step(&self, x: &Tensor, _: &HiddenState) -> Result<HiddenState> {
        Ok(HiddenState { h: linear(x, &self.w, None)? })
    }
}

#[test]
fn layers_without_an_onnx_form_are_refused() -> Result<()> {
    let lstm = RnnConfig::new(CellKind::Lstm(LstmConfig::default()));
    let error = exported(&RnnConfig { learned_start: true, ..lstm }).err().expect("refused");
    assert!(error.to_string().contains("learned initial state"), "{error}");
    let cell = Rnn::from_cell(Elman { w: wave(&[4, 3], 0.3)? });
    let error = export(&cell).expect_err("refused").to_string();
    assert!(error.contains("this cell is not described as data"), "{error}");
    Ok(())
}
