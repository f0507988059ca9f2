//! The output of a comparison for readers: a table and a plot in the terminal, a verdict in plain
//! words, and a page with plots.

#![forbid(unsafe_code)]

mod ablation;
mod about;
mod chart;
mod columns;
mod conclusion;
mod csv;
mod curve;
mod data;
mod figures;
mod forest;
mod gradient;
mod group;
mod heat;
mod labels;
mod measures;
mod merged;
pub mod numbers;
mod page;
pub mod palette;
mod run;
mod run_verdict;
mod scale;
mod svg;
mod sweep;
mod table;
mod terms;
#[cfg(test)]
mod tests;
mod text_plot;
mod trend;
mod verdict;
mod view;

use about::About;
use dir::OutputDir;
use figures::{Figure, Figures};
use group::Group;
use record::Records;
#[cfg(test)]
use recurrent_records::sample;
use recurrent_records::Result;
use recurrent_records::{config, dir, effects, record, solve_rates};
use recurrent_tasks::{task, usage};

pub use merged::{groups, merged, sources, write_merged, Source};
pub use numbers::significant;
pub use page::page;
pub use table::wrap;

/// The table for a terminal `width` columns wide: one row per variant, in as many blocks as the
/// width needs.
pub fn table(records: &Records, width: usize) -> String {
    table::terminal(&Group::new(records), width)
}

/// The verdict on each variant in plain words, by stated rules: name and verdict, in order.
pub fn verdicts(records: &Records) -> Vec<(String, String)> {
    verdict::all(&Group::new(records))
}

/// The gradient profiles of h at initialisation as a plot for a terminal, `width` columns wide and
/// `height` rows high.
pub fn text_plot(records: &Records, width: usize, height: usize) -> String {
    text_plot::plot(&Group::new(records), width, height)
}

/// The half-life of dL/dh of a run in steps, at initialisation and after training, in the words of
/// the table, as [`half_life`].
pub fn half_lives(run: &record::RunRecord) -> [String; 2] {
    use run::RunView;
    trend::Phase::BOTH.map(|phase| half_life(trend::rate(run, "h", phase), run.length()))
}

/// A half-life in steps, from the rate ρ of a fitted decay over a sequence of `length` steps, in
/// the words of the table: `×2 in 9` if the gradient grows, `no decay` if it is level,
/// `too few points` without a fit.
pub fn half_life(rate: Option<f64>, length: usize) -> String {
    let trend = |rate| trend::Trend::of(rate, length).short();
    rate.map_or("too few points".to_owned(), trend)
}

/// The whole output for a terminal `width` columns wide: the table, the plot, and the verdicts.
pub fn terminal(records: &Records, width: usize) -> String {
    let group = Group::new(records);
    let mut text = table::terminal(&group, width);
    if group.runs.is_empty() {
        return text;
    }
    text += &format!("\n{}\n", text_plot::plot(&group, width, 24));
    for (name, verdict) in verdict::all(&group) {
        text += &wrap(&format!("{name}: {verdict}"), width, "  ");
    }
    if let Some(cost) = measures::cost(&group) {
        text += &wrap(&cost, width, "  ");
    }
    text + &format!("\n{}", wrap(&conclusion::sentences(&group).join(" "), width, ""))
}

/// Writes `report.html`, one file that needs no other file and no network, and each of its plots as
/// `plots/*.svg` with its numbers as `plots/*.csv`.
///
/// If the folder holds a `comparison.json`, the page also shows the command and the time.
///
/// # Errors
/// If `comparison.json` is damaged, or a file cannot be written.
pub fn write(records: &Records, folder: &OutputDir) -> Result<()> {
    let group = Group::new(records);
    let figures = Figures::new(&group);
    let about = About::read(folder.path())?;
    write_figures(figures.all(), folder)?;
    folder.write("report.html", view::page(&group, &figures, &about).as_bytes())
}

/// The effects of an ablation for a terminal `width` columns wide: one table per measure, and
/// verdicts.
pub fn ablation(findings: &effects::Findings, width: usize) -> String {
    ablation::terminal(findings, width)
}

/// Writes `report.html` as [`write()`] does, and `ablation.html` with its plots.
///
/// # Errors
/// As [`write()`].
pub fn write_ablation(
    findings: &effects::Findings,
    command: &[String],
    folder: &OutputDir,
) -> Result<()> {
    write(&findings.records, folder)?;
    let figures = ablation::page::figures(findings);
    write_figures(&figures, folder)?;
    let about = About::read(folder.path())?;
    let page = ablation::page::page(findings, &figures, &about, command);
    folder.write("ablation.html", page.as_bytes())
}

/// A sweep over lengths for a terminal `width` columns wide: a table, and the maximum dependency
/// lengths.
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
    let figure = sweep::figure(findings);
    write_figures(&figure, folder)?;
    folder.write("sweep.html", sweep::page(findings, figure.as_ref(), command).as_bytes())
}

/// Writes each plot and its numbers below `plots`.
fn write_figures<'a>(
    figures: impl IntoIterator<Item = &'a Figure>,
    folder: &OutputDir,
) -> Result<()> {
    let plots = folder.inside("plots")?;
    figures.into_iter().try_for_each(|figure| {
        plots.write(&format!("{}.svg", figure.file), figure.content().as_bytes())?;
        plots.write(&format!("{}.csv", figure.file), figure.csv.as_bytes())
    })
}
