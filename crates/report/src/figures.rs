//! The plots of a comparison, for the page and for files.

use super::chart::{Axis, Chart, Line};
use super::csv;
use super::curve::{accuracy, held_out, history, interval, training, Curve};
use super::group::{at, Group, VariantRuns};
use super::heat::{self, Range};
use super::numbers::significant;
use super::page::FigureView;
use super::svg::Svg;
use super::trend::Phase;

/// A plot, drawn once for the page and for its file.
pub(super) struct Figure {
    /// The name of its files, without the extension.
    pub(super) file: String,
    /// Its title, for a caption and for readers who do not see it.
    pub(super) title: String,
    /// The drawing.
    pub(super) drawing: Svg,
    /// A drawing that stands beside it in its own file.
    pub(super) beside: Option<Svg>,
    /// Its numbers as CSV.
    pub(super) csv: String,
    /// Where the page holds these numbers.
    pub(super) source: Source,
}

/// Where a page holds the numbers of a plot, for a download that needs no other file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// In the link itself.
    Embedded,
    /// In the data of the script, given by attributes of the figure.
    Script(Vec<(&'static str, String)>),
    /// Only in a file beside the page: they would make the page too large.
    File,
}

impl Figure {
    /// The content of its file.
    pub(super) fn content(&self) -> String {
        self.drawing.file(&self.title, self.beside.as_ref())
    }

    /// The address of its numbers, relative to the page.
    fn csv_file(&self) -> String {
        format!("plots/{}.csv", self.file)
    }

    /// A chart, unless there is nothing to draw.
    pub(super) fn chart(file: &str, source: Source, chart: &Chart) -> Option<Self> {
        Some(Self {
            file: file.to_owned(),
            title: chart.title.to_owned(),
            drawing: chart.draw()?,
            beside: None,
            csv: chart.csv(),
            source,
        })
    }

    /// The figure as part of a page.
    pub(super) fn view(&self, caption: &str) -> FigureView {
        let (numbers, attributes) = match &self.source {
            Source::Embedded => (csv::url(&self.csv), Vec::new()),
            Source::Script(attributes) => (self.csv_file(), attributes.clone()),
            Source::File => (self.csv_file(), Vec::new()),
        };
        FigureView {
            id: format!("figure-{}", self.file),
            file: self.file.clone(),
            title: self.title.clone(),
            caption: caption.to_owned(),
            swatch: String::new(),
            drawing: self.drawing.inline(&self.title),
            numbers,
            attributes,
        }
    }
}

/// All plots of a comparison, each drawn once.
pub(super) struct Figures {
    /// Gradient against lag, of all variants.
    pub(super) profiles: Vec<Figure>,
    /// Losses and accuracies over training, of all variants.
    pub(super) learning: Vec<Figure>,
    /// Gradient against lag of the layers of each variant, in the order of the variants.
    pub(super) layers: Vec<Vec<Figure>>,
    /// Gradient against lag and training step.
    pub(super) maps: Vec<HeatMap>,
    /// The range of the maps' colours.
    pub(super) range: Option<Range>,
}

impl Figures {
    /// Draws all plots of a comparison.
    pub(super) fn new(group: &Group) -> Self {
        let (range, maps) = heat_maps(group);
        Self {
            profiles: profiles(group),
            learning: learning(group),
            layers: group.variants.iter().map(|variant| layers(group, variant)).collect(),
            maps,
            range,
        }
    }

    /// All figures, in the order of the page.
    pub(super) fn all(&self) -> impl Iterator<Item = &Figure> {
        let shared = self.profiles.iter().chain(&self.learning);
        shared.chain(self.layers.iter().flatten()).chain(self.maps.iter().map(|map| &map.figure))
    }
}

/// The parts of the state with a profile in any variant, `h` first.
pub(super) fn parts<'a>(group: &Group<'a>) -> Vec<&'a str> {
    let mut parts: Vec<&str> = Vec::new();
    for part in group.variants.iter().flat_map(VariantRuns::parts) {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

/// Gradient norm against lag for every variant: a plot for each part of the state, at
/// initialisation and after training.
pub(super) fn profiles(group: &Group) -> Vec<Figure> {
    let scale = group.profile_scale();
    let mut all = Vec::new();
    for part in parts(group) {
        for phase in Phase::BOTH {
            let curve =
                |v: &VariantRuns| Curve::of_profiles(&at(&v.top_profiles(part), phase), scale);
            let lines: Vec<Line> =
                group.variants.iter().map(|v| Line::new(v.name, v.index, curve(v))).collect();
            let title = format!("Gradient of {part} {}", phase.title());
            let chart = norms(&title, part, drawn(lines));
            let file = group.id(&format!("profiles-{part}-{}", phase.key()));
            let source = Source::Script(vec![
                ("data-csv", "profile".to_owned()),
                ("data-part", part.to_owned()),
                ("data-phase", phase.key().to_owned()),
            ]);
            all.extend(Figure::chart(&file, source, &chart));
        }
    }
    all
}

/// Held-out loss, training loss, and accuracy if the task has it, for every variant over training.
pub(super) fn learning(group: &Group) -> Vec<Figure> {
    let steps = group.runs.iter().map(|run| run.outcome.steps).max().unwrap_or(0);
    let width = interval(steps);
    let each = |curve: &dyn Fn(&VariantRuns) -> Curve| {
        drawn(group.variants.iter().map(|v| Line::new(v.name, v.index, curve(v))).collect())
    };
    let losses = |title: &str, file: &str, mut lines: Vec<Line>| {
        let places = || lines.iter().flat_map(|line| line.curve.0.iter().map(|(step, _)| *step));
        let (from, to) = (places().min_by(f64::total_cmp)?, places().max_by(f64::total_cmp)?);
        if let Some(run) = group.runs.first().filter(|run| run.config.task.baseline > 0.0) {
            let name = format!("baseline {}", significant(run.config.task.baseline, 4));
            lines.push(Line::level(name, run.config.task.baseline.log10(), (from, to)));
        }
        let chart = Chart {
            title,
            along: "training step",
            key: "step",
            up: "loss",
            axis: Axis::Loss,
            lines,
        };
        Figure::chart(&group.id(file), series(file), &chart)
    };
    let held_out = losses("Held-out loss", "loss-held-out", each(&|v| held_out(v).map(f64::log10)));
    let title = format!("Training loss, mean of {width} steps");
    let trained = losses(&title, "loss-training", each(&|v| training(v, width).map(f64::log10)));
    let lines = each(&accuracy);
    let title = "Held-out accuracy";
    let chart = Chart {
        title,
        along: "training step",
        key: "step",
        up: "accuracy",
        axis: Axis::Share,
        lines,
    };
    let accuracy = Figure::chart(&group.id("accuracy"), series("accuracy"), &chart);
    held_out.into_iter().chain(trained).chain(accuracy).collect()
}

/// Where the script holds the numbers of a curve over training.
fn series(name: &str) -> Source {
    Source::Script(vec![("data-csv", "series".to_owned()), ("data-series", name.to_owned())])
}

/// Gradient norm against lag for every layer of one variant, at initialisation and after training,
/// by part of the state.
pub(super) fn layers(group: &Group, variant: &VariantRuns) -> Vec<Figure> {
    let scale = group.profile_scale();
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
        let file = group.id(&format!("layers-{}-{part}", file_name(variant)));
        let source = if all.len() > 1 {
            Source::Embedded // the script has the top layer only
        } else {
            Source::Script(vec![
                ("data-csv", "phases".to_owned()),
                ("data-part", part.to_owned()),
                ("data-of", variant.index.to_string()),
            ])
        };
        figures.extend(Figure::chart(&file, source, &chart));
    }
    figures
}

