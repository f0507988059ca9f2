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
//! | `memory-capacity` | T random values | all but the last, each by an output of its own | - |
//! | `mnist-rows` | 28 rows of a digit | the digit | - |
//! | `mnist-pixels` | 784 pixels of a digit | the digit | - |
//! | `mnist-permuted` | 784 pixels in a fixed random order | the digit | - |
//! | `fashion-rows`, `fashion-pixels`, `fashion-permuted` | the same of an image of Fashion-MNIST | what it shows | - |
//! | `mnist1d` | 40 steps of a generated shape | which of ten it is | - |
//! | `mnist1d-shuffled`, `mnist1d-padded` | its steps in a fixed random order; T steps of noise behind it | the same | - |
//! | `series` | a time series of a `.ts` file | its class | - |
//! | `forecast` | T values of a column of a CSV file | the next | - |
//! | `text` | T characters of a text, the state carried on | the next, at each | - |
//!
//! A generated batch has a random stream of its own, opened by the run's seed and the split, the
//! task, the length and the number of the batch: training and evaluation share no draw, and no
//! batch depends on which came before it.

#![forbid(unsafe_code)]

mod adding;
mod classes;
mod copy;
pub mod error;
mod forecast;
#[cfg(feature = "hub")]
mod hub;
mod idx;
mod memory_capacity;
mod mnist;
mod mnist1d;
mod multiplication;
mod ngram;
mod pairs;
mod parts;
mod permutation;
mod series;
pub mod task;
mod temporal_order;
#[cfg(test)]
mod tests;
mod text;
mod ts;
pub mod usage;

pub use adding::{Adding, Definition};
pub use copy::{CopyMemory, Copying};
pub use error::{Error, Result};
pub use forecast::Forecast;
pub use idx::Images;
pub use memory_capacity::MemoryCapacity;
pub use mnist::{Mnist, Order, Shown};
pub use mnist1d::{Digits1d, Mnist1d};
pub use multiplication::Multiplication;
pub use permutation::RandomPermutation;
pub use series::SeriesClasses;
pub use temporal_order::{Relevant, TemporalOrder};
pub use text::Text;

use crate::task::{BatchKey, Split, Task};
use crate::usage::{bail_config, nearest};
use candle::{DType, Device, Shape, Tensor, WithDType};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::sync::Arc;

/// A generated task of a length.
type Generated = fn(usize) -> Result<Arc<dyn Task>>;

/// The generated tasks by name.
const GENERATED: [(&str, Generated); 11] = [
    (Definition::Arjovsky.name(), |length| {
        Ok(Arc::new(Adding::new(length, Definition::Arjovsky)?))
    }),
    (Definition::Tcn.name(), |length| Ok(Arc::new(Adding::new(length, Definition::Tcn)?))),
    (Definition::Hochreiter.name(), |length| {
        Ok(Arc::new(Adding::new(length, Definition::Hochreiter)?))
    }),
    (multiplication::NAME, |length| Ok(Arc::new(Multiplication::new(length)?))),
    (Copying::Arjovsky.name(), |length| Ok(Arc::new(CopyMemory::new(length, Copying::Arjovsky)?))),
    (Copying::Tcn.name(), |length| Ok(Arc::new(CopyMemory::new(length, Copying::Tcn)?))),
    (Copying::Variable.name(), |length| Ok(Arc::new(CopyMemory::new(length, Copying::Variable)?))),
    (Relevant::Two.name(), |length| Ok(Arc::new(TemporalOrder::new(length, Relevant::Two)?))),
    (Relevant::Three.name(), |length| Ok(Arc::new(TemporalOrder::new(length, Relevant::Three)?))),
    (permutation::NAME, |length| Ok(Arc::new(RandomPermutation::new(length)?))),
    (memory_capacity::NAME, |length| Ok(Arc::new(MemoryCapacity::new(length)?))),
];

/// The names of all tasks, as on the command line.
pub fn names() -> Vec<&'static str> {
    let generated = GENERATED.iter().map(|(name, _)| *name).chain(Digits1d::NAMES);
    let images = Shown::ALL.into_iter().flat_map(|shown| Order::ALL.map(|order| order.name(shown)));
    generated.chain(images).chain([series::NAME, forecast::NAME, text::NAME]).collect()
}

/// The length of a generated task if none is given.
const LENGTH: usize = 100;

/// Longer ones are taken for a slip of the pen: one example would need gigabytes.
const LONGEST: usize = 10_000_000;

/// What is said of a task beside its name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'a> {
    /// The T or L of a generated task, by default 100; the number of steps of noise of
    /// `mnist1d-padded`, 100; the window of `forecast`, 48, and of `text`, 100. The other tasks
    /// have a length of their own.
    pub length: Option<usize>,
    /// The file or folder that a task of real data reads. With the feature `hub`, MNIST and
    /// Fashion-MNIST come from the Hugging Face Hub if there is none.
    pub data: Option<&'a Path>,
    /// The column of `forecast`.
    pub column: Option<&'a str>,
    /// The season of the naive forecast that `forecast` is compared with, in rows, by default 1.
    pub season: Option<usize>,
}

/// The task called `name` with a length and a file or folder of data, as [`open`].
///
/// # Errors
/// As [`open`].
pub fn by_name(name: &str, length: Option<usize>, data: Option<&Path>) -> Result<Arc<dyn Task>> {
    open(name, &Choice { length, data, ..Choice::default() })
}

