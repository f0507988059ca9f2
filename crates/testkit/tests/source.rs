//! The C of descriptions, compiled and run, against their definition and its derivatives.
#![cfg(unix)] // other systems have no `cc`

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use rand::Rng;
use recurrent_core::description::{Additions, Builder, Graph, StepInput, Value};
use recurrent_core::{named_rng, Cell, CellConfig};
use recurrent_gru::{GruConfig, Reset};
use recurrent_layernorm::{LayerNormGruConfig, LayerNormLstmConfig, Norm, Placement, Scope};
use recurrent_lstm::LstmConfig;
use recurrent_residual::ResidualLstmConfig;
use recurrent_testkit::{close, noise, Result, Tolerance};
use std::process::Command;

const BATCH: usize = 2;
const INPUT: usize = 4;
const HIDDEN: usize = 5;

/// The values that a step and its derivative read.
struct Inputs {
    weights: Vec<Var>,
    x: Var,
    state: Vec<Var>,
    grad: Vec<Tensor>,
    mask: Tensor,
    zoneout: Vec<Tensor>,
}

impl Inputs {
    fn new(name: &str, graph: &Graph) -> Result<Self> {
        let var = |value: Result<Tensor>| -> Result<Var> { Ok(Var::from_tensor(&value?)?) };
        let weight = |(index, dims): (usize, &Vec<usize>)| {
            var(Ok((noise(&format!("{name}, weight {index}"), dims)? * 0.5)?))
        };
        let rows = |what: &str, size: usize| noise(&format!("{name}, {what}"), &[BATCH, size]);
        let fields = |what: &str| -> Result<Vec<Tensor>> {
            let sizes = graph.fields.iter().enumerate();
            sizes.map(|(field, &size)| rows(&format!("{what} {field}"), size)).collect()
        };
        Ok(Self {
            weights: graph.weights.iter().enumerate().map(weight).collect::<Result<_>>()?,
            x: var(rows("x", graph.input))?,
            state: fields("state")?
                .into_iter()
                .map(|field| var(Ok(field)))
                .collect::<Result<_>>()?,
            grad: fields("grad")?,
            mask: rows("mask", graph.fields[0])?,
            zoneout: fields("zoneout")?,
        })
    }
}

fn tensors(vars: &[Var]) -> Vec<Tensor> {
    vars.iter().map(|var| var.as_tensor().clone()).collect()
}

