//! The weights of candle-nn's LSTM and GRU, under its names, compute the same values here.

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::rnn::{gru, lstm, Direction, GRUConfig, LSTMConfig, RNN};
use candle_nn::{VarBuilder, VarMap};
use recurrent::{
    Carry, ForwardContext, Gru, GruConfig, Layer, LayerId, Lstm, LstmConfig, Rnn, Sequence,
};
use recurrent_testkit::{close, noise, Tolerance};

const BATCH: usize = 4;
const TIME: usize = 7;
const INPUT: usize = 3;
const HIDDEN: usize = 5;

/// candle-nn's outputs, `(batch, time, hidden)`, and its final state, with the weights of `vars`.
struct Theirs {
    ys: Tensor,
    end: Vec<Tensor>,
}

fn their_lstm(vars: &VarMap, config: LSTMConfig, dtype: DType, xs: &Tensor) -> Result<Theirs> {
    let layer = lstm(INPUT, HIDDEN, config, VarBuilder::from_varmap(vars, dtype, &Device::Cpu))?;
    scatter(vars)?;
    let states = layer.seq(xs)?;
    let ys = Tensor::stack(&states.iter().map(|state| state.h.clone()).collect::<Vec<_>>(), 1)?;
    let last = &states[TIME - 1];
    Ok(Theirs { ys, end: vec![last.h.clone(), last.c.clone()] })
}

fn their_gru(vars: &VarMap, config: GRUConfig, dtype: DType, xs: &Tensor) -> Result<Theirs> {
    let layer = gru(INPUT, HIDDEN, config, VarBuilder::from_varmap(vars, dtype, &Device::Cpu))?;
    scatter(vars)?;
    let states = layer.seq(xs)?;
    let ys = Tensor::stack(&states.iter().map(|state| state.h.clone()).collect::<Vec<_>>(), 1)?;
    Ok(Theirs { ys, end: vec![states[TIME - 1].h.clone()] })
}

/// Fills every variable with random values, since candle draws without a seed and biases are zero.
fn scatter(vars: &VarMap) -> Result<()> {
    for (name, var) in vars.data().lock().expect("no test panics with it").iter() {
        let values = noise(name, var.dims()).map_err(candle_core::Error::wrap)?;
        var.set(&(values * 0.4)?.to_dtype(var.dtype())?)?;
    }
    Ok(())
}

/// Outputs, the final state, and the gradients of every weight and of the input.
fn same(
    what: &str,
    vars: &VarMap,
    ours: &dyn Layer,
    theirs: &Theirs,
    xs: &Var,
    tolerance: Tolerance,
) -> recurrent_testkit::Result<()> {
    let (ys, carry) =
        ours.run(&Sequence::new(xs.as_tensor().clone())?, None, &ForwardContext::default())?;
    close(&format!("{what}, outputs"), ys.values(), &theirs.ys, tolerance)?;
    let Carry::Cell(fields) = carry else { panic!("a single layer has fields") };
    for ((name, field), expected) in fields.iter().zip(&theirs.end) {
        close(&format!("{what}, {name} at the end"), field, expected, tolerance)?;
    }
    let weight = noise("loss", &[BATCH, TIME, HIDDEN])?.to_dtype(xs.dtype())?;
    let grads = |ys: &Tensor| (ys * &weight)?.sum_all()?.backward();
    let (found, expected) = (grads(ys.values())?, grads(&theirs.ys)?);
    let data = vars.data().lock().expect("no test panics with it").clone();
    for (name, var) in data.iter().chain([(&"xs".to_string(), xs)]) {
        let (found, expected) = (found.get(var), expected.get(var));
        let (found, expected) = (found.expect("ours has it"), expected.expect("theirs has it"));
        close(&format!("{what}, gradient of {name}"), found, expected, tolerance)?;
    }
    Ok(())
}

fn in_both(
    check: impl Fn(&Var, Tolerance) -> recurrent_testkit::Result<()>,
) -> recurrent_testkit::Result<()> {
    for (dtype, tolerance) in
        [(DType::F64, Tolerance::Norm(1e-13)), (DType::F32, Tolerance::Max(2e-6))]
    {
        check(
            &Var::from_tensor(&noise("xs", &[BATCH, TIME, INPUT])?.to_dtype(dtype)?)?,
            tolerance,
        )?;
    }
    Ok(())
}

