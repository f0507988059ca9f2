//! The conformance suite for every cell with its options, and for every wrapper: one line each.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use recurrent::core::init::{seeded, Block, ForgetBias, Gates, Init, Scheme, Weights};
use recurrent::core::{linear, HiddenState, Params};
use recurrent::layernorm::{Norm, NormInput, Placement, Scope};
use recurrent::registry::variants;
use recurrent::{
    Bidirectional, Cell, CellConfig, Execution, ForwardContext, GruConfig, Layer, LayerId,
    LayerNormGruConfig, LayerNormLstmConfig, LayerNormVanillaConfig, Lstm, LstmConfig,
    Nonlinearity, Reset, Residual, ResidualLstmConfig, Sequence, Shortcut, Stack, TemporalResidual,
    VanillaConfig,
};
use recurrent_testkit::{conform, BuildContext, Case};

// The documented numbers of weights, for `input` features and `hidden` units.

fn per_gate(gates: usize, biases: usize, input: usize, hidden: usize) -> usize {
    gates * hidden * (input + hidden + biases)
}

fn one(i: usize, h: usize) -> usize {
    per_gate(1, 2, i, h)
}

fn three(i: usize, h: usize) -> usize {
    per_gate(3, 2, i, h)
}

fn four(i: usize, h: usize) -> usize {
    per_gate(4, 2, i, h)
}

/// An LSTM with biases and `r` outputs, without the weights that further options add.
fn projected(gates: usize, i: usize, h: usize, r: usize) -> usize {
    gates * h * (i + r + 2) + r * h
}

fn kim(biases: usize, i: usize, h: usize) -> usize {
    per_gate(4, biases, i, h) + h * h
}

fn normed_three(i: usize, h: usize) -> usize {
    per_gate(3, 4, i, h)
}

fn normed_four(i: usize, h: usize) -> usize {
    per_gate(4, 4, i, h) + 2 * h
}

/// h' = tanh(W x + U h), which `step` returns as a view: the second half of a concatenation.
#[derive(Clone, Params)]
struct View {
    weight_ih: Tensor,
    weight_hh: Tensor,
}

impl Cell for View {
    type State = HiddenState;

    fn input_size(&self) -> usize {
        self.weight_ih.dims()[1]
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.weight_hh.dims()[1]]
    }

    fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
        let pre = linear(x, &self.weight_ih, None)? + linear(&s.h, &self.weight_hh, None)?;
        let (new, size) = (pre?.tanh()?, self.weight_hh.dims()[1]);
        Ok(HiddenState { h: Tensor::cat(&[&s.h, &new], 1)?.narrow(1, size, size)? })
    }
}

#[derive(Clone)]
struct ViewConfig;

impl CellConfig for ViewConfig {
    type Cell = View;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<View> {
        let gates = Gates { names: &["h"], forget: None, input: None };
        let init = Init::default();
        let weights = Weights::new(vb, layer_id, &init, gates, hidden)?;
        Ok(View { weight_ih: weights.weight_ih(input)?, weight_hh: weights.weight_hh()? })
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        hidden * (input + hidden)
    }
}

