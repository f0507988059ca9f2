//! A layer run step by step.

use super::cells::{differences, layer, near, sequences, Elman};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use recurrent_core::{
    Bidirectional, CellConfig, ForwardContext, Layer, LayerId, RecurrentDropout, Rnn, Sequence,
};
use recurrent_gru::GruConfig;
use recurrent_layernorm::{LayerNormLstmConfig, LayerNormVanillaConfig};
use recurrent_lstm::LstmConfig;
use recurrent_measures::{flatten, Derivative, Trajectory};
use recurrent_residual::TemporalResidual;
use recurrent_testkit::close::expect_error;
use recurrent_testkit::{close, noise, Result, Tolerance};
use recurrent_vanilla::VanillaConfig;

fn against_differences<K: CellConfig>(name: &str, config: &K) -> Result<()> {
    let (layer, xs) = (layer(config, 2, 4)?, sequences(3, 6, 2)?);
    let trajectory = Trajectory::new(&layer, &xs, None)?;
    // From zeros, layer norm bends too much for differences.
    for (t, example) in [(2, 1), (4, 2)] {
        let state =
            trajectory.states()[t].map(&mut |field| field.narrow(0, example, 1)?.contiguous())?;
        let x = xs.values().narrow(0, example, 1)?.narrow(1, t, 1)?;
        let found = trajectory.jacobian(t, example)?.to_vec2::<f64>()?;
        near(name, &found, &differences(&layer, &x, &state)?, 1e-9);
    }
    Ok(())
}

#[test]
fn jacobians_are_those_of_finite_differences() -> Result<()> {
    against_differences("vanilla", &VanillaConfig::default())?;
    against_differences("lstm", &LstmConfig::default())?;
    against_differences("gru", &GruConfig::default())?;
    against_differences("layer norm", &LayerNormVanillaConfig::default())?;
    against_differences("layer norm lstm", &LayerNormLstmConfig::default())?;
    against_differences("over time", &TemporalResidual::new(GruConfig::default(), 0.3))
}

#[test]
fn the_states_are_those_of_the_whole_run() -> Result<()> {
    let (layer, xs) = (layer(&LstmConfig::default(), 2, 4)?, sequences(3, 6, 2)?);
    let trajectory = Trajectory::new(&layer, &xs, None)?;
    let (_, end) = layer.run(&xs, None, &ForwardContext::default())?;
    let (found, expected) = (flatten(&trajectory.states()[6])?, flatten(&end)?.detach());
    close("s_T", &found, &expected, Tolerance::Norm(1e-14))?;
    assert_eq!((trajectory.steps(), trajectory.batch(), trajectory.size()), (6, 3, 8));
    let middle = &trajectory.states()[2];
    let rest = Sequence::new(xs.values().narrow(1, 2, 4)?.contiguous()?)?;
    let again = Trajectory::new(&layer, &rest, Some(middle))?;
    close("from a carry", &flatten(&again.states()[4])?, &found, Tolerance::Bits)
}

#[test]
fn closed_form_autograd_and_rows_of_the_jacobian_agree() -> Result<()> {
    let lstm = layer(&LstmConfig::default(), 2, 4)?;
    let elman = Elman::layer(2, 5, 1.2)?;
    for layer in [&lstm as &dyn Layer, &elman] {
        let xs = sequences(3, 5, 2)?;
        let by = |derivative| {
            Ok::<_, candle_core::Error>(
                Trajectory::new(layer, &xs, None)?.with_derivative(derivative),
            )
        };
        let (auto, closed) = (by(Derivative::Autograd)?, by(Derivative::ClosedForm)?);
        let grad = noise("grad", &[3, auto.size()])?;
        for t in [0, 3] {
            let back = auto.vjp(t, &grad)?;
            close("closed form", &closed.vjp(t, &grad)?, &back, Tolerance::Norm(1e-13))?;
            close(
                "jacobian",
                &closed.jacobian(t, 1)?,
                &auto.jacobian(t, 1)?,
                Tolerance::Norm(1e-13),
            )?;
            let row = grad.narrow(0, 1, 1)?.matmul(&auto.jacobian(t, 1)?)?;
            close("g J", &row, &back.narrow(0, 1, 1)?.contiguous()?, Tolerance::Norm(1e-13))?;
        }
    }
    Ok(())
}

