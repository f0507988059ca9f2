//! How do sequences of unequal lengths run in one batch?
//!
//! ```text
//! cargo run --release --example ragged
//! ```
//!
//! Prints, within a second:
//!
//! ```text
//! inputs  [3, 7, 3], lengths Some([5, 2, 7])
//! outputs [3, 7, 8]
//! last    [3, 8], mean [3, 8]
//! carry of layer 1, forward: [3, 4]
//! the example of 2 steps, alone and in the batch: the outputs differ by 3e-8
//! ```

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use clap::Parser;
use recurrent::{Direction, ForwardContext, GruConfig, Layer, Pool, Sequence, Stack};

/// Runs three sequences of different lengths in one batch.
#[derive(Parser)]
struct Options {}

fn main() -> Result<()> {
    sigpipe::reset(); // ends quietly if its output is cut off, as by `head`
    Options::parse();
    let device = Device::Cpu;
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &device);
    let gru = Stack::new(3, 4, 2, Direction::Bidirectional, &GruConfig::default(), vb)?;

    // Three sequences (time, feature) of 5, 2 and 7 steps, padded to one batch.
    let examples = [5, 2, 7].map(|time| Tensor::ones((time, 3), DType::F32, &device));
    let xs = Sequence::collate(&examples.into_iter().collect::<Result<Vec<_>>>()?)?;
    println!("inputs  {:?}, lengths {:?}", xs.values().dims(), xs.lengths().map(|l| l.as_slice()));

    // The reversed direction starts at each example's own end; outputs after it are zero.
    let (ys, carry) = gru.run(&xs, None, &ForwardContext::default())?;
    println!("outputs {:?}", ys.values().dims());
    println!("last    {:?}, mean {:?}", ys.pool(Pool::Last)?.dims(), ys.pool(Pool::Mean)?.dims());
    println!("carry of layer 1, forward: {:?}", carry.layer(1)?.layer(0)?.field("h")?.dims());

    // Padding changes nothing: an example alone has the same outputs.
    let alone = Sequence::collate(&[Tensor::ones((2, 3), DType::F32, &device)?])?;
    let (alone, _) = gru.run(&alone, None, &ForwardContext::default())?;
    let in_batch = ys.values().get(1)?.narrow(0, 0, 2)?;
    let difference = (alone.values().get(0)? - in_batch)?.abs()?.max_all()?.to_scalar::<f32>()?;
    println!(
        "the example of 2 steps, alone and in the batch: the outputs differ by {difference:.0e}"
    );
    Ok(())
}