// The cells, each with its options.
conform! {
    step_returns_a_view: Case::cell(ViewConfig, |i, h| per_gate(1, 0, i, h));
    vanilla: Case::cell(VanillaConfig::default(), one);
    vanilla_relu: Case::cell(relu(), one);
    vanilla_without_bias:
        Case::cell(VanillaConfig { bias: false, ..relu() }, |i, h| per_gate(1, 0, i, h));
    vanilla_orthogonal:
        Case::cell(VanillaConfig { init: orthogonal(), ..VanillaConfig::default() }, one);
    irnn: Case::cell(VanillaConfig::irnn(1.0), one);
    lstm: Case::cell(LstmConfig::default(), four);
    lstm_without_bias: Case::cell(
        LstmConfig { bias: false, ..LstmConfig::default() },
        |i, h| per_gate(4, 0, i, h),
    );
    lstm_forget_bias: Case::cell(LstmConfig::forget_bias(1.0), four);
    lstm_chrono: Case::cell(LstmConfig::chrono(20), four);
    lstm_keras: Case::cell(lstm_from(Init { scheme: Scheme::Keras, ..Init::default() }), four);
    lstm_candle: Case::cell(lstm_from(Init { scheme: Scheme::Candle, ..Init::default() }), four);
    lstm_blocks: Case::cell(lstm_from(blocks()), four).seed(4);
    lstm_by_gate: Case::cell(lstm_from(by_gate()), four);
    lstm_peepholes: Case::cell(peepholes(), |i, h| four(i, h) + 3 * h);
    lstm_peepholes_keras:
        Case::cell(LstmConfig { init: keras(), ..peepholes() }, |i, h| four(i, h) + 3 * h);
    lstm_coupled: Case::cell(coupled(), three);
    lstm_coupled_without_bias:
        Case::cell(LstmConfig { bias: false, ..coupled() }, |i, h| per_gate(3, 0, i, h));
    lstm_coupled_chrono: Case::cell(LstmConfig { coupled: true, ..LstmConfig::chrono(20) }, three);
    lstm_coupled_peepholes:
        Case::cell(LstmConfig { coupled: true, ..peepholes() }, |i, h| three(i, h) + 2 * h);
    lstm_projected:
        Case::sized_cell(|h| halved(h, LstmConfig::default()), |i, h| projected(4, i, h, h / 2));
    lstm_projected_keras:
        Case::sized_cell(|h| halved(h, lstm_from(keras())), |i, h| projected(4, i, h, h / 2));
    lstm_projected_peepholes:
        Case::sized_cell(|h| halved(h, peepholes()), |i, h| projected(4, i, h, h / 2) + 3 * h);
    lstm_projected_coupled:
        Case::sized_cell(|h| halved(h, coupled()), |i, h| projected(3, i, h, h / 2));
    lstm_with_all_options: Case::sized_cell(
        |h| halved(h, LstmConfig { coupled: true, init: orthogonal(), ..peepholes() }),
        |i, h| projected(3, i, h, h / 2) + 2 * h
    );
    gru: Case::cell(GruConfig::default(), three);
    gru_without_bias:
        Case::cell(GruConfig { bias: false, ..GruConfig::default() }, |i, h| per_gate(3, 0, i, h));
    gru_chrono: Case::cell(GruConfig::chrono(20), three);
    gru_memory_bias: Case::cell(GruConfig { init: memory(2.0), ..GruConfig::default() }, three);
    gru_reset_before: Case::cell(reset_before(), three);
    gru_reset_before_without_bias:
        Case::cell(GruConfig { bias: false, ..reset_before() }, |i, h| per_gate(3, 0, i, h));
    layernorm_lstm: Case::cell(LayerNormLstmConfig::default(), normed_four);
    layernorm_lstm_small_gain: Case::cell(
        LayerNormLstmConfig { gain: 0.1, init: memory(1.0), ..LayerNormLstmConfig::default() },
        normed_four
    );
    layernorm_lstm_of_pytorch: Case::cell(placed(Placement::PyTorchScript), normed_four);
    layernorm_lstm_of_tensorflow_addons:
        Case::cell(placed(Placement::TfAddons), |i, h| per_gate(4, 5, i, h) + 2 * h);
    layernorm_lstm_of_burn:
        Case::cell(placed(Placement::Burn), |i, h| per_gate(4, 4, i, h) + 4 * h);
    layernorm_lstm_per_gate: Case::cell(
        LayerNormLstmConfig { scope: Scope::PerGate, ..LayerNormLstmConfig::default() },
        normed_four
    );
    rmsnorm_lstm: Case::cell(
        LayerNormLstmConfig { norm: Norm::Rms, ..LayerNormLstmConfig::default() },
        normed_four,
    );
    rmsnorm_lstm_of_burn_per_gate: Case::cell(
        LayerNormLstmConfig { norm: Norm::Rms, scope: Scope::PerGate, ..placed(Placement::Burn) },
        |i, h| per_gate(4, 4, i, h) + 4 * h
    );
    layernorm_gru: Case::cell(LayerNormGruConfig::default(), normed_three);
    layernorm_gru_small_gain: Case::cell(
        LayerNormGruConfig { gain: 0.1, init: memory(1.0), ..LayerNormGruConfig::default() },
        normed_three
    );
    layernorm_gru_per_gate: Case::cell(
        LayerNormGruConfig { scope: Scope::PerGate, ..LayerNormGruConfig::default() },
        normed_three
    );
    rmsnorm_gru: Case::cell(
        LayerNormGruConfig { norm: Norm::Rms, ..LayerNormGruConfig::default() },
        normed_three,
    );
    layernorm_vanilla: Case::cell(LayerNormVanillaConfig::default(), |i, h| per_gate(1, 3, i, h));
    layernorm_vanilla_relu: Case::cell(
        // With these weights no unit is so near to ReLU's kink that finite differences step across
        // it.
        LayerNormVanillaConfig {
            nonlinearity: Nonlinearity::Relu,
            ..LayerNormVanillaConfig::default()
        },
        |i, h| per_gate(1, 3, i, h)
    )
    .seed(3);
    layernorm_vanilla_apart: Case::cell(
        LayerNormVanillaConfig {
            norm_input: NormInput::Separate,
            ..LayerNormVanillaConfig::default()
        },
        |i, h| per_gate(1, 4, i, h)
    );
    rmsnorm_vanilla: Case::cell(
        LayerNormVanillaConfig { norm: Norm::Rms, ..LayerNormVanillaConfig::default() },
        |i, h| per_gate(1, 3, i, h)
    );
    vanilla_over_time: Case::cell(TemporalResidual::<VanillaConfig>::default(), one);
    lstm_over_time: Case::cell(TemporalResidual::new(LstmConfig::default(), 0.3), four);
    gru_over_time: Case::cell(TemporalResidual::new(GruConfig::default(), 0.3), three);
    kim_residual_lstm: Case::cell(ResidualLstmConfig::default(), |i, h| kim(2, i, h) + i * h);
    kim_residual_lstm_square:
        Case::cell(ResidualLstmConfig::default(), |i, h| kim(2, i, h)).square();
    kim_residual_lstm_without_bias: Case::cell(kim_without_bias(), |i, h| kim(0, i, h) + i * h);
    kim_residual_lstm_over_time:
        Case::cell(TemporalResidual::new(kim_forget_bias(), 0.3), |i, h| kim(2, i, h) + i * h);
    layernorm_lstm_over_time:
        Case::cell(TemporalResidual::new(LayerNormLstmConfig::default(), 0.3), normed_four);
    lstm_projected_over_time: Case::sized_cell(
        |h| TemporalResidual::new(halved(h, LstmConfig::default()), 0.3),
        |i, h| projected(4, i, h, h / 2)
    );
    gru_reset_before_over_time: Case::cell(TemporalResidual::new(reset_before(), 0.3), three);
}

