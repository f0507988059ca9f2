//! The tasks, one file each, and the choice of one by its name.
//!
//! | name | sequences | answer | solved at |
//! |---|---|---|---|
//! | `adding` | T steps of a value and a mark | the sum of the two marked values | MSE below 0.01 |
//! | `copy` | 10 symbols, a gap of T steps, 10 slots | the symbols, in order | 99 % of slots right |
//! | `temporal-order` | L to 1.1 L symbols, two of which matter | which two, in which order | 99 % right |
//! | `mnist-rows` | 28 rows of a digit | the digit | - |
//! | `mnist-pixels` | 784 pixels of a digit | the digit | - |
//! | `mnist-permuted` | 784 pixels in a fixed random order | the digit | - |
//!
//! A generated batch has a random stream of its own, opened by the run's seed and the split, the task, the length and
//! the number of the batch: training and evaluation share no draw, and no batch depends on which came before it.

mod adding;
mod classes;
mod copy;
#[cfg(feature = "hub")]
mod hub;
mod idx;
mod mnist;
mod temporal_order;
#[cfg(test)]
mod tests;

pub use adding::Adding;
pub use copy::CopyMemory;
pub use mnist::{Mnist, Order};
pub use temporal_order::TemporalOrder;

use crate::task::{BatchDraw, Split, Task};
use crate::usage::{mistake, nearest};
use anyhow::Result;
use candle::{DType, Device, Shape, Tensor, WithDType};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::sync::Arc;

/// The names of all tasks, as on the command line.
pub const NAMES: [&str; 6] = [
    adding::NAME,
    copy::NAME,
    temporal_order::NAME,
    Order::Rows.name(),
    Order::Pixels.name(),
    Order::Permuted.name(),
];

/// The length of a generated task if none is given.
const LENGTH: usize = 100;

/// Longer ones are taken for a slip of the pen: one example would need gigabytes.
const LONGEST: usize = 10_000_000;

/// The task called `name`. `length` is the T or L of a generated task, 100 if not given; MNIST's is fixed. `data` is
/// the folder with the IDX files of MNIST, and of no use to a generated task; with the feature `hub`, MNIST comes from
/// the Hugging Face Hub if there is none.
///
/// # Errors
/// A [`Usage`](crate::usage::Usage) error if there is no such task, with the nearest that there is; if the length does
/// not suit it; if `data` is missing where it is needed or given where it is not. Another if the files cannot be read.
pub fn by_name(name: &str, length: Option<usize>, data: Option<&Path>) -> Result<Arc<dyn Task>> {
    let generated = || -> Result<usize> {
        if data.is_some() {
            mistake!("task {name}: it is generated and reads no files; leave --data out");
        }
        Ok(length.unwrap_or(LENGTH))
    };
    let mnist = |order: Order| -> Result<Arc<dyn Task>> {
        if length.is_some() {
            mistake!("task {name}: its length is fixed at {}; leave --length out", order.steps());
        }
        match data {
            Some(data) => Ok(Arc::new(Mnist::open(data, order)?)),
            None => without_data(name, order),
        }
    };
    Ok(match name {
        adding::NAME => Arc::new(Adding::new(generated()?)?),
        copy::NAME => Arc::new(CopyMemory::new(generated()?)?),
        temporal_order::NAME => Arc::new(TemporalOrder::new(generated()?)?),
        _ => match Order::ALL.into_iter().find(|order| order.name() == name) {
            Some(order) => mnist(order)?,
            None => mistake!(
                "task {name}: no such task; the nearest is {}, all are {}",
                nearest(name, NAMES).expect("there are tasks"),
                NAMES.join(", ")
            ),
        },
    })
}

/// MNIST from the hub.
#[cfg(feature = "hub")]
fn without_data(_: &str, order: Order) -> Result<Arc<dyn Task>> {
    Ok(Arc::new(Mnist::from_hub(&recurrent_weights::hub::Hub::default(), order)?))
}

/// That MNIST is missing.
#[cfg(not(feature = "hub"))]
fn without_data(name: &str, _: Order) -> Result<Arc<dyn Task>> {
    let files = idx::FILES.join(", ");
    mistake!("task {name}: it needs --data DIR, a folder with {files}; or --features hub, with which it is fetched");
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
