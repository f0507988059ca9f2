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
//! the example of 2 steps, alone against in the batch: differs by 0.000000029802322
//! ```

use candle::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use recurrent::{Direction, ForwardContext, GruConfig, Layer, Pool, Sequence, Stack};

fn main() -> Result<()> {
    let device = Device::Cpu;
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &device);
    let gru = Stack::of(2, Direction::Bidirectional, 3, 4, &GruConfig::default(), vb)?;

    // Three sequences (time, feature) of 5, 2 and 7 steps, padded to one batch.
    let examples = [5, 2, 7].map(|time| Tensor::ones((time, 3), DType::F32, &device));
    let xs = Sequence::collate(&examples.into_iter().collect::<Result<Vec<_>>>()?)?;
    println!("inputs  {:?}, lengths {:?}", xs.values().dims(), xs.lengths().map(|l| l.as_slice()));

    // The reversed direction starts at each example's own end; outputs behind it are zero.
    let (ys, carry) = gru.run(&xs, None, &ForwardContext::default())?;
    println!("outputs {:?}", ys.values().dims());
    println!("last    {:?}, mean {:?}", ys.pool(Pool::Last)?.dims(), ys.pool(Pool::Mean)?.dims());
    println!("carry of layer 1, forward: {:?}", carry.layer(1)?.layer(0)?.field("h")?.dims());

    // What the padding holds changes nothing: an example alone gives the same.
    let (alone, _) = gru.run(
        &Sequence::collate(&[Tensor::ones((2, 3), DType::F32, &device)?])?,
        None,
        &ForwardContext::default(),
    )?;
    let difference =
        (alone.values().get(0)? - ys.values().get(1)?.narrow(0, 0, 2)?)?.abs()?.max_all()?;
    println!(
        "the example of 2 steps, alone against in the batch: differs by {}",
        difference.to_scalar::<f32>()?
    );
    Ok(())
}
