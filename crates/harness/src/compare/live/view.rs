//! What the screen shows: all runs on their way, and of one of them loss, gradient profile and heat map.

use super::super::board::{lags, Board, Lane};
use crate::report::palette::{rgb, LEVELS};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Cell, Chart, Dataset, Gauge, GraphType, Paragraph, Row, Table};
use ratatui::Frame;
use std::time::Duration;

/// Decades of a norm below the largest that are shown; what lies deeper has the darkest colour, and runs along the lower edge.
const DECADES: f64 = 16.0;

/// What the person before the screen has chosen.
#[derive(Default)]
pub(super) struct Look {
    /// The run that is shown large, counted among those on their way, round and round.
    pub(super) lane: usize,
    /// Whether an end was asked for.
    pub(super) stopping: bool,
}

/// One picture.
pub(super) fn draw(frame: &mut Frame, board: &Board, look: &mut Look) {
    let lanes: Vec<&Lane> = board.lanes.iter().flatten().collect();
    let most = usize::from(frame.area().height) / 4;
    let rows = lanes.len().clamp(1, most.max(1)) as u16;
    let parts = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(rows + 1),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(if frame.area().height > 30 { 7 } else { 3 }),
        Constraint::Length(1),
    ];
    let [head, gauge, table, charts, heat, ended, foot] = Layout::vertical(parts).areas(frame.area());
    let words = format!(
        " {} · {} of {} runs · {} gone{}",
        board.task,
        board.ended.len(),
        board.runs,
        clock(board.start.elapsed()),
        board.remaining().map_or(String::new(), |left| format!(", about {} left", clock(left)))
    );
    frame.render_widget(Line::styled(words, Modifier::BOLD), head);
    let share = board.share();
    frame.render_widget(
        Gauge::default()
            .ratio(share)
            .label(format!("{:.0} %", 100.0 * share))
            .gauge_style(Color::Blue)
            .use_unicode(true),
        gauge,
    );
    let chosen = look.lane.checked_rem(lanes.len()).unwrap_or(0);
    runs(frame, table, &lanes, chosen, board.steps);
    if let Some(lane) = lanes.get(chosen) {
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(charts);
        losses(frame, left, lane);
        profile(frame, right, lane);
        heat_map(frame, heat, lane);
    }
    let lines = usize::from(ended.height.saturating_sub(1));
    let last = board.ended.len().saturating_sub(lines);
    let lines: Vec<Line> = board.ended[last..].iter().map(|line| Line::raw(format!(" {line}"))).collect();
    frame.render_widget(Paragraph::new(lines).block(titled("ended")), ended);
    let help = match look.stopping {
        true => " stopping after the present step; what is finished is kept. Ctrl-C once more ends at once",
        false => " q stop after the present step · Tab next run",
    };
    let style =
        if look.stopping { Style::new().fg(Color::Yellow) } else { Style::new().add_modifier(Modifier::DIM) };
    frame.render_widget(Line::styled(help, style), foot);
}

fn titled(title: &str) -> Block<'_> {
    Block::new().title(Line::styled(format!(" {title}"), Modifier::DIM))
}

/// A row a run.
fn runs(frame: &mut Frame, area: Rect, lanes: &[&Lane], chosen: usize, steps: u64) {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
    let row = |(place, lane): (usize, &&Lane)| {
        let mark = if place == chosen { "▸" } else { " " };
        let cells = [
            format!("{mark}{}", lane.variant),
            lane.seed.to_string(),
            format!("{}/{steps}", lane.step),
            number(Some(lane.loss).filter(|loss| !loss.is_nan())),
            number(lane.held_out),
            lane.accuracy.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
            lane.half_life.map_or("–".to_owned(), lags),
        ];
        Row::new(cells.map(Cell::from))
    };
    let widths = [24, 5, 12, 9, 9, 9, 9].map(Constraint::Length);
    let heads = [" run", "seed", "step", "loss", "held out", "accuracy", "half-life"];
    let from = chosen.saturating_sub(usize::from(area.height).saturating_sub(2));
    let table = Table::new(lanes.iter().enumerate().skip(from).map(row), widths)
        .header(Row::new(heads).style(Modifier::DIM))
        .column_spacing(1);
    frame.render_widget(table, area);
}

/// The training loss over steps, on a logarithmic axis.
fn losses(frame: &mut Frame, area: Rect, lane: &Lane) {
    let finite = lane.losses.iter().filter(|(_, loss)| loss.is_finite() && *loss > 0.0);
    let points: Vec<(f64, f64)> = finite.map(|&(step, loss)| (step as f64, loss.log10())).collect();
    chart(frame, area, &format!("loss of {} seed {}", lane.variant, lane.seed), "step", &points, None);
}

/// The last profile of h.
fn profile(frame: &mut Frame, area: Rect, lane: &Lane) {
    let Some((step, norms)) = lane.profiles.last() else { return };
    let points: Vec<(f64, f64)> =
        logs(norms).enumerate().filter_map(|(lag, log)| Some((lag as f64, log?))).collect();
    chart(frame, area, &format!("‖dL/dh‖ after {step} steps"), "lag", &points, Some(DECADES));
}

