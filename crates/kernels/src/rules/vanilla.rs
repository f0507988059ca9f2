//! One row of a vanilla network.

use crate::{KernelFloat, RowBack, RowForth, Rule};

/// The vanilla network's rule. Kept: the pre-activation, which the way back does not need.
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

impl Rule for Vanilla {
    const GATES: usize = 1;
    const KEPT: usize = 1;
    const MEMORY: bool = false;
    const NAME: &'static str = "vanilla kernel";

    #[inline(always)]
    fn forth<F: KernelFloat, const FUSED: bool>(&self, row: RowForth<F>) {
        let pairs = row.h.iter_mut().zip(row.kept.iter());
        match self.0 {
            Activation::Tanh => pairs.for_each(|(h, a)| *h = KernelFloat::tanh::<FUSED>(*a)),
            // Not `max`, which would turn NaN into 0.
            Activation::Relu => {
                pairs.for_each(|(h, a)| *h = if *a <= F::ZERO { F::ZERO } else { *a })
            }
        }
    }

    #[inline(always)]
    fn back<F: KernelFloat, const FUSED: bool>(&self, row: RowBack<F>) {
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
