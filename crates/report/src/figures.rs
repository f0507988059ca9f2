//! The plots of a comparison, for the page and for files.

use super::chart::{Axis, Chart, Line};
use super::curve::{accuracy, held_out, history, interval, training, Curve};
use super::group::{at, Group, VariantRuns};
use super::heat::{self, Range};
use super::numbers::significant;
use super::svg::Svg;
use super::trend::Phase;

/// A plot.
pub(super) struct Figure {
    /// The name of its file, without the ending.
    pub(super) file: String,
    /// What it shows, for a caption and for those who do not see it.
    pub(super) title: String,
    /// As it stands in a page.
    pub(super) inline: Svg,
    /// As it stands alone.
    pub(super) alone: Svg,
}

impl Figure {
    /// The content of its file.
    pub(super) fn content(&self) -> String {
        self.alone.file(&self.title)
    }

    /// A chart, if there is anything to draw.
    pub(super) fn chart(file: &str, chart: Chart) -> Option<Self> {
        let (file, title) = (file.to_owned(), chart.title.to_owned());
        Some(Self { file, title, inline: chart.draw(false)?, alone: chart.draw(true)? })
    }
}

/// The parts of the state that any variant has a profile of, `h` first.
pub(super) fn parts<'a>(comparison: &Group<'a>) -> Vec<&'a str> {
    let mut parts: Vec<&str> = Vec::new();
    for part in comparison.variants.iter().flat_map(VariantRuns::parts) {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

/// Gradient norm against lag, of every variant: a plot for each part of the state, at initialisation and after training.
pub(super) fn profiles(comparison: &Group) -> Vec<Figure> {
    let scale = comparison.profile_scale();
    let mut all = Vec::new();
    for part in parts(comparison) {
        for phase in Phase::BOTH {
            let curve =
                |v: &VariantRuns| Curve::of_profiles(&at(&v.top_profiles(part), phase), scale);
            let lines: Vec<Line> =
                comparison.variants.iter().map(|v| Line::new(v.name, v.index, curve(v))).collect();
            let title = format!("Gradient of {part} {}", phase.title());
            let chart = norms(&title, part, drawn(lines));
            all.extend(Figure::chart(
                &comparison.id(&format!("profiles-{part}-{}", phase.key())),
                chart,
            ));
        }
    }
    all
}

/// Held-out loss, training loss, and accuracy where there is one, of every variant over training.
pub(super) fn learning(comparison: &Group) -> Vec<Figure> {
    let steps = comparison.runs.iter().map(|run| run.outcome.steps).max().unwrap_or(0);
    let width = interval(steps);
    let each = |curve: &dyn Fn(&VariantRuns) -> Curve| {
        drawn(comparison.variants.iter().map(|v| Line::new(v.name, v.index, curve(v))).collect())
    };
    let losses = |title: &str, file: &str, mut lines: Vec<Line>| {
        let places = || lines.iter().flat_map(|line| line.curve.0.iter().map(|(step, _)| *step));
        let (from, to) = (places().min_by(f64::total_cmp)?, places().max_by(f64::total_cmp)?);
        if let Some(run) = comparison.runs.first().filter(|run| run.config.task.baseline > 0.0) {
            let name = format!("baseline {}", significant(run.config.task.baseline, 4));
            lines.push(Line::level(name, run.config.task.baseline.log10(), (from, to)));
        }
        Figure::chart(
            &comparison.id(file),
            Chart { title, along: "training step", up: "loss", axis: Axis::Loss, lines },
        )
    };
    let held_out = losses("Held-out loss", "loss-held-out", each(&|v| held_out(v).map(f64::log10)));
    let title = format!("Training loss, mean of {width} steps");
    let trained = losses(&title, "loss-training", each(&|v| training(v, width).map(f64::log10)));
    let lines = each(&accuracy);
    let title = "Held-out accuracy";
    let chart = Chart { title, along: "training step", up: "accuracy", axis: Axis::Share, lines };
    held_out
        .into_iter()
        .chain(trained)
        .chain(Figure::chart(&comparison.id("accuracy"), chart))
        .collect()
}

/// Gradient norm against lag of every layer of one variant, at initialisation and after training, by part of the state.
pub(super) fn layers(comparison: &Group, variant: &VariantRuns) -> Vec<Figure> {
    let scale = comparison.profile_scale();
    let all = variant.layers();
    let mut figures = Vec::new();
    for part in variant.parts() {
        let mut lines = Vec::new();
        for (place, &layer) in all.iter().enumerate() {
            for (dash, phase) in [(0, Phase::Final), (1, Phase::Init)] {
                let curve =
                    Curve::of_profiles(&at(&variant.profiles_of(part, layer), phase), scale);
                let moment = if phase == Phase::Init { "start" } else { "trained" };
                let name = if all.len() > 1 {
                    format!("{}, {moment}", layer_name(layer, &all))
                } else {
                    moment.to_owned()
                };
                lines.push(Line::styled(name, place, dash, curve));
            }
        }
        let title = format!("{}: gradient of {part} before and after training", variant.name);
        let chart = norms(&title, part, drawn(lines));
        figures.extend(Figure::chart(
            &comparison.id(&format!("layers-{}-{part}", file_name(variant))),
            chart,
        ));
    }
    figures
}

/// A heat map of lag against training step.
pub(super) struct HeatMap {
    /// The place of its variant in the comparison.
    pub(super) variant: usize,
    /// Whether it shows h in the top layer.
    pub(super) main: bool,
    /// The plot.
    pub(super) figure: Figure,
}

/// The heat maps of all variants, layers and parts, in the same colours, and their range.
pub(super) fn heat_maps(comparison: &Group) -> (Option<Range>, Vec<HeatMap>) {
    let scale = comparison.profile_scale();
    let mut histories = Vec::new();
    for variant in &comparison.variants {
        let all = variant.layers();
        for part in variant.parts() {
            for &layer in &all {
                let moments = history(&variant.profiles_of(part, layer), scale);
                let main = part == "h" && Some(&layer) == all.first();
                let place = if all.len() > 1 {
                    format!(", {}", layer_name(layer, &all))
                } else {
                    String::new()
                };
                let file = format!(
                    "{}heat-{}-{part}{}",
                    comparison.prefix,
                    file_name(variant),
                    if main { String::new() } else { place.replace(", ", "-").replace(' ', "-") }
                );
                histories.push((
                    variant,
                    main,
                    format!("{}: gradient of {part}{place}", variant.name),
                    file,
                    moments,
                ));
            }
        }
    }
    let curves =
        histories.iter().flat_map(|(_, _, _, _, moments)| moments.iter().map(|(_, curve)| curve));
    let Some(range) = Range::of(curves) else { return (None, Vec::new()) };
    let draw = |(variant, main, title, file, moments): (
        &VariantRuns,
        bool,
        String,
        String,
        Vec<heat::Moment>,
    )| {
        let inline = heat::draw(&file, &title, &moments, range, false)?;
        let alone = heat::draw(&file, &title, &moments, range, true)?;
        Some(HeatMap {
            variant: variant.index,
            main,
            figure: Figure { file, title, inline, alone },
        })
    };
    (Some(range), histories.into_iter().filter_map(draw).collect())
}

/// A chart of norms against lag.
fn norms<'a>(title: &'a str, part: &str, lines: Vec<Line>) -> Chart<'a> {
    let up = if part == "h" { "‖dL/dh‖" } else { "‖dL/dc‖" };
    let up = if matches!(part, "h" | "c") { up } else { "gradient norm" };
    Chart { title, along: "lag: steps before the end of the sequence", up, axis: Axis::Norm, lines }
}

/// The lines that have something to draw.
fn drawn(lines: Vec<Line>) -> Vec<Line> {
    lines.into_iter().filter(|line| !line.curve.0.is_empty()).collect()
}

/// `layer 2`, counted from 1 at the bottom; with its direction where there are two.
fn layer_name((layer, direction): (usize, &str), all: &[(usize, &str)]) -> String {
    let both = all.iter().any(|(_, other)| *other != direction);
    format!("layer {}{}", layer + 1, if both { format!(" {direction}") } else { String::new() })
}

/// A variant's name in file names and ids: what is not a letter, digit, dot or dash becomes a dash, and then its place
/// is added, lest two fall together.
pub(super) fn file_name(variant: &VariantRuns) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !variant.name.is_empty() && variant.name.chars().all(plain) {
        return variant.name.to_owned();
    }
    let name: String = variant.name.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    format!("{name}-{}", variant.index + 1)
}
