//! How large each variant of a comparison is.

use crate::network::Network;
use crate::task::Task;
use crate::treatment::Readout;
use crate::usage::{line, mistake, Usage};
use crate::variant::{Size, Variant};
use anyhow::Result;

/// How the number of hidden units is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizing {
    /// Such that the number of weights, read-out included, is nearest to this: variants are compared at equal cost.
    Params(usize),
    /// This many, for every variant.
    Hidden(usize),
}

/// Wider networks are taken for a slip of the pen: they would need gigabytes. It also ends the search where the number of
/// weights does not grow.
const WIDEST: usize = 8192;

impl Sizing {
    /// The number of hidden units of each layer of a variant, and the number of weights that it then has.
    ///
    /// Of two sizes equally near to a budget, the smaller one is taken. The number of weights must not fall as the
    /// number of units rises.
    ///
    /// # Errors
    /// If the variant cannot be built, is larger than the budget even with one unit, or not so large with 8,192.
    pub fn solve(
        self,
        variant: &Variant,
        task: &dyn Task,
        readout: Readout,
    ) -> Result<(usize, usize)> {
        let name = &variant.name;
        let count = |hidden| {
            let size =
                Size { input: task.input_size(), hidden, longest_lag: task.longest_lag(), seed: 0 };
            let units = if hidden == 1 { "unit" } else { "units" };
            Network::count(variant, size, task, readout).map_err(|error| {
                Usage::new(format!("variant {name} with {hidden} hidden {units}: {}", line(&error)))
            })
        };
        let budget = match self {
            Self::Hidden(hidden) if !(1..=WIDEST).contains(&hidden) => {
                mistake!("hidden: expected 1 to {WIDEST} units, got {hidden}")
            }
            Self::Hidden(hidden) => return Ok((hidden, count(hidden)?)),
            Self::Params(budget) => budget,
        };
        let mut below = (1, count(1)?);
        if below.1 > budget {
            mistake!(
                "params: expected at least {}, which {name} has with one hidden unit, got {budget}",
                below.1
            );
        }
        let mut above = below;
        while above.1 < budget {
            below = above;
            if above.0 >= WIDEST {
                mistake!(
                    "params: expected at most {}, which {name} has with {WIDEST} hidden units, got {budget}",
                    above.1
                );
            }
            above = (above.0 * 2, count(above.0 * 2)?);
        }
        while above.0 - below.0 > 1 {
            let middle = below.0 + (above.0 - below.0) / 2;
            let middle = (middle, count(middle)?);
            *(if middle.1 <= budget { &mut below } else { &mut above }) = middle;
        }
        Ok(if above.1.abs_diff(budget) < budget.abs_diff(below.1) { above } else { below })
    }
}
