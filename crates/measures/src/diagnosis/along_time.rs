//! Findings on the gradient along time, in one layer.

use super::curve::{GradientCurve, LayerGradients};
use super::finding::{Finding, FindingKind, Severity};
use super::suggestions::{Advice, Recurrence};
use super::thresholds::{EXPLODED, LOST, OVERWHELMED, VANISHED};
use crate::text::{number, quantity};

/// The context of a layer for the rules along time.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerContext {
    /// The longest lag that the data needs.
    pub(super) needed: usize,
    /// How the layer keeps its state.
    pub(super) recurrence: Recurrence,
    /// Whether most of its units are dead, which ends a gradient in one step.
    pub(super) dead: bool,
    /// Whether most of its state is saturated, so that a gradient can vanish within a step.
    pub(super) saturated: bool,
    /// The norm of the gradient at the loss, of the top layer's output.
    pub(super) source: f64,
}

/// The findings of one layer; only [`FindingKind::NotFinite`] if its gradient is not finite.
pub(super) fn findings(layer: &LayerGradients, context: LayerContext) -> Vec<Finding> {
    let Some(carrier) = layer.carrier() else { return Vec::new() };
    if let Some(lag) = layer.broken() {
        return vec![not_finite(lag)];
    }
    let reach = context.needed.min(carrier.steps());
    let cut = carrier.end(reach).filter(|_| !context.saturated);
    let ends = cut.filter(|_| !context.dead).map(|end| ends(carrier, end, reach));
    let fades = cut.is_none().then(|| vanishes(carrier, reach, context.recurrence)).flatten();
    let rest =
        [explodes(layer, context), ends, fades, underflows(carrier, reach, context.recurrence)];
    rest.into_iter().flatten().collect()
}

fn not_finite(lag: usize) -> Finding {
    let why = format!(
        "The gradient of the state is finite up to {}, and NaN or infinite from lag {lag} on.",
        match lag {
            0 => "the loss".to_string(),
            _ => format!("lag {}", lag - 1),
        }
    );
    Finding::new(FindingKind::NotFinite, Severity::Severe, why)
        .measured("lag", lag as f64, "steps")
        .advice(Advice::NotFinite)
}

fn explodes(layer: &LayerGradients, context: LayerContext) -> Option<Finding> {
    let growth = |curve: &GradientCurve| {
        let (lag, peak) = curve.peak();
        (peak / curve.start().max(context.source), lag, curve.part)
    };
    let grown = layer.curves.iter().filter(|curve| curve.first().is_some()).map(growth);
    let (growth, lag, part) =
        grown.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(growth, ..)| *growth >= EXPLODED)?;
    let severity = if growth >= OVERWHELMED { Severity::Severe } else { Severity::Warning };
    let why = format!(
        "At lag {lag} the gradient of {part} is {} times that at the loss: the earliest steps \
        dominate the gradient of the weights, and one step of the optimiser can move them \
        anywhere.",
        number(growth)
    );
    let finding =
        Finding::new(FindingKind::ExplodesAlongTime, severity, why).measured("growth", growth, "1");
    Some(
        finding
            .measured("lag", lag as f64, "steps")
            .advice(Advice::explodes_along_time(context.recurrence)),
    )
}

fn ends(curve: &GradientCurve, end: usize, reach: usize) -> Finding {
    let why = format!(
        "From lag {end} on the gradient of {} is exactly zero, and it was not small at the lag \
        before: a window of truncated backpropagation, a detached carry or a mask cuts it there. \
        The data needs lags up to {reach}.",
        curve.part
    );
    let finding = Finding::new(FindingKind::EndsAlongTime, Severity::Severe, why).measured(
        "last lag",
        (end - 1) as f64,
        "steps",
    );
    finding.measured("needed lag", reach as f64, "steps").advice(Advice::EndsAlongTime)
}

fn vanishes(curve: &GradientCurve, reach: usize, recurrence: Recurrence) -> Option<Finding> {
    let share = curve.share(reach).filter(|share| *share < VANISHED)?;
    let half_life = curve.fit().and_then(|fit| fit.half_life());
    let severity = if share < LOST { Severity::Severe } else { Severity::Warning };
    let horizon = curve.horizon()?;
    let speed = half_life
        .map_or(String::new(), |steps| format!("It halves every {}. ", quantity(steps, "step")));
    let left = match share {
        0.0 => "so inputs at that lag are not learned",
        share if share < LOST => {
            "which no longer changes a sum in f32: inputs at that lag are not learned"
        }
        _ => "so inputs at that lag are learned more slowly by that factor",
    };
    let why = format!(
        "{speed}Of the gradient of {} at the end of the sequence, {} is left at lag {reach}, \
        {left}. A thousandth is left at lag {horizon}.",
        curve.part,
        if share == 0.0 { "nothing".to_string() } else { number(share) }
    );
    let finding = Finding::new(FindingKind::VanishesAlongTime, severity, why)
        .measured("share left", share, "1")
        .measured("needed lag", reach as f64, "steps")
        .measured("horizon", horizon as f64, "steps")
        .advice(Advice::vanishes_along_time(recurrence));
    Some(match half_life {
        Some(steps) => finding.measured("half-life", steps, "steps"),
        None => finding,
    })
}

fn underflows(curve: &GradientCurve, reach: usize, recurrence: Recurrence) -> Option<Finding> {
    let lag = curve.underflow(reach)?;
    let why = format!(
        "From lag {lag} on most elements of the gradient of {} are zero or subnormal: they are \
        outside of the range of the dtype, and no scaling after the backward pass restores them. \
        Subnormal numbers also slow arithmetic down.",
        curve.part
    );
    let finding = Finding::new(FindingKind::Underflows, Severity::Severe, why).measured(
        "first lag",
        lag as f64,
        "steps",
    );
    Some(
        finding
            .measured("needed lag", reach as f64, "steps")
            .advice(Advice::underflows(recurrence)),
    )
}

/// The finding if even the longest sequence is too short.
pub(super) fn short(steps: usize, needed: usize) -> Option<Finding> {
    let why = format!(
        "The longest sequence has {}, but the data needs lags up to {needed}: the network cannot \
        learn larger lags from these sequences, nor can this diagnosis examine them.",
        quantity(steps as f64, "step")
    );
    let finding = Finding::new(FindingKind::ShortSequences, Severity::Note, why)
        .measured("longest sequence", steps as f64, "steps")
        .measured("needed lag", needed as f64, "steps")
        .advice(Advice::ShortSequences);
    (steps < needed).then_some(finding)
}
