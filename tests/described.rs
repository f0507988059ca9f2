//! Cells of random operations: the derivative of their description against candle's, and their
//! derived kernels against replay. The conformance suite for cells of forms that the zoo does not
//! have.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use proptest::prelude::*;
use rand::Rng;
use recurrent::core::description::{Additions, Builder, StepInput, Value};
use recurrent::core::init::{self, Gates, Init, Weights};
use recurrent::core::{named_rng, HiddenState, LstmState, Params};
use recurrent::layernorm::Norm;
use recurrent::{
    Cell, CellConfig, Describe, Described, Execution, ForwardContext, GatedCell, GatedConfig,
    GradientRecorder, Layer, LayerId, LayerNormLstmConfig, Nonlinearity, Record, RecurrentDropout,
    Rnn, Sequence, VanillaConfig,
};
use recurrent_testkit::{cases, close, conform, noise, Case, Result, Tolerance};

const INPUT: usize = 4;

/// The weights that a random cell uses, all of them.
#[derive(Clone, Params)]
struct RandomCell {
    #[param(skip)]
    seed: u64,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    square: Tensor,
    narrow: Tensor,
    gain: Tensor,
}

impl RandomCell {
    /// The cell of this seed, with `hidden` units. Its weights are variables.
    fn new(seed: u64, hidden: usize) -> Result<Self> {
        let weight = |name: &str, dims: &[usize]| -> Result<Tensor> {
            let value = (noise(&format!("{seed} {name}"), dims)? * 0.5)?;
            Ok(Var::from_tensor(&value)?.as_tensor().clone())
        };
        Ok(Self {
            seed,
            weight_ih: weight("weight_ih", &[4 * hidden, INPUT])?,
            weight_hh: weight("weight_hh", &[4 * hidden, hidden])?,
            bias_ih: weight("bias_ih", &[4 * hidden])?,
            bias_hh: weight("bias_hh", &[4 * hidden])?,
            square: weight("square", &[hidden, hidden])?,
            narrow: weight("narrow", &[hidden, 2])?,
            gain: weight("gain", &[hidden])?,
        })
    }
}

/// A random operation on values of one column or of all.
fn draw<'a>(rng: &mut impl Rng, cell: &'a Builder, values: &[Value<'a>]) -> Value<'a> {
    let mut value = || values[rng.random_range(0..values.len())];
    let (a, b) = (value(), value());
    let wide = a.width() > 1;
    let part = rng.random_range(0..a.width().max(2) - 1);
    match rng.random_range(0..22) {
        0 => a.sigmoid(),
        1 => a.tanh(),
        2 => a.relu(),
        3 => a.tanh().exp(),
        4 => (a * a + 1.0).sqrt(),
        5 => b / (a.sigmoid() + 0.5),
        6 => -a,
        7 => a + b,
        8 => a - b,
        9 | 10 => a * b,
        11 => a - a.mean(),
        12 if wide => a.layer_norm(0.1),
        13 if wide => cell.product("square", a),
        14 => a * cell.weight("gain"),
        15 if wide => a.rms_norm(0.1),
        16 if wide => cell.product("narrow", a.layer_norm(0.1).slice(part, 2)),
        17 => a.softmax() * b,
        18 => a.cumulative_sum() - b,
        19 if wide => cell.product("narrow", a.softmax().cumulative_sum().slice(part, 2)),
        20 if wide => a + b.softmax().cumulative_sum().slice(0, 1),
        _ => 1.0 - a * 0.5,
    }
}

impl Describe for RandomCell {
    type State = LstmState;

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let mut rng = named_rng(self.seed, "operations");
        let (h, c, x) = (cell.recurrent(), cell.state(1), cell.input().slice(0, 1));
        let [a, b, d, e] = cell.gates(&h);
        let product = cell.product("square", c) * cell.weight("gain");
        let of_x = cell.product("narrow", cell.input().slice(1, 2));
        let of_c = cell.product("narrow", c.slice(1, 2));
        // A row that is normalised, and read whole and in part.
        let normed = cell.product("square", h).layer_norm(0.1);
        let part = cell.product("narrow", normed.slice(0, 2));
        let whole = cell.product("square", normed);
        let of_h = cell.product("narrow", cell.recurrent().slice(1, 2));
        let mut values = vec![h, c, x, a, b, d, e, product, of_x, of_c, part, whole, of_h];
        for _ in 0..12 {
            let value = draw(&mut rng, cell, &values);
            values.push(value.tanh()); // bounded
        }
        let hidden = c.width();
        let wide: Vec<_> = values.into_iter().filter(|value| value.width() == hidden).collect();
        let used = wide[3..].iter().fold(wide[2], |sum, value| sum + *value * 0.3);
        vec![used.tanh(), (wide[wide.len() - 1] + used * x).tanh()]
    }
}

