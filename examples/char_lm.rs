//! What does a character-level language model write?
//!
//! It goes on with a text, each character drawn from what the network expects there. The network is that of a run of `compare`, or
//! a GRU that is trained on the spot, within a minute or so for a short novel:
//!
//! ```text
//! cargo run --release --example char_lm -- --data book.txt --prompt "The train" --temperature 0.7
//!
//! cargo run --release --example compare -- --task text --data book.txt --variants lstm,gru --out runs/book
//! cargo run --release --example char_lm -- --data book.txt --run runs/book/runs/lstm-0 --seed 3
//! ```
//!
//! The same options give the same text. A low temperature makes the likely likelier: the network repeats itself; a high one makes all alike: it
//! babbles.

#[allow(dead_code)] // of what the programs share, this needs little
use anyhow::{ensure, Context, Result};
use candle::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use clap::Parser;
use rand::Rng;
use recurrent::core::{named_rng, Carry};
use recurrent::{weights, ForwardContext, Sequence};
use recurrent_harness::network::Network;
use recurrent_harness::run::{self, Job};
use recurrent_records::config::{Budget, Readout, TrainingConfig, Width};
use recurrent_records::record::RunRecord;
use recurrent_tasks::task::Task;
use recurrent_tasks::usage::Usage;
use recurrent_tasks::Text;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Goes on with a text in the manner of another.
#[derive(Parser)]
struct Args {
    /// The text to learn from, or that the run has learnt from
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Folder of one run of `compare --task text` with its run.json and weights.safetensors, instead of training now
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Epochs to train, without --run
    #[arg(long, value_name = "N", default_value_t = 4, conflicts_with = "run")]
    epochs: u64,
    /// What is to be gone on with [default: the first symbol of all]
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Characters to write
    #[arg(long, value_name = "N", default_value_t = 400)]
    length: usize,
    /// Divides what the network says before a character is drawn
    #[arg(long, value_name = "X", default_value_t = 0.7, allow_negative_numbers = true)]
    temperature: f64,
    /// The seed of what is drawn, and of the training
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    recurrent_cli::program(write)
}

fn write(args: Args) -> Result<ExitCode> {
    if !(args.temperature > 0.0 && args.temperature.is_finite()) {
        let why = format!("temperature: expected a positive number, got {}", args.temperature);
        return Err(Usage::new(why).into());
    }
    let run = args.run.as_deref().map(record).transpose()?;
    let text = Text::open(&args.data, run.as_ref().map_or(100, |run| run.config.task.length))?;
    let symbols = text.symbols();
    let prompt = args.prompt.unwrap_or_else(|| symbols[0].to_string());
    let number = |c: char| {
        symbols
            .binary_search(&c)
            .map_err(|_| Usage::new(format!("prompt: {c:?} is not in the text")))
    };
    let prompt: Vec<usize> = prompt.chars().map(number).collect::<Result<_, _>>()?;
    if prompt.is_empty() {
        return Err(Usage::new("prompt: expected at least 1 character, got none").into());
    }
    let network = match (&args.run, &run) {
        (Some(folder), Some(run)) => {
            let (shown, known) = (args.data.display(), folder.display());
            let same = run.config.task.data.is_none() || run.config.task.data == text.checksum(); // a run of before there were checksums may be of any
            ensure!(same, "{shown}: expected the text that {known} has learnt from, found another");
            of_run(folder, run, &text)?
        }
        _ => trained(&text, args.epochs, args.seed)?,
    };

    let mut rng = named_rng(args.seed, "sample");
    recurrent_cli::write(&prompt.iter().map(|&symbol| symbols[symbol]).collect::<String>())?;
    let (mut logits, mut carry) = (Vec::new(), None);
    for &symbol in &prompt {
        (logits, carry) = read(&network, symbol, carry, symbols.len())?;
    }
    for _ in 0..args.length {
        let symbol = drawn(&logits, args.temperature, rng.random());
        if !recurrent_cli::write(&symbols[symbol].to_string())? {
            break;
        }
        (logits, carry) = read(&network, symbol, carry, symbols.len())?;
    }
    recurrent_cli::print("")?;
    Ok(ExitCode::SUCCESS)
}

