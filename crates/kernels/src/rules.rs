//! The rules of the zoo's cells.

mod gru;
mod layernorm;
mod lstm;
mod vanilla;

pub use gru::{Gru, GruResetBefore};
pub use layernorm::{LayerNormGru, LayerNormLstm};
pub use lstm::Lstm;
pub use vanilla::{Activation, Vanilla};