/// A heat map of lag against training step.
pub(super) struct HeatMap {
    /// The position of its variant in the comparison.
    pub(super) variant: usize,
    /// Whether it shows h in the top layer.
    pub(super) main: bool,
    /// The plot.
    pub(super) figure: Figure,
}

/// The heat maps of all variants, layers and parts, in the same colours, and the range of these.
pub(super) fn heat_maps(group: &Group) -> (Option<Range>, Vec<HeatMap>) {
    let scale = group.profile_scale();
    let mut histories = Vec::new();
    for variant in &group.variants {
        let all = variant.layers();
        for part in variant.parts() {
            for &layer in &all {
                let moments = history(&variant.profiles_of(part, layer), scale);
                let top = Some(&layer) == all.first();
                let main = part == "h" && top;
                let place = if all.len() > 1 {
                    format!(", {}", layer_name(layer, &all))
                } else {
                    String::new()
                };
                let file = format!(
                    "{}heat-{}-{part}{}",
                    group.prefix,
                    file_name(variant),
                    if main { String::new() } else { place.replace(", ", "-").replace(' ', "-") }
                );
                let source = if top {
                    Source::Script(vec![
                        ("data-csv", "heat".to_owned()),
                        ("data-part", part.to_owned()),
                        ("data-of", variant.index.to_string()),
                    ])
                } else {
                    Source::File
                };
                histories.push((
                    variant,
                    (main, source),
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
    type History<'a> = (&'a VariantRuns<'a>, (bool, Source), String, String, Vec<heat::Moment>);
    let draw = |(variant, (main, source), title, file, moments): History| {
        let (drawing, scale) = heat::draw(&file, &moments, range)?;
        let csv = heat::csv(&moments);
        let figure = Figure { file, title, drawing, beside: Some(scale), csv, source };
        Some(HeatMap { variant: variant.index, main, figure })
    };
    (Some(range), histories.into_iter().filter_map(draw).collect())
}

/// A chart of norms against lag.
fn norms<'a>(title: &'a str, part: &str, lines: Vec<Line>) -> Chart<'a> {
    let up = if part == "h" { "‖dL/dh‖" } else { "‖dL/dc‖" };
    let up = if matches!(part, "h" | "c") { up } else { "gradient norm" };
    let along = "lag: steps before the end of the sequence";
    Chart { title, along, key: "lag", up, axis: Axis::Norm, lines }
}

/// The lines that have something to draw.
fn drawn(lines: Vec<Line>) -> Vec<Line> {
    lines.into_iter().filter(|line| !line.curve.0.is_empty()).collect()
}

/// `layer 2`, counted from 1 at the bottom, with its direction if there are two.
fn layer_name((layer, direction): (usize, &str), all: &[(usize, &str)]) -> String {
    let both = all.iter().any(|(_, other)| *other != direction);
    format!("layer {}{}", layer + 1, if both { format!(" {direction}") } else { String::new() })
}

/// A variant's name in file names and ids. Characters other than letters, digits, dots and dashes
/// become dashes, and then the variant's position is appended, so that names stay different.
pub(super) fn file_name(variant: &VariantRuns) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !variant.name.is_empty() && variant.name.chars().all(plain) {
        return variant.name.to_owned();
    }
    let name: String = variant.name.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    format!("{name}-{}", variant.index + 1)
}