/// Gradients of a step by candle and by the description.
fn vjp_agrees(seed: u64) -> Result<()> {
    let (hidden, batch) = (5, 3);
    let cell = RandomCell::new(seed, hidden)?;
    let weights = Described::new(INPUT, &[hidden; 2], cell.clone())?.params();
    let shapes: Vec<_> =
        weights.iter().map(|(name, weight)| (name.clone(), weight.dims().to_vec())).collect();
    let graph = Builder::describe(
        "random",
        INPUT,
        &[hidden; 2],
        &shapes,
        Additions::default(),
        |builder| cell.describe(builder),
    )?;
    let weights: Vec<_> = weights.into_iter().map(|(_, weight)| weight).collect();
    let x = noise("x", &[batch, INPUT])?;
    let leaf =
        |name: &str| -> Result<Var> { Ok(Var::from_tensor(&noise(name, &[batch, hidden])?)?) };
    let vars = [leaf("h")?, leaf("c")?];
    let state: Vec<_> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let grad = [noise("dh", &[batch, hidden])?, noise("dc", &[batch, hidden])?];
    let input = StepInput { weights: &weights, x: &x, state: &state, masked: None };
    let after = graph.step(input)?;
    let loss = ((&after[0] * &grad[0])?.sum_all()? + (&after[1] * &grad[1])?.sum_all()?)?;
    let expected = loss.backward()?;
    for (var, found) in vars.iter().zip(&graph.adjoint().vjp(input, &grad)?) {
        let expected = expected.get(var).cloned().map_or_else(|| var.zeros_like(), Ok)?;
        close("vjp", found, &expected, Tolerance::Norm(1e-12))?;
    }
    Ok(())
}

/// Outputs, recorded gradients and gradients of weights and input of a layer.
fn gradients(layer: &dyn Layer, xs: &Var, lengths: &[usize]) -> Result<Vec<(String, Tensor)>> {
    let recorder = GradientRecorder::new(Record::Gradients);
    let context = ForwardContext::train(7, 3).record(&recorder);
    let sequence = Sequence::padded(xs.as_tensor().clone(), lengths)?;
    let ys = layer.run(&sequence, None, &context)?.0.into_values();
    let grads = (&ys * noise("loss", ys.dims())?)?.sum_all()?.backward()?;
    let of = |tensor: &Tensor| match grads.get(tensor) {
        Some(grad) => Ok(grad.clone()),
        None => tensor.zeros_like(),
    };
    let mut all = vec![("ys".to_string(), ys), ("xs".to_string(), of(xs)?)];
    for (name, param) in layer.params() {
        all.push((name, of(&param)?));
    }
    for trace in recorder.take() {
        all.push((trace.field.to_string(), Tensor::new(trace.batch_norms, &Device::Cpu)?));
    }
    Ok(all)
}

/// The kernel computes what replay computes, and that is finite.
fn agree<C: Cell>(layer: &Rnn<C>, xs: &Var, lengths: &[usize]) -> Result<()> {
    let by = |execution| gradients(&layer.clone().with_execution(execution), xs, lengths);
    let (found, expected) = (by(Execution::Kernel)?, by(Execution::Replay)?);
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        let sum = expected.abs()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        assert!(sum.is_finite(), "{name}: {expected}");
        close(name, found, expected, Tolerance::Norm(1e-12))?;
    }
    Ok(())
}

