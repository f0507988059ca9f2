//! What the screen shows: the runs, and of one of them loss, gradient profile and heat map.

mod heat;

use crate::progress::board::{clock, Board, Track};
use heat::Colours;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Row, Table};
use ratatui::Frame;
use recurrent_report::numbers;

/// Decades of a norm below the largest that are shown; a curve ends where it lies deeper, and the map has its lowest colour there.
const DECADES: f64 = 16.0;

/// How the person before the screen looks at it.
pub(super) struct Look {
    /// The number of the run that is shown large; the first in the table if there is none, or not any more.
    chosen: Option<u64>,
    /// Whether an end was asked for.
    pub(super) stopping: bool,
    colours: Colours,
}

impl Look {
    /// The first look, in the colours that the terminal has.
    pub(super) fn new() -> Self {
        Self { chosen: None, stopping: false, colours: Colours::of_terminal() }
    }

    /// Goes on to the next run, or to the one before, round and round.
    pub(super) fn step(&mut self, board: &Board, by: isize) {
        let tracks = board.tracks();
        let place =
            self.place(&tracks).checked_add_signed(by).unwrap_or(tracks.len().saturating_sub(1));
        self.chosen = tracks.get(place).or(tracks.first()).map(|track| track.number);
    }

    /// The place of the chosen run in the table.
    fn place(&self, tracks: &[&Track]) -> usize {
        tracks.iter().position(|track| Some(track.number) == self.chosen).unwrap_or(0)
    }
}

/// One picture. A low screen has the table alone; with more room come the curves, the map, and the last thing that there was to say.
pub(super) fn draw(frame: &mut Frame, board: &Board, look: &Look) {
    let (tracks, area) = (board.tracks(), frame.area());
    let chosen = tracks.get(look.place(&tracks));
    let said = u16::from(area.height >= 16);
    let rows = 1 + tracks.len().clamp(1, usize::from((area.height / 4).max(2))) as u16;
    let rest = area.height.saturating_sub(3 + rows + said);
    let rest = if rest < 5 { 0 } else { rest };
    // The map has two fifths of the room at most, and no more than two lines a profile and its title.
    let profiles = chosen.map_or(0, |track| track.profiles.len()) as u16;
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
    let gone = clock(board.start.elapsed());
    let words = format!(" {} · {} of {} runs · {gone} gone", board.task, board.ended, board.runs);
    frame.render_widget(Line::styled(words, Modifier::BOLD), head);
    let share = board.share();
    let label = format!("{:.0} %, {}", 100.0 * share, board.left());
    frame.render_widget(
        Gauge::default().ratio(share).label(label).gauge_style(look.colours.line()),
        gauge,
    );
    runs(frame, table, &tracks, look.place(&tracks), board.steps);
    if let Some(track) = chosen {
        curves(frame, charts, track, look.colours);
        heat::map(frame, map, track, look.colours);
    }
    let line = board.lines.last().map_or("", String::as_str);
    frame.render_widget(Line::styled(format!(" {line}"), Modifier::DIM), said);
    let help = match look.stopping {
        true => Line::styled(" stopping after this step · Ctrl-C: at once", Modifier::BOLD),
        false => Line::styled(" q: stop · Tab, arrows: choose a run", Modifier::DIM),
    };
    frame.render_widget(help, foot);
}

/// A row a run, with as many columns as there is room for.
fn runs(frame: &mut Frame, area: Rect, tracks: &[&Track], chosen: usize, steps: u64) {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
    let cells = |(place, track): (usize, &&Track)| {
        [
            format!("{}{}", if place == chosen { "▸" } else { " " }, track.variant),
            track.seed.to_string(),
            format!("{}/{steps}", track.step),
            number(Some(track.loss).filter(|loss| !loss.is_nan())),
            track.state.to_owned(),
            track.half_life.map_or("–".to_owned(), numbers::steps),
            number(track.held_out),
            track.accuracy.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
        ]
    };
    let name = tracks.iter().map(|track| track.variant.chars().count()).max().unwrap_or(0);
    let name = (1 + name as u16).clamp(8, (area.width / 3).max(8));
    let step = (2 * steps.to_string().len() as u16 + 1).max(4);
    let heads = [" run", "seed", "step", "loss", "state", "half-life", "held-out", "accuracy"];
    let mut free = area.width;
    let widths = [name, 4, step, 8, 10, 9, 8, 8].into_iter().map_while(|width| {
        free = free.checked_sub(width)?;
        let constraint = Constraint::Length(width);
        free = free.saturating_sub(1);
        Some(constraint)
    });
    let widths: Vec<Constraint> = widths.collect();
    let row =
        |cells: [String; 8]| Row::new(cells.into_iter().take(widths.len()).collect::<Vec<_>>());
    // What is chosen is in sight, and as much of what stands above it as there is room for.
    let from = chosen.saturating_sub(usize::from(area.height.saturating_sub(2)));
    let table =
        Table::new(tracks.iter().enumerate().skip(from).map(cells).map(row), widths.clone())
            .header(Row::new(heads).style(Modifier::DIM))
            .column_spacing(1);
    frame.render_widget(table, area);
}

/// The training loss over steps, and the last profile of h, as far as there is room; both on logarithmic axes.
fn curves(frame: &mut Frame, area: Rect, track: &Track, colours: Colours) {
    let wide = Layout::horizontal([Constraint::Fill(1); 2]).areas(area);
    let [left, right] = match (area.width >= 60, area.height >= 12) {
        (true, _) => wide,
        (false, true) => Layout::vertical([Constraint::Fill(1); 2]).areas(area),
        (false, false) => [area, Rect::default()],
    };
    let finite = track.losses.iter().filter(|(_, loss)| loss.is_finite() && *loss > 0.0);
    let points = finite.map(|&(step, loss)| (step as f64, loss.log10())).collect();
    curve(frame, left, &format!("loss of {}", track.name()), "step", points, colours);
    let Some((step, norms)) = track.profiles.last() else { return };
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

/// The smallest and the largest.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// A number in six characters at most.
fn short(value: f64) -> String {
    if (0.01..1000.0).contains(&value) {
        format!("{value:.3}").chars().take(5).collect()
    } else {
        format!("{value:.0e}")
    }
}

#[cfg(test)]
mod tests;
