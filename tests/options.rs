//! The options of the plain families: their meaning and their limits.

use candle_core::{DType, Device, Tensor};
use candle_nn::ops::sigmoid;
use candle_nn::{VarBuilder, VarMap};
use recurrent::core::init::{Block, ForgetBias, Init};
use recurrent::core::{linear, spectral_radius, HiddenState, LstmState, RecurrentDropout};
use recurrent::{
    Cell, CellConfig, CellKind, ForwardContext, Gru, GruConfig, Layer, Lstm, LstmConfig, Reset,
    RnnConfig, Sequence, Vanilla, VanillaConfig,
};
use recurrent_testkit::close::expect_error;
use recurrent_testkit::{close, noise, Result, Tolerance};

fn cell<K: CellConfig>(config: &K) -> candle_core::Result<K::Cell> {
    config.cell(3, 6, None, VarBuilder::from_varmap(&VarMap::new(), DType::F64, &Device::Cpu))
}

fn lstm() -> LstmConfig {
    LstmConfig::default()
}

#[test]
fn coupled_memory_is_a_moving_average() -> Result<()> {
    // With f = σ(0) = 1/2 for all, c' is the mean of c and tanh(g).
    let cell = cell(&LstmConfig { coupled: true, bias: false, ..lstm() })?;
    let (x, h, c) = (noise("x", &[2, 3])?, noise("h", &[2, 6])?, noise("c", &[2, 6])?);
    let mut params: Vec<_> = cell.params().into_iter().map(|(_, param)| param).collect();
    for param in &mut params {
        let zero = param.narrow(0, 0, 6)?.zeros_like()?;
        *param = Tensor::cat(&[zero, param.narrow(0, 6, 12)?], 0)?;
    }
    let part = |param: &Tensor, x: &Tensor| linear(x, &param.narrow(0, 6, 6)?, None);
    let g = (part(&params[0], &x)? + part(&params[1], &h)?)?.tanh()?;
    let after = cell.with_params(params)?.step(&x, &LstmState { h, c: c.clone() })?;
    close("c", &after.c, &((c + g)? * 0.5)?, Tolerance::Norm(1e-15))
}

#[test]
fn peepholes_of_zero_equal_no_peepholes() -> Result<()> {
    for coupled in [false, true] {
        let with = cell(&LstmConfig { peepholes: true, coupled, ..lstm() })?;
        let without = cell(&LstmConfig { coupled, ..lstm() })?;
        let own = |(name, param): (String, Tensor)| {
            if name.starts_with("weight_c") {
                param.zeros_like()
            } else {
                Ok(param)
            }
        };
        let with = with
            .with_params(with.params().into_iter().map(own).collect::<candle_core::Result<_>>()?)?;
        let state = LstmState { h: noise("h", &[2, 6])?, c: noise("c", &[2, 6])? };
        let x = noise("x", &[2, 3])?;
        let (with, without) = (with.step(&x, &state)?, without.step(&x, &state)?);
        close("h", &with.h, &without.h, Tolerance::Bits)?;
        close("c", &with.c, &without.c, Tolerance::Bits)?;
    }
    Ok(())
}

#[test]
fn a_projected_lstm_shows_square_blocks() -> Result<()> {
    let cell = cell(&LstmConfig { proj: Some(4), ..lstm() })?;
    assert_eq!(cell.state_sizes(), [4, 6]);
    let params = cell.params();
    let names: Vec<_> = params.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]);
    let (hh, hr) = (&params[1].1, &params[4].1);
    let blocks = cell.recurrent_blocks()?;
    assert_eq!(blocks.len(), 4);
    for (gate, (_, block)) in blocks.iter().enumerate() {
        assert_eq!(block.dims(), [6, 6]);
        let small = hr.matmul(&hh.narrow(0, gate * 6, 6)?)?; // W_hr W_hh, from h to h
        let (found, expected) = (spectral_radius(block)?, spectral_radius(&small)?);
        assert!((found - expected).abs() < 1e-6 * expected, "{found} and {expected}");
    }
    Ok(())
}

