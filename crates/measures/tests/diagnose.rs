//! Networks broken in one way each, and healthy ones, over seeds: the diagnosis finds each fault in
//! its layer, and nothing else.

use crate::network::{adding, Network};
use candle_core::{DType, Device, Module, Result, Tensor};
use recurrent_core::init::{Block, ForgetBias, Init, Scheme};
use recurrent_core::{
    Bidirectional, Bptt, Direction, ForwardContext, Layer, LayerId, Rnn, Sequence, Stack,
};
use recurrent_gru::GruConfig;
use recurrent_lstm::LstmConfig;
use recurrent_measures::diagnosis::{Diagnosis, DiagnosisReport, Finding, FindingKind, Severity};
use recurrent_residual::{Residual, Shortcut};
use recurrent_vanilla::{Nonlinearity, VanillaConfig};

const SEEDS: u64 = 5;

fn lstm(memory: ForgetBias, biases: &[(&str, f64)]) -> LstmConfig {
    let biases = biases.iter().map(|(gate, bias)| (gate.to_string(), *bias)).collect();
    LstmConfig {
        init: Init { forget_bias: memory, bias_by_gate: biases, ..Init::default() },
        ..LstmConfig::default()
    }
}

fn chrono(longest: usize) -> LstmConfig {
    lstm(ForgetBias::Chrono { longest }, &[])
}

fn orthogonal(gain: f64) -> VanillaConfig {
    VanillaConfig {
        init: Init { recurrent: Block::Orthogonal { gain }, ..Init::default() },
        ..VanillaConfig::default()
    }
}

fn found(report: &DiagnosisReport) -> Vec<(FindingKind, Option<usize>)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.kind, finding.layer_id.map(|layer_id| layer_id.layer)))
        .collect()
}

/// Checks that the report has all of `kinds`, each in its layer, and otherwise only kinds in
/// `follows`.
fn finds(
    report: &DiagnosisReport,
    kinds: &[(FindingKind, Option<usize>)],
    follows: &[FindingKind],
) -> Vec<Finding> {
    let found = found(report);
    for kind in kinds {
        assert!(found.contains(kind), "{kind:?} is missing: {report}");
    }
    let expected =
        |one: &(FindingKind, Option<usize>)| kinds.contains(one) || follows.contains(&one.0);
    assert!(found.iter().all(expected), "more than {kinds:?}: {report}");
    let named = |kind: FindingKind| {
        report.findings.iter().find(move |finding| finding.kind == kind).cloned()
    };
    kinds.iter().filter_map(|(kind, _)| named(*kind)).collect()
}

/// No finding, at the start and after some training.
fn healthy(network: Network, time: usize, seed: u64) -> Result<()> {
    for steps in [0, 60] {
        network.train(time, seed, steps)?;
        let report = network.diagnose(time, time - 1, seed)?;
        assert!(report.findings.is_empty(), "seed {seed}, after {steps} steps: {report}");
        assert!(report.to_string().starts_with(&format!(
            "No finding in 3 batches; the data needs lags up to {}.",
            time - 1
        )));
    }
    Ok(())
}

#[test]
fn a_healthy_lstm_has_no_finding() -> Result<()> {
    (0..SEEDS).try_for_each(|seed| healthy(Network::of(1, &chrono(100), 24, seed)?, 100, seed))
}

#[test]
fn healthy_networks_of_other_kinds_have_no_finding() -> Result<()> {
    for seed in 0..SEEDS {
        healthy(Network::of(1, &GruConfig::default(), 24, seed)?, 10, seed)?;
        healthy(Network::of(1, &orthogonal(1.0), 24, seed)?, 10, seed)?;
        healthy(Network::of(2, &chrono(50), 24, seed)?, 50, seed)?;
        healthy(Network::of(1, &LstmConfig { coupled: true, ..chrono(50) }, 24, seed)?, 50, seed)?;
        healthy(Network::of(1, &LstmConfig { proj: Some(12), ..chrono(50) }, 24, seed)?, 50, seed)?;
    }
    Ok(())
}

