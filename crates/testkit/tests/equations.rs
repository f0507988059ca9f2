//! The pages of the families show the equations that their descriptions print.

use candle_core::{DType, Device};
use candle_nn::{VarBuilder, VarMap};
use recurrent_core::description::{Builder, Graph};
use recurrent_core::{Cell, CellConfig, Nonlinearity, State};
use recurrent_gru::{GruConfig, Reset};
use recurrent_layernorm::{
    LayerNormGruConfig, LayerNormLstmConfig, LayerNormVanillaConfig, Norm, NormInput, Placement,
    Scope,
};
use recurrent_lstm::LstmConfig;
use recurrent_residual::ResidualLstmConfig;
use recurrent_testkit::{derivative, Result};
use recurrent_vanilla::VanillaConfig;
use std::collections::BTreeSet;

const HIDDEN: usize = 5;

/// The description of the cell of `config`.
fn graph(config: &impl CellConfig, input: usize) -> Result<Graph> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    Ok(config.cell(input, HIDDEN, None, vb)?.graph(Default::default())?)
}

fn equations<K: CellConfig>(config: &K) -> Result<String> {
    Ok(graph(config, 3)?.equations(<K::Cell as Cell>::State::FIELDS))
}

/// The equations in the `text` blocks of a page, without what stands beside them.
fn blocks(page: &str) -> Vec<Vec<&str>> {
    let mut blocks = Vec::new();
    let mut block: Option<Vec<&str>> = None;
    for line in page.lines().map(str::trim_start) {
        let Some(text) = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")) else {
            continue;
        };
        let text = text.strip_prefix(' ').unwrap_or(text);
        match (text, &mut block) {
            ("```text", None) => block = Some(Vec::new()),
            ("```", Some(_)) => blocks.extend(block.take()),
            (text, Some(block)) => block.push(text.split("  ").next().unwrap_or(text)),
            _ => {}
        }
    }
    blocks
}

/// A page has each of `whole` as one block, and every line of `parts`, which are the equations of
/// options, somewhere; and it has no other equations of values that any of these define.
fn shows(page: &str, whole: &[String], parts: &[String]) {
    let blocks = blocks(page);
    for equations in whole {
        let lines: Vec<_> = equations.lines().collect();
        assert!(blocks.contains(&lines), "no block is\n{equations}");
    }
    let shown: BTreeSet<_> = blocks.into_iter().flatten().collect();
    let printed: BTreeSet<_> = whole.iter().chain(parts).flat_map(|text| text.lines()).collect();
    for line in &printed {
        assert!(shown.contains(line), "the page lacks\n{line}");
    }
    let left = |line: &str| line.split_once(" = ").map(|(left, _)| left.to_string());
    let defined: BTreeSet<_> = printed.iter().filter_map(|line| left(line)).collect();
    for line in shown.difference(&printed) {
        let is_equation = left(line).is_some_and(|left| defined.contains(&left));
        assert!(!is_equation, "no description prints\n{line}");
    }
}

#[test]
fn vanilla() -> Result<()> {
    let relu = VanillaConfig { nonlinearity: Nonlinearity::Relu, ..Default::default() };
    let parts = [equations(&VanillaConfig::default())?, equations(&relu)?];
    shows(include_str!("../../vanilla/src/lib.rs"), &[], &parts);
    Ok(())
}

#[test]
fn lstm() -> Result<()> {
    let of = |change: fn(&mut LstmConfig)| {
        let mut config = LstmConfig::default();
        change(&mut config);
        equations(&config)
    };
    let parts = [
        of(|config| config.peepholes = true)?,
        of(|config| config.coupled = true)?,
        of(|config| config.proj = Some(2))?,
    ];
    shows(include_str!("../../lstm/src/lib.rs"), &[of(|_| ())?], &parts);
    Ok(())
}

#[test]
fn gru() -> Result<()> {
    let before = GruConfig { reset: Reset::Before, ..Default::default() };
    let whole = [equations(&GruConfig::default())?];
    shows(include_str!("../../gru/src/lib.rs"), &whole, &[equations(&before)?]);
    Ok(())
}

#[test]
fn residual_lstm() -> Result<()> {
    let config = ResidualLstmConfig::default();
    let equal = graph(&config, HIDDEN)?.equations(&["h", "c"]);
    shows(include_str!("../../residual/src/lstm.rs"), &[equations(&config)?], &[equal]);
    Ok(())
}

#[test]
fn layer_norm() -> Result<()> {
    let whole =
        [equations(&LayerNormLstmConfig::default())?, equations(&LayerNormGruConfig::default())?];
    let whole = [&whole[..], &[equations(&LayerNormVanillaConfig::default())?]].concat();
    shows(include_str!("../../layernorm/src/lib.rs"), &whole, &[]);
    Ok(())
}

#[test]
fn placements_of_the_norm() -> Result<()> {
    let of = |placement| equations(&LayerNormLstmConfig { placement, ..Default::default() });
    let whole = [
        of(Placement::Haste)?,
        of(Placement::PyTorchScript)?,
        of(Placement::TfAddons)?,
        of(Placement::Burn)?,
    ];
    shows(include_str!("../../layernorm/src/placement.rs"), &whole, &[]);
    Ok(())
}

