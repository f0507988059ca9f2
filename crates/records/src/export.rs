//! Records for other programs: tables as CSV or Parquet, and event files for TensorBoard.
//!
//! Tables have the form that notebooks expect: one row for each run, step, evaluation, longer
//! sequence, lag of a profile, or value of a measure. Names and units are those of
//! [`record`](crate::record). `docs/notebooks.md` shows how to read them.

mod events;
#[cfg(feature = "parquet")]
mod parquet;
mod table;
mod tensorboard;

use crate::dir::OutputDir;
use crate::error::Result;
use crate::record::Records;

/// Writes `runs.csv`, `steps.csv`, `evals.csv`, `generalisation.csv`, `profiles.csv` and
/// `measures.csv`. Missing values are empty cells; non-finite ones are written as `NaN`, `inf` or
/// `-inf`.
///
/// # Errors
/// If a file cannot be written.
pub fn csv(records: &Records, folder: &OutputDir) -> Result<()> {
    let tables = table::all(records);
    tables
        .iter()
        .try_for_each(|table| folder.write(&format!("{}.csv", table.name), table.csv().as_bytes()))
}

/// Writes the same tables as `*.parquet`.
///
/// # Errors
/// If a file cannot be written.
#[cfg(feature = "parquet")]
pub fn parquet(records: &Records, folder: &OutputDir) -> Result<()> {
    let tables = table::all(records);
    tables.iter().try_for_each(|table| {
        folder.write(&format!("{}.parquet", table.name), &parquet::file(table)?)
    })
}

/// Writes `tensorboard/<variant>-<seed>/events.out.tfevents.*`: losses, accuracy, gradient norms
/// and learning rate over training steps; the profiles over training as histograms with one bucket
/// per lag; and the first and the last profiles as scalars whose step is the lag. `began` is the
/// time of the first event in seconds since 1970; the later ones follow the run's own clock.
///
/// # Errors
/// If a file cannot be written.
pub fn tensorboard(records: &Records, folder: &OutputDir, began: f64) -> Result<()> {
    let all = folder.inside("tensorboard")?;
    for run in &records.runs {
        let name = format!(
            "{}-{}",
            run.config.model.variant.replace(['/', '\\', ':'], "_"),
            run.config.seed
        );
        let own = all.inside(&name)?;
        own.write(
            &format!("events.out.tfevents.{:010}.recurrent", began as u64),
            &tensorboard::file(records, run, began),
        )?;
    }
    Ok(())
}
