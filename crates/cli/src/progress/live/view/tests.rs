use super::*;
use anyhow::{Context, Result};
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use ratatui::Terminal;
use recurrent_harness::run::Event;
use recurrent_records::sample;
use recurrent_tasks as tasks;

fn empty() -> Result<Board> {
    Ok(Board::new(tasks::by_name("adding", Some(100), None)?.as_ref(), 6, 400))
}

/// A run on its way, one that begins, and one that has ended.
fn board() -> Result<Board> {
    let mut board = empty()?;
    let lanes = [0, 1, 2];
    for (lane, variant) in lanes.into_iter().zip(["lstm", "gru", "vanilla"]) {
        board.begin(lane, variant, 3 + lane as u64);
    }
    for step in 0..200 {
        if step % 50 == 0 {
            let profile = [sample::profile("lstm", "h", 3, step, 4.0 + step as f64)];
            board.told(lanes[0], Event::Profiled { profiles: &profile, half_life: Some(4.0) });
        }
        board.told(lanes[0], Event::Step(step + 1, 0.3 / (1.0 + step as f64)));
    }
    let line = board.end(lanes[2], &sample::records().runs[0]);
    board.lines.push(line);
    Ok(board)
}

fn look(colours: Colours) -> Look {
    Look { chosen: None, stopping: false, colours }
}

fn picture(board: &Board, look: &Look, (width, height): (u16, u16)) -> Result<Buffer> {
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|frame| draw(frame, board, look))?;
    Ok(terminal.backend().buffer().clone())
}

/// The screen as lines.
fn text(board: &Board, look: &Look, size: (u16, u16)) -> Result<String> {
    let picture = picture(board, look, size)?;
    let cells: Vec<&str> = picture.content().iter().map(|cell| cell.symbol()).collect();
    Ok(cells.chunks(size.0.into()).map(|line| line.concat()).collect::<Vec<_>>().join("\n"))
}

#[test]
fn everything_is_on_a_usual_screen() -> Result<()> {
    let text = text(&board()?, &look(Colours::Indexed), (80, 24))?;
    for words in [
        "adding, T = 100 · 1 of 6 runs · 0 s gone",
        "25 %, about 0 s left",
        " run     seed step    loss     state      half-life held-out accuracy",
        "▸lstm    3    200/400 0.0015   running    4.0       –        –",
        " gru     4    0/400   –        running    –         –        –",
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
    // The two curves, in braille: a falling loss ends low, a gradient that lives does not.
    let dots =
        |line: &str| line.chars().filter(|dot| ('\u{2801}'..='\u{28ff}').contains(dot)).count();
    assert!(text.lines().map(dots).sum::<usize>() > 40, "{text}");
    Ok(())
}

#[test]
fn a_small_screen_has_what_matters() -> Result<()> {
    let small = text(&board()?, &look(Colours::Indexed), (40, 10))?;
    for words in
        ["adding, T = 100 · 1 of 6 runs", "%, about 0 s left", "▸lstm", "200/400 0.0015", "q: stop"]
    {
        assert!(small.contains(words), "{words} in\n{small}");
    }
    let narrow = text(&board()?, &look(Colours::Indexed), (40, 40))?;
    for words in ["loss of lstm seed 3", "after 150 steps", "by training step"] {
        assert!(narrow.contains(words), "{words} in\n{narrow}");
    }
    let boards = [empty()?, board()?];
    for (width, height) in (1..90).zip(1..60).chain((1..90).zip((1..60).rev())) {
        for board in &boards {
            text(board, &look(Colours::None), (width, height))?;
        }
    }
    Ok(())
}

#[test]
fn runs_are_chosen_round_and_round_and_kept_when_they_end() -> Result<()> {
    let (mut board, mut look) = (board()?, look(Colours::Indexed));
    let marked = |board: &Board, look: &Look| -> Result<String> {
        let text = text(board, look, (80, 24))?;
        let line =
            text.lines().find_map(|line| line.strip_prefix('▸')).context("none is chosen")?;
        Ok(line.split(' ').next().unwrap_or_default().to_owned())
    };
    let mut seen = vec![marked(&board, &look)?];
    for by in [1, 1, 1, -1, -1] {
        look.step(&board, by);
        seen.push(marked(&board, &look)?);
    }
    assert_eq!(seen, ["lstm", "gru", "vanilla", "lstm", "vanilla", "gru"]);
    board.end(1, &sample::records().runs[0]);
    assert_eq!(marked(&board, &look)?, "gru");
    board.begin(1, "residual-lstm", 9);
    assert_eq!(marked(&board, &look)?, "gru");

    look.stopping = true;
    let text = text(&board, &look, (80, 24))?;
    assert!(text.contains("stopping after this step · Ctrl-C: at once"), "{text}");
    look.step(&empty()?, 1);
    assert_eq!(look.chosen, None);
    Ok(())
}

#[test]
fn without_colours_the_map_has_shades() -> Result<()> {
    let board = board()?;
    let coloured = |colours| -> Result<bool> {
        let picture = picture(&board, &look(colours), (80, 24))?;
        let plain = |colour| colour == Color::Reset;
        Ok(!picture.content().iter().all(|cell| plain(cell.fg) && plain(cell.bg)))
    };
    assert_eq!(
        (coloured(Colours::None)?, coloured(Colours::Indexed)?, coloured(Colours::Exact)?),
        (false, true, true)
    );
    let text = text(&board, &look(Colours::None), (80, 24))?;
    let row =
        text.lines().find(|line| line.starts_with("     0  ")).context("the first profile")?;
    assert!(row.contains("▓▓") && row.contains("░░"), "{row}");
    Ok(())
}
