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
//! A generated batch has a random stream of its own, opened by the run's seed and the split, the task, the length and
//! the number of the batch: training and evaluation share no draw, and no batch depends on which came before it.

#![forbid(unsafe_code)]

mod draw;
mod files;
mod generated;
mod loss;
mod open;
mod splits;
pub mod task;
#[cfg(test)]
mod tests;
pub mod usage;

pub use files::{Forecast, ImageSet, Images, Mnist, Mnist1d, Mnist1dVariant, PixelOrder};
pub use files::{SeriesClasses, Text};
pub use generated::{Adding, AddingVariant, CopyMemory, CopyVariant, MemoryCapacity};
pub use generated::{Multiplication, OrderVariant, RandomPermutation, TemporalOrder};
pub use open::{by_name, names, open, TaskOptions};
