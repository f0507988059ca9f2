//! Noise, learned initial state and recomputation in a serialised configuration.

use super::everything;
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use recurrent::residual::ResidualLstmConfig;
use recurrent::{
    Bidirectional, CellKind, Connection, Direction, ForwardContext, GruConfig, Layer, LayerId,
    LstmConfig, Recompute, RecurrentDropout, Residual, Rnn, RnnConfig, Sequence, Shortcut, Stack,
};
use recurrent_testkit::close::expect_error;
use recurrent_testkit::{close, noise, Result, Tolerance};

fn spec() -> RnnConfig {
    RnnConfig {
        layers: 2,
        direction: Direction::Bidirectional,
        connection: Connection::Highway { bias: -2.0 },
        dropout: 0.1,
        recurrent_dropout: everything(&["h", "c"]),
        learned_start: true,
        recompute: Recompute::Every(3),
        ..RnnConfig::new(CellKind::ResidualLstm(ResidualLstmConfig::default()))
    }
}

/// A configuration builds the same layers as code, including weights and noise.
#[test]
fn a_config_builds_the_same_layers_as_code() -> Result<()> {
    let (map, spec) = (VarMap::new(), spec());
    let vb = || VarBuilder::from_varmap(&map, DType::F64, &Device::Cpu);
    let layer = spec.build(3, 5, vb())?;
    for (name, param) in layer.params() {
        candle_core::Var::from_tensor(&param)?.set(&(noise(&name, param.dims())? * 0.5)?)?;
    }
    let one = |layer_id, input| {
        let rnn = Rnn::at_layer(layer_id, input, 5, &ResidualLstmConfig::default(), vb())?;
        rnn.with_recurrent_dropout(spec.recurrent_dropout)?.with_learned_start(layer_id, &vb())
    };
    let by_hand = Stack::build(3, 2, |layer_id, input| {
        let both = Bidirectional::new(
            one(layer_id, input)?,
            one(LayerId { reverse: true, ..layer_id }, input)?,
        )?;
        Ok(Box::new(Residual::of(Shortcut::highway(), both, layer_id, vb())?))
    })?
    .with_dropout(0.1)?;
    let names =
        |layer: &dyn Layer| layer.params().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(layer.as_ref()), names(&by_hand));
    for name in ["h0_l0", "c0_l1_reverse", "transform.bias_l1"] {
        assert!(names(&by_hand).iter().any(|found| found == name), "{name}");
    }
    let count: usize = layer.params().iter().map(|(_, param)| param.elem_count()).sum();
    assert_eq!(spec.param_count(3, 5)?, count);
    assert_eq!(
        RnnConfig { learned_start: false, ..spec.clone() }.param_count(3, 5)?,
        count - 2 * 2 * 2 * 5
    );

    let xs = Sequence::padded(noise("xs", &[4, 7, 3])?, &[5, 1, 7, 3])?;
    for context in [ForwardContext::train(1, 1), ForwardContext::default()] {
        let gradients = |layer: &dyn Layer| -> Result<(Tensor, Vec<Tensor>)> {
            let ys = layer.run(&xs, None, &context)?.0.into_values();
            let grads = (&ys * noise("loss", &[4, 7, 10])?)?.sum_all()?.backward()?;
            let gradient = |(_, param)| grads.get(&param).expect("a gradient").clone();
            Ok((ys, layer.params().into_iter().map(gradient).collect()))
        };
        let (found, expected) = (gradients(layer.as_ref())?, gradients(&by_hand)?);
        close("outputs", &found.0, &expected.0, Tolerance::Bits)?;
        for ((name, _), (found, expected)) in
            by_hand.params().iter().zip(found.1.iter().zip(&expected.1))
        {
            // The kernel sums the gradients of the weights by segments, which only `spec` has.
            close(name, found, expected, Tolerance::Norm(1e-14))?;
        }
    }
    let run = |spec: &RnnConfig, context: &ForwardContext| -> Result<Vec<f64>> {
        Ok(spec
            .build(3, 5, vb())?
            .run(&xs, None, context)?
            .0
            .into_values()
            .flatten_all()?
            .to_vec1()?)
    };
    let plain = RnnConfig { recurrent_dropout: RecurrentDropout::default(), ..spec.clone() };
    assert_ne!(
        run(&spec, &ForwardContext::train(1, 1))?,
        run(&plain, &ForwardContext::train(1, 1))?
    );
    Ok(())
}

