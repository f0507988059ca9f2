//! Every reference file of `tests/data`: outputs, final states, the loss and all gradients, against
//! PyTorch, by the loop over `step`, by replay and by kernel.

use anyhow::{bail, ensure, Context};
use candle_core::{DType, Tensor};
use recurrent::{
    Bidirectional, CellConfig, GruConfig, Layer, LayerId, LayerNormGruConfig, LayerNormLstmConfig,
    LayerNormVanillaConfig, LstmConfig, Nonlinearity, Reset, Residual, ResidualLstmConfig,
    Shortcut, Stack, TemporalResidual, VanillaConfig,
};
use recurrent_testkit::reference::{cases, load, Reference, ReferenceCase};
use recurrent_testkit::{
    close, BuildContext, Case, Dims, Evaluation, Implementation, LossInputs, Result, TensorMap,
    Tolerance,
};
use serde::de::DeserializeOwned;

/// One test per case, in both dtypes, and their list.
macro_rules! references {
    ($($name:ident: $case:literal;)*) => {
        $(#[test]
        fn $name() -> Result<()> {
            check($case)
        })*

        const CASES: &[&str] = &[$($case),*];
    };
}

references! {
    vanilla_tanh: "vanilla-tanh-1layer";
    vanilla_tanh_both_ways_with_lengths: "vanilla-tanh-2layers-bidirectional-lengths";
    vanilla_tanh_wide: "vanilla-tanh-1layer-hidden17";
    vanilla_relu: "vanilla-relu-1layer";
    lstm: "lstm-1layer";
    lstm_with_lengths: "lstm-1layer-lengths";
    lstm_3_layers: "lstm-3layers";
    lstm_both_ways_with_lengths: "lstm-2layers-bidirectional-lengths";
    lstm_without_bias: "lstm-1layer-nobias";
    lstm_wide: "lstm-1layer-hidden17";
    gru: "gru-1layer";
    gru_3_layers: "gru-3layers";
    gru_both_ways_with_lengths: "gru-2layers-bidirectional-lengths";
    gru_without_bias: "gru-1layer-nobias";
    gru_wide: "gru-1layer-hidden17";
    layernorm_lstm: "layernorm-lstm";
    layernorm_lstm_with_lengths: "layernorm-lstm-lengths";
    layernorm_lstm_from_zero: "layernorm-lstm-zerostart";
    layernorm_lstm_wide: "layernorm-lstm-hidden17";
    layernorm_gru: "layernorm-gru";
    layernorm_gru_wide: "layernorm-gru-hidden17";
    layernorm_lstm_of_pytorch: "layernorm-lstm-pytorch";
    layernorm_lstm_of_pytorch_from_zero: "layernorm-lstm-pytorch-zerostart";
    layernorm_lstm_of_tensorflow_addons: "layernorm-lstm-tfa";
    layernorm_lstm_of_burn: "layernorm-lstm-burn";
    layernorm_lstm_of_burn_with_lengths: "layernorm-lstm-burn-lengths";
    rmsnorm_lstm_of_burn_per_gate: "layernorm-lstm-burn-rms-per-gate";
    rmsnorm_lstm: "layernorm-lstm-rms";
    layernorm_lstm_per_gate: "layernorm-lstm-per-gate";
    rmsnorm_gru: "layernorm-gru-rms";
    layernorm_gru_per_gate: "layernorm-gru-per-gate";
    layernorm_vanilla: "layernorm-vanilla-tanh";
    layernorm_vanilla_apart: "layernorm-vanilla-tanh-apart";
    rmsnorm_vanilla_relu_with_lengths: "layernorm-vanilla-relu-rms-lengths";
    residual_over_time_tanh: "residual-time-tanh";
    residual_over_time_lstm: "residual-time-lstm";
    residual_over_time_lstm_with_lengths: "residual-time-lstm-lengths";
    residual_over_depth: "residual-depth-lstm";
    residual_over_depth_with_lengths: "residual-depth-lstm-lengths";
    lstm_projected: "lstm-proj-1layer";
    lstm_projected_without_bias: "lstm-proj-1layer-nobias";
    lstm_projected_both_ways_with_lengths: "lstm-proj-2layers-bidirectional-lengths";
    lstm_with_peepholes: "lstm-peephole";
    lstm_with_peepholes_and_lengths: "lstm-peephole-lengths";
    lstm_coupled: "lstm-coupled";
    lstm_coupled_with_peepholes_and_projected: "lstm-coupled-peephole-proj";
    lstm_coupled_with_peepholes_projected_and_lengths: "lstm-coupled-peephole-proj-lengths";
    gru_reset_before: "gru-reset-before";
    gru_reset_before_with_lengths: "gru-reset-before-lengths";
    gru_reset_before_wide: "gru-reset-before-hidden17";
    highway_over_depth: "highway-depth-lstm";
    highway_over_depth_with_lengths: "highway-depth-lstm-lengths";
    rezero_over_depth: "rezero-depth-lstm";
    rezero_over_depth_with_lengths: "rezero-depth-lstm-lengths";
    kim_residual_lstm: "kim-residual-lstm";
    kim_residual_lstm_with_lengths: "kim-residual-lstm-lengths";
}