/// A branch whose scale begins at 0 gets no gradient at first, and that is no fault.
#[test]
fn shortcuts_are_healthy() -> Result<()> {
    for (seed, shortcut) in
        [(0, Shortcut::ReZero), (1, Shortcut::Additive), (2, Shortcut::Highway { bias: -1.0 })]
    {
        let network = Network::new(seed, |vb| {
            let layer = |layer_id, input| {
                let inner = Rnn::at_layer(layer_id, input, 24, &chrono(50), vb.clone())?;
                Ok(Box::new(Residual::of(shortcut, inner, layer_id, vb.clone())?) as Box<dyn Layer>)
            };
            Ok(Box::new(Stack::build(2, 3, layer)?))
        })?;
        healthy(network, 50, seed)?;
    }
    Ok(())
}

#[test]
fn a_low_forget_bias_makes_the_gradient_vanish() -> Result<()> {
    for seed in 0..SEEDS {
        let report = Network::of(1, &lstm(ForgetBias::Constant(-3.0), &[]), 24, seed)?
            .diagnose(100, 99, seed)?;
        let expected =
            [(FindingKind::VanishesAlongTime, Some(0)), (FindingKind::ShutGate, Some(0))];
        let found = finds(&report, &expected, &[FindingKind::Underflows]);
        assert_eq!(
            (found[0].severity, found[0].value("needed lag")),
            (Severity::Severe, Some(99.0))
        );
        assert!(found[0].value("half-life").is_some_and(|steps| steps < 1.0), "{report}");
        assert!(found[0].suggestions.iter().any(|suggestion| suggestion.name == "chrono"));
        assert_eq!(found[1].gate.as_deref(), Some("f"));
    }
    Ok(())
}

/// The same network on data that needs only lags that the network keeps.
#[test]
fn vanishing_beyond_the_needed_lags_is_no_finding() -> Result<()> {
    let network = Network::of(1, &lstm(ForgetBias::Constant(-3.0), &[]), 24, 0)?;
    assert_eq!(found(&network.diagnose(100, 2, 0)?), []);
    Ok(())
}

#[test]
fn a_large_recurrent_matrix_makes_the_gradient_explode() -> Result<()> {
    for seed in 0..SEEDS {
        let scheme = Scheme::Normal { input: 0.1, recurrent: 2.0 };
        let config =
            VanillaConfig { init: Init { scheme, ..Init::default() }, ..VanillaConfig::default() };
        let report = Network::of(1, &config, 64, seed)?.diagnose(100, 99, seed)?;
        let found = finds(&report, &[(FindingKind::ExplodesAlongTime, Some(0))], &[]);
        assert!(found[0].value("growth").is_some_and(|growth| growth > 1e3));
        assert_eq!(found[0].suggestions[0].name, "clip");
    }
    Ok(())
}

/// In the linear range of tanh, with all singular values 1.5, the gradient grows by exactly this
/// factor every step.
#[test]
fn the_growth_equals_the_spectral_radius() -> Result<()> {
    for seed in 0..SEEDS {
        let init = Init {
            scheme: Scheme::Normal { input: 1e-8, recurrent: 1.0 },
            recurrent: Block::Orthogonal { gain: 1.5 },
            ..Init::default()
        };
        let config = VanillaConfig { init, ..VanillaConfig::default() };
        let report = Network::of(1, &config, 24, seed)?.diagnose(30, 29, seed)?;
        let found =
            finds(&report, &[(FindingKind::ExplodesAlongTime, Some(0))], &[FindingKind::DeadUnits]);
        let growth = found[0].value("growth").expect("measured");
        assert!((growth / 1.5f64.powi(30) - 1.0).abs() < 1e-3, "{growth}");
        assert_eq!((found[0].severity, found[0].value("lag")), (Severity::Warning, Some(30.0)));
    }
    Ok(())
}

#[test]
fn relu_units_below_zero_are_dead() -> Result<()> {
    for seed in 0..SEEDS {
        let init = Init { bias_by_gate: vec![("h".to_string(), -8.0)], ..Init::default() };
        let config =
            VanillaConfig { nonlinearity: Nonlinearity::Relu, init, ..VanillaConfig::default() };
        let report = Network::of(1, &config, 24, seed)?.diagnose(20, 19, seed)?;
        let found = finds(
            &report,
            &[(FindingKind::DeadUnits, Some(0)), (FindingKind::ZeroGradient, None)],
            &[],
        );
        assert_eq!(
            (found[0].severity, found[0].value("share of units")),
            (Severity::Severe, Some(1.0))
        );
    }
    Ok(())
}

