//! The suite that every cell and every wrapper passes.
//!
//! The reference is [`crate::StepLoop`], a plain loop over a cell's `step` in candle's own graph,
//! one example at a time. Unless a check says otherwise, it runs in f64, by replay and, if the
//! cells have one, by the kernel.

mod activations;
mod agreement;
mod bits;
mod gradients;
mod interface;
mod padding;
mod recorder;
mod truncation;
mod vjp;

use crate::{Case, Result};
use anyhow::ensure;

type Check = fn(&Case) -> Result<()>;

/// The checks by name.
const CHECKS: [(&str, Check); 22] = [
    ("shapes", interface::shapes),
    ("views", interface::views),
    ("count", interface::count),
    ("errors", interface::errors),
    ("files", interface::files),
    ("steps", agreement::steps),
    ("halves", agreement::halves),
    ("rows", agreement::rows),
    ("reversed", agreement::reversed),
    ("padding", padding::padding),
    ("every parameter", gradients::every_parameter),
    ("finite differences", gradients::finite_differences),
    ("backward twice", gradients::twice),
    ("untracked", gradients::untracked),
    ("recorder", recorder::recorder),
    ("recorder by differences", recorder::differences),
    ("truncation", truncation::truncation),
    ("hidden gradient clip", truncation::clip),
    ("activations", activations::activations),
    ("vjp", vjp::vjp),
    ("same bits", bits::same),
    ("half precision", bits::half),
];

/// Adds cases to the suite, one test each: `name: case;`.
#[macro_export]
macro_rules! conform {
    ($($name:ident: $case:expr;)*) => {$(
        #[test]
        fn $name() -> $crate::Result<()> {
            $crate::conformance::check(stringify!($name), &$case)
        }
    )*};
}

/// Runs all checks on a case.
///
/// # Errors
/// If a check fails; the message lists every failed check and its difference.
pub fn check(name: &str, case: &Case) -> Result<()> {
    let faults = faults(case);
    let list: Vec<_> =
        faults.iter().map(|(check, fault)| format!("\n  {check}: {fault}")).collect();
    ensure!(
        faults.is_empty(),
        "{name}: {} of {} checks failed{}",
        faults.len(),
        CHECKS.len(),
        list.concat()
    );
    Ok(())
}

/// The failed checks of a case, with their messages.
pub fn faults(case: &Case) -> Vec<(&'static str, String)> {
    let fault =
        |(name, check): &(&'static str, Check)| Some((*name, format!("{:#}", check(case).err()?)));
    CHECKS.iter().filter_map(fault).collect()
}
