//! What does a character-level language model write?
//!
//! Continues a text: each character is drawn from the network's distribution. The network comes
//! from a run of `compare`. Without a run, the example first trains a GRU, which takes about a
//! minute for a short novel:
//!
//! ```text
//! cargo run --release --example char_lm -- --data book.txt --prompt "The train" --save runs/gru
//! cargo run --release --example char_lm -- --data book.txt --run runs/gru --seed 3
//!
//! cargo run --release --example compare -- \
//!     --task text --data book.txt --variants lstm,gru --out runs/book
//! cargo run --release --example char_lm -- --data book.txt --run runs/book/runs/lstm-0
//! ```
//!
//! The same options give the same text. At a low temperature the network repeats itself; at a high
//! one it babbles.

use anyhow::{ensure, Result};
use candle_core::{DType, Device, IndexOp, Tensor};
use clap::Parser;
use rand::Rng;
use recurrent::core::{named_rng, Carry};
use recurrent::weights::{self, Tensors};
use recurrent::{ForwardContext, Sequence};
use recurrent_cli::Variants;
use recurrent_harness::network::Network;
use recurrent_harness::run::{self, Job};
use recurrent_records::config::{Budget, Readout, TrainingConfig, Width};
use recurrent_records::dir::OutputDir;
use recurrent_records::record::{read_stored, RunRecord};
use recurrent_tasks::task::Task;
use recurrent_tasks::usage::ConfigError;
use recurrent_tasks::Text;
use std::path::{Path, PathBuf};
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
    let run = args.run.as_deref().map(record).transpose()?;
    let text = Text::open(&args.data, run.as_ref().map_or(100, |run| run.config.task.length))?;
    let symbols = text.symbols();
    let prompt = args.prompt.clone().unwrap_or_else(|| symbols[0].to_string());
    let number = |c: char| {
        symbols
            .binary_search(&c)
            .map_err(|_| ConfigError::new(format!("prompt: {c:?} is not in the text")))
    };
    let prompt: Vec<usize> = prompt.chars().map(number).collect::<Result<_, _>>()?;
    if prompt.is_empty() {
        return Err(ConfigError::new("prompt: expected at least 1 character, got none").into());
    }
    let (name, training, seed) = match &run {
        Some(RunRecord { config, .. }) => {
            let width = Width::Hidden(config.model.hidden);
            let training =
                TrainingConfig { width, device: "cpu".to_string(), ..config.training.clone() };
            (config.model.variant.clone(), training, config.seed)
        }
        None => {
            let budget = Budget::Epochs(args.epochs);
            let training = TrainingConfig { budget, ..TrainingConfig::new(&text) };
            training.validate(&text)?;
            ("gru".to_string(), training, args.seed)
        }
    };
    let variant = Variants::registry().choose(&[name], text.longest_lag())?.remove(0);
    let job = Job::new(&variant, &text, &training, seed)?;
    let weights = match (&args.run, &run) {
        (Some(folder), Some(run)) => saved(folder, run, &args.data, &text)?,
        _ => train(&job, &args, &text)?,
    };
    let network = job.network(weights)?;

    let mut rng = named_rng(args.seed, "sample");
    recurrent_cli::write(&prompt.iter().map(|&symbol| symbols[symbol]).collect::<String>())?;
    let (mut logits, mut carry) = (Vec::new(), None);
    for &symbol in &prompt {
        (logits, carry) = read(&network, symbol, carry, symbols.len())?;
    }
    for _ in 0..args.length {
        let symbol = draw(&logits, args.temperature, rng.random());
        if !recurrent_cli::write(&symbols[symbol].to_string())? {
            break;
        }
        (logits, carry) = read(&network, symbol, carry, symbols.len())?;
    }
    recurrent_cli::print("")?;
    Ok(ExitCode::SUCCESS)
}

/// The record of a run that can write text.
fn record(folder: &Path) -> Result<RunRecord> {
    let path = folder.join("run.json");
    let (shown, run) = (path.display(), read_stored::<RunRecord>(&path)?);
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

/// The weights of a run, if it was trained on the text of `data`.
fn saved(folder: &Path, run: &RunRecord, data: &Path, text: &Text) -> Result<Tensors> {
    let (known, path) = (folder.display(), folder.join("weights.safetensors"));
    // A run without a checksum may have been trained on any text.
    let checksum = &run.config.task.data;
    let same = checksum.is_none() || *checksum == text.checksum();
    let shown = data.display();
    ensure!(same, "{shown}: expected the text that {known} was trained on, found another");
    let weights = weights::read(&path)?.tensors;
    let known = weights.get("readout.bias").map_or(0, Tensor::elem_count);
    let (shown, found) = (path.display(), text.symbols().len());
    ensure!(
        known == found,
        "{shown}: expected the text of the run, of {known} different characters, found {found}"
    );
    Ok(weights)
}

/// Trains a new network, and returns its weights.
fn train(job: &Job, args: &Args, text: &Text) -> Result<Tensors> {
    let (steps, hidden) = (job.config.max_steps(), job.config.model.hidden);
    let folder = args.save.as_deref().map(OutputDir::create).transpose()?;
    eprintln!(
        "training a GRU of {hidden} units on {}, {} different characters; \
         the last tenth of the text is held out",
        args.data.display(),
        text.symbols().len()
    );
    let run = run::run(job, &false.into(), &mut |step, loss| {
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
    Ok(weights::read_bytes(&run.weights)?.tensors)
}

/// The logits of the next character, and the state after `symbol`.
fn read(
    network: &Network,
    symbol: usize,
    carry: Option<Carry>,
    symbols: usize,
) -> Result<(Vec<f64>, Option<Carry>)> {
    let mut one = vec![0.0; symbols];
    one[symbol] = 1.0;
    let dtype = network.rnn().params()[0].1.dtype();
    // (batch, time, input)
    let xs = Tensor::from_vec(one, (1, 1, symbols), &Device::Cpu)?.to_dtype(dtype)?;
    let (logits, carry) =
        network.forward_from(&Sequence::new(xs)?, carry.as_ref(), &ForwardContext::default())?;
    Ok((logits.i((0, 0))?.to_dtype(DType::F64)?.to_vec1()?, Some(carry)))
}

/// The symbol at the quantile `at`, 0 to 1, of the distribution softmax(logits / temperature).
fn draw(logits: &[f64], temperature: f64, at: f64) -> usize {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> =
        logits.iter().map(|logit| ((logit - most) / temperature).exp()).collect();
    let mut left = at * weights.iter().sum::<f64>();
    let passed = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    passed.unwrap_or(weights.len() - 1) // rounding
}
