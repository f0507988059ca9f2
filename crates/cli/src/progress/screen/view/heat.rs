//! The heat map of a run, and the colours of the screen.

use super::{extent, short, titled, DECADES};
use crate::progress::state::RunState;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::Frame;
use recurrent_report::palette::{rgb, LEVELS};
use std::env::{var, var_os};

/// The colours of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    /// No colours: `NO_COLOR` is set, see <https://no-color.org>.
    None,
    /// 256 colours.
    Indexed,
    /// All colours.
    Exact,
}

/// Shades from small to large, for terminals without colours.
const SHADES: [&str; 5] = [" ", "░", "▒", "▓", "█"];

/// The width of the steps beside the map.
const MARGIN: u16 = 8;

impl Colours {
    /// The colours of this terminal.
    pub(super) fn of_terminal() -> Self {
        let exact =
            var("COLORTERM").is_ok_and(|name| matches!(name.as_str(), "truecolor" | "24bit"));
        match var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            true => Self::None,
            false if exact => Self::Exact,
            false => Self::Indexed,
        }
    }

    /// The style of lines and bars.
    pub(super) fn line(self) -> Style {
        match self {
            Self::None => Style::new(),
            _ => Style::new().fg(Color::Cyan),
        }
    }

    /// A cell of the map for a value from 0 to 1.
    fn cell(self, share: f64) -> Span<'static> {
        let [red, green, blue] = rgb((share * (LEVELS - 1) as f64).round() as usize);
        match self {
            Self::None => Span::raw(SHADES[(share * (SHADES.len() - 1) as f64).round() as usize]),
            Self::Exact => Span::styled("█", Color::Rgb(red, green, blue)),
            Self::Indexed => {
                // The cube of 6 x 6 x 6 colours after the 16 named ones.
                let [red, green, blue] =
                    [red, green, blue].map(|of_255| (u16::from(of_255) * 5 + 127) / 255);
                Span::styled("█", Color::Indexed((16 + 36 * red + 6 * green + blue) as u8))
            }
        }
    }
}

/// The norms of all profiles by lag, the first profile on top. If there are more profiles than
/// lines, some of them are shown, including the last.
pub(super) fn map(frame: &mut Frame, area: Rect, run_state: &RunState, colours: Colours) {
    let logs = |norms: &[f64]| norms.iter().map(|norm| norm.log10()).collect();
    let rows: Vec<(u64, Vec<f64>)> =
        run_state.profiles.iter().map(|(step, norms)| (*step, logs(norms))).collect();
    let (low, high) =
        extent(rows.iter().flat_map(|(_, logs)| logs).copied().filter(|log| log.is_finite()));
    let (height, width) = (area.height.saturating_sub(1), area.width.saturating_sub(MARGIN));
    if low > high || height == 0 || width == 0 {
        return;
    }
    let low = low.max(high - DECADES);
    let cell = |log: f64| match log {
        log if log.is_nan() || log == f64::INFINITY => Span::raw("?"),
        log => colours.cell(((log - low) / (high - low).max(1e-9)).clamp(0.0, 1.0)),
    };
    let (bands, width) = (rows.len().min(height.into()), usize::from(width));
    let lines_each = (usize::from(height) / bands).min(2);
    let shown = (1..=bands).map(|band| &rows[band * rows.len() / bands - 1]);
    let lines = shown.flat_map(|(step, logs)| {
        let norms = (0..width).filter_map(|column| logs.get(column * logs.len() / width));
        let cells: Vec<Span> = norms.map(|&log| cell(log)).collect();
        let labels = [format!("{step:>6}  "), " ".repeat(MARGIN.into())];
        labels.into_iter().take(lines_each).map(move |label| {
            let label = Span::styled(label, Modifier::DIM);
            Line::from_iter(std::iter::once(label).chain(cells.iter().cloned()))
        })
    });
    let lines: Vec<Line> = lines.collect();
    let mut title = titled("‖dL/dh‖ by training step (down) and lag (right): ");
    let scale = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| colours.cell(share));
    let from = Span::raw(short(10f64.powf(low)) + " ");
    let to = Span::raw(" ".to_owned() + &short(10f64.powf(high)));
    title = title.title(Line::from_iter(std::iter::once(from).chain(scale).chain([to])));
    frame.render_widget(Paragraph::new(lines).block(title), area);
}
