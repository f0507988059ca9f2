//! The rules of the zoo's cells.

mod gru;
mod lstm;
mod vanilla;

pub use gru::Gru;
pub use lstm::Lstm;
pub use vanilla::{Activation, Vanilla};
