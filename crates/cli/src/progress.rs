//! What is shown while it runs, on the standard error.

#[cfg_attr(not(feature = "live"), allow(dead_code))] // what the screen alone shows
mod board;
#[cfg(feature = "live")]
mod live;

use board::{sentence, Board};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use recurrent_harness::compare::ComparisonEvent;
use recurrent_harness::run::Event;
use recurrent_records::record::RunRecord;
use recurrent_tasks::task::Task;
use std::io::{stderr, IsTerminal, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is shown of comparisons while it runs, on the standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Nothing but warnings.
    Nothing,
    /// A line for every run that has ended, and once a minute one for every run on its way.
    Lines,
    /// On a terminal bars, or a screen with the feature `live`; elsewhere lines.
    #[default]
    Terminal,
}

/// A run that takes longer than this says where it is, and again after the same time.
const SILENCE: Duration = Duration::from_secs(60);

/// What is shown, and what there is to show.
pub(crate) struct Progress {
    show: Show,
    board: Mutex<Board>,
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
    /// That of comparisons which have not begun.
    pub(crate) fn new(watch: Watch) -> Self {
        let show = match watch {
            Watch::Nothing => Show::Nothing,
            Watch::Terminal if draws() => Show::on_terminal(),
            Watch::Lines | Watch::Terminal => Show::Lines,
        };
        Self { show, board: Mutex::new(Board::idle()) }
    }

    /// Does the work, and shows it until it is done. `cancel` is set if somebody asks for an end with a key.
    #[cfg_attr(not(feature = "live"), allow(unused_variables))] // bars have no keys
    pub(crate) fn during<T>(&self, cancel: &AtomicBool, work: impl FnOnce() -> T) -> T {
        match &self.show {
            Show::Nothing | Show::Lines => work(),
            Show::Bars { all, .. } => {
                let done = work();
                self.clear();
                // A terminal that is gone is no reason to lose what was found.
                let _ = all.clear();
                done
            }
            #[cfg(feature = "live")]
            Show::Screen => {
                let done = live::during(&self.board, cancel, work);
                // What the screen has shown of runs that ended stays, as it does with bars.
                self.board().lines.iter().for_each(|line| drop(writeln!(stderr(), "{line}")));
                done
            }
        }
    }

    /// Something has happened in a comparison.
    pub(crate) fn on_event(&self, event: ComparisonEvent) {
        match event {
            ComparisonEvent::Begins { task, runs, steps, ended } => {
                self.begin(task, runs, steps, ended)
            }
            ComparisonEvent::RunBegins { worker, variant, seed } => {
                self.start(worker, variant, seed)
            }
            ComparisonEvent::Run { worker, event } => self.told(worker, event),
            ComparisonEvent::RunEnded { worker, run } => self.done(worker, run),
            ComparisonEvent::Ended => self.clear(),
        }
    }

    /// A comparison begins, of whose runs so many have ended before, and are not repeated.
    fn begin(&self, task: &dyn Task, runs: u64, steps: u64, ended: u64) {
        {
            let mut board = self.board();
            board.renew(task, runs, steps);
            board.found(ended);
        }
        if ended == runs {
            return self.note(&format!("all {runs} runs had ended before, none is repeated"));
        }
        if let Show::Bars { all, bars } = &self.show {
            let total = all.add(ProgressBar::new(runs.saturating_mul(steps)));
            total
                .set_style(style("{msg:>28} {wide_bar} {elapsed} of about {duration}, {eta} left"));
            self.count(&total);
            total.reset_eta();
            lock(bars).push(total);
        } else if ended > 0 && !matches!(self.show, Show::Nothing) {
            self.note(&format!("{ended} of {runs} runs had ended before, and are not repeated"));
        }
    }

    /// Takes the bars away.
    fn clear(&self) {
        if let Show::Bars { bars, .. } = &self.show {
            lock(bars).drain(..).rev().for_each(|bar| bar.finish_and_clear());
        }
    }

    /// A line that is shown even where no progress is.
    fn note(&self, line: &str) {
        // Nobody reads it if this fails, and the run goes on.
        match &self.show {
            Show::Bars { all, .. } => drop(all.println(line)),
            #[cfg(feature = "live")]
            Show::Screen if live::shown() => self.board().lines.push(line.to_owned()),
            _ => drop(writeln!(stderr(), "{line}")),
        }
    }

    /// Sets the bar of all runs.
    fn count(&self, total: &ProgressBar) {
        let board = self.board();
        total.set_position(board.steps_done());
        total.set_message(format!("{} of {} runs", board.ended, board.runs));
    }

    /// The bar of all runs and that of a worker, if there are bars.
    fn bars(&self, worker: usize) -> Option<(ProgressBar, ProgressBar)> {
        let Show::Bars { all, bars } = &self.show else { return None };
        let mut bars = lock(bars);
        let total = bars.first()?.clone();
        while bars.len() <= worker + 1 {
            let bar = all.insert_before(&total, ProgressBar::new(self.board().steps));
            bar.set_style(style("{prefix:>28} {wide_bar} step {pos}/{len} loss {msg}"));
            bars.push(bar);
        }
        Some((total, bars[worker + 1].clone()))
    }

    /// A run begins.
    fn start(&self, worker: usize, variant: &str, seed: u64) {
        if let Some((_, bar)) = self.bars(worker) {
            bar.set_prefix(format!("{variant} seed {seed}"));
            bar.set_message("-");
            bar.reset();
        }
        self.board().begin(worker, variant, seed);
    }

    /// Something has happened in it.
    fn told(&self, worker: usize, event: Event) {
        let mut board = self.board();
        board.told(worker, event);
        let name = || board.track(worker).map_or(String::new(), |track| track.name());
        let line = match (event, &self.show) {
            (Event::Damaged(line), _) => Some(line.to_owned()),
            (_, Show::Nothing) => None,
            (Event::Resumed(steps), _) => {
                Some(format!("{} goes on after step {}", name(), steps.len()))
            }
            (_, Show::Lines) => board.news(worker, SILENCE),
            _ => None,
        };
        drop(board);
        if let Some((total, bar)) = self.bars(worker) {
            match event {
                Event::Step(step, loss) => {
                    bar.set_position(step);
                    bar.set_message(format!("{loss:.4}"));
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
        let line = self.board().end(worker, run);
        match &self.show {
            Show::Nothing => {}
            Show::Bars { .. } => {
                self.note(&sentence(run));
                if let Some((total, bar)) = self.bars(worker) {
                    bar.finish_and_clear();
                    self.count(&total);
                }
            }
            _ => self.note(&line),
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }
}

impl Show {
    /// What suits the terminal that the standard error is.
    fn on_terminal() -> Self {
        #[cfg(feature = "live")]
        if live::foreground() {
            return Self::Screen;
        }
        Self::Bars { all: MultiProgress::new(), bars: Mutex::new(Vec::new()) }
    }
}

/// A signal has come; gives whether there is a screen, which says so. A program that is to end at once gives the terminal back first.
#[cfg_attr(not(feature = "live"), allow(unused_variables))]
pub(crate) fn interrupted(at_once: bool) -> bool {
    #[cfg(feature = "live")]
    return live::interrupted(at_once);
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