const PRINT: &str = "
static void print(const real *v, int count)
{
    for (int i = 0; i < count; i++) printf(\"%.17g\\n\", (double)v[i]);
}
";

/// The program that runs the C of `graph` for every example, with `real` as the type, and the
/// arrays that it prints.
fn program(graph: &Graph, inputs: &Inputs, real: &str) -> Result<(String, Vec<Tensor>)> {
    let (weights, state) = (tensors(&inputs.weights), tensors(&inputs.state));
    let x = vec![inputs.x.as_tensor().clone()];
    let zeros = weights.iter().map(Tensor::zeros_like).collect::<candle_core::Result<Vec<_>>>()?;
    // The last four are written. All but the gradients of weights begin with other values.
    let groups = [
        ("w", &weights),
        ("x", &x),
        ("state", &state),
        ("mask", &vec![inputs.mask.clone()]),
        ("zoneout", &inputs.zoneout),
        ("grad", &inputs.grad),
        ("next", &state),
        ("dstate", &state),
        ("dx", &x),
        ("dw", &zeros),
    ];
    let (mut values, mut pointers, mut prints) = (String::new(), String::new(), String::new());
    let mut printed = Vec::new();
    for (index, (group, arrays)) in groups.into_iter().enumerate() {
        let is_read = index < 6;
        let kind = if is_read { "const real" } else { "real" };
        pointers += &format!("        {kind} *{group}[] = {{");
        for (index, array) in arrays.iter().enumerate() {
            let name = format!("{group}{index}");
            let numbers = format!("{:?}", array.flatten_all()?.to_vec1::<f64>()?);
            let numbers = numbers.replace("NaN", "NAN");
            let numbers = numbers.trim_matches(['[', ']']);
            values += &format!("static real {name}[] = {{{numbers}}};\n");
            pointers += &match group {
                "w" | "dw" => format!("{name}, "),
                _ => format!("{name} + example * {}, ", array.dims()[1]),
            };
            if !is_read {
                prints += &format!("    print({name}, {});\n", array.elem_count());
                printed.push(array.clone());
            }
        }
        pointers += "0};\n";
    }
    let (forward, backward) = (graph.c_source(), graph.adjoint().c_source());
    let text = format!(
        "#include <stdio.h>
#include <tgmath.h>
typedef {real} real;
{values}
{forward}
{backward}{PRINT}
int main(void)
{{
    for (int example = 0; example < {BATCH}; example++) {{
{pointers}        step_forward(w, x[0], state, mask[0], zoneout, next);
        step_backward(w, x[0], state, mask[0], zoneout, grad, dw, dx[0], dstate);
    }}
{prints}    return 0;
}}
"
    );
    Ok((text, printed))
}

/// The state after the step, then the gradients of the state before, of x and of the weights, by
/// the C of `graph`.
fn by_cc(graph: &Graph, inputs: &Inputs, real: &str) -> Result<Vec<Tensor>> {
    let (text, arrays) = program(graph, inputs, real)?;
    let folder = tempfile::tempdir()?;
    let (file, binary) = (folder.path().join("step.c"), folder.path().join("step"));
    std::fs::write(&file, &text)?;
    let mut cc = Command::new("cc");
    // A float that turns into a double is an error.
    cc.args(["-std=c99", "-O1", "-Werror=double-promotion", "-o"]);
    let output = cc.arg(&binary).arg(&file).arg("-lm").output();
    let output = output.unwrap_or_else(|error| panic!("the test needs a C compiler, cc: {error}"));
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new(&binary).output()?;
    assert!(output.status.success(), "{}\n{text}", output.status);
    let output = String::from_utf8(output.stdout)?;
    let mut numbers = output.lines().map(str::parse::<f64>);
    let read = |array: Tensor| -> Result<Tensor> {
        let values: Vec<f64> =
            numbers.by_ref().take(array.elem_count()).collect::<Result<_, _>>()?;
        Ok(Tensor::from_vec(values, array.dims(), &Device::Cpu)?)
    };
    arrays.into_iter().map(read).collect()
}

/// The same by the definition and candle. `plain` is the graph without zoneout.
fn by_candle(plain: &Graph, additions: &Additions, inputs: &Inputs) -> Result<Vec<Tensor>> {
    let (weights, state) = (tensors(&inputs.weights), tensors(&inputs.state));
    let masked = (&state[0] * &inputs.mask)?;
    let masked = additions.mask.then_some(&masked);
    let input = StepInput { weights: &weights, x: &inputs.x, state: &state, masked };
    let mut next = plain.step(input)?;
    for (field, _) in additions.zoneout.iter().enumerate().filter(|(_, has)| **has) {
        let k = &inputs.zoneout[field];
        next[field] = ((k * &state[field])? + (k.affine(-1.0, 1.0)? * &next[field])?)?;
    }
    let terms = next.iter().zip(&inputs.grad).map(|(next, grad)| (next * grad)?.sum_all());
    let loss = terms.reduce(|sum, term| sum? + term?).expect("a cell has a field")?;
    let grads = loss.backward()?;
    let vars = inputs.state.iter().chain([&inputs.x]).chain(&inputs.weights);
    for var in vars {
        next.push(grads.get(var).cloned().map_or_else(|| var.zeros_like(), Ok)?);
    }
    Ok(next)
}

fn agrees(name: &str, graph: &Graph, plain: &Graph, additions: &Additions) -> Result<()> {
    let inputs = Inputs::new(name, graph)?;
    let expected = by_candle(plain, additions, &inputs)?;
    let found = by_cc(graph, &inputs, "double")?;
    let of_floats = by_cc(graph, &inputs, "float")?;
    assert_eq!(found.len(), expected.len(), "{name}");
    for (index, expected) in expected.iter().enumerate() {
        let what = format!("{name}, result {index}");
        close(&what, &found[index], expected, Tolerance::Norm(1e-12))?;
        close(&format!("{what} in float"), &of_floats[index], expected, Tolerance::Norm(1e-4))?;
    }
    if *additions == Additions::default() {
        let (weights, state) = (tensors(&inputs.weights), tensors(&inputs.state));
        let input = StepInput { weights: &weights, x: &inputs.x, state: &state, masked: None };
        let vjp = graph.adjoint().vjp(input, &inputs.grad)?;
        for (found, expected) in found[state.len()..].iter().zip(&vjp) {
            close(&format!("{name}, vjp"), found, expected, Tolerance::Norm(1e-12))?;
        }
    }
    Ok(())
}

fn family(name: &str, config: &impl CellConfig, additions: Additions) -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let cell = config.cell(INPUT, HIDDEN, None, vb)?;
    let without = Additions { zoneout: Vec::new(), ..additions.clone() };
    agrees(name, &cell.graph(additions.clone())?, &cell.graph(without)?, &additions)
}