#[test]
fn the_names_of_all_options_together() -> Result<()> {
    let all = LstmConfig { proj: Some(2), peepholes: true, ..lstm() };
    let names = |config: &LstmConfig| -> Result<Vec<String>> {
        let layer = Lstm::new(3, 6, config, VarBuilder::zeros(DType::F32, &Device::Cpu))?;
        Ok(layer.params().into_iter().map(|(name, _)| name).collect())
    };
    let gates = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0"];
    let peepholes = ["weight_ci_l0", "weight_cf_l0", "weight_co_l0"];
    assert_eq!(names(&all)?, [&gates[..], &peepholes].concat());
    assert_eq!(
        names(&LstmConfig { coupled: true, ..all })?,
        [&gates[..], &peepholes[1..]].concat()
    );
    Ok(())
}

#[test]
fn impossible_options_are_refused() -> Result<()> {
    for proj in [0, 6, 7] {
        let expected =
            format!("lstm proj: expected at least 1 and fewer than hidden, 6, got {proj}");
        expect_error("proj", cell(&LstmConfig { proj: Some(proj), ..lstm() }), &expected)?;
    }
    let identity = Init { recurrent: Block::Identity { scale: 1.0 }, ..Init::default() };
    let expected = "init: expected a square block of gate \"i\" for the identity, got (6, 4)";
    expect_error(
        "identity",
        cell(&LstmConfig { proj: Some(4), init: identity, ..lstm() }),
        expected,
    )?;
    let gates = vec![("i".to_string(), Block::Scheme)];
    let init = Init { recurrent_by_gate: gates, ..Init::default() };
    let expected = "init recurrent_by_gate: expected one of [\"f\", \"g\", \"o\"], got \"i\"";
    expect_error("no input gate", cell(&LstmConfig { coupled: true, init, ..lstm() }), expected)
}

#[test]
fn chrono_leaves_a_coupled_lstm_with_the_forget_gate_alone() -> Result<()> {
    let chrono = LstmConfig { coupled: true, ..LstmConfig::chrono(30) };
    let plain = LstmConfig { coupled: true, ..lstm() };
    let biases =
        |config: &LstmConfig| Ok::<_, candle_core::Error>(cell(config)?.params()[2].1.detach());
    let (chrono, plain) = (biases(&chrono)?, biases(&plain)?);
    assert!(chrono
        .narrow(0, 0, 6)?
        .to_vec1::<f64>()?
        .iter()
        .all(|b| (0.0..29f64.ln()).contains(b)));
    close("g and o", &chrono.narrow(0, 6, 12)?, &plain.narrow(0, 6, 12)?, Tolerance::Bits)
}

#[test]
fn a_gru_that_resets_before_sees_the_dropped_state_and_keeps_the_whole() -> Result<()> {
    let cell = cell(&GruConfig { reset: Reset::Before, ..GruConfig::default() })?;
    let (x, h, seen) = (noise("x", &[2, 3])?, noise("h", &[2, 6])?, noise("seen", &[2, 6])?);
    let params: Vec<_> = cell.params().into_iter().map(|(_, param)| param).collect();
    let part = |gate: usize, h: &Tensor| -> candle_core::Result<Tensor> {
        let rows = params
            .iter()
            .map(|param| param.narrow(0, gate * 6, 6))
            .collect::<candle_core::Result<Vec<_>>>()?;
        linear(&x, &rows[0], Some(&rows[2]))? + linear(h, &rows[1], Some(&rows[3]))?
    };
    let (r, z) = (sigmoid(&part(0, &seen)?)?, sigmoid(&part(1, &seen)?)?);
    let n = part(2, &(r * &seen)?)?.tanh()?;
    let expected = ((z.affine(-1.0, 1.0)? * n)? + (z * &h)?)?;
    let found = cell.step_with_recurrent_input(&x, &seen, &HiddenState { h: h.clone() })?.h;
    close("h", &found, &expected, Tolerance::Norm(1e-15))
}

