//! What becomes of the gradient along time, in one layer.

use super::curve::{GradientCurve, LayerGradients};
use super::finding::{Finding, FindingKind, Severity};
use super::suggestions::{Advice, Recurrence};
use super::thresholds::{EXPLODED, LOST, OVERWHELMED, VANISHED};
use crate::text::{number, quantity};

/// What the rules along time need to know of a layer besides its gradients.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerContext {
    /// The longest lag that the data needs.
    pub(super) needed: usize,
    /// How the layer remembers.
    pub(super) memory: Recurrence,
    /// Whether most of its units are dead, which ends a gradient at once.
    pub(super) dead: bool,
    /// Whether most of its state is saturated, by which a gradient can vanish within a step.
    pub(super) saturated: bool,
    /// The norm of the gradient where the loss reads, that of the top layer's output.
    pub(super) source: f64,
}

/// The findings of one layer; [`FindingKind::NotFinite`] alone where its gradient is not finite.
pub(super) fn findings(way: &LayerGradients, setting: LayerContext) -> Vec<Finding> {
    let Some(carrier) = way.carrier() else { return Vec::new() };
    if let Some(lag) = way.broken() {
        return vec![not_finite(lag)];
    }
    let reach = setting.needed.min(carrier.steps());
    let cut = carrier.end(reach).filter(|_| !setting.saturated);
    let ends = cut.filter(|_| !setting.dead).map(|end| ends(carrier, end, reach));
    let fades = cut.is_none().then(|| vanishes(carrier, reach, setting.memory)).flatten();
    let rest = [explodes(way, setting), ends, fades, underflows(carrier, reach, setting.memory)];
    rest.into_iter().flatten().collect()
}

fn not_finite(lag: usize) -> Finding {
    let why = format!(
        "On its way back the gradient of the state is finite up to {}, and NaN or infinite from lag {lag} on.",
        match lag {
            0 => "the loss".to_string(),
            _ => format!("lag {}", lag - 1),
        }
    );
    Finding::new(FindingKind::NotFinite, Severity::Severe, why)
        .measured("lag", lag as f64, "steps")
        .advice(Advice::NotFinite)
}

fn explodes(way: &LayerGradients, setting: LayerContext) -> Option<Finding> {
    let growth = |course: &GradientCurve| {
        let (lag, peak) = course.peak();
        (peak / course.start().max(setting.source), lag, course.part)
    };
    let grown = way.courses.iter().filter(|course| course.first().is_some()).map(growth);
    let (growth, lag, part) =
        grown.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(growth, ..)| *growth >= EXPLODED)?;
    let severity = if growth >= OVERWHELMED { Severity::Severe } else { Severity::Warning };
    let why = format!(
        "At lag {lag} the gradient of {part} is {} times that at the loss: the sum that moves the weights is that of the earliest steps, \
         and one step of the optimiser can throw them anywhere.",
        number(growth)
    );
    let finding =
        Finding::new(FindingKind::ExplodesAlongTime, severity, why).measured("growth", growth, "1");
    Some(
        finding
            .measured("lag", lag as f64, "steps")
            .advice(Advice::explodes_along_time(setting.memory)),
    )
}

fn ends(course: &GradientCurve, end: usize, reach: usize) -> Finding {
    let why = format!(
        "From lag {end} on the gradient of {} is exactly zero, and it was not small at the lag before: the way back is cut there, by \
         a window of truncated backpropagation, a detached carry or a mask. Lags up to {reach} are needed.",
        course.part
    );
    let finding = Finding::new(FindingKind::EndsAlongTime, Severity::Severe, why).measured(
        "last lag",
        (end - 1) as f64,
        "steps",
    );
    finding.measured("needed lag", reach as f64, "steps").advice(Advice::EndsAlongTime)
}

fn vanishes(course: &GradientCurve, reach: usize, memory: Recurrence) -> Option<Finding> {
    let share = course.share(reach).filter(|share| *share < VANISHED)?;
    let half_life = course.fit().and_then(|fit| fit.half_life());
    let severity = if share < LOST { Severity::Severe } else { Severity::Warning };
    let horizon = course.horizon()?;
    let speed = half_life
        .map_or(String::new(), |steps| format!("It halves every {}. ", quantity(steps, "step")));
    let left = match share {
        0.0 => "so that what happens there is not learned",
        share if share < LOST => {
            "which no longer changes a sum in f32: what happens there is not learned"
        }
        _ => "so that what happens there is learned that much more slowly",
    };
    let why = format!(
        "{speed}Of the gradient of {} at the end of the sequence, {} is left at lag {reach}, {left}. A thousandth is left at lag {horizon}.",
        course.part,
        if share == 0.0 { "nothing".to_string() } else { number(share) }
    );
    let finding = Finding::new(FindingKind::VanishesAlongTime, severity, why)
        .measured("share left", share, "1")
        .measured("needed lag", reach as f64, "steps")
        .measured("horizon", horizon as f64, "steps")
        .advice(Advice::vanishes_along_time(memory));
    Some(match half_life {
        Some(steps) => finding.measured("half-life", steps, "steps"),
        None => finding,
    })
}

fn underflows(course: &GradientCurve, reach: usize, memory: Recurrence) -> Option<Finding> {
    let lag = course.underflow(reach)?;
    let why = format!(
        "From lag {lag} on most elements of the gradient of {} are zero or subnormal: they have left the range of the dtype, \
         and no scaling after the way back returns them. Subnormal numbers slow arithmetic down besides.",
        course.part
    );
    let finding = Finding::new(FindingKind::Underflows, Severity::Severe, why).measured(
        "first lag",
        lag as f64,
        "steps",
    );
    Some(finding.measured("needed lag", reach as f64, "steps").advice(Advice::underflows(memory)))
}

/// Of the longest sequence there was.
pub(super) fn short(steps: usize, needed: usize) -> Option<Finding> {
    let why = format!(
        "The longest sequence has {}, and lags up to {needed} are needed: nothing can be said of, or learned at, those beyond.",
        quantity(steps as f64, "step")
    );
    let finding = Finding::new(FindingKind::ShortSequences, Severity::Note, why)
        .measured("longest sequence", steps as f64, "steps")
        .measured("needed lag", needed as f64, "steps")
        .advice(Advice::ShortSequences);
    (steps < needed).then_some(finding)
}
