//! Findings on the gradient along depth.

use super::curve::LayerGradients;
use super::finding::{words, Finding, FindingKind, Severity};
use super::suggestions::Advice;
use super::thresholds::{DEPTH, LOST};
use crate::text::number;

/// The findings of all layers of one direction, bottom first: at most one of each kind, at the
/// worst layer.
pub(super) fn findings(ways: &[&LayerGradients]) -> Vec<Finding> {
    let Some((top, below)) = ways.split_last() else { return Vec::new() };
    let source = top.strength();
    let ratio = |way: &&LayerGradients| (way.strength() / source, way.layer_id);
    let ratios: Vec<_> =
        below.iter().map(ratio).filter(|(ratio, _)| ratio.is_finite() && *ratio > 0.0).collect();
    let least =
        ratios.iter().min_by(|a, b| a.0.total_cmp(&b.0)).filter(|(ratio, _)| *ratio < DEPTH);
    let most =
        ratios.iter().max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(ratio, _)| *ratio > 1.0 / DEPTH);

    let a_layer = |ratio: f64, layer: usize| ratio.powf(1.0 / (top.layer_id.layer - layer) as f64);
    let vanishes = least.map(|&(ratio, layer_id)| {
        let why = format!(
            "Over all steps, {} gets {} of the gradient that {} gets, a factor of {} per layer. \
            With one learning rate for both, it hardly learns. Connections along time do not help.",
            words(layer_id),
            number(ratio),
            words(top.layer_id),
            number(a_layer(ratio, layer_id.layer))
        );
        let severity = if ratio < LOST { Severity::Severe } else { Severity::Warning };
        Finding::new(FindingKind::VanishesAlongDepth, severity, why)
            .at(layer_id)
            .measured("ratio to the top layer", ratio, "1")
            .measured("factor per layer", a_layer(ratio, layer_id.layer), "1")
            .advice(Advice::VanishesAlongDepth)
    });
    let explodes = most.map(|&(ratio, layer_id)| {
        let why = format!(
            "Over all steps, {} gets {} times the gradient that {} gets, a factor of {} per layer. \
            One learning rate does not serve both.",
            words(layer_id),
            number(ratio),
            words(top.layer_id),
            number(a_layer(ratio, layer_id.layer))
        );
        Finding::new(FindingKind::ExplodesAlongDepth, Severity::Warning, why)
            .at(layer_id)
            .measured("ratio to the top layer", ratio, "1")
            .measured("factor per layer", a_layer(ratio, layer_id.layer), "1")
            .advice(Advice::ExplodesAlongDepth)
    });
    vanishes.into_iter().chain(explodes).collect()
}