/// The task called `name`.
///
/// # Errors
/// A [`ConfigError`](crate::usage::ConfigError) error if there is no such task, with the nearest
/// that there is; if the length does not suit it; if `data` or another choice is missing where it
/// is needed or given where it is not. Another if the files cannot be read.
pub fn open(name: &str, choice: &Choice) -> Result<Arc<dyn Task>> {
    if name != forecast::NAME && (choice.column.is_some() || choice.season.is_some()) {
        bail_config!(
            "task {name}: column and season are those of {}; leave --column and --season out",
            forecast::NAME
        );
    }
    if let Some((_, generated)) = GENERATED.iter().find(|(known, _)| *known == name) {
        no_data(name, choice)?;
        return generated(choice.length.unwrap_or(LENGTH));
    }
    let images = Shown::ALL.into_iter().flat_map(|shown| Order::ALL.map(|order| (shown, order)));
    if let Some((shown, order)) =
        images.into_iter().find(|(shown, order)| order.name(*shown) == name)
    {
        no_length(name, choice, order.steps())?;
        return Ok(Arc::new(match choice.data {
            Some(data) => Mnist::open(data, shown, order)?,
            None => without_data(name, shown, order)?,
        }));
    }
    let plain = |form: Digits1d| -> Result<Arc<dyn Task>> {
        no_data(name, choice)?;
        let task = Mnist1d::new(form)?;
        if !matches!(form, Digits1d::Padded(_)) {
            no_length(name, choice, task.length())?;
        }
        Ok(Arc::new(task))
    };
    Ok(match name {
        "mnist1d" => plain(Digits1d::Plain)?,
        "mnist1d-shuffled" => plain(Digits1d::Shuffled)?,
        "mnist1d-padded" => plain(Digits1d::Padded(choice.length.unwrap_or(LENGTH)))?,
        series::NAME => {
            let data = needed(
                name,
                choice,
                "FILE, a file NAME_TRAIN.ts beside NAME_TEST.ts, or their folder",
            )?;
            let task = SeriesClasses::open(data)?;
            no_length(name, choice, task.length())?;
            Arc::new(task)
        }
        forecast::NAME => {
            let data = needed(name, choice, "FILE, a CSV file")?;
            let (window, season) =
                (choice.length.unwrap_or(forecast::WINDOW), choice.season.unwrap_or(1));
            Arc::new(Forecast::open(data, choice.column, window, season)?)
        }
        text::NAME => {
            let data = needed(name, choice, "FILE, a text")?;
            Arc::new(Text::open(data, choice.length.unwrap_or(text::WINDOW))?)
        }
        _ => {
            let names = names();
            let nearest = nearest(name, names.iter().copied()).expect("there are tasks");
            bail_config!(
                "task {name}: no such task; the nearest is {nearest}, all are {}",
                names.join(", ")
            )
        }
    })
}

fn no_data(name: &str, choice: &Choice) -> Result<()> {
    if choice.data.is_some() {
        bail_config!("task {name}: it is generated and reads no files; leave --data out");
    }
    Ok(())
}

fn no_length(name: &str, choice: &Choice, length: usize) -> Result<()> {
    if choice.length.is_some() {
        bail_config!("task {name}: its length is fixed at {length}; leave --length out");
    }
    Ok(())
}

fn needed<'a>(name: &str, choice: &Choice<'a>, what: &str) -> Result<&'a Path> {
    match choice.data {
        Some(data) => Ok(data),
        None => bail_config!("task {name}: it needs --data {what}"),
    }
}

/// Small images from the hub.
#[cfg(feature = "hub")]
fn without_data(_: &str, shown: Shown, order: Order) -> Result<Mnist> {
    Mnist::from_hub(&recurrent_weights::hub::Hub::default(), shown, order)
}

/// That small images are missing.
#[cfg(not(feature = "hub"))]
fn without_data(name: &str, _: Shown, _: Order) -> Result<Mnist> {
    let files = idx::FILES.join(", ");
    bail_config!(
        "task {name}: it needs --data DIR, a folder with {files}; or --features hub, \
     with which it is fetched"
    );
}

/// The T or L of a generated task, if it is in range.
fn checked_length(task: &str, length: usize, least: usize) -> Result<usize> {
    if !(least..=LONGEST).contains(&length) {
        bail_config!("{task} length: expected {least} to {LONGEST}, got {length}");
    }
    Ok(length)
}

/// The random stream of one batch of a generated task; `length` is its T or L.
fn generator(task: &str, length: usize, draw: BatchKey) -> ChaCha8Rng {
    let split = match draw.split {
        Split::Train => "train",
        Split::Held => "held",
    };
    recurrent_core::named_rng(draw.seed, &format!("{split}/{task}/{length}/{}", draw.step))
}

/// The CRC-32 of what a data set is made of, part by part.
fn checksum<B: AsRef<[u8]>>(parts: impl IntoIterator<Item = B>) -> String {
    let mut checksum = crc32fast::Hasher::new();
    parts.into_iter().for_each(|part| checksum.update(part.as_ref()));
    format!("{:08x}", checksum.finalize())
}

/// The beginning of a line, for a message.
fn shown(line: &str) -> String {
    line.chars().take(30).collect()
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
