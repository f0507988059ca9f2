//! What is known of a comparison while it runs, in the order in which it is shown.

use super::progress::sentence;
use crate::record::{ProfileRecord, RunRecord};
use crate::run::Event;
use crate::task::Task;
use std::time::{Duration, Instant};

/// Training losses that are kept of a run; when there are more, every other is dropped.
const LOSSES: usize = 512;

/// All runs: those that have ended, and those on their way.
pub(super) struct Board {
    /// The task, in words.
    pub(super) task: String,
    /// The number of runs, and of the steps of each.
    pub(super) runs: u64,
    pub(super) steps: u64,
    pub(super) start: Instant,
    /// A place for each worker; empty while it has no run.
    pub(super) lanes: Vec<Option<Lane>>,
    /// How the runs ended, in one line each.
    pub(super) ended: Vec<String>,
}

/// A run on its way.
pub(super) struct Lane {
    pub(super) variant: String,
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) loss: f64,
    /// Step and loss, thinned.
    pub(super) losses: Vec<(u64, f64)>,
    every: u64,
    /// The last held-out loss, and the accuracy where there is one.
    pub(super) held_out: Option<f64>,
    pub(super) accuracy: Option<f64>,
    /// The half-life of h, in steps.
    pub(super) half_life: Option<f64>,
    /// The profiles of h in the top layer: step, and norm by lag.
    pub(super) profiles: Vec<(u64, Vec<f64>)>,
}

impl Board {
    pub(super) fn new(task: &dyn Task, runs: u64, steps: u64) -> Self {
        let task = format!("{}, T = {}", task.name(), task.length());
        Self { task, runs, steps, start: Instant::now(), lanes: Vec::new(), ended: Vec::new() }
    }

    /// A run has ended; gives its line, numbered.
    pub(super) fn end(&mut self, lane: usize, run: &RunRecord) -> String {
        self.lanes[lane] = None;
        self.ended.push(sentence(run));
        let (ended, runs) = (self.ended.len(), self.runs);
        format!("[{ended}/{runs}] {}, {}", sentence(run), self.left())
    }

    /// The share of all steps that is done. A run that has ended has done all of its.
    pub(super) fn share(&self) -> f64 {
        let steps = self.steps.max(1) as f64;
        let under_way: f64 = self.lanes.iter().flatten().map(|lane| lane.step as f64 / steps).sum();
        ((self.ended.len() as f64 + under_way) / self.runs.max(1) as f64).min(1.0)
    }

    /// The time that is left if it goes on as it did; `None` at the very start.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let share = self.share();
        let seconds = self.start.elapsed().as_secs_f64() * (1.0 - share) / share;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// The same in words.
    pub(super) fn left(&self) -> String {
        self.remaining().map_or("time left not known yet".to_owned(), |left| {
            format!("about {:.0} s left", left.as_secs_f64())
        })
    }
}

impl Lane {
    pub(super) fn new(variant: &str, seed: u64) -> Self {
        let (losses, profiles) = (Vec::new(), Vec::new());
        let (held_out, accuracy, half_life) = (None, None, None);
        let variant = variant.to_owned();
        Self {
            variant,
            seed,
            step: 0,
            loss: f64::NAN,
            losses,
            every: 1,
            held_out,
            accuracy,
            half_life,
            profiles,
        }
    }

    /// Something has happened.
    pub(super) fn told(&mut self, event: Event) {
        match event {
            Event::Step { step, loss } => {
                (self.step, self.loss) = (step, loss);
                if step.is_multiple_of(self.every) {
                    self.losses.push((step, loss));
                }
                if self.losses.len() > LOSSES {
                    self.every *= 2;
                    self.losses.retain(|(step, _)| step.is_multiple_of(self.every));
                }
            }
            Event::Evaluated(eval) => {
                (self.held_out, self.accuracy) = (Some(eval.loss), eval.accuracy);
            }
            Event::Profiled { profiles, half_life } => {
                self.half_life = half_life;
                self.profiles.extend(top(profiles).map(|profile| (profile.step, profile.median.clone())));
            }
        }
    }

    /// One line on where the run is.
    pub(super) fn sentence(&self, steps: u64) -> String {
        let Self { variant, seed, step, loss, .. } = self;
        let mut line = format!("{variant} seed {seed}: step {step} of {steps}, loss {loss:.4}");
        line += &self.held_out.map_or(String::new(), |loss| format!(", held-out {loss:.4}"));
        line += &self.accuracy.map_or(String::new(), |share| format!(", accuracy {:.2} %", 100.0 * share));
        line + &self.half_life.map_or(String::new(), |steps| format!(", half-life {}", lags(steps)))
    }
}

/// A half-life.
pub(super) fn lags(steps: f64) -> String {
    if steps < 9.95 {
        format!("{steps:.1}")
    } else {
        format!("{steps:.0}")
    }
}

/// That of h in the top layer, forward if it has two directions.
fn top(profiles: &[ProfileRecord]) -> Option<&ProfileRecord> {
    let of_h = profiles.iter().filter(|profile| profile.part == "h");
    of_h.max_by_key(|profile| (profile.layer, profile.direction == "forward"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::tasks;

    #[test]
    fn a_run_is_followed() -> anyhow::Result<()> {
        let mut lane = Lane::new("lstm", 7);
        (1..=2000).for_each(|step| lane.told(Event::Step { step, loss: 1.0 / step as f64 }));
        assert!(lane.losses.len() <= LOSSES && lane.losses.len() > LOSSES / 4, "{}", lane.losses.len());
        let profiles = [sample::profile("lstm", "h", 7, 25, 5.0), sample::profile("lstm", "c", 7, 25, 5.0)];
        lane.told(Event::Profiled { profiles: &profiles, half_life: Some(5.04) });
        assert_eq!(lane.profiles, [(25, profiles[0].median.clone())]);
        let records = sample::records();
        lane.told(Event::Evaluated(&records.evals[0]));
        let line = lane.sentence(3000);
        assert!(line.starts_with("lstm seed 7: step 2000 of 3000, loss 0.0005, held-out "), "{line}");
        assert!(line.ends_with(", half-life 5.0"), "{line}");

        let mut board = Board::new(tasks::by_name("adding", Some(100), None)?.as_ref(), 4, 4000);
        assert_eq!((board.share(), board.left().as_str()), (0.0, "time left not known yet"));
        board.lanes = vec![Some(lane), None];
        assert_eq!(board.share(), 0.125);
        let line = board.end(0, &records.runs[0]);
        assert!(line.starts_with("[1/4] vanilla seed 1: not solved in 2000 steps, loss"), "{line}");
        assert!(board.share() == 0.25 && board.lanes[0].is_none());
        Ok(())
    }
}
