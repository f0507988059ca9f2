//! Evaluation of the operators that equations become.

use super::super::proto::{Constant, Graph, Node, FLOAT};
use candle_core::{bail, Device, Result, Tensor, D};
use candle_nn::ops::{sigmoid, softmax};
use std::collections::HashMap;

type Values = HashMap<String, Tensor>;

/// The outputs of a graph by name.
pub(super) fn outputs(graph: &Graph, inputs: Values) -> Result<Values> {
    let mut values = inputs;
    for constant in &graph.initializer {
        values.insert(constant.name.clone(), tensor(constant)?);
    }
    run(&graph.node, &mut values)?;
    Ok(graph.output.iter().map(|out| (out.name.clone(), values[&out.name].clone())).collect())
}

fn tensor(constant: &Constant) -> Result<Tensor> {
    let dims: Vec<_> = constant.dims.iter().map(|size| *size as usize).collect();
    let bytes = &constant.raw_data;
    match constant.data_type {
        FLOAT => {
            let values =
                bytes.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]]));
            Tensor::from_vec(values.collect(), dims, &Device::Cpu)
        }
        _ => {
            let values = bytes
                .chunks_exact(8)
                .map(|x| i64::from_le_bytes([x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]]));
            Tensor::from_vec(values.collect(), dims, &Device::Cpu)
        }
    }
}

fn run(nodes: &[Node], values: &mut Values) -> Result<()> {
    for node in nodes {
        let found = match node.op_type.as_str() {
            "Scan" => scan(node, values)?,
            _ => vec![one(node, values)?],
        };
        for (name, value) in node.output.iter().zip(found) {
            assert!(values.insert(name.clone(), value).is_none(), "{name} is given twice");
        }
    }
    Ok(())
}

fn ints(node: &Node, name: &str) -> Vec<usize> {
    let found = node.attribute.iter().find(|each| each.name == name).expect("an attribute");
    found.ints.iter().copied().chain(found.i).map(|value| value as usize).collect()
}

fn one(node: &Node, values: &Values) -> Result<Tensor> {
    let input = |index: usize| &values[&node.input[index]];
    let integer = |index: usize| -> Result<usize> {
        let values = input(index).to_vec1::<i64>()?;
        assert_eq!(values.len(), 1);
        Ok(values[0] as usize)
    };
    let a = input(0);
    match node.op_type.as_str() {
        "Identity" => Ok(a.clone()),
        "Neg" => a.neg(),
        "Sigmoid" => sigmoid(a),
        "Tanh" => a.tanh(),
        "Relu" => a.relu(),
        "Exp" => a.exp(),
        "Sqrt" => a.sqrt(),
        "Reciprocal" => a.recip(),
        "Floor" => a.floor(),
        "Add" => a.broadcast_add(input(1)),
        "Sub" => a.broadcast_sub(input(1)),
        "Mul" => a.broadcast_mul(input(1)),
        "MatMul" => a.contiguous()?.broadcast_matmul(input(1)),
        "ReduceSum" => a.sum_keepdim(D::Minus1),
        "Softmax" => softmax(a, D::Minus1),
        "CumSum" => a.cumsum(D::Minus1),
        "Slice" => a.narrow(D::Minus1, integer(1)?, integer(2)? - integer(1)?),
        "Gather" => a.index_select(input(1), 0),
        "Squeeze" => a.squeeze(integer(1)?),
        "Unsqueeze" => a.unsqueeze(integer(1)?),
        "Transpose" => a.permute(ints(node, "perm"))?.contiguous(),
        "Concat" => {
            let parts: Vec<_> = node.input.iter().map(|name| &values[name]).collect();
            Tensor::cat(&parts, ints(node, "axis")[0])
        }
        "Shape" => {
            let dims: Vec<_> = a.dims().iter().map(|size| *size as i64).collect();
            Tensor::new(dims, &Device::Cpu)
        }
        "Expand" => {
            let dims: Vec<_> = input(1).to_vec1::<i64>()?.iter().map(|x| *x as usize).collect();
            a.broadcast_as(dims)
        }
        other => bail!("not an operator of equations: {other}"),
    }
}

fn scan(node: &Node, values: &Values) -> Result<Vec<Tensor>> {
    let body = node.attribute.iter().find_map(|each| each.g.as_ref()).expect("a body");
    let (xs, starts) = node.input.split_last().expect("an input");
    let xs = &values[xs];
    let mut state: Vec<_> = starts.iter().map(|name| values[name].clone()).collect();
    let time = xs.dim(0)?;
    let reverse = ints(node, "scan_input_directions") == [1];
    assert_eq!(reverse, ints(node, "scan_output_directions") == [1]);
    let mut ys = vec![None; time];
    for step in 0..time {
        let at = if reverse { time - 1 - step } else { step };
        let mut own = values.clone();
        for (input, value) in body.input.iter().zip(state.into_iter().chain([xs.get(at)?])) {
            own.insert(input.name.clone(), value);
        }
        run(&body.node, &mut own)?;
        let mut found: Vec<_> = body.output.iter().map(|out| own[&out.name].clone()).collect();
        ys[at] = found.pop();
        state = found;
    }
    let ys: Vec<_> = ys.into_iter().flatten().collect();
    state.push(Tensor::stack(&ys, 0)?);
    Ok(state)
}