/// A curve of common logarithms; what lies more than `deepest` below the highest is put on the edge.
fn chart(
    frame: &mut Frame,
    area: Rect,
    title: &str,
    along: &str,
    points: &[(f64, f64)],
    deepest: Option<f64>,
) {
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (from, to) = bounds(&mut points.iter().map(|point| point.0));
    let (low, high) = bounds(&mut points.iter().map(|point| point.1).filter(|value| value.is_finite()));
    if low > high || from >= to {
        frame.render_widget(titled(title), area);
        return;
    }
    let low = deepest.map_or(low, |deepest| low.max(high - deepest));
    let (low, high) = if high - low < 0.1 { (low - 0.1, high + 0.1) } else { (low, high) };
    let points: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (x, y.max(low))).collect();
    let value = |log: f64| Span::raw(short(10f64.powf(log)));
    let chart = Chart::new(vec![Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(Color::Cyan)
        .data(&points)])
    .block(titled(title))
    .x_axis(
        Axis::default()
            .bounds([from, to])
            .labels([format!("{from:.0}"), along.to_owned(), format!("{to:.0}")])
            .style(Modifier::DIM),
    )
    .y_axis(
        Axis::default()
            .bounds([low, high])
            .labels([value(low), value((low + high) / 2.0), value(high)])
            .style(Modifier::DIM),
    );
    frame.render_widget(chart, area);
}

/// Norms by lag, a row a profile, the latest at the bottom.
fn heat_map(frame: &mut Frame, area: Rect, lane: &Lane) {
    let highest = lane.profiles.iter().flat_map(|(_, norms)| logs(norms)).flatten();
    let highest = highest.fold(f64::NEG_INFINITY, f64::max);
    let block = titled("‖dL/dh‖ by training step (down) and lag (to the right): dark is small");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let wide = usize::from(inner.width.saturating_sub(8));
    if !highest.is_finite() || wide == 0 {
        return;
    }
    let skip = lane.profiles.len().saturating_sub(usize::from(inner.height));
    let lines = lane.profiles[skip..].iter().map(|(step, norms)| {
        let logs: Vec<Option<f64>> = logs(norms).collect();
        let mut spans = vec![Span::styled(format!("{step:>6} "), Modifier::DIM)];
        spans.extend((0..wide).map(|column| match logs[column * logs.len() / wide] {
            Some(log) => {
                let share = ((log - highest + DECADES) / DECADES).clamp(0.0, 1.0);
                Span::styled("█", colour((share * (LEVELS - 1) as f64) as usize))
            }
            None => Span::raw(" "),
        }));
        Line::from(spans)
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), inner);
}

/// Common logarithms of norms; negative infinity of zero, `None` of what is not finite.
fn logs(norms: &[f64]) -> impl Iterator<Item = Option<f64>> + '_ {
    norms.iter().map(|norm| norm.is_finite().then(|| norm.log10()))
}

/// A colour of the heat maps, as far as the terminal has it.
fn colour(level: usize) -> Color {
    let [red, green, blue] = rgb(level);
    let exact = std::env::var("COLORTERM").is_ok_and(|name| matches!(name.as_str(), "truecolor" | "24bit"));
    if exact {
        return Color::Rgb(red, green, blue);
    }
    // The cube of 6 x 6 x 6 colours that follows the 16 named ones.
    let [red, green, blue] = [red, green, blue].map(|channel| (u16::from(channel) * 5 + 127) / 255);
    Color::Indexed((16 + 36 * red + 6 * green + blue) as u8)
}

/// A number in six characters at most.
fn short(value: f64) -> String {
    if (0.01..1000.0).contains(&value) {
        format!("{value:.3}").chars().take(5).collect()
    } else {
        format!("{value:.0e}")
    }
}

/// Minutes and seconds, or hours and minutes.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::run::Event;
    use crate::tasks;
    use ratatui::backend::TestBackend;
    use ratatui::Terminal;

    fn board() -> anyhow::Result<Board> {
        let mut board = Board::new(tasks::by_name("adding", Some(100), None)?.as_ref(), 6, 400);
        let mut lane = Lane::new("lstm", 3);
        for step in 0..200 {
            if step % 50 == 0 {
                let profile = [sample::profile("lstm", "h", 3, step, 4.0 + step as f64)];
                lane.told(Event::Profiled { profiles: &profile, half_life: Some(4.0) });
            }
            lane.told(Event::Step { step: step + 1, loss: 0.3 / (1.0 + step as f64) });
        }
        let records = sample::records();
        board.lanes = vec![Some(lane), Some(Lane::new("gru", 4)), None];
        board.end(2, &records.runs[0]);
        Ok(board)
    }

    /// The screen as lines.
    fn screen(board: &Board, look: &mut Look, size: (u16, u16)) -> anyhow::Result<Vec<String>> {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1))?;
        terminal.draw(|frame| draw(frame, board, look))?;
        let cells: Vec<&str> =
            terminal.backend().buffer().content().iter().map(|cell| cell.symbol()).collect();
        Ok(cells.chunks(size.0.into()).map(|line| line.concat()).collect())
    }

    #[test]
    fn everything_is_on_a_small_screen() -> anyhow::Result<()> {
        let text = screen(&board()?, &mut Look::default(), (80, 24))?.join("\n");
        for words in [
            "adding, T = 100 · 1 of 6 runs",
            "▸lstm",
            "200/400",
            " gru",
            "half-life",
            "loss of lstm seed 3",
            "after 150 steps",
            "   150 █",
            "vanilla seed 1: not solved",
            "q stop",
        ] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
        Ok(())
    }

    #[test]
    fn any_size_any_run_and_an_end() -> anyhow::Result<()> {
        let board = board()?;
        let mut look = Look { lane: usize::MAX, stopping: true };
        for size in [(1, 1), (10, 3), (40, 12), (80, 24), (200, 60)] {
            screen(&board, &mut look, size)?;
        }
        let text = screen(&board, &mut Look { lane: 1, stopping: true }, (120, 40))?.join("\n");
        assert!(text.contains("▸gru") && text.contains("stopping after the present step"), "{text}");
        let none = Board::new(tasks::by_name("adding", Some(100), None)?.as_ref(), 6, 400);
        screen(&none, &mut Look::default(), (80, 24))?;
        Ok(())
    }
}
