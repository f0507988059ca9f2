//! The screen of a comparison that runs in a terminal: `q` or Ctrl-C stops it after the present step, Tab goes to the next run.
//!
//! The terminal is given back however the comparison ends: well, by an error, a panic, or a second Ctrl-C.

mod view;

use super::board::Board;
use crate::interrupt::INTERRUPTED;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{
    disable_raw_mode, enable_raw_mode, EnterAlternateScreen, LeaveAlternateScreen,
};
use ratatui::crossterm::{cursor, execute};
use ratatui::Terminal;
use std::io::{self, stderr, IsTerminal, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

/// The time between two pictures.
const FRAME: Duration = Duration::from_millis(200);

/// Whether the terminal is ours at the moment.
static ON: AtomicBool = AtomicBool::new(false);

/// What panics had to say while it was.
static KEPT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whether a screen can be shown: on a terminal that can move its cursor, by a program in its foreground.
pub(super) fn possible() -> bool {
    let able = std::env::var("TERM").is_ok_and(|name| !name.is_empty() && name != "dumb");
    stderr().is_terminal() && able && foreground()
}

/// A program in the background that changes how the terminal works is stopped by the system.
#[cfg(unix)]
fn foreground() -> bool {
    rustix::termios::tcgetpgrp(stderr()).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn foreground() -> bool {
    true
}

/// Does the work, and shows the board until it is done.
pub(super) fn during<T>(board: &Mutex<Board>, cancel: &AtomicBool, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let shown = scope.spawn(|| show(board, cancel, &over));
        let end = End(&over);
        let done = work();
        drop(end);
        // A screen that cannot be drawn is no reason to lose what was found.
        let _ = shown.join();
        done
    })
}

/// Ends the screen, also when the work panics.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Draws until it is over, and takes keys.
fn show(board: &Mutex<Board>, cancel: &AtomicBool, over: &AtomicBool) -> io::Result<()> {
    let screen = Screen::enter()?;
    let mut terminal = Terminal::new(CrosstermBackend::new(stderr()))?;
    let mut look = view::Look::default();
    while !over.load(Ordering::SeqCst) {
        look.stopping = cancel.load(Ordering::SeqCst);
        terminal.draw(|frame| {
            view::draw(frame, &board.lock().unwrap_or_else(PoisonError::into_inner), &mut look);
        })?;
        if event::poll(FRAME)? {
            if let Event::Key(key) = event::read()? {
                pressed(key, cancel, &mut look);
            }
        }
    }
    drop(screen);
    Ok(())
}

/// A key: raw mode hands on Ctrl-C as one.
fn pressed(key: KeyEvent, cancel: &AtomicBool, look: &mut view::Look) {
    if key.kind != KeyEventKind::Press {
        return;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => {
            if cancel.swap(true, Ordering::SeqCst) {
                leave();
                std::process::exit(INTERRUPTED.into());
            }
        }
        KeyCode::Char('q') => cancel.store(true, Ordering::SeqCst),
        KeyCode::Tab | KeyCode::Right | KeyCode::Down => look.lane = look.lane.wrapping_add(1),
        KeyCode::BackTab | KeyCode::Left | KeyCode::Up => look.lane = look.lane.wrapping_sub(1),
        _ => {}
    }
}

/// A signal has come; gives whether there is a screen. A program that is to end at once gives the terminal back first.
pub(crate) fn interrupted(at_once: bool) -> bool {
    let on = ON.load(Ordering::SeqCst);
    if at_once {
        leave();
    }
    on
}

/// The terminal while it is ours.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let usual = panic::take_hook();
            panic::set_hook(Box::new(move |what| match ON.load(Ordering::SeqCst) {
                true => KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_string()),
                false => usual(what),
            }));
        });
        enable_raw_mode()?;
        ON.store(true, Ordering::SeqCst);
        let screen = Self; // from here on the terminal is given back
        execute!(stderr(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the terminal back, once, and says what panics had to say.
fn leave() {
    if ON.swap(false, Ordering::SeqCst) {
        // If the terminal is gone, nothing is to be given back.
        let _ = execute!(stderr(), LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
        for line in KEPT.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = writeln!(stderr(), "{line}");
        }
    }
}
