use super::*;
use anyhow::{Context, Result};
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use ratatui::Terminal;
use recurrent_harness::run::Event;
use recurrent_records::sample;
use recurrent_tasks as tasks;

fn empty() -> Result<ComparisonState> {
    Ok(ComparisonState::new(tasks::by_name("adding", Some(100), None)?.as_ref(), 6, 400))
}

/// A run in progress, one that begins, and one that has ended.
fn state() -> Result<ComparisonState> {
    let mut state = empty()?;
    let lanes = [0, 1, 2];
    for (lane, variant) in lanes.into_iter().zip(["lstm", "gru", "vanilla"]) {
        state.begin(lane, variant, 3 + lane as u64);
    }
    for step in 0..200 {
        if step % 50 == 0 {
            let profile = [sample::profile("lstm", "h", 3, step, 4.0 + step as f64)];
            state.on_event(lanes[0], Event::Profiled { profiles: &profile, decay: Some(0.1733) });
        }
        state.on_event(lanes[0], Event::Step(step + 1, 0.3 / (1.0 + step as f64)));
    }
    let line = state.end(lanes[2], &sample::records().runs[0]);
    state.lines.push(line);
    Ok(state)
}

fn view(colours: Colours) -> ViewState {
    ViewState { chosen: None, stopping: false, colours }
}

fn picture(
    state: &ComparisonState,
    view: &ViewState,
    (width, height): (u16, u16),
) -> Result<Buffer> {
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|frame| draw(frame, state, view))?;
    Ok(terminal.backend().buffer().clone())
}

/// The screen as lines.
fn text(state: &ComparisonState, view: &ViewState, size: (u16, u16)) -> Result<String> {
    let picture = picture(state, view, size)?;
    let cells: Vec<&str> = picture.content().iter().map(|cell| cell.symbol()).collect();
    Ok(cells.chunks(size.0.into()).map(|line| line.concat()).collect::<Vec<_>>().join("\n"))
}

#[test]
fn everything_is_on_a_usual_screen() -> Result<()> {
    let text = text(&state()?, &view(Colours::Indexed), (80, 24))?;
    for words in [
        "adding, T = 100 · 1 of 6 runs · 0 s gone",
        "25 %, about 0 s left",
        " run     seed step    loss     state      half-life      held-out accuracy",
        "▸lstm    3    200/400 0.0015   running    4.0            –        –",
        " gru     4    0/400   –        running    –              –        –",
        " vanilla 5    0/400   –        not solved –",
        "loss of lstm seed 3",
        "‖dL/dh‖ after 150 steps",
        "‖dL/dh‖ by training step (down) and lag (right): ",
        "     0  █",
        "   150  █",
        " [1/6] vanilla seed 1: not solved in 2000 steps, loss",
        " q: stop · Tab, arrows: choose a run",
    ] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    // The two curves in braille: a falling loss ends low, the gradient of a healthy network does
    // not.
    let dots =
        |line: &str| line.chars().filter(|dot| ('\u{2801}'..='\u{28ff}').contains(dot)).count();
    assert!(text.lines().map(dots).sum::<usize>() > 40, "{text}");
    Ok(())
}

#[test]
fn a_small_screen_shows_the_essentials() -> Result<()> {
    let small = text(&state()?, &view(Colours::Indexed), (40, 10))?;
    for words in
        ["adding, T = 100 · 1 of 6 runs", "%, about 0 s left", "▸lstm", "200/400 0.0015", "q: stop"]
    {
        assert!(small.contains(words), "{words} in\n{small}");
    }
    let narrow = text(&state()?, &view(Colours::Indexed), (40, 40))?;
    for words in ["loss of lstm seed 3", "after 150 steps", "by training step"] {
        assert!(narrow.contains(words), "{words} in\n{narrow}");
    }
    let states = [empty()?, state()?];
    for (width, height) in (1..90).zip(1..60).chain((1..90).zip((1..60).rev())) {
        for state in &states {
            text(state, &view(Colours::None), (width, height))?;
        }
    }
    Ok(())
}

#[test]
fn runs_are_chosen_in_a_circle_and_kept_when_they_end() -> Result<()> {
    let (mut state, mut view) = (state()?, view(Colours::Indexed));
    let marked = |state: &ComparisonState, view: &ViewState| -> Result<String> {
        let text = text(state, view, (80, 24))?;
        let line =
            text.lines().find_map(|line| line.strip_prefix('▸')).context("none is chosen")?;
        Ok(line.split(' ').next().unwrap_or_default().to_owned())
    };
    let mut seen = vec![marked(&state, &view)?];
    for by in [1, 1, 1, -1, -1] {
        view.step(&state, by);
        seen.push(marked(&state, &view)?);
    }
    assert_eq!(seen, ["lstm", "gru", "vanilla", "lstm", "vanilla", "gru"]);
    state.end(1, &sample::records().runs[0]);
    assert_eq!(marked(&state, &view)?, "gru");
    state.begin(1, "residual-lstm", 9);
    assert_eq!(marked(&state, &view)?, "gru");

    view.stopping = true;
    let text = text(&state, &view, (80, 24))?;
    assert!(text.contains("stopping after this step · Ctrl-C: at once"), "{text}");
    view.step(&empty()?, 1);
    assert_eq!(view.chosen, None);
    Ok(())
}

#[test]
fn without_colours_the_map_has_shades() -> Result<()> {
    let state = state()?;
    let coloured = |colours| -> Result<bool> {
        let picture = picture(&state, &view(colours), (80, 24))?;
        let plain = |colour| colour == Color::Reset;
        Ok(!picture.content().iter().all(|cell| plain(cell.fg) && plain(cell.bg)))
    };
    assert_eq!(
        (coloured(Colours::None)?, coloured(Colours::Indexed)?, coloured(Colours::Exact)?),
        (false, true, true)
    );
    let text = text(&state, &view(Colours::None), (80, 24))?;
    let row =
        text.lines().find(|line| line.starts_with("     0  ")).context("the first profile")?;
    assert!(row.contains("▓▓") && row.contains("░░"), "{row}");
    Ok(())
}