#[test]
fn every_reference_file_has_its_test() -> Result<()> {
    let mut expected: Vec<_> =
        CASES.iter().flat_map(|case| [format!("{case}-f32"), format!("{case}-f64")]).collect();
    expected.sort();
    assert_eq!(cases()?, expected);
    Ok(())
}

/// The tolerance is 1e-13 of each tensor's norm in f64, and 2e-5 of its largest element, or of 1,
/// in f32.
fn check(file: &str) -> Result<()> {
    for (dtype, tolerance) in [("f64", Tolerance::Norm(1e-13)), ("f32", Tolerance::Max(2e-5))] {
        let reference = load(&format!("{file}-{dtype}"))?;
        let case = build_case(&reference.case)?;
        let ReferenceCase { batch, time, input, hidden, ref lengths, .. } = reference.case;
        let evaluation = Evaluation {
            size: Dims { batch, time, input, hidden },
            lengths: lengths.clone(),
            loss_inputs: LossInputs::Both,
            dtype: if dtype == "f32" { DType::F32 } else { DType::F64 },
            ..Evaluation::new(&case)
        };
        let (leaves, expected) = sort(&reference)?;
        for implementation in
            [vec![Implementation::StepLoop], evaluation.implementations()?].concat()
        {
            let evaluation = Evaluation { implementation, ..evaluation.clone() };
            let output = evaluation.run(&leaves)?;
            let grads = output
                .grads
                .into_iter()
                .map(|(name, gradient)| (format!("gradient of {name}"), gradient));
            let found: TensorMap = output.values.into_iter().chain(grads).collect();
            ensure!(
                found.keys().eq(expected.keys()),
                "{file}: expected {:?}, got {:?}",
                expected.keys(),
                found.keys()
            );
            for (name, found) in &found {
                let what = format!(
                    "{file}, {}, {name}, against PyTorch {}",
                    evaluation.name(),
                    reference.torch
                );
                close(&what, found, &expected[name], tolerance)?;
            }
        }
    }
    Ok(())
}

/// The leaves and the expected values, by the names of an evaluation.
fn sort(reference: &Reference) -> Result<(TensorMap, TensorMap)> {
    let (mut leaves, mut expected) = (TensorMap::new(), TensorMap::new());
    for (name, tensor) in &reference.tensors {
        let of_state = |name: &str, end: &str| {
            name.strip_suffix(end).filter(|field| ["h", "c"].contains(field)).map(str::to_string)
        };
        let put = |named: &mut TensorMap, prefix: &str, field: &str| -> Result<()> {
            for (part, tensor) in parts(&reference.case, tensor)? {
                named.insert(format!("{prefix}{part}{field}"), tensor);
            }
            Ok(())
        };
        match name.split_once('.') {
            _ if name == "xs" || name == "loss.ys" => {
                drop(leaves.insert(name.clone(), tensor.clone()))
            }
            _ if name == "ys" || name == "loss" => {
                drop(expected.insert(name.clone(), tensor.clone()))
            }
            _ if name == "lengths" => {}
            Some(("param", _)) => drop(leaves.insert(name.clone(), tensor.clone())),
            Some(("loss", end)) => {
                put(&mut leaves, "loss.end.", &of_state(end, "n").context("a field")?)?
            }
            Some(("grad", "xs")) => {
                drop(expected.insert("gradient of xs".to_string(), tensor.clone()))
            }
            Some(("grad", leaf)) => match of_state(leaf, "0") {
                Some(field) => put(&mut expected, "gradient of carry.", &field)?,
                None => drop(expected.insert(format!("gradient of param.{leaf}"), tensor.clone())),
            },
            _ => match (of_state(name, "0"), of_state(name, "n")) {
                (Some(field), _) => put(&mut leaves, "carry.", &field)?,
                (_, Some(field)) => put(&mut expected, "end.", &field)?,
                _ => bail!("{}: nothing is known of {name}", reference.file),
            },
        }
    }
    Ok((leaves, expected))
}

