//! The progress of comparisons on the standard error.

#[cfg(feature = "live")]
mod screen;
#[cfg_attr(not(feature = "live"), allow(dead_code))] // fields that only the screen shows
mod state;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use recurrent_harness::compare::ComparisonEvent;
use recurrent_harness::run::Event;
use recurrent_records::record::RunRecord;
use recurrent_report::numbers::short_loss;
use recurrent_report::wrap;
use recurrent_tasks::task::Task;
use state::{sentence, ComparisonState};
use std::io::{stderr, IsTerminal, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How the progress of a comparison is shown on the standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ProgressMode {
    /// Nothing but warnings.
    Nothing,
    /// A line for every run that ends, and once a minute for every unfinished run.
    Lines,
    /// Bars on a terminal, nothing elsewhere.
    Bars,
    /// Bars on a terminal, or a screen with the feature `live`; lines elsewhere.
    #[default]
    Terminal,
}

/// The time between two lines on an unfinished run.
const SILENCE: Duration = Duration::from_secs(60);

/// Shows the progress of comparisons.
pub(crate) struct Progress {
    show: Show,
    /// Whether lines name the length of the task.
    with_length: bool,
    state: Mutex<ComparisonState>,
}

enum Show {
    Nothing,
    Lines,
    /// The bar of all runs, then one for each worker, while a comparison runs.
    Bars {
        all: MultiProgress,
        bars: Mutex<Vec<ProgressBar>>,
    },
    #[cfg(feature = "live")]
    Screen,
}

impl Progress {
    /// Progress before the first comparison has begun.
    pub(crate) fn new(watch: ProgressMode) -> Self {
        let show = match watch {
            ProgressMode::Nothing => Show::Nothing,
            ProgressMode::Bars if draws() => Show::bars(),
            ProgressMode::Bars => Show::Nothing,
            ProgressMode::Terminal if draws() => Show::on_terminal(),
            ProgressMode::Lines | ProgressMode::Terminal => Show::Lines,
        };
        Self { show, with_length: false, state: Mutex::new(ComparisonState::idle()) }
    }

    /// The same, with the length of the task in every line.
    pub(crate) fn with_length(self) -> Self {
        Self { with_length: true, ..self }
    }

    /// The hub from the environment, with a bar on a terminal for every file that it fetches.
    #[cfg(feature = "hub")]
    pub(crate) fn hub(&self) -> recurrent::hub::Hub {
        let mut hub = recurrent::hub::Hub::default();
        if !matches!(self.show, Show::Nothing | Show::Lines) {
            let style = style("{msg} {wide_bar} {bytes}/{total_bytes} {eta}");
            let bar = ProgressBar::no_length().with_style(style);
            hub.on_transfer = Some(std::sync::Arc::new(move |transfer| {
                bar.set_message(transfer.name.to_owned());
                bar.set_length(transfer.total);
                bar.set_position(transfer.bytes);
                if transfer.ended {
                    bar.finish_and_clear();
                    bar.reset();
                }
            }));
        }
        hub
    }

    /// Does the work and shows its progress. A key on the screen sets `cancel`.
    #[cfg_attr(not(feature = "live"), allow(unused_variables))] // bars have no keys
    pub(crate) fn during<T>(&self, cancel: &AtomicBool, work: impl FnOnce() -> T) -> T {
        match &self.show {
            Show::Nothing | Show::Lines => work(),
            Show::Bars { all, .. } => {
                let done = work();
                self.clear();
                // A closed terminal must not lose the results.
                let _ = all.clear();
                done
            }
            #[cfg(feature = "live")]
            Show::Screen => {
                let done = screen::during(&self.state, cancel, work);
                // The lines on finished runs stay, as they do with bars.
                self.state().lines.iter().for_each(|line| drop(writeln!(stderr(), "{line}")));
                done
            }
        }
    }

    /// Takes an event of a comparison.
    pub(crate) fn on_event(&self, event: ComparisonEvent) {
        match event {
            ComparisonEvent::Begins { task, steps, ended, waiting } => {
                self.begin(task, steps, ended, waiting);
            }
            ComparisonEvent::RunBegins { worker, variant, seed } => {
                self.start(worker, variant, seed)
            }
            ComparisonEvent::Run { worker, event } => self.on_run_event(worker, event),
            ComparisonEvent::RunEnded { worker, run } => self.done(worker, run),
            ComparisonEvent::Ended => self.clear(),
        }
    }

    /// A comparison begins. `ended` of its runs had ended before and are not repeated.
    fn begin(&self, task: &dyn Task, steps: u64, ended: u64, waiting: &[&str]) {
        let runs = ended + waiting.len() as u64;
        {
            let mut state = self.state();
            state.renew(task, runs, steps, waiting, self.with_length);
            state.found(ended);
        }
        let again = format!(
            "{}{ended} of {runs} runs ended before and are not repeated",
            self.state().prefix
        );
        if ended == runs {
            return self.note(&again);
        }
        if let Show::Bars { all, bars } = &self.show {
            let total = all.add(ProgressBar::new(runs.saturating_mul(steps)));
            total
                .set_style(style("{msg:>28} {wide_bar} {elapsed} of about {duration}, {eta} left"));
            self.count(&total);
            total.reset_eta();
            lock(bars).push(total);
        } else if ended > 0 && !matches!(self.show, Show::Nothing) {
            self.note(&again);
        }
    }

    /// Removes the bars.
    fn clear(&self) {
        if let Show::Bars { bars, .. } = &self.show {
            lock(bars).drain(..).rev().for_each(|bar| bar.finish_and_clear());
        }
    }

    /// Shows a line unless progress is off.
    pub(crate) fn remark(&self, line: &str) {
        if !matches!(self.show, Show::Nothing) {
            self.note(line);
        }
    }

    /// Shows a line, even if progress is off.
    fn note(&self, line: &str) {
        // On a terminal, a long line is broken between words.
        let columns = Term::stderr().size_checked().map(|(_, columns)| usize::from(columns));
        let line = columns.map_or(line.to_owned(), |columns| wrap(line, columns, "    "));
        let line = line.trim_end();
        // If this fails, nobody reads it, and the run continues.
        match &self.show {
            Show::Bars { all, .. } => drop(all.println(line)),
            #[cfg(feature = "live")]
            Show::Screen if screen::shown() => self.state().lines.push(line.to_owned()),
            _ => drop(writeln!(stderr(), "{line}")),
        }
    }

    /// Sets the bar of all runs.
    fn count(&self, total: &ProgressBar) {
        let state = self.state();
        total.set_position(state.steps_done());
        total.set_message(format!("{} of {} runs", state.ended, state.runs));
    }

    /// The bar of all runs and that of a worker, if there are bars.
    fn bars(&self, worker: usize) -> Option<(ProgressBar, ProgressBar)> {
        let Show::Bars { all, bars } = &self.show else { return None };
        let mut bars = lock(bars);
        let total = bars.first()?.clone();
        while bars.len() <= worker + 1 {
            let bar = all.insert_before(&total, ProgressBar::new(self.state().steps));
            bar.set_style(style("{prefix:>28} {wide_bar} step {pos}/{len} loss {msg}"));
            bars.push(bar);
        }
        Some((total, bars[worker + 1].clone()))
    }

    /// A run begins.
    fn start(&self, worker: usize, variant: &str, seed: u64) {
        if let Some((_, bar)) = self.bars(worker) {
            bar.set_prefix(format!("{}{variant} seed {seed}", self.state().prefix));
            bar.set_message("-");
            bar.reset();
        }
        self.state().begin(worker, variant, seed);
    }

    /// Takes an event of the run of a worker.
    fn on_run_event(&self, worker: usize, event: Event) {
        let mut state = self.state();
        state.on_event(worker, event);
        let name = || {
            let name = state.run_state(worker).map_or(String::new(), |run_state| run_state.name());
            format!("{}{name}", state.prefix)
        };
        let line = match (event, &self.show) {
            (Event::Damaged(line), _) => Some(line.to_owned()),
            (_, Show::Nothing) => None,
            (Event::Resumed(steps), _) => {
                Some(format!("{} continues after step {}", name(), steps.len()))
            }
            (_, Show::Lines) => state.news(worker, SILENCE),
            _ => None,
        };
        drop(state);
        if let Some((total, bar)) = self.bars(worker) {
            match event {
                Event::Step(step, loss) => {
                    bar.set_position(step);
                    bar.set_message(short_loss(loss));
                    total.inc(1);
                }
                Event::Resumed(steps) => {
                    bar.set_position(steps.len() as u64);
                    bar.reset_eta();
                    self.count(&total);
                    total.reset_eta();
                }
                _ => {}
            }
        }
        if let Some(line) = line {
            self.note(&line);
        }
    }

    /// The run has ended.
    fn done(&self, worker: usize, run: &RunRecord) {
        let line = self.state().end(worker, run);
        match &self.show {
            Show::Nothing => {}
            Show::Bars { .. } => {
                let prefix = self.state().prefix.clone();
                self.note(&format!("{prefix}{}", sentence(run)));
                if let Some((total, bar)) = self.bars(worker) {
                    bar.finish_and_clear();
                    self.count(&total);
                }
            }
            _ => self.note(&line),
        }
    }

    fn state(&self) -> MutexGuard<'_, ComparisonState> {
        lock(&self.state)
    }
}

impl Show {
    /// The screen if it can have the terminal, else bars.
    fn on_terminal() -> Self {
        #[cfg(feature = "live")]
        if screen::foreground() {
            return Self::Screen;
        }
        Self::bars()
    }

    fn bars() -> Self {
        Self::Bars { all: MultiProgress::new(), bars: Mutex::new(Vec::new()) }
    }
}

/// Handles a signal, and returns whether a screen is open, which then shows it. If the program ends
/// at once, the screen restores the terminal first.
#[cfg_attr(not(feature = "live"), allow(unused_variables))]
pub(crate) fn interrupted(at_once: bool) -> bool {
    #[cfg(feature = "live")]
    return screen::interrupted(at_once);
    #[cfg(not(feature = "live"))]
    false
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the standard error is a terminal that can move its cursor.
fn draws() -> bool {
    stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are well-formed")
}
