//! Measures of the Jacobian of every step.

use super::writer::{of_all, MeasureWriter};
use super::{batch, lags, F64Copy};
use crate::error::Result;
use crate::job::Job;
use crate::task::Split;
use recurrent_core::{Layer, Sequence};
use recurrent_measures::{
    lyapunov, memory_capacity, sensitivity, temporal_jacobian, CapacityConfig, Derivative,
    SensitivityMethod, Trajectory,
};

/// The number of examples whose Jacobians are measured.
const EXAMPLES: usize = 4;

pub(super) fn measure(job: &Job, copy: &F64Copy, writer: &mut MeasureWriter) -> Result<()> {
    let layer = copy.network.rnn();
    if layer.reversed_size() > 0 {
        writer.none(
            of_all("dynamics"),
            "part of the network runs in reverse; its Jacobians belong to each direction by itself",
        );
        return Ok(());
    }
    let xs = even(&batch(job, Split::Test, 0, EXAMPLES)?.xs)?;
    let trajectory = Trajectory::new(layer, &xs, None)?.with_derivative(Derivative::Either);
    let steps = trajectory.steps();
    jacobians(&trajectory, steps, writer)?;
    exponents(&trajectory, steps, writer)?;
    let at: Vec<_> = [steps.div_ceil(4), steps.div_ceil(2), steps].into_iter().collect();
    let grown = sensitivity(
        layer,
        &xs,
        &at,
        SensitivityMethod::Random { count: 8, seed: job.config.seed },
    )?;
    writer.curve(of_all("sensitivity"), "step", grown.iter().map(|one| (one.step, one.norm)));
    capacity(job, layer, writer)
}

/// The examples, cut to the length of the shortest, because a trajectory has one length.
fn even(xs: &Sequence) -> Result<Sequence> {
    let time = xs.values().dim(1)?;
    let steps = xs
        .lengths()
        .map_or(time, |lengths| lengths.as_slice().iter().copied().min().unwrap_or(time));
    Ok(Sequence::new(xs.values().narrow(1, 0, steps)?.contiguous()?)?)
}

fn jacobians(trajectory: &Trajectory, steps: usize, writer: &mut MeasureWriter) -> Result<()> {
    let found = temporal_jacobian(trajectory, steps, &lags(steps))?;
    let largest = found.iter().map(|one| (one.lag, one.largest.log10));
    writer.curve(of_all("log10-largest-singular-value"), "lag", largest);
    let smallest = found.iter().filter_map(|one| Some((one.lag, one.smallest?.log10)));
    writer.curve(of_all("log10-smallest-singular-value"), "lag", smallest);
    let condition = found.iter().filter_map(|one| Some((one.lag, one.condition?.log10)));
    writer.curve(of_all("log10-condition"), "lag", condition);
    let mean = found.iter().map(|one| (one.lag, one.mean_square.log10));
    writer.curve(of_all("log10-mean-squared-singular-value"), "lag", mean);
    writer.curve(
        of_all("log10-growth-a-step"),
        "lag",
        found.iter().map(|one| (one.lag, one.log10_per_step)),
    );
    Ok(())
}

fn exponents(trajectory: &Trajectory, steps: usize, writer: &mut MeasureWriter) -> Result<()> {
    let found = lyapunov(trajectory, trajectory.size(), steps / 4)?;
    let numbered =
        found.exponents.iter().enumerate().map(|(index, exponent)| (index + 1, *exponent));
    writer.curve(of_all("lyapunov-exponents"), "exponent", numbered);
    writer.maybe(of_all("lyapunov-sum"), found.sum(), "only the largest exponents were computed");
    let why = "a direction is lost in one step";
    writer.maybe(of_all("log10-condition-by-lyapunov"), found.log10_condition(steps), why);
    Ok(())
}

fn capacity(job: &Job, layer: &dyn Layer, writer: &mut MeasureWriter) -> Result<()> {
    let delays = job.task.length().clamp(1, 100);
    let settings = CapacityConfig {
        seed: job.config.seed,
        delays,
        washout: 2 * delays,
        fit: 2000,
        test: 2000,
        ..CapacityConfig::default()
    };
    let found = memory_capacity(layer, &settings)?;
    writer.one(of_all("memory-capacity"), found.total());
    writer.one(of_all("memory-capacity-floor"), found.floor);
    writer.curve(of_all("memory-curve"), "delay", found.curve.iter().copied().enumerate());
    Ok(())
}
