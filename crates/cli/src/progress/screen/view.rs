//! The content of the screen: the runs, and for one of them loss, gradient profile and heat map.

mod heat;

use crate::progress::state::{clock, ComparisonState, RunState};
use heat::Colours;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Row, Table};
use ratatui::Frame;
use recurrent_report::numbers::short_loss;

/// The number of decades below the largest norm that are shown. A curve ends where it lies deeper,
/// and the map has its lowest colour there.
const DECADES: f64 = 16.0;

/// The user's choices.
pub(super) struct ViewState {
    /// The number of the run shown in detail; by default the first in the table.
    chosen: Option<u64>,
    /// Whether the comparison is being stopped.
    pub(super) stopping: bool,
    colours: Colours,
}

impl ViewState {
    /// The first view, in the colours that the terminal has.
    pub(super) fn new() -> Self {
        Self { chosen: None, stopping: false, colours: Colours::of_terminal() }
    }

    /// Chooses the next run or the previous one, in a circle.
    pub(super) fn step(&mut self, state: &ComparisonState, by: isize) {
        let runs_shown = state.runs_shown();
        let place = self
            .place(&runs_shown)
            .checked_add_signed(by)
            .unwrap_or(runs_shown.len().saturating_sub(1));
        self.chosen =
            runs_shown.get(place).or(runs_shown.first()).map(|run_state| run_state.number);
    }

    /// The position of the chosen run in the table.
    fn place(&self, runs_shown: &[&RunState]) -> usize {
        runs_shown.iter().position(|run_state| Some(run_state.number) == self.chosen).unwrap_or(0)
    }
}

/// Draws a frame: the table; with more room also the curves, the map and the last line.
pub(super) fn draw(frame: &mut Frame, state: &ComparisonState, view: &ViewState) {
    let (runs_shown, area) = (state.runs_shown(), frame.area());
    let chosen = runs_shown.get(view.place(&runs_shown));
    let said = u16::from(area.height >= 16);
    let rows = 1 + runs_shown.len().clamp(1, usize::from((area.height / 4).max(2))) as u16;
    let rest = area.height.saturating_sub(3 + rows + said);
    let rest = if rest < 5 { 0 } else { rest };
    // The map takes at most two fifths of the room, and no more than two lines per profile and its
    // title.
    let profiles = chosen.map_or(0, |run_state| run_state.profiles.len()) as u16;
    let map = if rest < 10 { 0 } else { (2 * rest / 5).min(1 + 2 * profiles.max(1)) };
    let parts = [
        Constraint::Length(1),
        Constraint::Length(1),
        if rest > 0 { Constraint::Length(rows) } else { Constraint::Fill(1) },
        Constraint::Length(rest - map),
        Constraint::Length(map),
        Constraint::Length(said),
        Constraint::Length(1),
    ];
    let [head, gauge, table, charts, map, said, foot] = Layout::vertical(parts).areas(area);
    let gone = clock(state.start.elapsed());
    let words = format!(" {} · {} of {} runs · {gone} gone", state.task, state.ended, state.runs);
    frame.render_widget(Line::styled(words, Modifier::BOLD), head);
    let share = state.share();
    let label = format!("{:.0} %, {}", 100.0 * share, state.left());
    frame.render_widget(
        Gauge::default().ratio(share).label(label).gauge_style(view.colours.line()),
        gauge,
    );
    runs(frame, table, &runs_shown, view.place(&runs_shown), state.steps);
    if let Some(run_state) = chosen {
        curves(frame, charts, run_state, view.colours);
        heat::map(frame, map, run_state, view.colours);
    }
    let line = state.lines.last().map_or("", String::as_str);
    frame.render_widget(Line::styled(format!(" {line}"), Modifier::DIM), said);
    let help = match view.stopping {
        true => Line::styled(" stopping after this step · Ctrl-C: at once", Modifier::BOLD),
        false => Line::styled(" q: stop · Tab, arrows: choose a run", Modifier::DIM),
    };
    frame.render_widget(help, foot);
}