// The wrappers.
conform! {
    stack_of_1_gru: Case::layer(|build| stack(build, 1, forward, &gru_config()), three);
    stack_of_3_lstm: Case::layer(
        |build| stack(build, 3, forward, &lstm_config()),
        |i, h| four(i, h) + 2 * four(h, h));
    stack_of_3_gru: Case::layer(
        |build| stack(build, 3, forward, &gru_config()),
        |i, h| three(i, h) + 2 * three(h, h));
    stack_of_3_over_time: Case::layer(
        |build| stack(build, 3, forward, &over_time()),
        |i, h| one(i, h) + 2 * one(h, h));
    stack_with_dropout: Case::layer(dropout, |i, h| four(i, h) + 2 * four(h, h));
    bidirectional_lstm: Case::layer(
        |build| bottom(build, both, &lstm_config()),
        |i, h| 2 * four(i, h)).both_directions();
    bidirectional_gru: Case::layer(
        |build| bottom(build, both, &gru_config()),
        |i, h| 2 * three(i, h)).both_directions();
    bidirectional_stack: Case::layer(
        |build| stack(build, 2, both, &lstm_config()),
        |i, h| 2 * four(i, h) + 2 * four(2 * h, h))
        .both_directions();
    stack_of_2_projected: Case::layer(
        |build| stack(build, 2, forward, &halved(build.hidden, LstmConfig::default())),
        |i, h| projected(4, i, h, h / 2) + projected(4, h / 2, h, h / 2)
    );
    bidirectional_projected: Case::layer(
        |build| bottom(build, both, &halved(build.hidden, peepholes())),
        |i, h| 2 * (projected(4, i, h, h / 2) + 3 * h)
    )
    .both_directions();
    bidirectional_stack_projected: Case::layer(
        |build| stack(build, 2, both, &halved(build.hidden, LstmConfig::default())),
        |i, h| 2 * (projected(4, i, h, h / 2) + projected(4, 2 * (h / 2), h, h / 2))
    )
    .both_directions();
    bidirectional_gru_reset_before:
        Case::layer(|build| bottom(build, both, &reset_before()), |i, h| 2 * three(i, h))
        .both_directions();
    residual_projected: Case::layer(
        |build| bottom(build, around, &halved(build.hidden, LstmConfig::default())),
        |i, h| projected(4, i, h, h / 2) + i * (h / 2)
    );
    residual: Case::layer(
        |build| bottom(build, around, &lstm_config()),
        |_, h| four(h, h)).square();
    residual_with_projection:
        Case::layer(|build| bottom(build, around, &lstm_config()), |i, h| four(i, h) + i * h);
    residual_stack: Case::layer(
        |build| stack(build, 2, around, &lstm_config()),
        |i, h| four(i, h) + i * h + four(h, h));
    residual_bidirectional: Case::layer(
        |build| bottom(build, around_both, &lstm_config()),
        |i, h| 2 * four(i, h) + 2 * i * h)
        .both_directions();
    residual_highway: Case::layer(
        |build| bottom(build, highway, &lstm_config()),
        |_, h| four(h, h) + h * (h + 1)).square();
    residual_highway_with_projection: Case::layer(
        |build| bottom(build, highway, &gru_config()),
        |i, h| three(i, h) + i * h + h * (i + 1));
    residual_highway_stack: Case::layer(|build| stack(build, 2, highway, &lstm_config()), |i, h| {
        four(i, h) + i * h + h * (i + 1) + four(h, h) + h * (h + 1)
    });
    residual_highway_bidirectional:
        Case::layer(|build| bottom(build, highway_both, &lstm_config()), |i, h| {
        2 * four(i, h) + 2 * h * i + 2 * h * (i + 1)
    })
    .both_directions();
    residual_rezero: begins_as_identity(Case::layer(
        |build| bottom(build, rezero, &lstm_config()),
        |_, h| four(h, h) + 1))
        .square();
    residual_rezero_with_projection: begins_as_identity(
        Case::layer(|build| bottom(build, rezero, &gru_config()), |i, h| three(i, h) + i * h + 1)
    );
    residual_rezero_stack: begins_as_identity(
        Case::layer(
            |build| stack(build, 2, rezero, &lstm_config()),
            |i, h| four(i, h) + i * h + 1 + four(h, h) + 1,
        )
    );
    residual_rezero_bidirectional: begins_as_identity(
        Case::layer(
            |build| bottom(build, rezero_both, &lstm_config()),
            |i, h| 2 * four(i, h) + 2 * h * i + 1,
        )
    )
    .both_directions();
}

