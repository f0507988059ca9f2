//! The width of each variant of a comparison.

use crate::config::{Readout, Width};
use crate::error::Result;
use crate::network::Network;
use crate::task::Task;
use crate::usage::{bail_config, line, ConfigError};
use crate::variant::{Size, Variant};

/// Upper bound; wider networks are almost certainly typos and would need gigabytes. It also ends
/// the search if the number of weights does not grow.
const WIDEST: usize = 8192;

/// The number of hidden units of each layer of a variant, and the resulting number of weights.
///
/// Of two widths whose numbers of weights are equally near, the smaller one is taken. The number of
/// weights must not fall as the number of units rises.
///
/// # Errors
/// If the variant cannot be built, has more weights than requested even with one unit, or fewer
/// with 8,192.
pub fn solve(
    width: Width,
    variant: &Variant,
    task: &dyn Task,
    readout: Readout,
) -> Result<(usize, usize)> {
    let name = &variant.name;
    let count = |hidden| {
        let size = Size { input: task.input_size(), hidden, longest_lag: task.longest_lag() };
        let units = if hidden == 1 { "unit" } else { "units" };
        Network::count(variant, size, task, readout).map_err(|error| {
            ConfigError::new(format!(
                "variant {name} with {hidden} hidden {units}: {}",
                line(&error)
            ))
        })
    };
    let params = match width {
        Width::Hidden(hidden) if !(1..=WIDEST).contains(&hidden) => {
            bail_config!("hidden: expected 1 to {WIDEST} units, got {hidden}")
        }
        Width::Hidden(hidden) => return Ok((hidden, count(hidden)?)),
        Width::Params(params) => params,
    };
    let mut below = (1, count(1)?);
    if below.1 > params {
        bail_config!(
            "params: expected at least {}, which {name} has with one hidden unit, got {params}",
            below.1
        );
    }
    let mut above = below;
    while above.1 < params {
        below = above;
        if above.0 >= WIDEST {
            bail_config!(
                "params: expected at most {}, which {name} has with {WIDEST} hidden units, got \
                 {params}",
                above.1
            );
        }
        above = (above.0 * 2, count(above.0 * 2)?);
    }
    while above.0 - below.0 > 1 {
        let middle = below.0 + (above.0 - below.0) / 2;
        let middle = (middle, count(middle)?);
        *(if middle.1 <= params { &mut below } else { &mut above }) = middle;
    }
    Ok(if above.1.abs_diff(params) < params.abs_diff(below.1) { above } else { below })
}
