//! Generated tasks: every batch is drawn anew from the seed of the run.

mod adding;
mod copy;
pub(crate) mod memory_capacity;
pub(crate) mod multiplication;
mod pairs;
pub(crate) mod permutation;
mod temporal_order;

pub use adding::{Adding, AddingVariant};
pub use copy::{CopyMemory, CopyVariant};
pub use memory_capacity::MemoryCapacity;
pub use multiplication::Multiplication;
pub use permutation::RandomPermutation;
pub use temporal_order::{OrderVariant, TemporalOrder};