/// A ReZero connection's layer has no gradient at initialisation, where α is zero.
fn begins_as_identity(case: Case) -> Case {
    ["weight_", "bias_"].into_iter().fold(case, |case, prefix| case.zero_at_start(prefix, "α = 0"))
}

fn lstm_config() -> LstmConfig {
    LstmConfig::default()
}

fn gru_config() -> GruConfig {
    GruConfig::default()
}

fn over_time() -> TemporalResidual<VanillaConfig> {
    TemporalResidual::default()
}

fn kim_without_bias() -> ResidualLstmConfig {
    ResidualLstmConfig { bias: false, ..ResidualLstmConfig::default() }
}

fn kim_forget_bias() -> ResidualLstmConfig {
    ResidualLstmConfig { init: memory(1.0), ..ResidualLstmConfig::default() }
}

fn lstm_from(init: Init) -> LstmConfig {
    LstmConfig { init, ..LstmConfig::default() }
}

/// Recurrent blocks for single gates, and another seed.
fn blocks() -> Init {
    let gates =
        vec![("f".to_string(), Block::Identity { scale: 0.7 }), ("o".to_string(), Block::Scheme)];
    Init { recurrent: Block::Orthogonal { gain: 0.9 }, recurrent_by_gate: gates, ..Init::default() }
}

fn placed(placement: Placement) -> LayerNormLstmConfig {
    LayerNormLstmConfig { placement, ..LayerNormLstmConfig::default() }
}

