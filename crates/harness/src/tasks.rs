//! The tasks, one file each, and the choice of one by its name.
//!
//! | name | sequences | answer | solved at |
//! |---|---|---|---|
//! | `adding` | T steps of a value and a mark | the sum of the two marked values | MSE below 0.01 |
//! | `adding-tcn`, `adding-hochreiter` | the same, by other definitions | the same | MSE below 0.01; all within 0.04 |
//! | `multiplication` | T to 1.1 T steps of a value and a mark | the product of the two marked values | 99.35 % within 0.04 |
//! | `copy` | 10 symbols, a gap of T steps, 10 slots | the symbols, in order | 99 % of slots right |
//! | `copy-tcn`, `copy-variable` | the same, with delimiters at the slots; with a gap of 1 to T | the same | the same |
//! | `temporal-order` | L to 1.1 L symbols, two of which matter | which two, in which order | 99 % right |
//! | `temporal-order-6b` | the same, three of which matter | which three, in which order | 99 % right |
//! | `random-permutation` | T symbols, the first of which comes again | the first | 99 % right |
//! | `mnist-rows` | 28 rows of a digit | the digit | - |
//! | `mnist-pixels` | 784 pixels of a digit | the digit | - |
//! | `mnist-permuted` | 784 pixels in a fixed random order | the digit | - |
//!
//! Memory capacity is no task: it is a property of a network that is not trained, read by linear regression, and a measure therefore
//! (`recurrent_measures::memory_capacity`).
//!
//! A generated batch has a random stream of its own, opened by the run's seed and the split, the task, the length and
//! the number of the batch: training and evaluation share no draw, and no batch depends on which came before it.

mod adding;
mod classes;
mod copy;
mod idx;
mod mnist;
mod multiplication;
mod pairs;
mod permutation;
mod temporal_order;
#[cfg(test)]
mod tests;

pub use adding::{Adding, Definition};
pub use copy::{CopyMemory, Copying};
pub use mnist::{Mnist, Order};
pub use multiplication::Multiplication;
pub use permutation::RandomPermutation;
pub use temporal_order::{Relevant, TemporalOrder};

use crate::task::{BatchDraw, Split, Task};
use crate::usage::{mistake, nearest};
use anyhow::Result;
use candle::{DType, Device, Shape, Tensor, WithDType};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::sync::Arc;

/// A generated task of a length.
type Generated = fn(usize) -> Result<Arc<dyn Task>>;

/// The generated tasks by name.
const GENERATED: [(&str, Generated); 10] = [
    (Definition::Arjovsky.name(), |length| Ok(Arc::new(Adding::new(length, Definition::Arjovsky)?))),
    (Definition::Tcn.name(), |length| Ok(Arc::new(Adding::new(length, Definition::Tcn)?))),
    (Definition::Hochreiter.name(), |length| Ok(Arc::new(Adding::new(length, Definition::Hochreiter)?))),
    (multiplication::NAME, |length| Ok(Arc::new(Multiplication::new(length)?))),
    (Copying::Arjovsky.name(), |length| Ok(Arc::new(CopyMemory::new(length, Copying::Arjovsky)?))),
    (Copying::Tcn.name(), |length| Ok(Arc::new(CopyMemory::new(length, Copying::Tcn)?))),
    (Copying::Variable.name(), |length| Ok(Arc::new(CopyMemory::new(length, Copying::Variable)?))),
    (Relevant::Two.name(), |length| Ok(Arc::new(TemporalOrder::new(length, Relevant::Two)?))),
    (Relevant::Three.name(), |length| Ok(Arc::new(TemporalOrder::new(length, Relevant::Three)?))),
    (permutation::NAME, |length| Ok(Arc::new(RandomPermutation::new(length)?))),
];

/// The names of all tasks, as on the command line.
pub fn names() -> Vec<&'static str> {
    GENERATED.iter().map(|(name, _)| *name).chain(Order::ALL.map(Order::name)).collect()
}

/// The length of a generated task if none is given.
const LENGTH: usize = 100;

/// Longer ones are taken for a slip of the pen: one example would need gigabytes.
const LONGEST: usize = 10_000_000;

/// The task called `name`. `length` is the T or L of a generated task, 100 if not given; MNIST's is fixed. `data` is
/// the folder with the IDX files of MNIST, and of no use to a generated task.
///
/// # Errors
/// A [`Usage`](crate::usage::Usage) error if there is no such task, with the nearest that there is; if the length does
/// not suit it; if `data` is missing where it is needed or given where it is not. Another if the files cannot be read.
pub fn by_name(name: &str, length: Option<usize>, data: Option<&Path>) -> Result<Arc<dyn Task>> {
    if let Some((_, generated)) = GENERATED.iter().find(|(known, _)| *known == name) {
        if data.is_some() {
            mistake!("task {name}: it is generated and reads no files; leave --data out");
        }
        return generated(length.unwrap_or(LENGTH));
    }
    let Some(order) = Order::ALL.into_iter().find(|order| order.name() == name) else {
        let names = names();
        let nearest = nearest(name, names.iter().copied()).expect("there are tasks");
        mistake!("task {name}: no such task; the nearest is {nearest}, all are {}", names.join(", "));
    };
    if length.is_some() {
        mistake!("task {name}: its length is fixed at {}; leave --length out", order.steps());
    }
    let Some(data) = data else {
        mistake!("task {name}: it needs --data DIR, a folder with {}", idx::FILES.join(", "));
    };
    Ok(Arc::new(Mnist::open(data, order)?))
}

/// The T or L of a generated task, if it is in range.
fn checked_length(task: &str, length: usize, least: usize) -> Result<usize> {
    if !(least..=LONGEST).contains(&length) {
        mistake!("{task} length: expected {least} to {LONGEST}, got {length}");
    }
    Ok(length)
}

/// The random stream of one batch of a generated task; `length` is its T or L.
fn generator(task: &str, length: usize, draw: BatchDraw) -> ChaCha8Rng {
    let split = match draw.split {
        Split::Train => "train",
        Split::Held => "held",
    };
    recurrent_core::stream(draw.seed, &format!("{split}/{task}/{length}/{}", draw.step))
}

/// A tensor of `dtype` on `device`, converted on the CPU, which knows every dtype.
fn tensor<V: WithDType>(
    values: Vec<V>,
    shape: impl Into<Shape>,
    dtype: DType,
    device: &Device,
) -> candle::Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}
