//! How does one network read a sequence and another write one?
//!
//! An encoder reads a date as people write it ("march 7, 2021", "7. mar 2021"). Its final state is
//! the initial state of a decoder, which writes the date in ISO 8601, a character at a time. A
//! tenth of all dates from 1900 to 2099 is held out. The model is in `translator.rs`.
//!
//! ```text
//! cargo run --release --example seq2seq
//! ```
//!
//! Takes one to two minutes on two cores, and prints a line every 100 steps. The last lines:
//!
//! ```text
//! step 1200: loss 0.0162, 484 of 500 held-out dates are right
//! 13.4.1907            1907-04-13
//! 20.11.2057           2057-11-20
//! september 6, 1951    1951-09-06
//! 3. jul 1918          1918-07-03
//! ```

mod dates;
mod translator;

use candle_core::{DType, Device, Result};
use candle_nn::{VarBuilder, VarMap};
use clap::Parser;
use dates::dates;
use rand::SeedableRng;
use recurrent::ForwardContext;
use recurrent_train::{clip_global_norm, AdamW, AdamWConfig, Optimizer, Params};
use std::time::Instant;
use translator::Translator;

const STEPS: u32 = 1200;

/// Trains an encoder and a decoder to rewrite dates.
#[derive(Parser)]
struct Options {}

fn main() -> Result<()> {
    sigpipe::reset(); // ends quietly if its output is cut off, as by `head`
    Options::parse();
    let vars = VarMap::new();
    let translator = Translator::new(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    let params = Params::from_varmap(&vars)?;
    let mut adam = AdamW::new(&params, AdamWConfig { lr: 4e-3, ..AdamWConfig::default() })?;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let (texts, truth) = dates(500, true, &mut rng);
    println!("training for {STEPS} steps of 64 dates ...");
    let start = Instant::now();
    for step in 1..=STEPS {
        let (texts_now, targets) = dates(64, false, &mut rng);
        let context = ForwardContext::train(0, step.into());
        let loss = translator.loss(&texts_now, &targets, &context)?;
        let mut grads = loss.backward()?;
        clip_global_norm(&params, &mut grads, 1.0)?;
        adam.step(&grads)?;
        if step == 20 {
            println!("it takes about {:.0} s", (start.elapsed() * STEPS / 20).as_secs_f64());
        }
        if step % 100 == 0 {
            let written = translator.write(&texts)?;
            let right = written.iter().zip(&truth).filter(|(ours, truth)| ours == truth).count();
            let loss = loss.to_scalar::<f32>()?;
            println!("step {step:4}: loss {loss:.4}, {right} of 500 held-out dates are right");
        }
    }
    for (text, written) in texts.iter().zip(translator.write(&texts)?).take(4) {
        println!("{text:20} {written}");
    }
    Ok(())
}