fn kernel_agrees(seed: u64, batch: usize, hidden: usize) -> Result<()> {
    let time = 6;
    let cell = RandomCell::new(seed, hidden)?;
    let layer = Rnn::from_cell(Described::new(INPUT, &[hidden; 2], cell)?);
    let dropout = RecurrentDropout { recurrent: 0.3, zoneout_h: 0.2, ..Default::default() };
    let layer = if seed.is_multiple_of(2) { layer.with_recurrent_dropout(dropout)? } else { layer };
    assert!(layer.explain(DType::F64, &Device::Cpu).starts_with("described kernel"));
    let xs = Var::from_tensor(&noise(&format!("{seed} xs"), &[batch, time, INPUT])?)?;
    let lengths: Vec<_> = (0..batch).map(|row| 1 + (row * 5 + seed as usize) % time).collect();
    agree(&layer, &xs, &lengths)
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn vjp_is_the_derivative_of_random_steps(seed in any::<u64>()) {
        vjp_agrees(seed).map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
    }

    #[test]
    fn derived_kernels_of_random_cells_agree_with_replay(
        seed in any::<u64>(),
        batch in 1usize..40,
        hidden in 3usize..20,
    ) {
        let agrees = kernel_agrees(seed, batch, hidden);
        agrees.map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
    }
}

/// One unit: a row has one column, as all rows of a block would have as one.
#[test]
fn one_normalised_unit_agrees_with_replay() -> Result<()> {
    for norm in [Norm::Layer, Norm::Rms] {
        let config = LayerNormLstmConfig { norm, ..LayerNormLstmConfig::default() };
        let vb = init::seeded(&VarMap::new(), 1, DType::F64, &Device::Cpu);
        let layer = Rnn::new(INPUT, 1, &config, vb)?;
        let xs = Var::from_tensor(&noise("xs", &[5, 6, INPUT])?)?;
        let lengths = [6, 3, 6, 1, 5];
        agree(&layer, &xs, &lengths)?;
    }
    Ok(())
}

/// A cell that divides by its input.
#[derive(Clone)]
struct Quotient;

impl GatedCell for Quotient {
    type State = HiddenState;

    const GATES: Gates = Gates::new(&["a"]);

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let [a] = cell.gates(&cell.recurrent());
        vec![(a / cell.input().slice(0, 1)).tanh()]
    }
}

/// 1 / x and its derivative are infinite where x is 0, as in padding.
#[test]
fn padding_is_no_input_of_a_step() -> Result<()> {
    let (vb, config) = (init::seeded(&VarMap::new(), 1, DType::F64, &Device::Cpu), Quotient);
    let layer = Rnn::new(INPUT, 5, &GatedConfig::new(config), vb)?;
    let lengths = [6, 3, 1];
    let values = (noise("xs", &[3, 6, INPUT])? + 2.0)?;
    let xs = Var::from_tensor(Sequence::padded(values, &lengths)?.zero_padding()?.values())?;
    for layer in [layer.clone(), layer.reversed()] {
        agree(&layer, &xs, &lengths)?;
    }
    Ok(())
}

/// A cell with a clock: a field counts the steps.
#[derive(Clone, Params)]
struct Clocked {
    weight_ih: Tensor,
    weight_hh: Tensor,
    period: Tensor,
}

impl Describe for Clocked {
    type State = LstmState;

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let (h, t) = (cell.recurrent(), cell.state(1));
        let a = cell.product("weight_ih", cell.input()) + cell.product("weight_hh", h);
        let phase = t / cell.weight("period");
        let open = (phase - phase.floor()).keep("open");
        vec![open * cell.state(0) + (1.0 - open) * a.tanh(), t + 1.0]
    }
}

