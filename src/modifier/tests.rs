use super::*;
use crate::registry::variants;
use candle_nn::VarMap;
use std::collections::BTreeMap;

fn spec(name: &str) -> RnnConfig {
    variants().into_iter().find(|entry| entry.name == name).expect("the registry has it").spec
}

fn modifier(text: &str) -> Result<Modifier> {
    Modifier::parse(text)?
        .ok_or_else(|| candle_core::Error::Msg(format!("{text} is not a modifier")))
}

/// The variant with modifiers, `+` between them.
fn with(name: &str, modifiers: &str) -> Result<RnnConfig> {
    modifiers.split('+').try_fold(spec(name), |spec, text| modifier(text)?.apply(name, &spec))
}

/// Shape and bits of every weight, by name.
type Weights = BTreeMap<String, (Vec<usize>, Vec<u32>)>;

/// The initial weights.
fn weights(spec: &RnnConfig) -> Result<Weights> {
    let map = VarMap::new();
    spec.with_longest_lag(50).build(
        3,
        6,
        VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu),
    )?;
    let vars = map.data().lock().expect("nobody else holds it");
    let bits = |value: Vec<f32>| value.into_iter().map(f32::to_bits).collect();
    let entry = |(name, var): (&String, &candle_core::Var)| {
        Ok((name.clone(), (var.dims().to_vec(), bits(var.flatten_all()?.to_vec1()?))))
    };
    vars.iter().map(entry).collect()
}

#[test]
fn modifiers_give_the_variants_of_the_registry() -> Result<()> {
    for (name, modifiers, like) in [
        ("lstm", "forget-bias", "lstm-bias1"),
        ("lstm", "chrono", "lstm-chrono"),
        ("gru", "chrono", "gru-chrono"),
        ("vanilla", "orthogonal", "vanilla-orthogonal"),
        ("lstm", "layernorm", "layernorm-lstm"),
        ("lstm", "layernorm=0.1", "layernorm-lstm-gain0.1"),
        ("layernorm-lstm", "gain=0.1", "layernorm-lstm-gain0.1"),
        ("gru", "layernorm", "layernorm-gru"),
        ("vanilla", "layernorm", "layernorm-vanilla"),
        ("lstm", "layernorm-pytorch", "layernorm-lstm-pytorch"),
        ("lstm", "layernorm-tfa", "layernorm-lstm-tfa"),
        ("lstm", "layernorm-burn", "layernorm-lstm-burn"),
        ("lstm", "rmsnorm", "rmsnorm-lstm"),
        ("lstm", "layernorm-per-gate", "layernorm-lstm-per-gate"),
        ("lstm", "layers=2", "lstm-2layers"),
        ("lstm", "layers=2+residual", "residual-lstm"),
        ("lstm", "layers=2+residual+chrono", "residual-lstm-chrono"),
        ("lstm", "highway+layers=2", "highway-lstm"),
        ("lstm", "rezero+layers=2", "rezero-lstm"),
        ("lstm", "residual-time", "residual-time-lstm"),
        ("vanilla", "residual-time=0.02", "residual-vanilla"),
        ("lstm", "zoneout", "lstm-zoneout"),
        ("gru", "zoneout", "gru-zoneout"),
        ("lstm", "variational", "lstm-variational"),
        ("lstm", "weight-drop", "lstm-weight-drop"),
    ] {
        assert_eq!(with(name, modifiers)?, spec(like), "{name} with {modifiers}");
    }
    Ok(())
}

#[test]
fn unchanged_weights_start_with_the_same_bits() -> Result<()> {
    for (name, modifiers) in [
        ("lstm", "forget-bias=3"),
        ("lstm", "layernorm"),
        ("lstm", "residual"),
        ("lstm", "layers=2"),
        ("lstm", "residual-time"),
        ("lstm", "zoneout"),
        ("lstm", "learned-start"),
        ("gru", "layernorm-per-gate"),
        ("gru", "orthogonal"),
        ("vanilla", "layernorm-apart+highway"),
    ] {
        let (base, other) = (weights(&spec(name))?, weights(&with(name, modifiers)?)?);
        for (weight, value) in &base {
            let changed = match modifiers {
                "forget-bias=3" => weight.starts_with("bias_"),
                "orthogonal" => weight.starts_with("weight_hh"),
                _ => false,
            };
            assert_eq!(other[weight] != *value, changed, "{weight} of {name} with {modifiers}");
        }
    }
    Ok(())
}

#[test]
fn gates_are_initialised_separately() -> Result<()> {
    let spec = with("lstm", "init.g=identity:0.5+init.o=keras+bias.i=-2")?;
    let init = spec.cell.init();
    assert_eq!(init.recurrent_by_gate, [("g".to_string(), Block::Identity { scale: 0.5 })]);
    assert_eq!(init.scheme_by_gate, [("o".to_string(), Scheme::Keras)]);
    assert_eq!(init.bias_by_gate, [("i".to_string(), -2.0)]);
    let again = modifier("bias.i=1")?.apply("lstm", &spec)?;
    assert_eq!(again.cell.init().bias_by_gate, [("i".to_string(), 1.0)], "the last value wins");
    let normed = modifier("layernorm")?.apply("lstm", &spec)?;
    assert_eq!(normed.cell.init(), init);
    let inside = with("residual-vanilla", "rmsnorm=2+relu")?;
    let CellKind::TemporalResidual { cell, alpha: 0.02 } = inside.cell else {
        panic!("{inside:?}")
    };
    let CellKind::LayerNormVanilla(config) = *cell else { panic!("{cell:?}") };
    assert_eq!(
        (config.gain, config.norm, config.nonlinearity),
        (2.0, Norm::Rms, Nonlinearity::Relu)
    );
    Ok(())
}

