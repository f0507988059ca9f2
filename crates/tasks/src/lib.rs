//! Tasks with long time lags for recurrent networks, and [`open`] to choose one by its name.
//!
//! | name | sequences | answer | solved at |
//! |---|---|---|---|
//! | `adding` | T steps of a value and a mark | the sum of the two marked values | MSE below 0.01 |
//! | `adding-tcn`, `adding-hochreiter` | other variants of the same | the same | MSE below 0.01; all within 0.04 |
//! | `multiplication` | T to 1.1 T steps of a value and a mark | the product of the two marked values | 99.35 % within 0.04 |
//! | `copy` | 10 symbols, a gap of T steps, 10 slots | the symbols, in order | 99 % of slots correct |
//! | `copy-tcn`, `copy-variable` | the same, with delimiters at the slots; with a gap of 1 to T | the same | the same |
//! | `temporal-order` | L to 1.1 L symbols, two of them relevant | the order of the relevant symbols | 99 % correct |
//! | `temporal-order-6b` | the same, three of them relevant | the order of the relevant symbols | 99 % correct |
//! | `random-permutation` | T symbols; the first one follows the last | the first symbol | 99 % correct |
//! | `memory-capacity` | T random values | all but the last, each with its own output | - |
//! | `mnist-rows` | 28 rows of a digit | the digit | - |
//! | `mnist-pixels` | 784 pixels of a digit | the digit | - |
//! | `mnist-permuted` | 784 pixels in a fixed random order | the digit | - |
//! | `fashion-rows`, `fashion-pixels`, `fashion-permuted` | the same for an image of Fashion-MNIST | the class | - |
//! | `mnist1d` | 40 steps of a generated shape | its class, one of ten | - |
//! | `mnist1d-shuffled`, `mnist1d-padded` | its steps in a fixed random order; followed by T steps of noise | the same | - |
//! | `series` | a time series of a `.ts` file | its class | - |
//! | `forecast` | T values of a column of a CSV file | the next value | - |
//! | `text` | T characters of a text; the state is carried on | the next character, at each step | - |
//!
//! ```
//! use candle_core::{DType, Device};
//! use recurrent_tasks::task::{BatchKey, Split};
//!
//! # fn main() -> recurrent_tasks::Result<()> {
//! let task = recurrent_tasks::by_name("adding", Some(50), None)?;
//! let key = BatchKey { split: Split::Train, seed: 1, step: 0, batch: 32 };
//! let batch = task.batch(key, DType::F32, &Device::Cpu)?;
//! assert_eq!(batch.xs.values().dims(), [32, 50, 2]); // (batch, time, input)
//! assert_eq!(batch.targets.dims(), [32, 1]);
//! # Ok(())
//! # }
//! ```
//!
//! Every generated batch has its own random stream. The stream depends on the seed of the run, the
//! split, the task, the length and the number of the batch. So training and evaluation share no
//! random number, and no batch depends on an earlier one.

#![forbid(unsafe_code)]

mod draw;
pub mod error;
mod files;
mod generated;
mod labelled;
mod loss;
mod open;
mod splits;
pub mod task;
#[cfg(test)]
mod tests;
pub mod usage;

pub use error::{Error, Result};
pub use files::{Forecast, ImageSet, Images, Mnist, Mnist1d, Mnist1dVariant, PixelOrder};
pub use files::{SeriesClasses, Text};
pub use generated::{Adding, AddingVariant, CopyMemory, CopyVariant, MemoryCapacity};
pub use generated::{Multiplication, OrderVariant, RandomPermutation, TemporalOrder};
pub use labelled::{DataInfo, LabelledData};
pub use open::{by_name, names, open, TaskOptions};
pub use splits::Splits;
