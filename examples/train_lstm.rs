//! How does a network with an LSTM train, without the harness?
//!
//! Embedding, LSTM and a linear read-out learn which of two letters came first in a string of 40.
//!
//! ```text
//! cargo run --release --example train_lstm
//! ```
//!
//! Prints, within some seconds:
//!
//! ```text
//! step  50: loss 0.6928, right 0.53, gradient norm 0.025
//! step 100: loss 0.6919, right 0.53, gradient norm 0.033
//! step 150: loss 0.6903, right 0.59, gradient norm 0.126
//! step 200: loss 0.6889, right 0.66, gradient norm 0.220
//! step 250: loss 0.0007, right 1.00, gradient norm 0.006
//! step 300: loss 0.0009, right 1.00, gradient norm 0.006
//! ```

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{loss::cross_entropy, ops::log_softmax, Embedding, VarBuilder, VarMap};
use clap::Parser;
use rand::{Rng, SeedableRng};
use recurrent::core::init;
use recurrent::{ForwardContext, Layer, Lstm, LstmConfig, Sequence};
use recurrent_train::{clip_global_norm, AdamW, AdamWConfig, GradientWatch, Optimizer, Params};

const TIME: usize = 40;
const BATCH: usize = 32;

/// Strings over the letters 2..6, with one 0 and one 1 in the first half. The class is the one that
/// comes first.
fn batch(rng: &mut impl Rng, device: &Device) -> Result<(Tensor, Tensor)> {
    let (mut letters, mut classes) = (Vec::new(), Vec::new());
    for _ in 0..BATCH {
        let mut string: Vec<u32> = (0..TIME).map(|_| rng.random_range(2..6)).collect();
        let (class, first) = (rng.random_range(0..2u32), rng.random_range(0..TIME / 4));
        (string[first], string[rng.random_range(TIME / 4..TIME / 2)]) = (class, 1 - class);
        letters.extend(string);
        classes.push(class);
    }
    Ok((
        Tensor::from_vec(letters, (BATCH, TIME), device)?,
        Tensor::from_vec(classes, BATCH, device)?,
    ))
}

/// Trains an LSTM to tell which of two letters comes first in a string.
#[derive(Parser)]
struct Options {}

fn main() -> Result<()> {
    sigpipe::reset(); // ends quietly if its output is cut off, as by `head`
    Options::parse();
    let device = Device::Cpu;
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &device);
    let table = init::linear_weight(8, 6, "embedding", &vb)?; // (letters, features)
    let embedding = Embedding::new(table, 8);
    let lstm = Lstm::new(8, 32, &LstmConfig::chrono(TIME), vb.pp("lstm"))?;
    let readout = init::linear(32, 2, &vb.pp("readout"))?;

    let params = Params::from_varmap(&vars)?;
    let mut adam = AdamW::new(&params, AdamWConfig { lr: 5e-3, ..AdamWConfig::default() })?;
    let mut watch = GradientWatch::new(&params)?; // stops at a NaN, or a parameter without gradient
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    for step in 0..300 {
        let (letters, classes) = batch(&mut rng, &device)?;
        let xs = Sequence::new(embedding.forward(&letters)?)?; // (batch, time, feature)
        let (last, _) = lstm.last(&xs, None, &ForwardContext::train(0, step))?; // (batch, hidden)
        let logits = readout.forward(&last)?;
        let loss = cross_entropy(&logits, &classes)?;

        let mut grads = loss.backward()?;
        let loss = loss.to_scalar::<f32>()?;
        watch.check(step, f64::from(loss), &grads)?;
        let clip = clip_global_norm(&params, &mut grads, 1.0)?;
        adam.step(&grads)?;
        if step % 50 == 49 {
            let right = log_softmax(&logits, 1)?
                .argmax(1)?
                .eq(&classes)?
                .to_dtype(DType::F32)?
                .mean_all()?;
            let right = right.to_scalar::<f32>()?;
            println!(
                "step {:3}: loss {loss:.4}, right {right:.2}, gradient norm {:.3}",
                step + 1,
                clip.before
            );
        }
    }
    Ok(())
}