#[test]
fn it_is_written_and_read() -> Result<()> {
    for connection in [
        Connection::None,
        Connection::Residual,
        Connection::Highway { bias: -1.0 },
        Connection::ReZero,
    ] {
        for checkpoint in [Recompute::Auto, Recompute::SquareRoot, Recompute::Every(9)] {
            let spec = RnnConfig { connection, recompute: checkpoint, ..spec() };
            assert_eq!(serde_json::from_str::<RnnConfig>(&serde_json::to_string(&spec)?)?, spec);
        }
    }
    let written = serde_json::to_value(RnnConfig { connection: Connection::ReZero, ..spec() })?;
    assert_eq!(written["connection"], "rezero");
    assert_eq!(written["cell"]["family"], "kim-residual-lstm");
    let old = r#"{"cell": {"family": "gru"}, "layers": 2}"#;
    let expected = RnnConfig { layers: 2, ..RnnConfig::new(CellKind::Gru(GruConfig::default())) };
    assert_eq!(serde_json::from_str::<RnnConfig>(old)?, expected);
    let some =
        r#"{"cell": {"family": "lstm"}, "layers": 1, "recurrent_dropout": {"zoneout_c": 0.5}}"#;
    let noise = RecurrentDropout { zoneout_c: 0.5, ..RecurrentDropout::default() };
    let expected = RnnConfig {
        recurrent_dropout: noise,
        ..RnnConfig::new(CellKind::Lstm(LstmConfig::default()))
    };
    assert_eq!(serde_json::from_str::<RnnConfig>(some)?, expected);
    Ok(())
}

#[test]
fn its_options_are_shown() {
    let options = spec().options();
    let shown = |name: &str| options.get(name).map(String::as_str);
    assert_eq!(shown("recurrent_dropout.zoneout_c"), Some("0.4"));
    assert_eq!(shown("recurrent_dropout.input"), Some("0.35"));
    assert_eq!(shown("learned_start"), Some("true"));
    assert_eq!(shown("recompute.every"), Some("3"));
    assert_eq!(shown("connection.highway.bias"), Some("-2.0"));
    assert!(
        spec().init_summary().ends_with("learned start from zero"),
        "{}",
        spec().init_summary()
    );
    let plain = RnnConfig::new(CellKind::Lstm(LstmConfig::default()));
    assert!(
        !plain.options().keys().any(|name| name.starts_with("recurrent_dropout")),
        "{:?}",
        plain.options()
    );
    assert!(!plain.init_summary().contains("learned"), "{}", plain.init_summary());
}

#[test]
fn wrong_rates_are_refused_when_it_is_built() -> Result<()> {
    let build =
        |spec: RnnConfig| spec.build(3, 5, VarBuilder::zeros(DType::F64, &Device::Cpu)).map(drop);
    let spec = RnnConfig {
        recurrent_dropout: RecurrentDropout::zoneout(0.0, 0.5),
        ..RnnConfig::new(CellKind::Gru(GruConfig::default()))
    };
    expect_error(
        "a GRU",
        build(spec),
        "recurrent_dropout zoneout_c: expected a cell whose state has the field c",
    )?;
    let spec = RnnConfig {
        recompute: Recompute::Every(0),
        ..RnnConfig::new(CellKind::Gru(GruConfig::default()))
    };
    expect_error(
        "a checkpoint",
        build(spec),
        "recompute: expected the state at every 1 or more steps, got 0",
    )
}
