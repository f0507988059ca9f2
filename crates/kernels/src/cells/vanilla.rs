//! One row of a vanilla network.

use crate::{BackwardRow, CellKernel, ForwardRow, KernelFloat};

/// The vanilla network. Saves the pre-activation, which the backward pass does not need.
#[derive(Clone, Copy, Debug)]
pub struct Vanilla(pub Activation);

/// The nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// tanh.
    Tanh,
    /// max(0, ·), with derivative 0 at 0.
    Relu,
}

impl CellKernel for Vanilla {
    const GATES: usize = 1;
    const SAVED: usize = 1;
    const CELL_STATE: bool = false;
    const NAME: &'static str = "vanilla kernel";

    #[inline(always)]
    fn forward<F: KernelFloat, const FUSED: bool>(&self, row: ForwardRow<F>) {
        let pairs = row.h.iter_mut().zip(row.saved.iter());
        match self.0 {
            Activation::Tanh => pairs.for_each(|(h, a)| *h = KernelFloat::tanh::<FUSED>(*a)),
            // Not `max`, which would turn NaN into 0.
            Activation::Relu => {
                pairs.for_each(|(h, a)| *h = if *a <= F::ZERO { F::ZERO } else { *a })
            }
        }
    }

    #[inline(always)]
    fn backward<F: KernelFloat, const FUSED: bool>(&self, row: BackwardRow<F>) {
        let triples = row.d.iter_mut().zip(row.dh).zip(row.h);
        match self.0 {
            Activation::Tanh => triples.for_each(|((da, dh), h)| *da = *dh * (F::ONE - *h * *h)),
            Activation::Relu => {
                triples.for_each(|((da, dh), h)| *da = if *h <= F::ZERO { F::ZERO } else { *dh })
            }
        }
        row.dh_before.fill(F::ZERO);
    }
}