#[test]
fn a_cell_may_count_its_steps() -> Result<()> {
    let weight = |name: &str, dims: &[usize]| -> Result<Tensor> {
        Ok(Var::from_tensor(&noise(name, dims)?)?.as_tensor().clone())
    };
    let cell = Clocked {
        weight_ih: weight("weight_ih", &[5, INPUT])?,
        weight_hh: weight("weight_hh", &[5, 5])?,
        period: (noise("period", &[5])? + 4.0)?,
    };
    let layer = Rnn::from_cell(Described::new(INPUT, &[5, 1], cell)?);
    let (xs, lengths) = (Var::from_tensor(&noise("xs", &[3, 9, INPUT])?)?, [9, 4, 7]);
    agree(&layer, &xs, &lengths)?;
    let sequence = Sequence::padded(xs.as_tensor().clone(), &lengths)?;
    let (_, end) = layer.run(&sequence, None, &ForwardContext::default())?;
    assert_eq!(end.field("c")?.to_vec2::<f64>()?, [[9.0], [4.0], [7.0]]);
    Ok(())
}

/// NaN is no number below zero: the network shows that its input is not finite.
#[test]
fn relu_keeps_nan() -> Result<()> {
    let config = VanillaConfig { nonlinearity: Nonlinearity::Relu, ..Default::default() };
    let vb = init::seeded(&VarMap::new(), 1, DType::F64, &Device::Cpu);
    let layer = Rnn::new(INPUT, 5, &config, vb)?;
    let xs = Sequence::new((noise("xs", &[1, 2, INPUT])? * f64::NAN)?)?;
    for execution in [Execution::Kernel, Execution::Replay] {
        let layer = layer.clone().with_execution(execution);
        let last = layer.last(&xs, None, &ForwardContext::default())?.0;
        assert!(last.flatten_all()?.to_vec1::<f64>()?.iter().all(|h| h.is_nan()), "{execution:?}");
    }
    Ok(())
}

/// Cells whose forms the zoo does not have.
#[derive(Clone, Copy)]
pub(crate) enum Equations {
    /// Long expressive memory (Rusch et al. 2022, arXiv:2110.04744): its last product multiplies
    /// the new value of the second field.
    Lem,
    /// The coupled oscillatory network (Rusch and Mishra 2021, arXiv:2010.00951): products of both
    /// fields.
    CoRnn,
}

#[derive(Clone, Params)]
pub(crate) struct TwoFields {
    #[param(skip)]
    equations: Equations,
    weight_ih: Tensor,
    weight_hh: Tensor,
    weight_zh: Option<Tensor>,
    bias_ih: Tensor,
}

