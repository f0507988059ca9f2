//! What does a character-level language model write?
//!
//! Continues a text: each character is drawn from the network's distribution, which a low
//! temperature sharpens. The network is that of a run of `compare --task text`, or a GRU that the
//! example trains first, which takes about a minute for a short novel:
//!
//! ```text
//! cargo run --release --example char_lm -- --data book.txt --prompt "The train" --save runs/gru
//! cargo run --release --example char_lm -- --data book.txt --run runs/gru --seed 3
//! ```
//!
//! The same options give the same text.

use anyhow::{ensure, Context, Result};
use candle_core::{safetensors, Device, IndexOp};
use clap::Parser;
use recurrent::{core::named_rng, ForwardContext};
use recurrent_cli::Variants;
use recurrent_harness::network::Network;
use recurrent_harness::run::{self, Job, SavedRun};
use recurrent_harness::variant::Variant;
use recurrent_records::config::{Budget, Readout, TrainingConfig};
use recurrent_records::dir::OutputDir;
use recurrent_tasks::{task::Task, usage::ConfigError, Text};
use std::path::PathBuf;
use std::process::ExitCode;

/// Continues a text in the style of another.
#[derive(Parser)]
struct Args {
    /// The text to train on, or that the run was trained on
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// A run to continue with: a folder of `--save`, or a run of `compare --task text`
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Epochs to train, without --run
    #[arg(long, value_name = "N", default_value_t = 4, conflicts_with = "run")]
    epochs: u64,
    /// Save the trained network to this new folder, for --run
    #[arg(long, value_name = "DIR", conflicts_with = "run")]
    save: Option<PathBuf>,
    /// The text to continue [default: the first of its characters]
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Characters to write
    #[arg(long, value_name = "N", default_value_t = 400)]
    length: usize,
    /// Divides the logits before a character is drawn
    #[arg(long, value_name = "X", default_value_t = 0.7, allow_negative_numbers = true)]
    temperature: f64,
    /// Seed of the drawn characters and of the training
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    recurrent_cli::program(write)
}

fn write(args: Args) -> Result<ExitCode> {
    if !(args.temperature > 0.0 && args.temperature.is_finite()) {
        let why = format!("temperature: expected a positive number, got {}", args.temperature);
        return Err(ConfigError::new(why).into());
    }
    let run = args.run.as_deref().map(SavedRun::open).transpose()?;
    ensure!(
        run.as_ref().is_none_or(|run| run.record.config.training.readout == Readout::Plain),
        "expected a run with a plain read-out, found attention, which sees a window at once"
    );
    let window = run.as_ref().map_or(100, |run| run.record.config.task.length);
    let text = Text::open(&args.data, window)?;
    let prompt = args.prompt.clone().unwrap_or_else(|| text.symbols()[0].to_string());
    let mut symbols = text.encode(&prompt).context("prompt")?;
    let name = run.as_ref().map_or("gru", |run| &run.record.config.model.variant).to_string();
    let variant = Variants::registry().choose(&[name], text.longest_lag())?.remove(0);
    let network = match &run {
        Some(run) => run.network(&variant, &text)?,
        None => train(&args, &variant, &text)?,
    };
    let dtype = network.rnn().params()[0].1.dtype();

    recurrent_cli::write(&prompt)?;
    let (mut carry, mut rng) = (None, named_rng(args.seed, "sample"));
    for _ in 0..args.length {
        let xs = text.input(&symbols, dtype, &Device::Cpu)?; // (batch, time, input)
        let (logits, after) =
            network.forward_from(&xs, carry.as_ref(), &ForwardContext::default())?;
        let symbol = Text::sample(&logits.i((0, symbols.len() - 1))?, args.temperature, &mut rng)?;
        if !recurrent_cli::write(&text.symbols()[symbol].to_string())? {
            break;
        }
        (symbols, carry) = (vec![symbol], Some(after));
    }
    recurrent_cli::print("")?;
    Ok(ExitCode::SUCCESS)
}

/// Trains a new network.
fn train(args: &Args, variant: &Variant, text: &Text) -> Result<Network> {
    let training =
        TrainingConfig { budget: Budget::Epochs(args.epochs), ..TrainingConfig::new(text) };
    training.validate(text)?;
    let job = Job::new(variant, text, &training, args.seed)?;
    let folder = args.save.as_deref().map(OutputDir::create).transpose()?;
    let (steps, hidden) = (job.config.max_steps(), job.config.model.hidden);
    eprintln!("training a GRU of {hidden} units; the last tenth of the text is held out");
    let run = run::run(&job, &false.into(), &mut |step, loss| {
        if step % 100 == 0 || step == steps {
            eprintln!("step {step} of {steps}: training loss {loss:.2} bits per character");
        }
    });
    if let Some(eval) = run.evals.last() {
        eprintln!("held-out text: {:.2} bits per character", eval.loss);
    }
    if let Some(folder) = folder {
        run.write(&folder)?;
        eprintln!("saved for --run {}", folder.path().display());
    }
    Ok(job.network(safetensors::load_buffer(&run.weights, &Device::Cpu)?)?)
}
