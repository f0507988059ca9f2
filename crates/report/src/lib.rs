//! What a person sees of a comparison: a table and a plot in the terminal, a verdict in plain words, a page with plots.

#![forbid(unsafe_code)]

mod ablation;
mod chart;
mod columns;
mod curve;
mod data;
mod escape;
mod figures;
mod forest;
mod gradient;
mod group;
mod heat;
mod html;
mod labels;
mod markup;
mod measures;
mod merged;
pub mod numbers;
pub mod palette;
mod run;
mod run_verdict;
mod scale;
mod section;
mod svg;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod text_plot;
mod trend;
mod verdict;

use dir::OutputDir;
use group::Group;
use record::Records;
#[cfg(test)]
use recurrent_records::sample;
use recurrent_records::Result;
use recurrent_records::{config, dir, effects, record, solve_rates};
use recurrent_tasks::{task, usage};

pub use escape::escape;
pub use merged::{groups, merged, sources, write_merged, Source};
pub use numbers::significant;
pub use table::wrap;

/// A page in the style of the report that needs no other file and no network; `body` is markup, see [`escape`].
pub fn page(title: &str, body: &str) -> String {
    markup::document(title, body)
}

/// The table for a terminal `width` columns wide: one row a variant, in as many blocks as the width needs.
pub fn table(records: &Records, width: usize) -> String {
    table::terminal(&Group::new(records), width)
}

/// What the numbers say of each variant, in plain words, by stated rules: name and verdict, in order.
pub fn verdicts(records: &Records) -> Vec<(String, String)> {
    verdict::all(&Group::new(records))
}

/// The gradient profiles of h at initialisation as a plot for a terminal, `width` columns wide and `height` rows high.
pub fn text_plot(records: &Records, width: usize, height: usize) -> String {
    text_plot::plot(&Group::new(records), width, height)
}

/// The half-life of dL/dh of a run in steps, at initialisation and after training, in the words of the
/// table: `×2 in 9` where the gradient grows, `none` where it is level, `–` where too few lags are left
/// for a fit.
pub fn half_lives(run: &record::RunRecord) -> [String; 2] {
    use run::RunView;
    trend::Phase::BOTH.map(|phase| {
        let trend = |rate| trend::Trend::of(rate, run.length()).short();
        trend::rate(run, "h", phase).map_or("–".to_owned(), trend)
    })
}

/// Everything for a terminal `width` columns wide: the table, the plot, and the verdicts, broken into lines.
pub fn terminal(records: &Records, width: usize) -> String {
    let comparison = Group::new(records);
    let mut text = table::terminal(&comparison, width);
    if comparison.runs.is_empty() {
        return text;
    }
    text += &format!("\n{}\n", text_plot::plot(&comparison, width, 24));
    for (name, verdict) in verdict::all(&comparison) {
        text += &wrap(&format!("{name}: {verdict}"), width, "  ");
    }
    if let Some(cost) = measures::cost(&comparison) {
        text += &wrap(&cost, width, "  ");
    }
    text
}

/// Writes `report.html`, one file that needs no other and no network, and each of its plots as `plots/*.svg`.
///
/// Where the folder holds a `comparison.json`, the page also says by which command and when.
///
/// # Errors
/// If a file cannot be written.
pub fn write(records: &Records, folder: &OutputDir) -> Result<()> {
    let comparison = Group::new(records);
    let about =
        folder.read("comparison.json").ok().and_then(|text| serde_json::from_slice(&text).ok());
    write_figures(&figures_of(&comparison), folder)?;
    folder.write("report.html", html::page(&comparison, &about.unwrap_or_default()).as_bytes())
}

/// The effects of an ablation for a terminal `width` columns wide: a table a measure, and the verdicts in words.
pub fn ablation(findings: &effects::Findings, width: usize) -> String {
    ablation::terminal(findings, width)
}

/// Writes `report.html` as [`write()`] does, and `ablation.html` with its plots.
///
/// # Errors
/// If a file cannot be written.
pub fn write_ablation(
    findings: &effects::Findings,
    command: &[String],
    folder: &OutputDir,
) -> Result<()> {
    write(&findings.records, folder)?;
    write_figures(&ablation::page::figures(findings), folder)?;
    folder.write("ablation.html", ablation::page::page(findings, command).as_bytes())
}

/// A sweep over lengths for a terminal `width` columns wide: a table, and the maximum dependency lengths in words.
pub fn sweep(findings: &solve_rates::Findings, width: usize) -> String {
    sweep::terminal(findings, width)
}

/// Writes `sweep.html` with its plot.
///
/// # Errors
/// If a file cannot be written.
pub fn write_sweep(
    findings: &solve_rates::Findings,
    command: &[String],
    folder: &OutputDir,
) -> Result<()> {
    write_figures(sweep::figure(findings).as_slice(), folder)?;
    folder.write("sweep.html", sweep::page(findings, command).as_bytes())
}

/// All plots of a comparison.
fn figures_of(comparison: &Group) -> Vec<figures::Figure> {
    let (_, maps) = figures::heat_maps(comparison);
    let mut all = figures::profiles(comparison);
    all.extend(figures::learning(comparison));
    all.extend(comparison.variants.iter().flat_map(|variant| figures::layers(comparison, variant)));
    all.extend(maps.into_iter().map(|map| map.figure));
    all
}

fn write_figures(figures: &[figures::Figure], folder: &OutputDir) -> Result<()> {
    let plots = folder.inside("plots")?;
    figures
        .iter()
        .try_for_each(|one| plots.write(&format!("{}.svg", one.file), one.content().as_bytes()))
}