/// Everything above this layer norm trains, nothing below does, and there is no error.
#[test]
fn a_layer_norm_that_cuts_the_graph_is_found() -> Result<()> {
    for seed in 0..SEEDS {
        let network = Network::of(2, &chrono(20), 24, seed)?;
        let norm = candle_nn::layer_norm(24, 1e-5, network.vb().pp("norm"))?;
        let mut diagnosis = Diagnosis::new(19);
        let (xs, targets) = adding(20, seed)?;
        let recorder = diagnosis.recorder();
        let (last, _) = network.layer.last(&xs, None, &recorder.context())?;
        let loss =
            (network.readout.forward(&norm.forward(&last)?)? - targets)?.sqr()?.mean_all()?;
        diagnosis.add_batch(recorder, &loss, &loss.backward()?, &network.vars)?;
        let expected = [
            (FindingKind::CutGraph, None),
            (FindingKind::Unreached, Some(0)),
            (FindingKind::Unreached, Some(1)),
        ];
        let found = finds(&diagnosis.report(), &expected, &[]);
        assert_eq!(found[0].parameters.len(), 2 + 2 * 4);
        assert!(found[0]
            .parameters
            .iter()
            .all(|name| name.starts_with("norm.") || name.starts_with("rnn.")));
    }
    Ok(())
}

#[test]
fn a_detached_lower_layer_is_found() -> Result<()> {
    for seed in 0..SEEDS {
        let network = Network::of(1, &chrono(20), 24, seed)?;
        let upper = Rnn::at_layer(LayerId::layer(1), 24, 24, &chrono(20), network.vb().pp("rnn"))?;
        let mut diagnosis = Diagnosis::new(19);
        let (xs, _) = adding(20, seed)?;
        let recorder = diagnosis.recorder();
        let (ys, _) = network.layer.run(&xs, None, &recorder.context())?;
        let cut = ys.with_values(ys.values().detach())?;
        let (last, _) = upper.last(&cut, None, &recorder.context().offset_layer(1))?;
        let loss = network.readout.forward(&last)?.sqr()?.mean_all()?;
        diagnosis.add_batch(recorder, &loss, &loss.backward()?, &network.vars)?;
        let found = finds(
            &diagnosis.report(),
            &[(FindingKind::CutGraph, None), (FindingKind::Unreached, Some(0))],
            &[],
        );
        assert!(found[0]
            .parameters
            .iter()
            .all(|name| name.starts_with("rnn.") && name.ends_with("_l0")));
        assert_eq!(found[0].parameters.len(), 4);
    }
    Ok(())
}

#[test]
fn shut_gates_are_found_by_name() -> Result<()> {
    for seed in 0..SEEDS {
        for gate in ["i", "o"] {
            let network =
                Network::of(1, &lstm(ForgetBias::Constant(4.0), &[(gate, -8.0)]), 24, seed)?;
            let found =
                finds(&network.diagnose(50, 49, seed)?, &[(FindingKind::ShutGate, Some(0))], &[]);
            assert_eq!(found[0].gate.as_deref(), Some(gate));
        }
    }
    Ok(())
}

#[test]
fn a_deep_stack_starves_its_bottom() -> Result<()> {
    for seed in 0..SEEDS {
        let network = Network::of(9, &lstm(ForgetBias::Constant(1.0), &[]), 24, seed)?;
        let found = finds(
            &network.diagnose(10, 5, seed)?,
            &[(FindingKind::VanishesAlongDepth, Some(0))],
            &[],
        );
        assert!(found[0]
            .value("factor per layer")
            .is_some_and(|factor| (0.1..0.5).contains(&factor)));
        assert_eq!(found[0].suggestions[0].name, "residual");
    }
    Ok(())
}