#[test]
fn noise_runs_with_every_option() -> Result<()> {
    let xs = Sequence::padded(noise("xs", &[2, 9, 3])?, &[9, 4])?;
    let noise = RecurrentDropout {
        recurrent: 0.3,
        weights: 0.2,
        zoneout_h: 0.1,
        ..RecurrentDropout::default()
    };
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let config = LstmConfig { proj: Some(4), peepholes: true, coupled: true, ..lstm() };
    let zoneout = RecurrentDropout { zoneout_c: 0.4, ..noise };
    let lstm = Lstm::new(3, 6, &config, vb.pp("lstm"))?.with_recurrent_dropout(zoneout)?;
    let config = GruConfig { reset: Reset::Before, ..GruConfig::default() };
    let gru = Gru::new(3, 6, &config, vb.pp("gru"))?.with_recurrent_dropout(noise)?;
    for (layer, output) in [(&lstm as &dyn Layer, 4), (&gru, 6)] {
        let run = |context: &ForwardContext| {
            Ok::<_, candle_core::Error>(layer.run(&xs, None, context)?.0.into_values())
        };
        let (first, again) =
            (run(&ForwardContext::train(1, 1))?, run(&ForwardContext::train(1, 1))?);
        assert_eq!(first.dims(), [2, 9, output]);
        close("the same draw", &again, &first, Tolerance::Bits)?;
        let other =
            (run(&ForwardContext::train(1, 2))? - &first)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(other > 1e-3, "another draw changes {other:e}");
    }
    Ok(())
}

#[test]
fn a_vanilla_network_trains_on_orthogonal_matrices() -> Result<()> {
    use candle_nn::{Optimizer, SGD};
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let rnn = Vanilla::new(3, 17, &VanillaConfig::default(), vb)?;
    let mut optimiser = SGD::new(vars.all_vars(), 1.0)?;
    let (xs, wanted) =
        (Sequence::new(noise("xs", &[5, 11, 3])?)?, (noise("wanted", &[5, 17])? * 0.4)?);
    let mut losses = Vec::new();
    for _ in 0..30 {
        let loss =
            (rnn.last(&xs, None, &ForwardContext::default())?.0 - &wanted)?.sqr()?.mean_all()?;
        losses.push(loss.to_scalar::<f64>()?);
        optimiser.backward_step(&loss)?;
        rnn.cell().project_orthogonal(0.9)?;
        let (_, w) = rnn.recurrent_blocks()?.remove(0);
        let gain = (Tensor::eye(17, DType::F64, &Device::Cpu)? * 0.81)?;
        close("W Wᵀ", &w.matmul(&w.t()?)?, &gain, Tolerance::Max(1e-14))?;
        let before = w.copy()?;
        rnn.cell().project_orthogonal(0.9)?;
        close("once more", &w, &before, Tolerance::Max(1e-14))?;
    }
    assert!(losses[29] < 0.5 * losses[1], "it learns meanwhile: {losses:?}");
    Ok(())
}

#[test]
fn specs_name_differences_by_gate() {
    let init = Init {
        forget_bias: ForgetBias::Constant(1.0),
        scheme_by_gate: vec![("g".to_string(), recurrent::core::init::Scheme::Keras)],
        bias_by_gate: vec![("o".to_string(), -1.0)],
        ..Init::default()
    };
    let spec = RnnConfig::new(CellKind::Lstm(LstmConfig { init, peepholes: true, ..lstm() }));
    assert_eq!(spec.init_summary(), "PyTorch, g Keras, forget bias 1, o bias -1");
    let options = spec.options();
    assert_eq!(options["cell.peepholes"], "true");
    assert!(!options.contains_key("cell.proj"), "{options:?}");
    let json = serde_json::to_string(&spec).expect("plain data");
    assert_eq!(serde_json::from_str::<RnnConfig>(&json).expect("its own"), spec);
}