/// A state `(layers * directions, batch, hidden)` as the parts of a carry: `0.1.` is the reversed
/// direction of the bottom layer.
fn parts(case: &ReferenceCase, state: &Tensor) -> Result<Vec<(String, Tensor)>> {
    let directions = 1 + usize::from(case.bidirectional);
    let name = |index: usize| {
        let layer = if is_stack(case) { format!("{}.", index / directions) } else { String::new() };
        let direction =
            if case.bidirectional { format!("{}.", index % directions) } else { String::new() };
        layer + &direction
    };
    (0..state.dim(0)?).map(|index| Ok((name(index), state.get(index)?.contiguous()?))).collect()
}

fn is_stack(case: &ReferenceCase) -> bool {
    case.layers > 1
}

/// The layers of a case.
fn build_case(case: &ReferenceCase) -> Result<Case> {
    let alpha = || case.options["alpha"].as_f64().context("alpha");
    let bias = case.bias;
    let proj = case.options["proj"].as_u64().map(|proj| proj as usize);
    let lstm = LstmConfig { bias, proj, ..LstmConfig::default() };
    let gru = GruConfig { bias, ..GruConfig::default() };
    Ok(match (case.family.as_str(), case.nonlinearity.as_deref()) {
        ("vanilla", Some(name)) => layers(
            case,
            VanillaConfig { nonlinearity: nonlinearity(name)?, bias, ..VanillaConfig::default() },
        ),
        ("lstm", None) => layers(case, lstm),
        ("lstm-peephole", None) => layers(case, LstmConfig { peepholes: true, ..lstm }),
        ("lstm-coupled", None) => layers(case, LstmConfig { coupled: true, ..lstm }),
        ("lstm-coupled-peephole-proj", None) => {
            ensure!(proj.is_some(), "{}: expected the size of the projection", case.name);
            layers(case, LstmConfig { coupled: true, peepholes: true, ..lstm })
        }
        ("gru", None) => layers(case, gru),
        ("gru-reset-before", None) => layers(case, GruConfig { reset: Reset::Before, ..gru }),
        ("layernorm-lstm", None) => layers(case, options::<LayerNormLstmConfig>(case)?),
        ("layernorm-gru", None) => layers(case, options::<LayerNormGruConfig>(case)?),
        ("layernorm-vanilla", Some(name)) => {
            let options = options::<LayerNormVanillaConfig>(case)?;
            layers(case, LayerNormVanillaConfig { nonlinearity: nonlinearity(name)?, ..options })
        }
        ("residual-time-tanh", None) => {
            layers(case, TemporalResidual::new(VanillaConfig::default(), alpha()?))
        }
        ("residual-time-lstm", None) => {
            layers(case, TemporalResidual::new(LstmConfig::default(), alpha()?))
        }
        ("residual-depth-lstm" | "highway-depth-lstm" | "rezero-depth-lstm", None) => {
            layers(case, LstmConfig::default())
        }
        ("kim-residual-lstm", None) => layers(case, ResidualLstmConfig::default()),
        other => bail!("unknown family or nonlinearity {other:?}"),
    })
}

fn nonlinearity(name: &str) -> Result<Nonlinearity> {
    Ok(match name {
        "tanh" => Nonlinearity::Tanh,
        "relu" => Nonlinearity::Relu,
        other => bail!("unknown nonlinearity {other}"),
    })
}

/// The options of a case as a configuration with the same field names.
fn options<K: DeserializeOwned>(case: &ReferenceCase) -> Result<K> {
    Ok(serde_json::from_value(case.options.clone())?)
}

fn layers<K: CellConfig>(case: &ReferenceCase, config: K) -> Case {
    let case = case.clone();
    Case::layer(
        move |build| {
            let mut stack = (0..case.layers)
                .map(|layer| one(&case, build, layer, &config))
                .collect::<candle_core::Result<Vec<_>>>()?;
            Ok(if is_stack(&case) { Box::new(Stack::from_layers(stack)?) } else { stack.remove(0) })
        },
        |_, _| 0,
    )
}

fn one<K: CellConfig>(
    case: &ReferenceCase,
    build: &BuildContext,
    layer: usize,
    config: &K,
) -> candle_core::Result<Box<dyn Layer>> {
    let layer_id = LayerId::layer(layer);
    let below = config.output_size(build.hidden) * (1 + usize::from(case.bidirectional));
    let input = if layer == 0 { build.input } else { below };
    let forward = build.at(layer_id, input, config)?;
    if case.bidirectional {
        let reverse = build.at(LayerId { reverse: true, ..layer_id }, input, config)?;
        return Ok(Box::new(Bidirectional::new(forward, reverse)?));
    }
    let shortcut = match case.family.as_str() {
        "residual-depth-lstm" => Shortcut::Additive,
        "highway-depth-lstm" => Shortcut::highway(),
        "rezero-depth-lstm" => Shortcut::ReZero,
        _ => return Ok(forward),
    };
    Ok(Box::new(Residual::of(shortcut, forward, layer_id, build.vb.clone())?))
}