#[test]
fn a_gradient_that_leaves_the_range_of_f32_is_found() -> Result<()> {
    for seed in 0..SEEDS {
        let scheme = Scheme::Normal { input: 0.3, recurrent: 0.3 };
        let config =
            VanillaConfig { init: Init { scheme, ..Init::default() }, ..VanillaConfig::default() };
        let report = Network::of(1, &config, 24, seed)?.diagnose(100, 99, seed)?;
        let found = finds(
            &report,
            &[(FindingKind::Underflows, Some(0)), (FindingKind::VanishesAlongTime, Some(0))],
            &[],
        );
        let first = found[0].value("first lag").expect("measured");
        // The gradient falls by a factor of about 0.3 per step: to 1e-38 in 73 steps.
        assert!((50.0..99.0).contains(&first), "{report}");
    }
    Ok(())
}

#[test]
fn large_inputs_saturate_the_state() -> Result<()> {
    for seed in 0..SEEDS {
        let scheme = Scheme::Normal { input: 50.0, recurrent: 1.0 };
        let config =
            VanillaConfig { init: Init { scheme, ..Init::default() }, ..VanillaConfig::default() };
        let report = Network::of(1, &config, 24, seed)?.diagnose(20, 5, seed)?;
        let expected =
            [(FindingKind::SaturatedState, Some(0)), (FindingKind::VanishesAlongTime, Some(0))];
        let found = finds(&report, &expected, &[FindingKind::DeadUnits]);
        assert!(found[0].value("share of values").is_some_and(|share| share > 0.7));
    }
    Ok(())
}

#[test]
fn truncation_and_short_sequences_are_distinguished_from_vanishing() -> Result<()> {
    let network = Network::of(1, &chrono(50), 24, 0)?;
    let mut diagnosis = Diagnosis::new(60);
    let recorder = diagnosis.recorder();
    let context = recorder.attach(ForwardContext::train(0, 1).bptt(Bptt::truncated(20)));
    let loss = network.loss(50, 1, &context)?;
    diagnosis.add_batch(recorder, &loss, &loss.backward()?, &network.vars)?;
    let report = diagnosis.report();
    let found = finds(
        &report,
        &[(FindingKind::EndsAlongTime, Some(0)), (FindingKind::ShortSequences, None)],
        &[],
    );
    assert_eq!(found[0].value("last lag"), Some(9.0), "50 steps: windows of 20, 20, 10. {report}");
    assert_eq!(
        (found[1].severity, found[1].value("longest sequence")),
        (Severity::Note, Some(50.0))
    );
    Ok(())
}

#[test]
fn non_finite_numbers_are_found_and_hide_other_findings() -> Result<()> {
    let network = Network::of(1, &chrono(20), 24, 0)?;
    let mut diagnosis = Diagnosis::new(19);
    for poison in [false, true] {
        let (xs, _) = adding(20, 0)?;
        let xs = if poison { Sequence::new((xs.values() * f64::NAN)?)? } else { xs };
        let recorder = diagnosis.recorder();
        let loss = network
            .readout
            .forward(&network.layer.last(&xs, None, &recorder.context())?.0)?
            .sqr()?
            .mean_all()?;
        diagnosis.add_batch(recorder, &loss, &loss.backward()?, &network.vars)?;
    }
    let report = diagnosis.report();
    let found =
        finds(&report, &[(FindingKind::NotFinite, None), (FindingKind::NotFinite, Some(0))], &[]);
    assert_eq!((found[0].value("first batch"), found[0].parameters.len()), (Some(1.0), 6));

    // Everything survives a round trip through JSON, which has no NaN.
    let lines = report.json_lines().map_err(candle_core::Error::wrap)?;
    let read: Vec<Finding> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a finding")).collect();
    assert!(read[0].value("loss").is_some_and(f64::is_nan));
    let rest = |finding: &Finding| {
        (finding.kind, finding.layer_id, finding.why.clone(), finding.suggestions.clone())
    };
    assert_eq!(
        read.iter().map(rest).collect::<Vec<_>>(),
        report.findings.iter().map(rest).collect::<Vec<_>>()
    );
    Ok(())
}