#[test]
fn a_layer_without_closed_form_is_an_error_or_uses_autograd() -> Result<()> {
    let zoneout = RecurrentDropout::zoneout(0.1, 0.0);
    let layer = layer(&VanillaConfig::default(), 2, 4)?.with_recurrent_dropout(zoneout)?;
    let xs = sequences(3, 2, 2)?;
    let grad = noise("grad", &[3, 4])?;
    let closed = Trajectory::new(&layer, &xs, None)?.with_derivative(Derivative::ClosedForm);
    expect_error("closed form", closed.vjp(0, &grad), "vjp: this layer has no closed form")?;
    let auto = closed.with_derivative(Derivative::Autograd).vjp(0, &grad)?;
    let either =
        Trajectory::new(&layer, &xs, None)?.with_derivative(Derivative::Either).vjp(0, &grad)?;
    close("either", &either, &auto, Tolerance::Bits)
}

#[test]
fn a_learned_start_is_found() -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let layer = Rnn::new(2, 4, &LstmConfig::default(), vb.clone())?
        .with_learned_start(LayerId::default(), &vb)?;
    for (name, var) in vars.data().lock().expect("no thread has panicked").iter() {
        if name.starts_with("h0") || name.starts_with("c0") {
            Var::set(var, &noise(name, &[1, 4])?)?;
        }
    }
    let trajectory = Trajectory::new(&layer, &sequences(3, 2, 2)?, None)?;
    let expected = noise("c0_l0", &[1, 4])?.broadcast_as((3, 4))?.contiguous()?;
    close("c_0", trajectory.states()[0].field("c")?, &expected, Tolerance::Bits)
}

#[test]
fn layers_that_cannot_run_step_by_step_are_refused() -> Result<()> {
    let (one, xs) = (layer(&GruConfig::default(), 2, 4)?, sequences(3, 2, 2)?);
    let ragged = Sequence::padded(xs.values().clone(), &[2, 1, 2])?;
    let short = "trajectory xs: expected sequences of one length, 2 steps, got one of 1";
    expect_error("lengths", Trajectory::new(&one, &ragged, None), short)?;
    let equal = Sequence::padded(xs.values().clone(), &[2, 2, 2])?;
    let trajectory = Trajectory::new(&one, &equal, None)?;
    let grad = Tensor::zeros((3, 5), DType::F64, &Device::Cpu)?;
    expect_error(
        "shape",
        trajectory.vjp(0, &grad),
        "vjp, gradient: expected (batch, n) = (3, 4), got [3, 5]",
    )?;
    expect_error("step", trajectory.jacobian(2, 0), "step: expected one below 2, got 2")?;
    expect_error(
        "example",
        trajectory.jacobian(1, 3),
        "jacobian, example: expected one below 3, got 3",
    )?;
    let reverse = layer(&GruConfig::default(), 2, 4)?.reversed();
    let both = Bidirectional::new(one, reverse)?;
    expect_error(
        "both",
        Trajectory::new(&both, &xs, None),
        "trajectory layer: expected one that runs forward, got 4 of 8",
    )
}

#[test]
fn zoneout_has_no_closed_form_and_is_in_the_jacobian() -> Result<()> {
    let layer = layer(&LstmConfig::default(), 2, 4)?
        .with_recurrent_dropout(RecurrentDropout::zoneout(0.2, 0.3))?;
    let xs = sequences(3, 4, 2)?;
    let trajectory = Trajectory::new(&layer, &xs, None)?;
    let state = trajectory.states()[2].map(&mut |field| field.narrow(0, 1, 1)?.contiguous())?;
    let x = xs.values().narrow(0, 1, 1)?.narrow(1, 2, 1)?;
    let expected = differences(&layer, &x, &state)?;
    near("autograd", &trajectory.jacobian(2, 1)?.to_vec2::<f64>()?, &expected, 1e-9);
    let either = trajectory.with_derivative(Derivative::Either);
    near("either", &either.jacobian(2, 1)?.to_vec2::<f64>()?, &expected, 1e-9);
    expect_error(
        "closed form",
        either.with_derivative(Derivative::ClosedForm).jacobian(2, 1),
        "vjp: this layer has no closed form",
    )
}