#[test]
fn every_row_of_the_table_builds() -> Result<()> {
    let value = |usage: &str| -> Vec<String> {
        let usage = usage.replace("G=", if usage.contains("init") { "f=" } else { "i=" });
        let (name, kind) = usage.split_once(['=', '[']).unwrap_or((&usage, ""));
        let of = |value: &str| format!("{name}={value}");
        match kind.trim_matches(|c| "=[]".contains(c)) {
            "" => vec![name.to_string()],
            "SCHEME" => ["keras", "candle"].map(of).to_vec(),
            "BLOCK" => ["orthogonal", "orthogonal:0.9", "identity:0.5"].map(of).to_vec(),
            "SCHEME or BLOCK" => ["keras", "identity"].map(of).to_vec(),
            "H[:C" | "X[:H" => vec![of("0.1"), of("0.1:0.2"), name.to_string()],
            "N" => vec![of("2")],
            _ => vec![of("0.3")],
        }
    };
    let mut count = 0;
    for ModifierSpec { usage, summary, .. } in specs() {
        assert!(summary.len() > 10, "{usage}");
        for text in value(usage) {
            let takes = |entry: &crate::registry::Entry| {
                modifier(&text).and_then(|modifier| modifier.apply(entry.name, &entry.spec)).is_ok()
            };
            assert!(variants().iter().any(takes), "{text} fits no variant");
            count += 1;
        }
    }
    assert!(count >= specs().count(), "{count}");
    Ok(())
}

#[test]
fn impossible_modifiers_are_refused_in_one_line() {
    for (name, text, expected) in [
        (
            "vanilla",
            "chrono",
            "modifier chrono on vanilla: init forget_bias: this cell has no gate that keeps the old state",
        ),
        (
            "vanilla",
            "forget-bias=1",
            "modifier forget-bias=1 on vanilla: init forget_bias: this cell has no gate that keeps the \
             old state",
        ),
        (
            "layernorm-gru",
            "layernorm",
            "modifier layernorm on layernorm-gru: its cell is normed \
            already",
        ),
        ("lstm", "gain=2", "modifier gain=2 on lstm: its cell is not normed, and has no gain"),
        (
            "gru",
            "layernorm-burn",
            "modifier layernorm-burn on gru: its cell does not have this normalisation",
        ),
        (
            "lstm-peephole",
            "layernorm",
            "modifier layernorm on lstm-peephole: its cell does not have this normalisation",
        ),
        (
            "gru",
            "zoneout=0.1:0.5",
            "modifier zoneout=0.1:0.5 on gru: recurrent_dropout zoneout_c: expected a cell whose state has the \
             field c, got [\"h\"]",
        ),
        (
            "lstm",
            "zoneout=2",
            "modifier zoneout=2 on lstm: recurrent_dropout zoneout_h: expected a rate in [0, \
            1), got 2",
        ),
        ("lstm-chrono", "chrono", "modifier chrono on lstm-chrono: it changes nothing there"),
        ("lstm", "layers=1", "modifier layers=1 on lstm: it changes nothing there"),
        (
            "lstm",
            "dropout=0.5",
            "modifier dropout=0.5 on lstm: it has one layer, and nothing between \
            layers",
        ),
        (
            "residual-lstm",
            "highway",
            "modifier highway on residual-lstm: its layers have a connection over depth already",
        ),
        ("gru", "relu", "modifier relu on gru: its cell is not a vanilla network"),
        (
            "gru",
            "bias.f=1",
            "modifier bias.f=1 on gru: init bias_by_gate: expected one of [\"r\", \"z\", \"n\"], got \"f\"",
        ),
        ("lstm", "chrono=5", "modifier chrono: expected no value, got \"5\""),
        ("lstm", "gain", "modifier gain: expected a value, gain=GAIN"),
        ("lstm", "orthogonal=inf", "modifier orthogonal: expected a number, got \"inf\""),
        ("lstm", "layers=0", "modifier layers: expected a whole number, 1 to 1000, got \"0\""),
        (
            "lstm",
            "init=xavier",
            "modifier init: expected pytorch, keras, candle, orthogonal[:GAIN] or identity[:SCALE], \
             got \"xavier\"",
        ),
    ] {
        let error = with(name, text).expect_err("must fail").to_string();
        assert_eq!(error.lines().next(), Some(expected));
    }
    for text in ["clip", "chorno", "", "init", "inits.f=keras", "bias"] {
        let found = Modifier::parse(text);
        match text {
            "init" => assert!(found.is_err(), "it needs a value"),
            _ => {
                assert!(
                    matches!(found, Ok(None)),
                    "{text:?} is no modifier of this kind: {found:?}"
                )
            }
        }
    }
}