/// A scheme and a bias for single gates.
fn by_gate() -> Init {
    let schemes = vec![("f".to_string(), Scheme::Keras), ("o".to_string(), Scheme::Candle)];
    Init {
        scheme_by_gate: schemes,
        bias_by_gate: vec![("i".to_string(), -1.0), ("f".to_string(), 2.0)],
        ..Init::default()
    }
}

fn keras() -> Init {
    Init { scheme: Scheme::Keras, ..Init::default() }
}

fn peepholes() -> LstmConfig {
    LstmConfig { peepholes: true, ..LstmConfig::default() }
}

fn coupled() -> LstmConfig {
    LstmConfig { coupled: true, ..LstmConfig::default() }
}

/// Half as many outputs as units.
fn halved(hidden: usize, config: LstmConfig) -> LstmConfig {
    LstmConfig { proj: Some(hidden / 2), ..config }
}

fn reset_before() -> GruConfig {
    GruConfig { reset: Reset::Before, ..GruConfig::default() }
}

fn relu() -> VanillaConfig {
    VanillaConfig { nonlinearity: Nonlinearity::Relu, ..VanillaConfig::default() }
}

fn orthogonal() -> Init {
    Init { recurrent: Block::Orthogonal { gain: 1.0 }, ..Init::default() }
}

fn memory(sum: f64) -> Init {
    Init { forget_bias: ForgetBias::Constant(sum), ..Init::default() }
}

type Make<K> = fn(&BuildContext, LayerId, usize, &K) -> Result<Box<dyn Layer>>;

fn forward<K: CellConfig>(
    build: &BuildContext,
    layer_id: LayerId,
    input: usize,
    config: &K,
) -> Result<Box<dyn Layer>> {
    build.at(layer_id, input, config)
}

fn both<K: CellConfig>(
    build: &BuildContext,
    layer_id: LayerId,
    input: usize,
    config: &K,
) -> Result<Box<dyn Layer>> {
    let reverse = build.at(LayerId { reverse: true, ..layer_id }, input, config)?;
    Ok(Box::new(Bidirectional::new(build.at(layer_id, input, config)?, reverse)?))
}

fn around<K: CellConfig>(
    build: &BuildContext,
    layer_id: LayerId,
    input: usize,
    config: &K,
) -> Result<Box<dyn Layer>> {
    join(Shortcut::Additive, forward, build, layer_id, input, config)
}

fn around_both<K: CellConfig>(
    build: &BuildContext,
    layer_id: LayerId,
    input: usize,
    config: &K,
) -> Result<Box<dyn Layer>> {
    join(Shortcut::Additive, both, build, layer_id, input, config)
}

fn highway<K: CellConfig>(
    build: &BuildContext,
    layer_id: LayerId,
    input: usize,
    config: &K,
) -> Result<Box<dyn Layer>> {
    join(Shortcut::highway(), forward, build, layer_id, input, config)
}

fn highway_both<K: CellConfig>(
    build: &BuildContext,
    layer_id: LayerId,
    input: usize,
    config: &K,
) -> Result<Box<dyn Layer>> {
    join(Shortcut::Highway { bias: 0.5 }, both, build, layer_id, input, config)
}

fn rezero<K: CellConfig>(
    build: &BuildContext,
    layer_id: LayerId,
    input: usize,
    config: &K,
) -> Result<Box<dyn Layer>> {
    join(Shortcut::ReZero, forward, build, layer_id, input, config)
}

fn rezero_both<K: CellConfig>(
    build: &BuildContext,
    layer_id: LayerId,
    input: usize,
    config: &K,
) -> Result<Box<dyn Layer>> {
    join(Shortcut::ReZero, both, build, layer_id, input, config)
}

fn join<K: CellConfig>(
    shortcut: Shortcut,
    make: Make<K>,
    build: &BuildContext,
    layer_id: LayerId,
    input: usize,
    config: &K,
) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Residual::of(
        shortcut,
        make(build, layer_id, input, config)?,
        layer_id,
        build.vb.clone(),
    )?))
}

fn bottom<K: CellConfig>(
    build: &BuildContext,
    make: Make<K>,
    config: &K,
) -> Result<Box<dyn Layer>> {
    make(build, LayerId::default(), build.input, config)
}