/// One row per run, with as many columns as fit.
fn runs(frame: &mut Frame, area: Rect, runs_shown: &[&RunState], chosen: usize, steps: u64) {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), short_loss);
    let cells = |(place, run_state): (usize, &&RunState)| {
        [
            format!("{}{}", if place == chosen { "▸" } else { " " }, run_state.variant),
            run_state.seed.to_string(),
            format!("{}/{steps}", run_state.step),
            number(Some(run_state.loss).filter(|loss| !loss.is_nan())),
            run_state.status.to_owned(),
            run_state.half_life.clone().unwrap_or_else(|| "–".to_owned()),
            number(run_state.held_out),
            run_state.accuracy.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
        ]
    };
    let name =
        runs_shown.iter().map(|run_state| run_state.variant.chars().count()).max().unwrap_or(0);
    let name = (1 + name as u16).clamp(8, (area.width / 3).max(8));
    let step = (2 * steps.to_string().len() as u16 + 1).max(4);
    let heads = [" run", "seed", "step", "loss", "state", "half-life", "held-out", "accuracy"];
    let mut free = area.width;
    let widths = [name, 4, step, 8, 10, 14, 8, 8].into_iter().map_while(|width| {
        free = free.checked_sub(width)?;
        let constraint = Constraint::Length(width);
        free = free.saturating_sub(1);
        Some(constraint)
    });
    let widths: Vec<Constraint> = widths.collect();
    let row =
        |cells: [String; 8]| Row::new(cells.into_iter().take(widths.len()).collect::<Vec<_>>());
    // The chosen row is visible, with as many rows above it as fit.
    let from = chosen.saturating_sub(usize::from(area.height.saturating_sub(2)));
    let table =
        Table::new(runs_shown.iter().enumerate().skip(from).map(cells).map(row), widths.clone())
            .header(Row::new(heads).style(Modifier::DIM))
            .column_spacing(1);
    frame.render_widget(table, area);
}

/// The training loss over steps, and the last profile of h if there is room, both on logarithmic
/// axes.
fn curves(frame: &mut Frame, area: Rect, run_state: &RunState, colours: Colours) {
    let wide = Layout::horizontal([Constraint::Fill(1); 2]).areas(area);
    let [left, right] = match (area.width >= 60, area.height >= 12) {
        (true, _) => wide,
        (false, true) => Layout::vertical([Constraint::Fill(1); 2]).areas(area),
        (false, false) => [area, Rect::default()],
    };
    let finite = run_state.losses.iter().filter(|(_, loss)| loss.is_finite() && *loss > 0.0);
    let points = finite.map(|&(step, loss)| (step as f64, loss.log10())).collect();
    curve(frame, left, &format!("loss of {}", run_state.name()), "step", points, colours);
    let Some((step, norms)) = run_state.profiles.last() else { return };
    let logs = norms.iter().enumerate().filter(|(_, norm)| norm.is_finite());
    let points = logs.map(|(lag, norm)| (lag as f64, norm.log10())).collect();
    curve(frame, right, &format!("‖dL/dh‖ after {step} steps"), "lag", points, colours);
}

/// A curve of common logarithms.
fn curve(
    frame: &mut Frame,
    area: Rect,
    title: &str,
    along: &str,
    points: Vec<(f64, f64)>,
    colours: Colours,
) {
    let (from, to) = extent(points.iter().map(|point| point.0));
    let (low, high) = extent(points.iter().map(|point| point.1).filter(|log| log.is_finite()));
    if area.is_empty() || low > high || from >= to {
        return frame.render_widget(titled(title), area);
    }
    let low = low.max(high - DECADES);
    let (low, high) = if high - low < 0.1 { (low - 0.1, high + 0.1) } else { (low, high) };
    let points: Vec<(f64, f64)> = points.into_iter().filter(|point| point.1 >= low).collect();
    let line = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(colours.line())
        .data(&points);
    let axis = |bounds: [f64; 2], labels: [String; 3]| {
        Axis::default().bounds(bounds).labels(labels.map(Span::raw)).style(Modifier::DIM)
    };
    let ends = [format!("{from:.0}"), along.to_owned(), format!("{to:.0}")];
    let values = [low, (low + high) / 2.0, high].map(|log| short(10f64.powf(log)));
    let chart = Chart::new(vec![line]).block(titled(title));
    let chart = chart.x_axis(axis([from, to], ends)).y_axis(axis([low, high], values));
    frame.render_widget(chart, area);
}

fn titled(title: &str) -> Block<'_> {
    Block::new().title(Line::styled(format!(" {title}"), Style::new().add_modifier(Modifier::DIM)))
}

/// The smallest and the largest value.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// A number in at most six characters.
fn short(value: f64) -> String {
    if (0.01..1000.0).contains(&value) {
        format!("{value:.3}").chars().take(5).collect()
    } else {
        format!("{value:.0e}")
    }
}

#[cfg(test)]
mod tests;
