//! What the Jacobian of every step shows.

use super::sheet::{of_all, Sheet};
use super::{batch, lags, Double};
use crate::job::Job;
use crate::task::Split;
use anyhow::Result;
use recurrent_core::{Layer, Sequence};
use recurrent_measures::{
    lyapunov, memory_capacity, sensitivity, temporal_jacobian, CapacitySettings, Derivative,
    Passes, Trajectory,
};

/// Examples whose Jacobians are taken.
const EXAMPLES: usize = 4;

pub(super) fn measure(job: &Job, double: &Double, sheet: &mut Sheet) -> Result<()> {
    let layer = double.network.rnn();
    if layer.reversed_size() > 0 {
        sheet.none(
            of_all("dynamics"),
            "part of the network runs in reverse; its Jacobians belong to each direction by itself",
        );
        return Ok(());
    }
    let xs = even(&batch(job, Split::Test, 0, EXAMPLES)?.xs)?;
    let trajectory = Trajectory::new(layer, &xs, None)?.by(Derivative::Either);
    let steps = trajectory.steps();
    jacobians(&trajectory, steps, sheet)?;
    exponents(&trajectory, steps, sheet)?;
    let at: Vec<_> = [steps.div_ceil(4), steps.div_ceil(2), steps].into_iter().collect();
    let grown = sensitivity(layer, &xs, &at, Passes::Random { count: 8, seed: job.config.seed })?;
    sheet.curve(of_all("sensitivity"), "step", grown.iter().map(|one| (one.step, one.norm)));
    capacity(job, layer, sheet)
}

/// The examples, as far as the shortest of them goes, since a trajectory has one length.
fn even(xs: &Sequence) -> Result<Sequence> {
    let time = xs.values().dim(1)?;
    let steps = xs
        .lengths()
        .map_or(time, |lengths| lengths.as_slice().iter().copied().min().unwrap_or(time));
    Ok(Sequence::new(xs.values().narrow(1, 0, steps)?.contiguous()?)?)
}

fn jacobians(trajectory: &Trajectory, steps: usize, sheet: &mut Sheet) -> Result<()> {
    let found = temporal_jacobian(trajectory, steps, &lags(steps))?;
    let largest = found.iter().map(|one| (one.lag, one.largest.log10));
    sheet.curve(of_all("log10-largest-singular-value"), "lag", largest);
    let smallest = found.iter().filter_map(|one| Some((one.lag, one.smallest?.log10)));
    sheet.curve(of_all("log10-smallest-singular-value"), "lag", smallest);
    let condition = found.iter().filter_map(|one| Some((one.lag, one.condition?.log10)));
    sheet.curve(of_all("log10-condition"), "lag", condition);
    let mean = found.iter().map(|one| (one.lag, one.mean_square.log10));
    sheet.curve(of_all("log10-mean-squared-singular-value"), "lag", mean);
    sheet.curve(
        of_all("log10-growth-a-step"),
        "lag",
        found.iter().map(|one| (one.lag, one.log10_per_step)),
    );
    Ok(())
}

fn exponents(trajectory: &Trajectory, steps: usize, sheet: &mut Sheet) -> Result<()> {
    let found = lyapunov(trajectory, trajectory.size(), steps / 4)?;
    let numbered =
        found.exponents.iter().enumerate().map(|(index, exponent)| (index + 1, *exponent));
    sheet.curve(of_all("lyapunov-exponents"), "exponent", numbered);
    sheet.maybe(of_all("lyapunov-sum"), found.sum(), "not all exponents were asked for");
    let why = "a direction is lost in one step";
    sheet.maybe(of_all("log10-condition-by-lyapunov"), found.log10_condition(steps), why);
    Ok(())
}

fn capacity(job: &Job, layer: &dyn Layer, sheet: &mut Sheet) -> Result<()> {
    let delays = job.task.length().clamp(1, 100);
    let settings = CapacitySettings {
        seed: job.config.seed,
        delays,
        washout: 2 * delays,
        fit: 2000,
        test: 2000,
        ..CapacitySettings::default()
    };
    let found = memory_capacity(layer, &settings)?;
    sheet.one(of_all("memory-capacity"), found.total());
    sheet.one(of_all("memory-capacity-floor"), found.floor);
    sheet.curve(of_all("memory-curve"), "delay", found.curve.iter().copied().enumerate());
    Ok(())
}
