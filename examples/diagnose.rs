//! Why does my network not learn?
//!
//! A usual candle program that uses an LSTM of this repository instead of candle_nn's (it loads the
//! same weights), and the ten lines that diagnose it. Then it diagnoses five networks that are
//! broken on purpose.
//!
//! ```text
//! cargo run --release --example diagnose
//! ```
//!
//! Prints, within some seconds, six reports. The first of them:
//!
//! ```text
//! No finding in 5 batches; the data needs lags up to 100.
//!
//! layer              half-life  left at 100  horizon  to the top's   dead  gates, mean
//! 0 dL/dh                   37       8.6e-4       90           1.0    0 %  i 0.039  f 0.96  o 0.49
//! 0 dL/dc                   48         0.23      100           1.0    0 %  i 0.039  f 0.96  o 0.49
//! ```

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use clap::Parser;
use rand::Rng;
use recurrent::core::init::{self, ForgetBias, Init, Scheme};
use recurrent::core::named_rng;
use recurrent::{Direction, LstmConfig, Nonlinearity, Stack, VanillaConfig};
use recurrent::{Layer, Sequence}; // +
use recurrent_measures::diagnosis::Diagnosis; // +

const BATCH: usize = 16;
const HIDDEN: usize = 32;
const LAG: usize = 100;

/// Two of 100 random values are marked, one in each half. The target at the end is their sum.
fn batch(step: u64) -> Result<(Tensor, Tensor)> {
    let mut rng = named_rng(step, "batch");
    let (mut xs, mut sums) = (vec![0f32; BATCH * LAG * 2], Vec::new());
    for steps in xs.chunks_exact_mut(LAG * 2) {
        steps.iter_mut().step_by(2).for_each(|value| *value = rng.random());
        let marked = [rng.random_range(0..LAG / 2), rng.random_range(LAG / 2..LAG)];
        marked.iter().for_each(|step| steps[2 * step + 1] = 1.0);
        sums.push(marked.iter().map(|step| steps[2 * step]).sum::<f32>());
    }
    let xs = Tensor::from_vec(xs, (BATCH, LAG, 2), &Device::Cpu)?; // (batch, time, input)
    Ok((xs, Tensor::from_vec(sums, (BATCH, 1), &Device::Cpu)?))
}

/// Trains for some steps and prints the diagnosis. `norm` adds candle_nn's LayerNorm after the
/// recurrent layers. A line with `// +` is added to a usual program, one with `// -` replaced.
fn train(build: impl FnOnce(VarBuilder) -> Result<Box<dyn Layer>>, norm: bool) -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let rnn = build(vb.pp("rnn"))?;
    let norm = norm.then(|| candle_nn::layer_norm(HIDDEN, 1e-5, vb.pp("norm"))).transpose()?;
    let readout = init::linear(HIDDEN, 1, &vb.pp("readout"))?;
    let mut adam = AdamW::new(vars.all_vars(), ParamsAdamW { lr: 1e-3, ..ParamsAdamW::default() })?;

    let mut diagnosis = Diagnosis::new(LAG); // +
    for step in 0..5 {
        let (xs, targets) = batch(step)?;
        let recorder = diagnosis.recorder(); // +
        let xs = Sequence::new(xs)?; // +

        // - let ys = rnn.forward(&xs)?;
        // - let last = ys.narrow(1, LAG - 1, 1)?.squeeze(1)?;
        let (last, _) = rnn.last(&xs, None, &recorder.context())?; // +
        let last = norm.as_ref().map_or(Ok(last.clone()), |norm| norm.forward(&last))?; // other
        let loss = (readout.forward(&last)? - targets)?.sqr()?.mean_all()?;
        // - adam.backward_step(&loss)?;
        let grads = loss.backward()?; // +
        adam.step(&grads)?; // +
        diagnosis.add_batch(recorder, &loss, &grads, &vars)?; // +
    }
    println!("{}", diagnosis.report()); // +
    Ok(())
}

fn lstm(layers: usize, init: Init, vb: VarBuilder) -> Result<Box<dyn Layer>> {
    let config = LstmConfig { init, ..LstmConfig::default() };
    Ok(Box::new(Stack::new(2, HIDDEN, layers, Direction::Forward, &config, vb)?))
}

fn vanilla(nonlinearity: Nonlinearity, init: Init, vb: VarBuilder) -> Result<Box<dyn Layer>> {
    let config = VanillaConfig { nonlinearity, init, ..VanillaConfig::default() };
    Ok(Box::new(Stack::new(2, HIDDEN, 1, Direction::Forward, &config, vb)?))
}

/// Diagnoses a healthy network and five broken ones.
#[derive(Parser)]
struct Options {}

fn main() -> Result<()> {
    sigpipe::reset(); // ends quietly if its output is cut off, as by `head`
    Options::parse();
    let title = |text: &str| println!("── {text} {}\n", "─".repeat(96 - text.chars().count()));
    let forget = |forget_bias| Init { forget_bias, ..Init::default() };
    let bias = |gate: &str, to| Init { bias_by_gate: vec![(gate.into(), to)], ..Init::default() };
    let chrono = || forget(ForgetBias::Chrono { longest: LAG });

    title("Healthy: LSTM, chrono biases");
    train(|vb| lstm(1, chrono(), vb), false)?;

    title("1. LSTM, forget bias -3");
    train(|vb| lstm(1, forget(ForgetBias::Constant(-3.0)), vb), false)?;

    title("2. Tanh network, recurrent matrix of spectral radius 3");
    let scheme = Scheme::Normal { input: 0.1, recurrent: 3.0 };
    train(|vb| vanilla(Nonlinearity::Tanh, Init { scheme, ..Init::default() }, vb), false)?;

    title("3. ReLU network, bias -8");
    train(|vb| vanilla(Nonlinearity::Relu, bias("h", -8.0), vb), false)?;

    title("4. The healthy LSTM, candle_nn::LayerNorm between it and the read-out");
    train(|vb| lstm(1, chrono(), vb), true)?;

    title("5. Two layers of LSTM, input gates with a bias of -8");
    train(|vb| lstm(2, Init { forget_bias: chrono().forget_bias, ..bias("i", -8.0) }, vb), false)
}
