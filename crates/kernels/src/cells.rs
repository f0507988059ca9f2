//! The kernels of the zoo's cells.

mod gru;
mod layernorm;
mod lstm;
mod vanilla;

pub use gru::{Gru, GruResetBefore};
pub use layernorm::{LayerNormGru, LayerNormLstm};
pub use lstm::Lstm;
pub use vanilla::{Activation, Vanilla};

/// `N` parts of a row, of `n` values each. Equal lengths that the compiler knows spare the bounds
/// checks, so that loops vectorise.
#[inline(always)]
fn parts<F, const N: usize>(row: &[F], n: usize) -> [&[F]; N] {
    std::array::from_fn(|part| &row[part * n..][..n])
}

/// [`parts`], mutable.
#[inline(always)]
fn parts_mut<F, const N: usize>(mut row: &mut [F], n: usize) -> [&mut [F]; N] {
    std::array::from_fn(|_| {
        let (part, rest) = std::mem::take(&mut row).split_at_mut(n);
        row = rest;
        part
    })
}