#[test]
fn each_direction_is_diagnosed_in_its_own_order_of_steps() -> Result<()> {
    let network = Network::new(0, |vb| {
        let forward = Rnn::new(2, 16, &lstm(ForgetBias::Constant(-3.0), &[]), vb.clone())?;
        let reverse = Rnn::at_layer(LayerId { layer: 0, reverse: true }, 2, 16, &chrono(50), vb)?;
        Ok(Box::new(Bidirectional::new(forward, reverse)?))
    })?;
    let report = network.diagnose(50, 49, 0)?;
    let vanishes =
        report.findings.iter().filter(|finding| finding.kind == FindingKind::VanishesAlongTime);
    assert_eq!(
        vanishes.map(|finding| finding.layer_id).collect::<Vec<_>>(),
        [Some(LayerId::default())]
    );
    assert!(
        report.findings.iter().all(|finding| finding.layer_id == Some(LayerId::default())),
        "{report}"
    );
    assert_eq!(report.layers.len(), 4);
    Ok(())
}

#[test]
fn the_report_is_sorted_narrow_and_the_same_every_time() -> Result<()> {
    let network = Network::of(3, &lstm(ForgetBias::Constant(-3.0), &[("i", -8.0)]), 24, 0)?;
    let report = network.diagnose(100, 120, 0)?;
    let severities: Vec<_> = report.findings.iter().map(|finding| finding.severity).collect();
    assert!(severities.is_sorted_by(|a, b| a >= b) && severities.len() > 5);
    assert_eq!(
        report.findings.last().map(|finding| finding.kind),
        Some(FindingKind::ShortSequences)
    );
    let text = report.to_string();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.contains("docs/claims.md#forget-gate") && text.contains("NOT for this"));
    assert_eq!(text, network.diagnose(100, 120, 0)?.to_string());
    Ok(())
}

#[test]
fn invalid_input_is_refused() -> Result<()> {
    let network = Network::of(1, &chrono(20), 8, 0)?;
    let mut diagnosis = Diagnosis::new(19);
    let unwatched = network.loss(20, 0, &ForwardContext::default())?;
    let error = diagnosis.add_batch(
        diagnosis.recorder(),
        &unwatched,
        &unwatched.backward()?,
        &network.vars,
    );
    let error = error.expect_err("nothing ran with the recorder's context").to_string();
    assert!(
        error.contains(
            "diagnosis recorder: expected recurrent layers that ran with its context, \
                       got none"
        ),
        "{error}"
    );

    let recorder = diagnosis.recorder();
    let (last, _) = network.layer.last(&adding(20, 0)?.0, None, &recorder.context())?;
    let error = diagnosis
        .add_batch(recorder, &last, &last.backward()?, &network.vars)
        .expect_err("many numbers")
        .to_string();
    assert!(error.contains("diagnosis loss: expected one number, got 128"), "{error}");
    let report = diagnosis.report();
    assert_eq!((report.batches, report.findings.len()), (0, 0));

    // The same parameters, given in other ways.
    let mut grads = Vec::new();
    for way in 0..2 {
        let mut diagnosis = Diagnosis::new(19);
        let recorder = diagnosis.recorder();
        let loss = network.loss(20, 0, &recorder.context())?;
        let extra = Tensor::zeros(2, DType::F32, &Device::Cpu)?;
        let named = vec![("extra".to_string(), extra)];
        match way {
            0 => diagnosis.add_batch(recorder, &loss, &loss.backward()?, network.layer.as_ref())?,
            _ => diagnosis.add_batch(recorder, &loss, &loss.backward()?, &named)?,
        }
        grads.push(
            diagnosis
                .report()
                .findings
                .iter()
                .map(|finding| finding.parameters.clone())
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(grads, [vec![], vec![vec!["extra".to_string()]]]);
    Ok(())
}

#[test]
fn stacks_with_lengths_are_read_to_each_examples_end() -> Result<()> {
    let vars = candle_nn::VarMap::new();
    let vb = candle_nn::VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let stack = Stack::new(2, 16, 2, Direction::Forward, &chrono(30), vb)?;
    let (xs, _) = adding(30, 0)?;
    let lengths: Vec<usize> = (15..31).collect();
    let xs = Sequence::padded(xs.into_values(), &lengths)?;
    let mut diagnosis = Diagnosis::new(29);
    let recorder = diagnosis.recorder();
    let loss = stack.last(&xs, None, &recorder.context())?.0.sqr()?.mean_all()?;
    diagnosis.add_batch(recorder, &loss, &loss.backward()?, &vars)?;
    assert_eq!(found(&diagnosis.report()), []);
    Ok(())
}
