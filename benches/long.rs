//! The time and the memory of 100,000 steps.
//!
//! ```text
//! cargo bench --bench long                            saves the state at every √T-th step
//! cargo bench --bench long -- --recompute auto        saves everything
//! ```
//!
//! One train step of an LSTM in f32 whose loss reads only the final state. Prints times and the
//! peak resident memory. The system counts the latter per process, so this benchmark is a process
//! of its own. It uses one thread, or `RAYON_NUM_THREADS`.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use clap::Parser;
use recurrent::core::Recompute;
use recurrent::{ForwardContext, Layer, LstmConfig, Rnn, Sequence};
use std::time::Instant;

/// Time and memory of one train step over a very long sequence.
#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 100_000)]
    steps: usize,
    #[arg(long, default_value_t = 16)]
    batch: usize,
    #[arg(long, default_value_t = 8)]
    input: usize,
    #[arg(long, default_value_t = 128)]
    hidden: usize,
    /// The states that the forward pass saves: auto, square-root, or the state at every N-th step
    #[arg(long, default_value = "square-root", value_parser = recompute)]
    recompute: Recompute,
    /// 1000 steps, as a smoke test
    #[arg(long)]
    test: bool,
    #[arg(long, hide = true)] // from cargo
    bench: bool,
}

fn recompute(text: &str) -> std::result::Result<Recompute, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(Recompute::Auto),
        ("square-root", _) => Ok(Recompute::SquareRoot),
        (_, Ok(steps)) => Ok(Recompute::Every(steps)),
        (_, Err(_)) => Err("expected auto, square-root or a number of steps".to_string()),
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let steps = if options.test { 1000 } else { options.steps };
    let threads: usize =
        std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    std::env::set_var("RAYON_NUM_THREADS", threads.to_string()); // candle reads it too
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("threads can be started");
    println!(
        "LSTM, {steps} steps, batch {}, {} features, {} units, f32, {threads} thread(s), \
         recompute {:?}",
        options.batch, options.input, options.hidden, options.recompute
    );
    pool.install(|| train(&options, steps))
}

fn train(options: &Options, steps: usize) -> Result<()> {
    let Options { batch, input, hidden, recompute, .. } = *options;
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let rnn = Rnn::new(input, hidden, &LstmConfig::default(), vb)?.with_recompute(recompute)?;
    let wave = (0..batch * steps * input).map(|i| (i as f32 * 0.37).sin());
    let xs = Tensor::from_iter(wave, &Device::Cpu)?.reshape((batch, steps, input))?;
    let xs = Sequence::new(xs)?;
    let before = peak_resident();

    let start = Instant::now();
    let (last, carry) = rnn.last(&xs, None, &ForwardContext::default())?; // (batch, hidden)
    let forward = start.elapsed();
    let gradients = last.sqr()?.mean_all()?.backward()?;
    let both = start.elapsed();
    drop(carry);

    for (name, weight) in rnn.params() {
        let gradient = gradients.get(&weight).expect("every weight has a gradient");
        let norm = gradient.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt();
        assert!(norm.is_finite() && norm > 0.0, "the gradient of {name} has the norm {norm}");
    }
    println!(
        "forward {:.2} s, backward {:.2} s",
        forward.as_secs_f64(),
        (both - forward).as_secs_f64()
    );
    match (before, peak_resident()) {
        (Some(before), Some(after)) => {
            println!(
                "peak resident memory {after} MiB, {before} MiB of it before the first step (VmHWM)"
            );
        }
        _ => println!("peak resident memory: unknown, no /proc/self/status"),
    }
    Ok(())
}

/// The peak resident memory in MiB, on Linux.
fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024)
}
