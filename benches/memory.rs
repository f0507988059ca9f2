//! How much memory does a train step take, and how much of it is saved for the backward pass?
//!
//! ```text
//! cargo bench --bench memory                 every family and shape, about half a minute
//! cargo bench --bench memory -- gru          the families whose name begins with gru
//! ```
//!
//! One layer, f32, one thread. `saved` is the memory allocated when the forward pass has returned,
//! beyond the weights and the input: the outputs, and the values that the backward pass needs. Its
//! unit is f32 values per step, example and unit. `peak` is the largest allocation during a train
//! step (forward, mean of squares of the outputs, gradients of all weights), also beyond the
//! weights and the input. The allocator counts both, so they are the same at every run.

mod subject;

use candle_core::Result;
use clap::{Parser, ValueEnum};
use peak_alloc::PeakAlloc;
use subject::{gradients, in_pool, shapes, Family, Library, Mode, Shape, Subject};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory of a train step by family and shape.
#[derive(Parser)]
struct Options {
    /// Only families whose name begins with this
    family: Option<String>,
    /// Three steps of every shape, as a smoke test
    #[arg(long)]
    test: bool,
    #[arg(long, hide = true)] // from cargo
    bench: bool,
}

/// Bytes of one train step.
struct Use {
    saved: usize,
    peak: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    std::env::set_var("RAYON_NUM_THREADS", "1");
    in_pool(|| table(options.family.as_deref().unwrap_or_default()))
}

fn table(begin: &str) -> Result<()> {
    println!("saved: f32 values a step, example and unit; peak: MiB");
    println!("{:15} {:>16} | {:>21} | {:>21}", "", "time x batch x", "recurrent", "candle-nn");
    println!(
        "{:15} {:>16} | {:>10} {:>10} | {:>10} {:>10}",
        "family", "input x hidden", "saved", "peak", "saved", "peak"
    );
    for family in
        Family::value_variants().iter().filter(|family| family.to_string().starts_with(begin))
    {
        for shape in shapes() {
            let ours = columns(shape, measure(Library::Recurrent, *family, shape)?);
            let candle = match family {
                Family::Lstm | Family::Gru => {
                    columns(shape, measure(Library::CandleNn, *family, shape)?)
                }
                Family::Vanilla | Family::LayerNormLstm => format!("{:>10} {:>10}", "–", "–"),
            };
            println!("{:15} {:>16} | {ours} | {candle}", family.to_string(), shape.to_string());
        }
    }
    Ok(())
}

fn columns(shape: Shape, used: Use) -> String {
    let values =
        (used.saved / size_of::<f32>()) as f64 / (shape.time * shape.batch * shape.hidden) as f64;
    format!("{values:>10.1} {:>10.1}", used.peak as f64 / f64::from(1 << 20))
}

fn measure(library: Library, family: Family, shape: Shape) -> Result<Use> {
    let mut subject = Subject::new(library, family, shape, 1, Mode::Train)?;
    subject.step()?; // allocates what is allocated once a process or thread
                     // Otherwise the buffers of the last case would be reused, and not counted.
    recurrent::kernels::release_memory();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let ys = subject.forward()?;
    let saved = MEMORY.current_usage() - before;
    let gradients = gradients(ys)?;
    let peak = MEMORY.peak_usage() - before;
    drop(gradients);
    Ok(Use { saved, peak })
}