/// A size of 0 is an error that names the argument, in every constructor.
#[test]
fn sizes_of_zero_are_refused() -> Result<()> {
    use recurrent::core::init;
    use recurrent::registry::variants;
    use recurrent::{
        Direction, LayerId, LayerNormGru, LayerNormGruConfig, LayerNormLstm, LayerNormLstmConfig,
        LayerNormVanilla, LayerNormVanillaConfig, Residual, ResidualLstm, ResidualLstmConfig, Rnn,
        Shortcut, Stack, TemporalResidual,
    };
    let vb = || VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    const INPUT: &str = "input: expected at least 1 feature, got 0";
    const HIDDEN: &str = "hidden: expected at least 1 unit, got 0";
    for (input, hidden, expected) in [(0, 4, INPUT), (3, 0, HIDDEN)] {
        let check = |what: &str, error: Option<candle_core::Error>| {
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with(expected), "{what} ({input}, {hidden}): {error:?}");
        };
        check("lstm", Lstm::new(input, hidden, &lstm(), vb()).err());
        check("gru", Gru::new(input, hidden, &GruConfig::default(), vb()).err());
        check("vanilla", Vanilla::new(input, hidden, &VanillaConfig::default(), vb()).err());
        check(
            "ln lstm",
            LayerNormLstm::new(input, hidden, &LayerNormLstmConfig::default(), vb()).err(),
        );
        check(
            "ln gru",
            LayerNormGru::new(input, hidden, &LayerNormGruConfig::default(), vb()).err(),
        );
        check(
            "ln vanilla",
            LayerNormVanilla::new(input, hidden, &LayerNormVanillaConfig::default(), vb()).err(),
        );
        check("kim", ResidualLstm::new(input, hidden, &ResidualLstmConfig::default(), vb()).err());
        let temporal = TemporalResidual::new(lstm(), 0.1);
        check("temporal", Rnn::new(input, hidden, &temporal, vb()).err());
        let stack = Stack::new(input, hidden, 2, Direction::Bidirectional, &lstm(), vb());
        check("stack", stack.err());
        for entry in variants() {
            check(entry.name, entry.spec.build(input, hidden, vb()).err());
        }
    }
    let stack = Stack::new(3, 4, 0, Direction::Forward, &lstm(), vb());
    expect_error("layers", stack.map(drop), "stack: expected at least one layer, got none")?;
    let none = RnnConfig { layers: 0, ..RnnConfig::new(CellKind::Lstm(lstm())) };
    expect_error("spec", none.build(3, 4, vb()).map(drop), "stack: expected at least one layer")?;
    let projected = LstmConfig { proj: Some(0), ..lstm() };
    let error = Lstm::new(3, 4, &projected, vb()).map(drop);
    expect_error("projection", error, "lstm proj: expected at least 1")?;
    let expected = "linear output: expected at least 1 feature, got 0";
    expect_error("linear", init::linear(3, 0, &vb()).map(drop), expected)?;
    let expected = "linear input: expected at least 1 feature, got 0";
    expect_error("linear", init::linear(0, 3, &vb()).map(drop), expected)?;
    let one = Stack::new(3, 4, 1, Direction::Forward, &lstm(), vb())?;
    let expected = "stack dropout: expected at least 2 layers";
    expect_error("dropout", one.with_dropout(0.5).map(drop), expected)?;
    let inner = Lstm::new(3, 4, &lstm(), vb())?;
    Residual::of(Shortcut::highway(), inner, LayerId::default(), vb())?;
    Ok(())
}

/// The table *Execution* on the page of every family matches `explain` for every variant.
#[test]
fn pages_of_the_families_state_the_engine() -> Result<()> {
    use recurrent::registry::variants;
    let pages = [
        include_str!("../crates/vanilla/src/lib.rs"),
        include_str!("../crates/lstm/src/lib.rs"),
        include_str!("../crates/gru/src/lib.rs"),
        include_str!("../crates/layernorm/src/lib.rs"),
        include_str!("../crates/residual/src/lib.rs"),
    ];
    let mut stated = std::collections::BTreeMap::new();
    for line in pages.iter().flat_map(|page| page.lines()) {
        let cells: Vec<_> = line.trim_start_matches("//! |").split('|').map(str::trim).collect();
        if let [names, engine @ ("kernel" | "replay"), ""] = cells[..] {
            for name in names.split(", ") {
                stated.insert(name.trim_matches('`').to_string(), engine);
            }
        }
    }
    let names: Vec<_> = variants().iter().map(|entry| entry.name.to_string()).collect();
    assert!(stated.keys().all(|name| names.contains(name)), "not in the registry: {stated:?}");
    for entry in variants() {
        let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
        let layer = entry.spec.with_longest_lag(20).build(3, 4, vb)?;
        for dtype in [DType::F32, DType::F64] {
            let found = layer.explain(dtype, &Device::Cpu);
            let engine = if found.starts_with("replay") { "replay" } else { "kernel" };
            assert!(engine == "replay" || found.contains("kernel"), "{}: {found}", entry.name);
            assert_eq!(stated.get(entry.name), Some(&engine), "{}: {found}", entry.name);
        }
        let half = layer.explain(DType::F16, &Device::Cpu);
        assert!(half.starts_with("replay: "), "{}: {half}", entry.name);
    }
    Ok(())
}
