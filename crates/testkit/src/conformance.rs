//! The suite that every cell and every wrapper passes.
//!
//! What everything is compared with is [`crate::Steps`], a plain loop over a cell's `step` in candle's own graph, one example at
//! a time. Unless a check says otherwise it is in f64 and runs by replay and, where the cells have one, by the kernel.

mod agreement;
mod bits;
mod flow;
mod form;
mod gradients;
mod observe;
mod padding;
mod record;
mod vjp;

use crate::{Result, Subject};
use anyhow::ensure;

type Check = fn(&Subject) -> Result<()>;

/// The checks by name.
const CHECKS: [(&str, Check); 22] = [
    ("shapes", form::shapes),
    ("views", form::views),
    ("count", form::count),
    ("errors", form::errors),
    ("saved", form::saved),
    ("steps", agreement::steps),
    ("halves", agreement::halves),
    ("rows", agreement::rows),
    ("reversed", agreement::reversed),
    ("padding", padding::padding),
    ("every parameter", gradients::every_parameter),
    ("finite differences", gradients::finite_differences),
    ("backward twice", gradients::twice),
    ("untracked", gradients::untracked),
    ("recorder", record::recorder),
    ("recorder by differences", record::differences),
    ("windows", flow::windows),
    ("bounds", flow::bounds),
    ("observer", observe::activations),
    ("pull back", vjp::vjp),
    ("same bits", bits::same),
    ("half precision", bits::half),
];

/// Enrols subjects in the suite, a test each: `name: subject;`.
#[macro_export]
macro_rules! conform {
    ($($name:ident: $subject:expr;)*) => {$(
        #[test]
        fn $name() -> $crate::Result<()> {
            $crate::conformance::check(stringify!($name), &$subject)
        }
    )*};
}

/// Runs all checks on a subject.
///
/// # Errors
/// If one fails: with every check that failed, and what differed by how much.
pub fn check(name: &str, subject: &Subject) -> Result<()> {
    let faults = faults(subject);
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

/// The checks that a subject fails, and how.
pub fn faults(subject: &Subject) -> Vec<(&'static str, String)> {
    let fault = |(name, check): &(&'static str, Check)| {
        Some((*name, format!("{:#}", check(subject).err()?)))
    };
    CHECKS.iter().filter_map(fault).collect()
}
