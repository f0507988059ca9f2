//! The faults that a description can have.

use super::{Additions, Builder, Graph, StepInput, Value};
use candle_core::{DType, Device, Result, Tensor};

const INPUT: usize = 4;
const FIELDS: [usize; 2] = [5, 5];

fn weights() -> Vec<(String, Vec<usize>)> {
    let own = [
        ("weight_ih", vec![20, INPUT]),
        ("weight_hh", vec![20, 5]),
        ("bias_ih", vec![20]),
        ("bias_hh", vec![20]),
        ("square", vec![5, 5]),
        ("gain", vec![5]),
    ];
    own.map(|(name, dims)| (name.to_string(), dims)).to_vec()
}

fn describe<'c>(equations: impl FnOnce(&Builder) -> Vec<Value<'_>> + 'c) -> Result<Graph> {
    Builder::describe("cell", INPUT, &FIELDS, &weights(), Additions::default(), equations)
}

#[test]
fn faults_name_the_weight_or_the_field() {
    let refuses = |expected: &str, equations: fn(&Builder) -> Vec<Value<'_>>| {
        let error = describe(equations).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    refuses("expected a value for each of 2 fields, got 1", |cell| vec![cell.state(0)]);
    refuses("the weight weight_ih is not used", |cell| vec![cell.state(0), cell.state(1)]);
    refuses("field 2 does not exist", |cell| vec![cell.state(2), cell.state(1)]);
    refuses("weight absent: the cell does not have it", |cell| {
        vec![cell.state(0) * cell.weight("absent"), cell.state(1)]
    });
    refuses("weight square: expected at least 5 rows of 4 columns, got the shape [5, 5]", |cell| {
        vec![cell.product("square", cell.input()), cell.state(1)]
    });
    refuses("field 0: expected 5 columns, got 4", |cell| {
        let [a, b, c, d] = cell.gates(&cell.state(0));
        let used = (a + b + c + d + cell.product("square", a)) * cell.weight("gain");
        vec![used.slice(0, 4), used]
    });
    refuses("Add: expected equal widths, got 5 and 4", |cell| {
        vec![cell.state(0) + cell.input(), cell.state(1)]
    });
    refuses("weight bias_ih: expected 25 elements, got [20]", |cell| {
        let [a, b, c, d, e] = cell.gates(&cell.state(0));
        vec![a + b + c + d + e, cell.state(1)]
    });
}

#[test]
fn dtypes_and_broadcast_states_have_the_shape_of_the_field() -> Result<()> {
    let graph = Builder::describe(
        "cell",
        1,
        &[2],
        &[("gain".into(), vec![2])],
        Default::default(),
        |cell| vec![cell.weight("gain").exp()],
    )?;
    let weights = [Tensor::zeros(2, DType::F32, &Device::Cpu)?];
    let x = Tensor::zeros((3, 1), DType::F32, &Device::Cpu)?;
    let state = [Tensor::zeros((3, 2), DType::F32, &Device::Cpu)?];
    let after = graph.step(StepInput { weights: &weights, x: &x, state: &state, masked: None })?;
    assert_eq!(after[0].to_vec2::<f32>()?, [[1.0; 2]; 3]);
    Ok(())
}
