//! What a comparison shows while it runs, on the standard error.

use super::board::Board;
#[cfg(feature = "live")]
use super::live;
use crate::record::{RunRecord, Status};
use crate::report::numbers;
use crate::run::Event;
use crate::task::Task;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{stderr, IsTerminal, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is shown of a comparison while it runs, on the standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
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
pub(super) struct Progress {
    show: Show,
    board: Mutex<Board>,
}

enum Show {
    Nothing,
    Lines,
    Bars {
        all: MultiProgress,
        total: ProgressBar,
    },
    #[cfg(feature = "live")]
    Screen,
}

/// What one worker tells of its runs.
pub(super) struct Bar<'a> {
    progress: &'a Progress,
    bar: Option<ProgressBar>,
    lane: usize,
}

impl Progress {
    /// The progress of `runs` runs with `steps` steps each.
    pub(super) fn new(watch: Watch, task: &dyn Task, runs: u64, steps: u64) -> Self {
        let show = match watch {
            Watch::Nothing => Show::Nothing,
            Watch::Terminal if draws() => Show::on_terminal(runs, steps),
            Watch::Lines | Watch::Terminal => Show::Lines,
        };
        Self { show, board: Mutex::new(Board::new(task, runs, steps)) }
    }

    /// Does the work, and shows it until it is done. `cancel` is set if somebody asks for an end with a key.
    #[cfg_attr(not(feature = "live"), allow(unused_variables))] // bars have no keys
    pub(super) fn during<T>(&self, cancel: &AtomicBool, work: impl FnOnce() -> T) -> T {
        match &self.show {
            Show::Nothing | Show::Lines => work(),
            Show::Bars { all, total } => {
                let done = work();
                total.finish_and_clear();
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

    /// So many runs have ended before, and are not repeated.
    pub(super) fn found(&self, ended: u64) {
        if ended == 0 {
            return;
        }
        self.board().found(ended);
        let runs = self.board().runs;
        match &self.show {
            _ if ended == runs => self.note(&format!("all {runs} runs had ended before, none is repeated")),
            Show::Nothing => {}
            Show::Bars { total, .. } => {
                self.count(total);
                total.reset_eta();
            }
            _ => self.note(&format!("{ended} of {runs} runs had ended before, and are not repeated")),
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

    /// A place for one more worker.
    pub(super) fn bar(&self) -> Bar<'_> {
        let lane = self.board().lane();
        let bar = match &self.show {
            Show::Bars { all, total } => {
                let bar = all.insert_before(total, ProgressBar::new(self.board().steps));
                bar.set_style(style("{prefix:>28} {wide_bar} step {pos}/{len} loss {msg}"));
                Some(bar)
            }
            _ => None,
        };
        Bar { progress: self, bar, lane }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Show {
    /// What suits the terminal that the standard error is.
    fn on_terminal(runs: u64, steps: u64) -> Self {
        #[cfg(feature = "live")]
        if live::foreground() {
            return Self::Screen;
        }
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::new(runs.saturating_mul(steps)));
        total.set_style(style("{msg:>28} {wide_bar} {elapsed} of about {duration}, {eta} left"));
        total.set_message(format!("0 of {runs} runs"));
        Self::Bars { all, total }
    }
}

impl Bar<'_> {
    /// A run begins.
    pub(super) fn start(&self, variant: &str, seed: u64) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("{variant} seed {seed}"));
            bar.set_message("-");
            bar.reset();
        }
        self.progress.board().begin(self.lane, variant, seed);
    }

    /// Something has happened in it.
    pub(super) fn told(&self, event: Event) {
        let progress = self.progress;
        let mut board = progress.board();
        board.told(self.lane, event);
        let name = || board.track(self.lane).map_or(String::new(), |track| track.name());
        let line = match (event, &progress.show) {
            (Event::Spoilt(line), _) => Some(line.to_owned()),
            (_, Show::Nothing) => None,
            (Event::Resumed(steps), _) => Some(format!("{} goes on after step {}", name(), steps.len())),
            (_, Show::Lines) => board.news(self.lane, SILENCE),
            _ => None,
        };
        drop(board);
        if let (Some(bar), Show::Bars { total, .. }) = (&self.bar, &progress.show) {
            match event {
                Event::Step(step, loss) => {
                    bar.set_position(step);
                    bar.set_message(format!("{loss:.4}"));
                    total.inc(1);
                }
                Event::Resumed(steps) => {
                    bar.set_position(steps.len() as u64);
                    bar.reset_eta();
                    progress.count(total);
                    total.reset_eta();
                }
                _ => {}
            }
        }
        if let Some(line) = line {
            progress.note(&line);
        }
    }

    /// The run has ended.
    pub(super) fn done(&self, run: &RunRecord) {
        let progress = self.progress;
        let line = progress.board().end(self.lane, run);
        match &progress.show {
            Show::Nothing => {}
            Show::Bars { total, .. } => {
                progress.note(&sentence(run));
                progress.count(total);
            }
            _ => progress.note(&line),
        }
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Whether the standard error is a terminal that can move its cursor.
fn draws() -> bool {
    stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// One line on how a run ended.
pub(super) fn sentence(run: &RunRecord) -> String {
    let end = match (&run.status, run.outcome.steps_to_solve) {
        (Status::Failed(message), _) => format!("failed: {message}"),
        (Status::Stopped, _) => {
            format!("stopped after {} of {} steps", run.outcome.steps, run.config.max_steps())
        }
        (Status::Finished, Some(step)) => format!("solved at step {step}"),
        (Status::Finished, None) => match run.outcome.accuracy {
            Some(accuracy) => format!("accuracy {:.2} % after {} steps", 100.0 * accuracy, run.outcome.steps),
            None if run.config.task.criterion.is_none() => format!("ended after {} steps", run.outcome.steps),
            None => format!("not solved in {} steps", run.outcome.steps),
        },
    };
    let loss = if run.outcome.final_loss.is_nan() {
        String::new()
    } else {
        format!(", loss {:.4}", run.outcome.final_loss)
    };
    let half_life = match (run.gradients.init.h.half_life, run.gradients.trained.h.half_life) {
        (None, None) => String::new(),
        (before, after) => {
            let words = |half_life: Option<f64>| half_life.map_or("–".to_owned(), numbers::steps);
            format!(", half-life of h {} → {}", words(before), words(after))
        }
    };
    format!(
        "{} seed {}: {end}{loss}{half_life}, {:.1} s",
        run.config.model.variant, run.config.seed, run.outcome.seconds
    )
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are well-formed")
}
