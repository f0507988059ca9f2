//! What becomes of the gradient on its way down through the layers.

use super::curve::LayerGradients;
use super::finding::{words, Finding, FindingKind, Severity};
use super::suggestions::Advice;
use super::thresholds::{DEPTH, LOST};
use crate::text::number;

/// The findings of all layers that run in one direction, bottom first: at most one of each kind, at the layer where it is worst.
pub(super) fn findings(ways: &[&LayerGradients]) -> Vec<Finding> {
    let Some((top, below)) = ways.split_last() else { return Vec::new() };
    let source = top.strength();
    let ratio = |way: &&LayerGradients| (way.strength() / source, way.place);
    let ratios: Vec<_> =
        below.iter().map(ratio).filter(|(ratio, _)| ratio.is_finite() && *ratio > 0.0).collect();
    let least = ratios.iter().min_by(|a, b| a.0.total_cmp(&b.0)).filter(|(ratio, _)| *ratio < DEPTH);
    let most = ratios.iter().max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(ratio, _)| *ratio > 1.0 / DEPTH);

    let a_layer = |ratio: f64, layer: usize| ratio.powf(1.0 / (top.place.layer - layer) as f64);
    let vanishes = least.map(|&(ratio, place)| {
        let why = format!(
            "All steps together, {} gets {} of the gradient that {} gets, a factor of {} a layer: with one learning rate for both, it \
             stands still. Connections along time do not help it.",
            words(place),
            number(ratio),
            words(top.place),
            number(a_layer(ratio, place.layer))
        );
        let severity = if ratio < LOST { Severity::Severe } else { Severity::Warning };
        Finding::new(FindingKind::VanishesAlongDepth, severity, why)
            .at(place)
            .measured("ratio to the top layer", ratio, "1")
            .measured("factor a layer", a_layer(ratio, place.layer), "1")
            .advice(Advice::VanishesAlongDepth)
    });
    let explodes = most.map(|&(ratio, place)| {
        let why = format!(
            "All steps together, {} gets {} times the gradient that {} gets, a factor of {} a layer: one learning rate does not \
             serve both.",
            words(place),
            number(ratio),
            words(top.place),
            number(a_layer(ratio, place.layer))
        );
        Finding::new(FindingKind::ExplodesAlongDepth, Severity::Warning, why)
            .at(place)
            .measured("ratio to the top layer", ratio, "1")
            .measured("factor a layer", a_layer(ratio, place.layer), "1")
            .advice(Advice::ExplodesAlongDepth)
    });
    vanishes.into_iter().chain(explodes).collect()
}