#[test]
fn families() -> Result<()> {
    let none = Additions::default;
    let before = GruConfig { reset: Reset::Before, ..Default::default() };
    let options = LstmConfig { peepholes: true, proj: Some(3), ..Default::default() };
    let burn = LayerNormLstmConfig {
        norm: Norm::Rms,
        scope: Scope::PerGate,
        placement: Placement::Burn,
        ..Default::default()
    };
    family("lstm", &LstmConfig::default(), none())?;
    family("lstm with peepholes and projection", &options, none())?;
    family("gru", &GruConfig::default(), none())?;
    family("gru, reset before", &before, none())?;
    family("residual lstm", &ResidualLstmConfig::default(), none())?;
    family("layer-normed lstm", &LayerNormLstmConfig::default(), none())?;
    family("layer-normed lstm of burn", &burn, none())?;
    family("layer-normed gru", &LayerNormGruConfig::default(), none())?;
    let all = Additions { temporal_residual: Some(0.5), mask: true, zoneout: vec![true; 2] };
    family("lstm with additions", &LstmConfig::default(), all)
}

/// A cell of the weights that `equations` read.
fn own(
    name: &str,
    weights: &[(&str, &[usize])],
    equations: impl FnOnce(&Builder) -> [Value<'_>; 2],
) -> Result<()> {
    let weights: Vec<_> =
        weights.iter().map(|(name, dims)| (name.to_string(), dims.to_vec())).collect();
    let fields = [HIDDEN; 2];
    let graph = Builder::describe(name, INPUT, &fields, &weights, Additions::default(), |cell| {
        equations(cell).to_vec()
    })?;
    agrees(name, &graph, &graph, &Additions::default())
}

#[test]
fn forms_that_no_family_has() -> Result<()> {
    own("exchange of fields", &[], |cell| [cell.state(1), cell.state(0)])?;
    own("constants", &[("gain", &[5])], |cell| {
        let gain = cell.weight("gain");
        [gain, (cell.constant(-1e-300) - gain.slice(1, 1)) * -0.5 + gain.exp()]
    })?;
    own("functions", &[], |cell| {
        let (h, c) = (cell.state(0), cell.state(1));
        [(h * h + 1.0).sqrt() / c.exp() - (-h).relu(), c.relu() - h.sum().sigmoid()]
    })?;
    // One column of a normalised row in the loop of its width; columns that overlap.
    own("parts", &[("narrow", &[5, 2])], |cell| {
        let y = cell.state(0).layer_norm(0.1);
        let scaled = y * y.slice(3, 1);
        let z = cell.state(1).rms_norm(0.1);
        let of_z = cell.product("narrow", z.slice(1, 2)) + cell.product("narrow", z.slice(2, 2));
        [scaled + z, of_z * y.slice(0, 1).tanh() - z.slice(4, 1)]
    })?;
    own("rows", &[("narrow", &[5, 2])], |cell| {
        let (h, c) = (cell.state(0), cell.state(1));
        let cumax = (h * 3.0).softmax().cumulative_sum();
        let part = cell.product("narrow", cumax.slice(1, 2)) * cumax.slice(4, 1);
        [cumax * c + part, c.cumulative_sum() * h - (c * h).cumulative_sum().sum()]
    })?;
    own("gradients of one column", &[], |cell| {
        let c = cell.state(1);
        let y = (c * c).layer_norm(0.1);
        let z = c.exp().rms_norm(0.1);
        [cell.state(0) + y.sum() * 0.3 + z.sum(), c * y.slice(0, 2).sum()]
    })?;
    own("products", &[("square", &[10, 5]), ("other", &[5, 10]), ("of_x", &[5, 2])], |cell| {
        let [a, b] = cell.product("square", cell.state(0)).chunks();
        let both = cell.product("other", cell.product("square", (a * b).tanh()));
        let x = cell.input();
        [both + cell.product("of_x", x.slice(1, 2)) * x.slice(2, 1), a + cell.state(1) * x.sum()]
    })
}

/// By comparisons in C as in the definition, NaN is no number below zero.
#[test]
fn relu_keeps_nan() -> Result<()> {
    let graph = Builder::describe("relu", 1, &[3], &[], Additions::default(), |cell| {
        vec![cell.state(0).relu()]
    })?;
    let mut inputs = Inputs::new("relu", &graph)?;
    let state = Tensor::new(&[[f64::NAN, -1.0, 1.0], [0.0, f64::NAN, -0.0]], &Device::Cpu)?;
    inputs.state = vec![Var::from_tensor(&state)?];
    let next = by_cc(&graph, &inputs, "double")?[0].to_vec2::<f64>()?;
    assert_eq!(format!("{next:?}"), "[[NaN, 0.0, 1.0], [0.0, NaN, 0.0]]");
    Ok(())
}

/// A random operation on values of one column or of all.
fn draw<'a>(rng: &mut impl Rng, cell: &'a Builder, values: &[Value<'a>]) -> Value<'a> {
    let mut value = || values[rng.random_range(0..values.len())];
    let (a, b) = (value(), value());
    let wide = a.width() > 1;
    let start = rng.random_range(0..HIDDEN - 1);
    match rng.random_range(0..17) {
        0 => a.sigmoid(),
        1 => a.relu() - b,
        2 => a.tanh().exp(),
        3 => (a * a + 1.0).sqrt(),
        4 => b / (a.sigmoid() + 0.5),
        5 => a - a.mean(),
        6 if wide => a.layer_norm(0.1),
        7 if wide => a.rms_norm(0.1),
        8 if wide => a.layer_norm(0.1).slice(start, 1),
        9 if wide => cell.product("square", a),
        10 if wide => cell.product("narrow", a.rms_norm(0.1).slice(start, 2)),
        11 => a * cell.weight("gain"),
        12 => a + b,
        13 => a.softmax() * b,
        14 => a.cumulative_sum() - b,
        15 if wide => a * b.softmax().cumulative_sum().slice(start, 1),
        _ => a * b,
    }
}

#[test]
fn random_cells() -> Result<()> {
    let weights: &[(&str, &[usize])] = &[
        ("weight_ih", &[10, INPUT]),
        ("weight_hh", &[10, HIDDEN]),
        ("bias_ih", &[10]),
        ("bias_hh", &[10]),
        ("square", &[5, 5]),
        ("narrow", &[5, 2]),
        ("gain", &[5]),
    ];
    for seed in 0..8 {
        let name = format!("random cell {seed}");
        own(&name, weights, |cell| {
            let mut rng = named_rng(seed, "operations");
            let (h, c, x) = (cell.state(0), cell.state(1), cell.input());
            let [a, b] = cell.gates(&(h * c));
            let of_x = cell.product("narrow", x.slice(1, 2)) * cell.weight("gain");
            let mut values = vec![h, c, x.slice(0, 1), a, b, of_x, cell.product("square", h)];
            for _ in 0..12 {
                values.push(draw(&mut rng, cell, &values).tanh()); // bounded
            }
            let sum = values[2..].iter().fold(h, |sum, value| sum + *value * 0.3);
            [sum.tanh(), (values[values.len() - 1] + c * sum).tanh()]
        })?;
    }
    Ok(())
}