fn stack<K: CellConfig>(
    build: &BuildContext,
    layers: usize,
    make: Make<K>,
    config: &K,
) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Stack::build(build.input, layers, |layer_id, input| {
        make(build, layer_id, input, config)
    })?))
}

fn dropout(build: &BuildContext) -> Result<Box<dyn Layer>> {
    let stack = Stack::build(build.input, 3, |layer_id, input| {
        build.at(layer_id, input, &LstmConfig::default())
    })?;
    Ok(Box::new(stack.with_dropout(0.4)?))
}

#[test]
fn every_variant_of_the_registry_counts_its_weights() -> Result<()> {
    for entry in variants() {
        let vars = VarMap::new();
        let spec = entry.spec.with_longest_lag(20);
        let layer = spec.build(3, 5, seeded(&vars, 1, DType::F64, &Device::Cpu))?;
        let output = if entry.name == "lstm-proj" { 2 } else { 5 };
        let found: usize = layer.params().iter().map(|(_, param)| param.elem_count()).sum();
        assert_eq!(found, spec.param_count(3, 5)?, "{}", entry.name);
        let xs = Sequence::padded(Tensor::ones((2, 7, 3), DType::F64, &Device::Cpu)?, &[7, 2])?;
        let (ys, _) = layer.run(&xs, None, &ForwardContext::train(1, 1))?;
        assert_eq!(ys.values().dims(), [2, 7, output], "{}", entry.name);
    }
    Ok(())
}

/// The weights of a connection are initialised as documented, with the layer in their names, in any
/// order of construction.
#[test]
fn connections_begin_as_documented() -> Result<()> {
    let layer_id = LayerId { layer: 2, reverse: true };
    let begin = |shortcut| -> Result<_> {
        let vars = VarMap::new();
        let vb = seeded(&vars, 7, DType::F64, &Device::Cpu);
        let layer = Lstm::new(3, 5, &LstmConfig::default(), vb.clone())?;
        let count = layer.params().len();
        Ok(Residual::of(shortcut, layer, layer_id, vb)?.params().split_off(count))
    };
    let names = |params: &[(String, Tensor)]| {
        params.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let additive = begin(Shortcut::Additive)?;
    assert_eq!(names(&additive), ["proj.weight_l2_reverse"]);
    let rezero = begin(Shortcut::ReZero)?;
    assert_eq!(names(&rezero), ["proj.weight_l2_reverse", "rezero.alpha_l2_reverse"]);
    assert_eq!(rezero[1].1.to_vec1::<f64>()?, [0.0]);
    let highway = begin(Shortcut::highway())?;
    let expected =
        ["proj.weight_l2_reverse", "transform.weight_l2_reverse", "transform.bias_l2_reverse"];
    assert_eq!(names(&highway), expected);
    assert_eq!(highway[2].1.to_vec1::<f64>()?, [-1.0; 5]);
    assert_eq!(begin(Shortcut::Highway { bias: -3.0 })?[2].1.to_vec1::<f64>()?, [-3.0; 5]);
    let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f64>();
    assert_ne!(values(&highway[0].1)?, values(&highway[1].1)?, "another name is another draw");
    assert_eq!(values(&highway[0].1)?, values(&additive[0].1)?, "the same name is the same draw");
    assert!(values(&highway[1].1)?.iter().all(|value| value.abs() <= 1.0 / 3f64.sqrt()));
    let error = begin(Shortcut::Highway { bias: f64::NAN });
    let expected = "highway bias: expected a finite number, got NaN";
    recurrent_testkit::close::expect_error("NaN", error, expected).expect("refused");
    Ok(())
}

#[test]
fn a_missing_kernel_is_refused() -> Result<()> {
    let vb = VarBuilder::zeros(DType::BF16, &Device::Cpu);
    let layer = Lstm::new(3, 5, &LstmConfig::default(), vb)?.with_execution(Execution::Kernel);
    let xs = Tensor::zeros((2, 7, 3), DType::BF16, &Device::Cpu)?;
    let error = layer.run(&Sequence::new(xs)?, None, &ForwardContext::default()).map(drop);
    recurrent_testkit::close::expect_error("bf16", error, "kernel: ").expect("refused");
    assert!(layer.explain(DType::BF16, &Device::Cpu).starts_with("kernel: "));
    Ok(())
}
