//! What a comparison shows while it runs, on the standard error.

use super::board::{lags, Board, Lane};
#[cfg(feature = "live")]
use super::live;
use crate::record::{RunRecord, Status};
use crate::run::Event;
use crate::task::Task;
use std::io::{stderr, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A run that takes longer than this says now and then where it is, where there is no screen.
const QUIET: Duration = Duration::from_secs(60);

/// A screen where there is a terminal, else a line a finished run and now and then one of those on their way; or nothing.
pub(super) struct Progress {
    show: Show,
    board: Mutex<Board>,
}

enum Show {
    Nothing,
    Lines,
    #[cfg(feature = "live")]
    Screen,
}

/// What one worker tells of its runs.
pub(super) struct Bar<'a> {
    progress: &'a Progress,
    lane: usize,
    said: Mutex<Instant>,
}

impl Progress {
    /// The progress of `runs` runs with `steps` steps each.
    pub(super) fn new(quiet: bool, task: &dyn Task, runs: u64, steps: u64) -> Self {
        let show = match quiet {
            true => Show::Nothing,
            #[cfg(feature = "live")]
            false if live::possible() => Show::Screen,
            false => Show::Lines,
        };
        Self { show, board: Mutex::new(Board::new(task, runs, steps)) }
    }

    /// Does the work, and shows it until it is done. `cancel` is set if somebody asks for an end.
    pub(super) fn during<T>(&self, cancel: &AtomicBool, work: impl FnOnce() -> T) -> T {
        match self.show {
            #[cfg(feature = "live")]
            Show::Screen => live::during(&self.board, cancel, work),
            _ => {
                let _ = cancel; // the screen alone has keys
                work()
            }
        }
    }

    /// A place for one more worker.
    pub(super) fn bar(&self) -> Bar<'_> {
        let mut board = self.board();
        board.lanes.push(None);
        Bar { progress: self, lane: board.lanes.len() - 1, said: Mutex::new(Instant::now()) }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: &str) {
        if matches!(self.show, Show::Lines) {
            // A terminal that is gone is no reason to lose what was found.
            let _ = writeln!(stderr(), "{line}");
        }
    }
}

impl Bar<'_> {
    /// A run begins.
    pub(super) fn start(&self, variant: &str, seed: u64) {
        self.progress.board().lanes[self.lane] = Some(Lane::new(variant, seed));
    }

    /// Something has happened in it.
    pub(super) fn told(&self, event: Event) {
        let mut board = self.progress.board();
        let steps = board.steps;
        let Some(lane) = &mut board.lanes[self.lane] else { return };
        lane.told(event);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.elapsed() > QUIET {
            *said = Instant::now();
            let line = lane.sentence(steps);
            self.progress.say(&format!("  {line}, {}", board.left()));
        }
    }

    /// The run has ended.
    pub(super) fn done(&self, run: &RunRecord) {
        let line = self.progress.board().end(self.lane, run);
        self.progress.say(&line);
    }
}

/// One line on how a run ended.
pub(super) fn sentence(run: &RunRecord) -> String {
    let end = match (&run.status, run.steps_to_solve) {
        (Status::Failed(message), _) => format!("failed: {message}"),
        (Status::Stopped, _) => format!("stopped after {} of {} steps", run.steps, run.max_steps),
        (Status::Finished, Some(step)) => format!("solved at step {step}"),
        (Status::Finished, None) => match run.accuracy {
            Some(accuracy) => format!("accuracy {:.2} % after {} steps", 100.0 * accuracy, run.steps),
            None => format!("not solved in {} steps", run.steps),
        },
    };
    let loss = if run.final_loss.is_nan() { String::new() } else { format!(", loss {:.4}", run.final_loss) };
    let half_life = match (run.half_life_h_init, run.half_life_h_final) {
        (None, None) => String::new(),
        (from, to) => {
            let words = |half_life: Option<f64>| half_life.map_or("–".to_owned(), lags);
            format!(", half-life of h {} → {}", words(from), words(to))
        }
    };
    format!("{} seed {}: {end}{loss}{half_life}, {:.1} s", run.variant, run.seed, run.seconds)
}
