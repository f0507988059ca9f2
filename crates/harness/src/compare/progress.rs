//! What a comparison shows while it runs, on the standard error.

use crate::record::{RunRecord, Status};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{stderr, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Instant;

/// Bars where there is a terminal, else a line a finished run, or nothing.
pub(super) struct Progress {
    show: Show,
    runs: u64,
    steps: u64,
    ended: AtomicU64,
    /// The runs that had ended before.
    before: AtomicU64,
    start: Instant,
}

enum Show {
    Nothing,
    Lines,
    Bars { all: MultiProgress, total: ProgressBar },
}

/// The bar of one worker.
pub(super) struct Bar<'a> {
    progress: &'a Progress,
    bar: Option<ProgressBar>,
    at: AtomicU64,
    /// The run under way.
    name: Mutex<String>,
}

impl Progress {
    /// The progress of `runs` runs with `steps` steps each.
    pub(super) fn new(quiet: bool, runs: u64, steps: u64) -> Self {
        let show = match (quiet, stderr().is_terminal()) {
            (true, _) => Show::Nothing,
            (false, false) => Show::Lines,
            (false, true) => {
                let all = MultiProgress::new();
                let total = all.add(ProgressBar::new(runs.saturating_mul(steps)));
                total.set_style(style("{msg:>28} {wide_bar} {elapsed} of about {duration}, {eta} left"));
                total.set_message(format!("0 of {runs} runs"));
                Show::Bars { all, total }
            }
        };
        Self { show, runs, steps, ended: AtomicU64::new(0), before: AtomicU64::new(0), start: Instant::now() }
    }

    /// So many runs have ended before, and are not repeated.
    pub(super) fn found(&self, ended: u64) {
        if ended == 0 {
            return;
        }
        self.ended.store(ended, Ordering::Relaxed);
        self.before.store(ended, Ordering::Relaxed);
        let runs = self.runs;
        match &self.show {
            _ if ended == runs => self.note(&format!("all {runs} runs had ended before, none is repeated")),
            Show::Nothing => {}
            Show::Lines => {
                self.note(&format!("{ended} of {runs} runs had ended before, and are not repeated"))
            }
            Show::Bars { total, .. } => {
                total.set_position(ended.saturating_mul(self.steps));
                total.reset_eta();
                total.set_message(format!("{ended} of {runs} runs"));
            }
        }
    }

    /// A line that is shown even where no progress is.
    fn note(&self, line: &str) {
        // Nobody reads it if this fails, and the run goes on.
        match &self.show {
            Show::Bars { all, .. } => drop(all.println(line)),
            Show::Nothing | Show::Lines => drop(writeln!(stderr(), "{line}")),
        }
    }

    /// A bar for one more worker.
    pub(super) fn bar(&self) -> Bar<'_> {
        let bar = match &self.show {
            Show::Bars { all, total } => {
                let bar = all.insert_before(total, ProgressBar::new(self.steps));
                bar.set_style(style("{prefix:>28} {wide_bar} step {pos}/{len} loss {msg}"));
                Some(bar)
            }
            Show::Nothing | Show::Lines => None,
        };
        Bar { progress: self, bar, at: AtomicU64::new(0), name: Mutex::default() }
    }

    /// Takes the bars away.
    pub(super) fn finish(&self) {
        if let Show::Bars { all, total } = &self.show {
            total.finish_and_clear();
            // A terminal that is gone is no reason to lose what was found.
            let _ = all.clear();
        }
    }
}

impl Bar<'_> {
    /// A run begins.
    pub(super) fn start(&self, variant: &str, seed: u64) {
        self.at.store(0, Ordering::Relaxed);
        *self.name.lock().expect("nothing panics while it holds it") = format!("{variant} seed {seed}");
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("{variant} seed {seed}"));
            bar.set_message("-");
            bar.reset();
        }
    }

    /// A training step is done.
    pub(super) fn step(&self, step: u64, loss: f64) {
        if let (Some(bar), Show::Bars { total, .. }) = (&self.bar, &self.progress.show) {
            bar.set_position(step);
            bar.set_message(format!("{loss:.4}"));
            total.inc(step - self.at.swap(step, Ordering::Relaxed));
        }
    }

    /// The run goes on from a checkpoint.
    pub(super) fn resumed(&self, step: u64) {
        if let (Some(bar), Show::Bars { total, .. }) = (&self.bar, &self.progress.show) {
            bar.set_position(step);
            bar.reset_eta();
            total.inc(step - self.at.swap(step, Ordering::Relaxed));
        }
        if !matches!(self.progress.show, Show::Nothing) {
            let name = self.name.lock().expect("nothing panics while it holds it");
            self.progress.note(&format!("{name} goes on after step {step}"));
        }
    }

    /// A line that is shown even where no progress is.
    pub(super) fn note(&self, line: &str) {
        self.progress.note(line);
    }

    /// The run has ended.
    pub(super) fn done(&self, run: &RunRecord) {
        let Progress { show, runs, steps, ended, before, start } = self.progress;
        let ended = 1 + ended.fetch_add(1, Ordering::Relaxed);
        match show {
            Show::Nothing => {}
            Show::Lines => {
                let own = ended - before.load(Ordering::Relaxed);
                let left = start.elapsed().as_secs_f64() * (*runs - ended) as f64 / own as f64;
                // As above: nobody reads it, and the run goes on.
                let _ = writeln!(stderr(), "[{ended}/{runs}] {}, about {left:.0} s left", sentence(run));
            }
            Show::Bars { all, total } => {
                let _ = all.println(sentence(run));
                total.inc(steps - self.at.swap(*steps, Ordering::Relaxed).min(*steps));
                total.set_message(format!("{ended} of {runs} runs"));
            }
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

/// One line on how a run ended.
fn sentence(run: &RunRecord) -> String {
    let end = match (&run.status, run.steps_to_solve) {
        (Status::Failed(message), _) => format!("failed: {message}"),
        (Status::Stopped, _) => format!("stopped after {} of {} steps", run.steps, run.max_steps),
        (Status::Finished, Some(step)) => format!("solved at step {step}"),
        (Status::Finished, None) => match run.accuracy {
            Some(accuracy) => format!("accuracy {:.2} % after {} steps", 100.0 * accuracy, run.steps),
            None if run.criterion.is_none() => format!("ended after {} steps", run.steps),
            None => format!("not solved in {} steps", run.steps),
        },
    };
    let loss = if run.final_loss.is_nan() { String::new() } else { format!(", loss {:.4}", run.final_loss) };
    format!("{} seed {}: {end}{loss}, {:.1} s", run.variant, run.seed, run.seconds)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are well-formed")
}