#[test]
fn lstm_of_candle() -> recurrent_testkit::Result<()> {
    in_both(|xs, tolerance| {
        let vars = VarMap::new();
        let theirs = their_lstm(&vars, LSTMConfig::default(), xs.dtype(), xs)?;
        let vb = VarBuilder::from_varmap(&vars, xs.dtype(), &Device::Cpu);
        let ours = Lstm::new(INPUT, HIDDEN, &LstmConfig::default(), vb)?;
        same("lstm", &vars, &ours, &theirs, xs, tolerance)
    })
}

#[test]
fn lstm_of_candle_without_bias_and_higher_up() -> recurrent_testkit::Result<()> {
    in_both(|xs, tolerance| {
        let vars = VarMap::new();
        let config = LSTMConfig { layer_idx: 2, ..LSTMConfig::default_no_bias() };
        let theirs = their_lstm(&vars, config, xs.dtype(), xs)?;
        let vb = VarBuilder::from_varmap(&vars, xs.dtype(), &Device::Cpu);
        let config = LstmConfig { bias: false, ..LstmConfig::default() };
        let ours = Rnn::at_layer(LayerId::layer(2), INPUT, HIDDEN, &config, vb)?;
        same("lstm without bias", &vars, &ours, &theirs, xs, tolerance)
    })
}

/// candle's `Direction::Backward` reads the weights of the reversed direction, but runs forward.
#[test]
fn lstm_of_candle_with_the_names_of_the_reversed_direction() -> recurrent_testkit::Result<()> {
    in_both(|xs, tolerance| {
        let vars = VarMap::new();
        let config = LSTMConfig { direction: Direction::Backward, ..LSTMConfig::default() };
        let theirs = their_lstm(&vars, config, xs.dtype(), xs)?;
        let vb = VarBuilder::from_varmap(&vars, xs.dtype(), &Device::Cpu);
        let layer_id = LayerId { reverse: true, ..LayerId::default() };
        let ours = Rnn::at_layer(layer_id, INPUT, HIDDEN, &LstmConfig::default(), vb)?.reversed();
        same("lstm named reverse", &vars, &ours, &theirs, xs, tolerance)
    })
}

#[test]
fn gru_of_candle() -> recurrent_testkit::Result<()> {
    in_both(|xs, tolerance| {
        let vars = VarMap::new();
        let theirs = their_gru(&vars, GRUConfig::default(), xs.dtype(), xs)?;
        let vb = VarBuilder::from_varmap(&vars, xs.dtype(), &Device::Cpu);
        let ours = Gru::new(INPUT, HIDDEN, &GruConfig::default(), vb)?;
        same("gru", &vars, &ours, &theirs, xs, tolerance)
    })
}

#[test]
fn gru_of_candle_without_bias() -> recurrent_testkit::Result<()> {
    in_both(|xs, tolerance| {
        let vars = VarMap::new();
        let theirs = their_gru(&vars, GRUConfig::default_no_bias(), xs.dtype(), xs)?;
        let vb = VarBuilder::from_varmap(&vars, xs.dtype(), &Device::Cpu);
        let ours = Gru::new(INPUT, HIDDEN, &GruConfig { bias: false, ..GruConfig::default() }, vb)?;
        same("gru without bias", &vars, &ours, &theirs, xs, tolerance)
    })
}

/// A file of candle's own model is read under its prefix.
#[test]
fn a_saved_model_of_candle_is_read() -> recurrent_testkit::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.safetensors");
    let xs = noise("xs", &[BATCH, TIME, INPUT])?.to_dtype(DType::F32)?;
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu).pp("encoder");
    let layer = lstm(INPUT, HIDDEN, LSTMConfig::default(), vb)?;
    scatter(&vars)?;
    vars.save(&path)?;
    let expected = layer.states_to_tensor(&layer.seq(&xs)?)?;

    let vb =
        VarBuilder::from_buffered_safetensors(std::fs::read(&path)?, DType::F32, &Device::Cpu)?;
    let ours = Lstm::new(INPUT, HIDDEN, &LstmConfig::default(), vb.pp("encoder"))?;
    close("outputs", &ours.forward(&xs)?, &expected, Tolerance::Max(2e-6))
}
