//! Effects with their intervals, one above another.

use super::ablation::shown;
use super::csv::{self, Csv};
use super::figures::{Figure, Source};
use super::scale::{ticks, Scale};
use super::svg::{number, text_width, Anchor, Svg};
use crate::effects::{Effect, Measure, Verdict};

/// The height of a row, in units.
const ROW: f64 = 22.0;

/// The plot of the effects of all modifiers on a measure; `None` if no effect has an interval.
pub(super) fn plot(measure: Measure, effects: &[&Effect]) -> Option<Figure> {
    Some(Figure {
        file: format!("effect-{}", measure.title().replace(' ', "-")),
        title: format!("Effect on {}", measure.title()),
        drawing: draw(measure, effects)?,
        beside: None,
        csv: csv(effects),
        source: Source::Embedded,
    })
}

/// The effects as CSV: differences, or logarithms of factors, as in the records.
fn csv(effects: &[&Effect]) -> String {
    let mut csv = Csv::new(&["modifier", "effect", "low", "high", "p", "pairs", "verdict"]);
    for effect in effects {
        let [size, low, high, p] = [effect.effect, effect.low, effect.high, effect.p]
            .map(|value| value.map_or(String::new(), csv::number));
        let [pairs, verdict] = [effect.pairs.to_string(), effect.verdict.words().to_owned()];
        csv.row(&[effect.modifier.clone(), size, low, high, p, pairs, verdict]);
    }
    csv.text()
}

fn draw(measure: Measure, effects: &[&Effect]) -> Option<Svg> {
    let known =
        effects.iter().filter_map(|effect| Some((effect.low?, effect.high?, effect.margin)));
    let (mut low, mut high): (f64, f64) = (0.0, 0.0);
    let mut any = false;
    for (from, to, margin) in known {
        (low, high, any) = (low.min(from).min(-margin), high.max(to).max(margin), true);
    }
    if !any {
        return None;
    }
    let widest = effects.iter().map(|effect| text_width(&effect.modifier)).fold(60.0, f64::max);
    let (left, top) = (18.0 + widest, 24.0);
    let (right, bottom) = (left + 280.0, top + ROW * effects.len() as f64);
    let spread = 0.04 * (high - low);
    let across = Scale::new((low - spread, high + spread), (left, right));
    let mut svg = Svg::new(right + 140.0, bottom + 36.0);
    let better = if measure.lower_is_better() { "← better" } else { "better →" };
    let (at, anchor) =
        if measure.lower_is_better() { (left, Anchor::Start) } else { (right, Anchor::End) };
    svg.text("axis-title", (at, top - 10.0), anchor, better);
    svg.open(r#"class="axes""#);
    for mark in marks(measure, across.values()) {
        let x = across.at(mark);
        svg.line("grid", (x, top), (x, bottom));
        svg.text("tick", (x, bottom + 15.0), Anchor::Middle, &shown(measure, mark));
    }
    svg.line("axis", (left, bottom), (right, bottom));
    svg.text("axis-title", ((left + right) / 2.0, bottom + 30.0), Anchor::Middle, along(measure));
    svg.close();
    for (place, effect) in effects.iter().enumerate() {
        row(&mut svg, effect, across, (left, right), top + ROW * (place as f64 + 0.5));
    }
    svg.line("axis", (across.at(0.0), top - 4.0), (across.at(0.0), bottom));
    Some(svg)
}

/// The label of the horizontal axis, with the unit.
fn along(measure: Measure) -> &'static str {
    match measure {
        Measure::DecayInit | Measure::DecayFinal => "difference of the decay rate |ρ| per step",
        Measure::HorizonInit | Measure::HorizonFinal => "difference in steps",
        Measure::StepsToSolve => "difference in training steps",
        Measure::FinalLoss => "factor of the loss",
    }
}

/// The marks of the axis. If effects are logarithms, the marks are those of round factors.
fn marks(measure: Measure, bounds: (f64, f64)) -> Vec<f64> {
    if measure != Measure::FinalLoss {
        return ticks(bounds, 5)
            .into_iter()
            .map(|mark| if mark.abs() < 1e-12 { 0.0 } else { mark })
            .collect();
    }
    let inside = |mark: &f64| (bounds.0..=bounds.1).contains(mark);
    let decades = |times: &'static [f64]| {
        let all = (-12..12)
            .flat_map(move |power| times.iter().map(move |times| (times * 10f64.powi(power)).ln()));
        all.filter(inside).collect::<Vec<f64>>()
    };
    let fine = decades(&[1.0, 2.0, 5.0]);
    match fine.len() {
        0..=7 => fine,
        _ => decades(&[1.0]),
    }
}

fn row(svg: &mut Svg, effect: &Effect, across: Scale, (left, right): (f64, f64), y: f64) {
    let margin = (across.at(-effect.margin), across.at(effect.margin));
    svg.rect("lost", (margin.0, y - 0.5 * ROW), (margin.1 - margin.0, ROW));
    svg.text("label", (left - 8.0, y + 3.8), Anchor::End, &effect.modifier);
    // Green helps, orange hurts; the word beside it tells the same.
    let colour = match effect.verdict {
        Verdict::Helps => 2,
        Verdict::Hurts => 1,
        Verdict::NoEffectShown | Verdict::NotEnoughEvidence => 4,
    };
    if let (Some(low), Some(high)) = (effect.low, effect.high) {
        svg.path(&format!("line c{colour}"), &[(across.at(low), y), (across.at(high), y)]);
    }
    if let Some(size) = effect.effect {
        let (x, y) = (number(across.at(size)), number(y));
        svg.raw(&format!(r#"<circle class="end f{colour}" cx="{x}" cy="{y}" r="4"/>"#));
    }
    svg.text("label", (right + 8.0, y + 3.8), Anchor::Start, effect.verdict.words());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round() {
        let factors = |low: f64, high: f64| -> Vec<String> {
            let marks = marks(Measure::FinalLoss, (low.ln(), high.ln()));
            marks.into_iter().map(|mark| shown(Measure::FinalLoss, mark)).collect()
        };
        assert_eq!(factors(0.3, 2.5), ["×0.50", "×1.0", "×2.0"]);
        assert_eq!(factors(0.0009, 12.0), ["×0.0010", "×0.010", "×0.10", "×1.0", "×10"]);
        assert_eq!(marks(Measure::StepsToSolve, (-210.0, 90.0)), [-200.0, -100.0, 0.0]);
        assert_eq!(shown(Measure::DecayInit, -0.25), "−0.25");
    }
}
