//! The screen of a comparison that runs in a terminal: `q` or Ctrl-C stops it after the present step, Tab and arrows choose a run.
//!
//! The terminal is given back however the comparison ends: well, by an error, a panic, a second Ctrl-C or another signal that
//! [`interrupt::flag`](crate::interrupt::flag()) handles, and while it is suspended with Ctrl-Z.

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
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, stderr, Stderr, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;
use view::Look;

/// The time between two pictures, and the longest that the end of a comparison waits for the screen.
const FRAME: Duration = Duration::from_millis(200);

/// How often it looks whether something has begun.
const BEGIN: Duration = Duration::from_millis(20);

/// Whether the terminal is ours at the moment.
static OURS: AtomicBool = AtomicBool::new(false);

/// Held by who writes to it, so that nobody draws on a terminal that was given back.
static PEN: Mutex<()> = Mutex::new(());

/// What panics had to say while it was ours.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

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
    while !lock(board).runs_anything() {
        if over.load(Ordering::SeqCst) {
            return Ok(());
        }
        thread::sleep(BEGIN);
    }
    let _screen = Screen::enter()?;
    let mut terminal = Terminal::new(CrosstermBackend::new(stderr()))?;
    let mut look = Look::new();
    loop {
        look.stopping = cancel.load(Ordering::SeqCst);
        draw(&mut terminal, board, &look)?;
        if over.load(Ordering::SeqCst) {
            return Ok(());
        }
        if !event::poll(FRAME)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue }; // a new size is seen as the next picture is drawn
        if key.kind == KeyEventKind::Press && pressed(key, board, cancel, &mut look) {
            suspend()?;
            terminal.clear()?;
        }
    }
}

/// One picture. While it goes to the terminal, which may be slow, the runs need not wait for the board.
fn draw(
    terminal: &mut Terminal<CrosstermBackend<Stderr>>,
    board: &Mutex<Board>,
    look: &Look,
) -> io::Result<()> {
    let _pen = lock(&PEN);
    if shown() {
        terminal.draw(|frame| view::draw(frame, &lock(board), look))?;
    }
    Ok(())
}

/// A key, for in raw mode Ctrl-C and Ctrl-Z are keys like others; gives whether the program is to be suspended.
fn pressed(key: KeyEvent, board: &Mutex<Board>, cancel: &AtomicBool, look: &mut Look) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => interrupt(cancel),
        KeyCode::Char('z') if control => return true,
        KeyCode::Char('q') => cancel.store(true, Ordering::SeqCst),
        KeyCode::Tab | KeyCode::Right | KeyCode::Down => look.step(&lock(board), 1),
        KeyCode::BackTab | KeyCode::Left | KeyCode::Up => look.step(&lock(board), -1),
        _ => {}
    }
    false
}

/// Ctrl-C: the first stops after the present step, the second ends at once.
fn interrupt(cancel: &AtomicBool) {
    if cancel.swap(true, Ordering::SeqCst) {
        leave();
        std::process::exit(INTERRUPTED.into());
    }
}

/// Whether there is a screen at the moment.
pub(super) fn shown() -> bool {
    OURS.load(Ordering::SeqCst)
}

/// A signal has come; gives whether there is a screen. A program that is to end at once gives the terminal back first.
pub(super) fn interrupted(at_once: bool) -> bool {
    let shown = shown();
    if at_once {
        leave();
    }
    shown
}

/// The terminal while it is ours.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let usual = panic::take_hook();
            panic::set_hook(Box::new(move |what| panicked(what, &usual)));
        });
        take()?;
        Ok(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Makes the terminal ours.
fn take() -> io::Result<()> {
    let _pen = lock(&PEN);
    enable_raw_mode()?;
    OURS.store(true, Ordering::SeqCst);
    execute!(stderr(), EnterAlternateScreen, cursor::Hide).inspect_err(|_| give_back())
}

/// Gives the terminal back, if it is ours.
fn leave() {
    let _pen = lock(&PEN);
    give_back();
}

/// The same by who holds the pen. Then says what panics had to say.
fn give_back() {
    if OURS.swap(false, Ordering::SeqCst) {
        // If the terminal is gone, nothing is to be given back.
        let _ = execute!(stderr(), LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
        lock(&PANICS).drain(..).for_each(|what| drop(writeln!(stderr(), "{what}")));
    }
}

/// A panic while the terminal is ours is told when it no longer is: it may be that of one run, and the others go on. A program that
/// does not unwind has no later.
fn panicked(what: &PanicHookInfo, usual: &dyn Fn(&PanicHookInfo)) {
    if cfg!(panic = "abort") {
        give_back();
    }
    if !shown() {
        return usual(what);
    }
    let trace = Backtrace::capture();
    let trace = if trace.status() == BacktraceStatus::Captured {
        format!("\n{trace}")
    } else {
        String::new()
    };
    lock(&PANICS).push(format!("{what}{trace}"));
}

/// Whether this program may have the terminal: one in the background that changes how it works is stopped by the system.
#[cfg(unix)]
pub(super) fn foreground() -> bool {
    rustix::termios::tcgetpgrp(stderr()).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
pub(super) fn foreground() -> bool {
    true
}

/// Ctrl-Z: the whole program sleeps until the shell wakes it. If that is in the background, the screen ends and lines take its place.
#[cfg(unix)]
fn suspend() -> io::Result<()> {
    use rustix::process::{getpgrp, kill_process_group, Signal};
    leave();
    kill_process_group(getpgrp(), Signal::TSTP)?;
    thread::sleep(FRAME); // the signal may reach another thread first, and this one must not go on before all stand still
    if !foreground() {
        return Err(io::Error::other("it is in the background"));
    }
    take()
}

#[cfg(not(unix))]
fn suspend() -> io::Result<()> {
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
