//! The contents of exported models. `tests/data/check_onnx.py` tests that they compute the same
//! values.

use super::*;
use crate::{GruConfig, LstmConfig, RecurrentDropout, ResidualLstmConfig, VanillaConfig};
use candle_nn::{VarBuilder, VarMap};

fn exported(spec: &RnnConfig) -> Result<(Box<dyn Layer>, Model)> {
    let layer =
        spec.build(3, 4, VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu))?;
    let bytes = export(spec, &layer)?;
    Ok((layer, Model::decode(&bytes[..]).expect("it was encoded")))
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

#[test]
fn layers_without_an_onnx_form_are_refused() -> Result<()> {
    let lstm = RnnConfig::new(CellKind::Lstm(LstmConfig::default()));
    let proj = CellKind::Lstm(LstmConfig { proj: Some(2), ..LstmConfig::default() });
    for (spec, expected) in [
        (RnnConfig::new(proj), "projection"),
        (
            RnnConfig::new(CellKind::ResidualLstm(ResidualLstmConfig::default())),
            "no standard operator",
        ),
        (
            RnnConfig { recurrent_dropout: RecurrentDropout::zoneout(0.1, 0.0), ..lstm.clone() },
            "zoneout",
        ),
        (RnnConfig { learned_start: true, ..lstm.clone() }, "learned initial state"),
        (RnnConfig { layers: 2, connection: Connection::ReZero, ..lstm.clone() }, "connection"),
    ] {
        let error = exported(&spec).err().expect("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let (layer, _) = exported(&lstm)?;
    let error =
        export(&RnnConfig { layers: 2, ..lstm }, &layer).err().expect("refused").to_string();
    assert!(error.contains("expected the weight weight_hh_l1"), "{error}");
    Ok(())
}
