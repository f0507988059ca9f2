//! The screen of a comparison that runs in a terminal. `q` or Ctrl-C stops the comparison after the
//! present step; Tab and the arrow keys choose a run.
//!
//! The terminal is restored however the comparison ends: normally, by an error, a panic, a second
//! Ctrl-C, or another signal that [`interrupt::flag`](crate::interrupt::flag()) handles, and while
//! it is suspended with Ctrl-Z.

mod view;

use super::state::ComparisonState;
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
use view::ViewState;

/// The time between two frames, and the longest time for which the end of a comparison waits.
const FRAME: Duration = Duration::from_millis(200);

/// The time between two checks for a run that has begun.
const BEGIN: Duration = Duration::from_millis(20);

/// Whether the screen has the terminal.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// Held while writing to the terminal, so that nothing is drawn after it was restored.
static WRITER: Mutex<()> = Mutex::new(());

/// The messages of panics while the screen had the terminal.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Does the work and shows its state.
pub(super) fn during<T>(
    state: &Mutex<ComparisonState>,
    cancel: &AtomicBool,
    work: impl FnOnce() -> T,
) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let shown = scope.spawn(|| show(state, cancel, &over));
        let end = End(&over);
        let done = work();
        drop(end);
        // A screen that cannot be drawn must not lose the results.
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

/// Draws frames and takes keys until the work is done.
fn show(state: &Mutex<ComparisonState>, cancel: &AtomicBool, over: &AtomicBool) -> io::Result<()> {
    while !lock(state).is_running() {
        if over.load(Ordering::SeqCst) {
            return Ok(());
        }
        thread::sleep(BEGIN);
    }
    let _screen = Screen::enter()?;
    let mut terminal = Terminal::new(CrosstermBackend::new(stderr()))?;
    let mut view = ViewState::new();
    loop {
        view.stopping = cancel.load(Ordering::SeqCst);
        draw(&mut terminal, state, &view)?;
        if over.load(Ordering::SeqCst) {
            return Ok(());
        }
        if !event::poll(FRAME)? {
            continue;
        }
        // A new size is seen as the next picture is drawn.
        let Event::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Press && pressed(key, state, cancel, &mut view) {
            suspend()?;
            terminal.clear()?;
        }
    }
}

/// Draws a frame. The terminal may be slow; runs do not wait for it.
fn draw(
    terminal: &mut Terminal<CrosstermBackend<Stderr>>,
    state: &Mutex<ComparisonState>,
    view: &ViewState,
) -> io::Result<()> {
    let _pen = lock(&WRITER);
    if shown() {
        terminal.draw(|frame| view::draw(frame, &lock(state), view))?;
    }
    Ok(())
}

/// Handles a key. In raw mode, Ctrl-C and Ctrl-Z are keys. Returns whether to suspend the program.
fn pressed(
    key: KeyEvent,
    state: &Mutex<ComparisonState>,
    cancel: &AtomicBool,
    view: &mut ViewState,
) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => interrupt(cancel),
        KeyCode::Char('z') if control => return true,
        KeyCode::Char('q') => cancel.store(true, Ordering::SeqCst),
        KeyCode::Tab | KeyCode::Right | KeyCode::Down => view.step(&lock(state), 1),
        KeyCode::BackTab | KeyCode::Left | KeyCode::Up => view.step(&lock(state), -1),
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

/// Whether a screen is open.
pub(super) fn shown() -> bool {
    IS_OURS.load(Ordering::SeqCst)
}

/// Handles a signal, and returns whether a screen is open. If the program ends at once, the
/// terminal is restored first.
pub(super) fn interrupted(at_once: bool) -> bool {
    let shown = shown();
    if at_once {
        leave();
    }
    shown
}

/// The terminal while the screen has it.
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

/// Takes the terminal.
fn take() -> io::Result<()> {
    let _pen = lock(&WRITER);
    enable_raw_mode()?;
    IS_OURS.store(true, Ordering::SeqCst);
    execute!(stderr(), EnterAlternateScreen, cursor::Hide).inspect_err(|_| give_back())
}

/// Restores the terminal, if the screen has it.
fn leave() {
    let _pen = lock(&WRITER);
    give_back();
}

/// The same while the writer is locked. Then it prints the messages of panics.
fn give_back() {
    if IS_OURS.swap(false, Ordering::SeqCst) {
        // If the terminal is gone, there is nothing to restore.
        let _ = execute!(stderr(), LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
        lock(&PANICS).drain(..).for_each(|what| drop(writeln!(stderr(), "{what}")));
    }
}

/// Keeps the message of a panic until the terminal is restored: it may be the panic of one run, and
/// the others continue. Without unwinding, the terminal is restored at once.
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

/// Whether this program is in the foreground. The system stops a background program that changes
/// the terminal.
#[cfg(unix)]
pub(super) fn foreground() -> bool {
    rustix::termios::tcgetpgrp(stderr()).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
pub(super) fn foreground() -> bool {
    true
}

/// Ctrl-Z: suspends the program. If the shell resumes it in the background, lines replace the
/// screen.
#[cfg(unix)]
fn suspend() -> io::Result<()> {
    use rustix::process::{getpgrp, kill_process_group, Signal};
    leave();
    kill_process_group(getpgrp(), Signal::TSTP)?;
    // The signal may reach another thread first; this one waits until all are stopped.
    thread::sleep(FRAME);
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