impl Describe for TwoFields {
    type State = LstmState;

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let (y, z, seen) = (cell.state(0), cell.state(1), cell.recurrent());
        match self.equations {
            Equations::Lem => {
                let [a, b, c] = cell.gates(&seen);
                let (dt_z, dt_y) = (a.sigmoid().gate("z") * 0.7, b.sigmoid().gate("y") * 0.7);
                let z = (1.0 - dt_z) * z + dt_z * c.tanh();
                let [d] = cell.gates(&z);
                vec![(1.0 - dt_y) * y + dt_y * d.tanh(), z]
            }
            Equations::CoRnn => {
                let (dt, gamma, epsilon) = (0.3, 1.5, 0.9);
                let [a] = cell.gates(&seen);
                let force = (a + cell.product("weight_zh", z)).tanh() - y * gamma;
                let z = (z + force * dt) * (1.0 / (1.0 + dt * epsilon));
                vec![y + z * dt, z]
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct TwoFieldsConfig(pub(crate) Equations);

impl CellConfig for TwoFieldsConfig {
    type Cell = Described<TwoFields>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> candle_core::Result<Described<TwoFields>> {
        let (names, second): (&[_], _) = match self.0 {
            Equations::Lem => (&["z", "y", "c", "d"], false),
            Equations::CoRnn => (&["a"], true),
        };
        let gates = Gates { names, forget: None, input: None };
        let init = Init::default();
        let weights = Weights::new(vb.clone(), layer_id, &init, gates, hidden)?;
        let square = || init::linear_weight(hidden, hidden, &weights.name("weight_zh"), &vb);
        let cell = TwoFields {
            equations: self.0,
            weight_ih: weights.weight_ih(input)?,
            weight_hh: weights.weight_hh()?,
            weight_zh: second.then(square).transpose()?,
            bias_ih: weights.bias_ih()?,
        };
        Described::new(input, &[hidden; 2], cell)
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        match self.0 {
            Equations::Lem => 4 * hidden * (input + hidden + 1),
            Equations::CoRnn => hidden * (input + 2 * hidden + 1),
        }
    }
}

/// minGRU (Feng et al. 2024, arXiv:2410.01201): no product in the loop over time.
#[derive(Clone, Params)]
struct MinGru {
    weight_ih: Tensor,
    bias_ih: Tensor,
}

impl Describe for MinGru {
    type State = HiddenState;

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let [z, new] = cell.input_gates();
        let z = z.sigmoid().gate("z");
        vec![(1.0 - z) * cell.state(0) + z * new]
    }
}

#[derive(Clone)]
struct MinGruConfig;

impl CellConfig for MinGruConfig {
    type Cell = Described<MinGru>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> candle_core::Result<Described<MinGru>> {
        let gates = Gates { names: &["z", "h"], forget: None, input: None };
        let init = Init::default();
        let weights = Weights::new(vb, layer_id, &init, gates, hidden)?;
        let (weight_ih, bias_ih) = (weights.weight_ih(input)?, weights.bias_ih()?);
        Described::new(input, &[hidden], MinGru { weight_ih, bias_ih })
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        2 * hidden * (input + 1)
    }
}

/// The minimal gated unit (Zhou et al. 2016, arXiv:1603.09420).
#[derive(Clone)]
struct MinimalGatedUnit;

impl GatedCell for MinimalGatedUnit {
    type State = HiddenState;

    const GATES: Gates = Gates::new(&["f", "n"]);

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let (h, seen) = (cell.state(0), cell.recurrent());
        let [f] = cell.gates(&seen);
        let f = f.sigmoid().gate("f");
        let [n] = cell.gates(&(f * seen));
        vec![h + f * (n.tanh() - h)]
    }
}

/// ON-LSTM (Shen et al. 2019, arXiv:1810.09536) with master gates of every unit: the cumulative
/// softmax orders the units.
#[derive(Clone)]
struct OrderedNeurons;

impl GatedCell for OrderedNeurons {
    type State = LstmState;

    const GATES: Gates = Gates::new(&["i", "f", "g", "o", "master_f", "master_i"]);

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let (h, c) = (cell.recurrent(), cell.state(1));
        let [i, f, g, o, master_f, master_i] = cell.gates(&h);
        let master_f = master_f.softmax().cumulative_sum();
        let master_i = 1.0 - master_i.softmax().cumulative_sum();
        let both = master_f * master_i;
        let f = (f.sigmoid() * both + (master_f - both)).named("f");
        let i = (i.sigmoid() * both + (master_i - both)).named("i");
        let c = f * c + i * g.tanh();
        vec![o.sigmoid().gate("o") * c.tanh(), c]
    }
}

conform! {
    lem: Case::cell(TwoFieldsConfig(Equations::Lem), |i, h| 4 * h * (i + h + 1));
    cornn: Case::cell(TwoFieldsConfig(Equations::CoRnn), |i, h| h * (i + 2 * h + 1));
    min_gru: Case::cell(MinGruConfig, |i, h| 2 * h * (i + 1));
    mgu: Case::cell(GatedConfig::new(MinimalGatedUnit), |i, h| 2 * h * (i + h + 2));
    on_lstm: Case::cell(GatedConfig::new(OrderedNeurons), |i, h| 6 * h * (i + h + 2));
}
