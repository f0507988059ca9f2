//! How does a network follow a stream that never ends, through a restart of the program?
//!
//! A GRU learns to predict the next reading of a vibrating machine. Then readings arrive in
//! packets; a snapshot of the network processes each packet, and its state is saved. Half-way the
//! program "restarts" from the saved state. At the end a bearing breaks, and the predictions show
//! it.
//!
//! ```text
//! cargo run --release --example stream
//! ```
//!
//! Prints, within some seconds:
//!
//! ```text
//! training for 300 steps ...
//! restarted after reading 2000
//! readings    0 to  500: off by 0.009 on average
//! readings  500 to 1000: off by 0.007 on average
//! readings 1000 to 1500: off by 0.007 on average
//! readings 1500 to 2000: off by 0.007 on average
//! readings 2000 to 2500: off by 0.007 on average
//! readings 2500 to 3000: off by 0.007 on average
//! readings 3000 to 3500: off by 0.513 on average
//! readings 3500 to 4000: off by 0.513 on average
//! state after 4021 readings, streamed and at once: the difference is 0e0
//! ```

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use clap::Parser;
use rand::{Rng, SeedableRng};
use recurrent::core::init;
use recurrent::{weights, ForwardContext, Gru, GruConfig, InferenceLayer, Layer, Sequence, Stream};
use recurrent_train::{AdamW, AdamWConfig, Optimizer, Params};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const HIDDEN: usize = 24;
const BREAKS: usize = 3000;

/// The machine's reading at time `t`: two vibrations, and a third after the bearing breaks.
fn reading(t: usize, phase: f32) -> f32 {
    let t = t as f32 + phase;
    0.6 * (0.31 * t).sin()
        + 0.3 * (0.83 * t).sin()
        + if t > BREAKS as f32 { 0.2 * (2.3 * t).sin() } else { 0.0 }
}

/// A new stream, with the state in the file if it exists.
fn resume(network: &Arc<dyn InferenceLayer>, path: &Path) -> Result<Box<dyn Stream>> {
    let mut stream = network.clone().stream(1);
    if path.exists() {
        let carry = stream.carry()?.with_named(&weights::read(path)?.tensors)?;
        stream.set_carry(&carry)?;
    }
    Ok(stream)
}

/// Predicts the next reading of a vibrating machine, through a restart.
#[derive(Parser)]
struct Options {}

fn main() -> anyhow::Result<()> {
    sigpipe::reset(); // ends quietly if its output is cut off, as by `head`
    Options::parse();
    let (vars, mut rng) = (VarMap::new(), rand_chacha::ChaCha8Rng::seed_from_u64(1));
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let gru = Gru::new(1, HIDDEN, &GruConfig::default(), vb.pp("gru"))?;
    let readout = init::linear(HIDDEN, 1, &vb.pp("readout"))?;
    let params = Params::from_varmap(&vars)?;
    let mut adam = AdamW::new(&params, AdamWConfig { lr: 1e-2, ..AdamWConfig::default() })?;
    println!("training for 300 steps ...");
    for step in 0..300 {
        let phases: Vec<f32> = (0..16).map(|_| rng.random_range(0.0..1000.0)).collect();
        let values = phases.iter().flat_map(|phase| (0..=60).map(|t| reading(t, *phase))).collect();
        let values = Tensor::from_vec(values, (16, 61, 1), &Device::Cpu)?; // (batch, time, feature)
        let xs = Sequence::new(values.narrow(1, 0, 60)?)?;
        let (hs, _) = gru.run(&xs, None, &ForwardContext::train(0, step))?;
        let loss = (readout.forward(hs.values())? - values.narrow(1, 1, 60)?)?.sqr()?.mean_all()?;
        adam.step(&loss.backward()?)?;
    }

    // A snapshot for inference: slices in, slices out, no tensors.
    let network = gru.to_inference()?;
    let weight: Vec<f32> = readout.weight().flatten_all()?.to_vec1()?;
    let bias = readout.bias().expect("it has one").to_vec1::<f32>()?[0];
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("state.safetensors");
    let mut stream = resume(&network, &path)?;
    let (mut t, mut all) = (0, Vec::new());
    while t < 4000 {
        let count = rng.random_range(1..=50); // readings of this packet
        let xs: Vec<f32> = (t..t + count).map(|t| reading(t, 0.0)).collect();
        let mut hs = vec![0.0; count * HIDDEN];
        stream.run(&xs, &mut hs)?;
        for h in hs.chunks_exact(HIDDEN) {
            let next = h.iter().zip(&weight).map(|(h, w)| h * w).sum::<f32>() + bias;
            all.push((next - reading(all.len() + 1, 0.0)).abs());
        }
        weights::write(&path, &stream.carry()?.named().into_iter().collect(), &BTreeMap::new())?;
        if t < 2000 && t + count >= 2000 {
            stream = resume(&network, &path)?; // the file has the whole state
            println!("restarted after reading {}", t + count);
        }
        t += count;
    }
    for (index, errors) in all.chunks(500).enumerate().take(8) {
        let mean = errors.iter().sum::<f32>() / errors.len() as f32;
        let first = 500 * index;
        println!("readings {first:4} to {:4}: off by {mean:.3} on average", first + 500);
    }

    // The whole sequence at once, by the layer.
    let xs = Tensor::from_vec((0..t).map(|t| reading(t, 0.0)).collect(), (1, t, 1), &Device::Cpu)?;
    let last = gru.last(&Sequence::new(xs)?, None, &ForwardContext::default())?.0;
    let streamed = stream.carry()?.field("h")?.clone();
    let difference = (last - streamed)?.abs()?.max_all()?.to_scalar::<f32>()?;
    println!("state after {t} readings, streamed and at once: the difference is {difference:.0e}");
    Ok(())
}