#[test]
fn inputs_of_the_norm() -> Result<()> {
    let of = |norm_input| equations(&LayerNormVanillaConfig { norm_input, ..Default::default() });
    let whole = [of(NormInput::Sum)?, of(NormInput::Separate)?];
    shows(include_str!("../../layernorm/src/vanilla.rs"), &whole, &[]);
    Ok(())
}

/// What the pages do not show.
#[test]
fn other_norms() -> Result<()> {
    let config = LayerNormLstmConfig {
        norm: Norm::Rms,
        scope: Scope::PerGate,
        placement: Placement::Burn,
        ..Default::default()
    };
    let expected = "\
i = σ(RMS(W_ii x_t + b_inside_i) ∘ gain_ii + b_ii + W_hi h_{t-1} + b_hi)
f = σ(RMS(W_if x_t + b_inside_f) ∘ gain_if + b_if + W_hf h_{t-1} + b_hf)
g = tanh(RMS(W_ig x_t + b_inside_g) ∘ gain_ig + b_ig + W_hg h_{t-1} + b_hg)
o = σ(RMS(W_io x_t + b_inside_o) ∘ gain_io + b_io + W_ho h_{t-1} + b_ho)
c_t = RMS(f ∘ c_{t-1} + i ∘ g) ∘ gain_c + b_c
h_t = RMS(o ∘ tanh(c_t)) ∘ gain_h + b_h
RMS(a) = a / √(mean(a²) + 1e-5)
";
    assert_eq!(equations(&config)?, expected);
    Ok(())
}

#[test]
fn derivatives_of_the_families_agree_with_differences_which_find_planted_faults() -> Result<()> {
    let peepholes = LstmConfig { peepholes: true, proj: Some(2), ..Default::default() };
    let reset_before = GruConfig { reset: Reset::Before, ..Default::default() };
    let burn = LayerNormLstmConfig { placement: Placement::Burn, ..Default::default() };
    let cells = [
        ("vanilla", graph(&VanillaConfig::default(), 3)?),
        ("lstm", graph(&LstmConfig::default(), 3)?),
        ("lstm with peepholes", graph(&peepholes, 3)?),
        ("gru", graph(&GruConfig::default(), 3)?),
        ("gru, reset before", graph(&reset_before, 3)?),
        ("residual lstm", graph(&ResidualLstmConfig::default(), 3)?),
    ];
    for (name, graph) in cells {
        let adjoint = graph.adjoint();
        derivative::check(name, &graph, &adjoint)?;
        for (fault, adjoint) in derivative::faults(&adjoint) {
            let found = derivative::check(name, &graph, &adjoint);
            assert!(found.is_err(), "{name}: not found: {fault}");
        }
    }
    // Some faults of these have no effect: the gradient through the variance has the mean 0, so
    // that the sign of the mean does not matter.
    let normed = [
        ("layer-normed vanilla", graph(&LayerNormVanillaConfig::default(), 3)?),
        ("layer-normed lstm", graph(&LayerNormLstmConfig::default(), 3)?),
        ("layer-normed lstm of burn", graph(&burn, 3)?),
        ("layer-normed gru", graph(&LayerNormGruConfig::default(), 3)?),
    ];
    for (name, graph) in normed {
        derivative::check(name, &graph, &graph.adjoint())?;
    }
    Ok(())
}

/// Values without names: rows by their numbers, and letters for what is read twice.
#[test]
fn values_without_names() -> Result<()> {
    let weights = [("weight_ih", vec![10, 3]), ("weight_hh", vec![10, 5])];
    let weights = weights.map(|(name, dims)| (name.to_string(), dims));
    let graph = Builder::describe("cell", 3, &[5, 5], &weights, Default::default(), |cell| {
        let (h, c) = (cell.recurrent(), cell.state(1));
        let [a, b] = cell.gates(&h);
        let a = a.sigmoid();
        let m = (a * c - 0.5 * (b + c)) / (1.0 + a).sqrt();
        vec![m * m.mean() + cell.input().slice(0, 1), c]
    })?;
    let expected = "\
u = σ(W_ih[0..5] x_t + W_hh[0..5] h_{t-1})
v = (u ∘ c_{t-1} − 0.5 (W_ih[5..10] x_t + W_hh[5..10] h_{t-1} + c_{t-1})) / √(1 + u)
h_t = v · mean(v) + x_t[0..1]
c_t = c_{t-1}
";
    assert_eq!(graph.equations(&["h", "c"]), expected);
    Ok(())
}

/// The cumulative softmax of ON-LSTM, whole and in part.
#[test]
fn functions_of_a_row() -> Result<()> {
    let weights = [("weight_v".to_string(), vec![5, 2])];
    let graph = Builder::describe("cell", 3, &[5], &weights, Default::default(), |cell| {
        let h = cell.state(0);
        let y = h.softmax().cumulative_sum();
        vec![y * h + cell.product("weight_v", y.slice(1, 2))]
    })?;
    let expected = "\
u = cumsum(softmax(h_{t-1}))
h_t = u ∘ h_{t-1} + W_v u[1..3]
";
    assert_eq!(graph.equations(&["h"]), expected);
    Ok(())
}