/// The record of a run, if it can go on with a text.
fn record(folder: &Path) -> Result<RunRecord> {
    let path = folder.join("run.json");
    let shown = path.display();
    let json = fs::read(&path).with_context(|| shown.to_string())?;
    let run: RunRecord =
        serde_json::from_slice(&json).with_context(|| format!("{shown}: cannot be read"))?;
    ensure!(
        run.config.task.name == "text",
        "{shown}: expected a run of the task text, found {}",
        run.config.task.name
    );
    let plain = run.config.training.readout == Readout::Plain;
    ensure!(
        plain,
        "{shown}: expected a plain read-out, found attention, which sees a window at once"
    );
    Ok(run)
}

/// The network of a run.
fn of_run(folder: &Path, run: &RunRecord, text: &Text) -> Result<Network> {
    let path = folder.join("weights.safetensors");
    let tensors = weights::read(&path)?.tensors;
    let (known, found) =
        (tensors.get("readout.bias").map_or(0, Tensor::elem_count), text.symbols().len());
    let shown = path.display();
    ensure!(
        known == found,
        "{shown}: expected the text of the run, of {known} different characters, found {found}"
    );
    network(&run.config.model.variant, run.config.model.hidden, text, tensors.into_iter().collect())
}

/// A GRU, new and trained.
fn trained(text: &Text, epochs: u64, seed: u64) -> Result<Network> {
    let variant = &recurrent_cli::variants(&["gru".to_string()], text.longest_lag())?[0];
    let training = TrainingConfig { budget: Budget::Epochs(epochs), ..TrainingConfig::new(text) };
    training.validate(text)?;
    let job = Job::new(variant, text, &training, seed)?;
    let steps = job.config.max_steps();
    let run = run::run(&job, &false.into(), &mut |step, loss| {
        if step % 100 == 0 || step == steps {
            eprintln!("step {step} of {steps}: {loss:.2} bits");
        }
    });
    let tensors = weights::read_bytes(&run.weights)?.tensors;
    network(&variant.name, job.config.model.hidden, text, tensors.into_iter().collect())
}

fn network(
    name: &str,
    hidden: usize,
    text: &Text,
    tensors: HashMap<String, Tensor>,
) -> Result<Network> {
    let variant = &recurrent_cli::variants(&[name.to_string()], text.longest_lag())?[0];
    let dtype = tensors.get("readout.bias").map_or(DType::F32, Tensor::dtype);
    let training = TrainingConfig { width: Width::Hidden(hidden), ..TrainingConfig::new(text) };
    let size = Job::new(variant, text, &training, 0)?.size();
    let vb = VarBuilder::from_tensors(tensors, dtype, &Device::Cpu);
    Ok(Network::new(variant, size, text, Readout::Plain, &vb)?)
}

/// What the network says will come behind a symbol, and its state there.
fn read(
    network: &Network,
    symbol: usize,
    carry: Option<Carry>,
    symbols: usize,
) -> Result<(Vec<f64>, Option<Carry>)> {
    let mut one = vec![0.0; symbols];
    one[symbol] = 1.0;
    let dtype = network.rnn().params()[0].1.dtype();
    let xs = Tensor::from_vec(one, (1, 1, symbols), &Device::Cpu)?.to_dtype(dtype)?; // (batch, time, input)
    let (logits, carry) =
        network.forward_from(&Sequence::new(xs)?, carry.as_ref(), &ForwardContext::default())?;
    Ok((logits.i((0, 0))?.to_dtype(DType::F64)?.to_vec1()?, Some(carry)))
}

/// The symbol at the share `at`, 0 to 1, of the distribution softmax(logits / temperature).
fn drawn(logits: &[f64], temperature: f64, at: f64) -> usize {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> =
        logits.iter().map(|logit| ((logit - most) / temperature).exp()).collect();
    let mut left = at * weights.iter().sum::<f64>();
    let passed = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    passed.unwrap_or(weights.len() - 1) // by rounding alone
}
