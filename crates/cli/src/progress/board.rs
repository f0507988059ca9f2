//! What is known of a comparison while it runs. Lines, bars and the screen show it; the runs only tell what happens.

use recurrent_harness::run::Event;
use recurrent_records::record::{ProfileRecord, RunRecord, Status};
use recurrent_report::numbers;
use recurrent_tasks::task::Task;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Means of training losses that are kept of a run, an even number; when there are as many, they become those of twice as many steps.
const LOSSES: usize = 256;

/// Runs that have ended and can still be looked at.
const PAST: usize = 32;

/// All runs: those on their way, and those that have ended.
pub(super) struct Board {
    /// The task, in words.
    pub(super) task: String,
    /// The number of runs, of the steps of each, and of the runs that have ended.
    pub(super) runs: u64,
    pub(super) steps: u64,
    pub(super) ended: u64,
    pub(super) start: Instant,
    /// The share of all steps that had been done before the start.
    before: f64,
    /// The number of runs that have begun since the start.
    begun: u64,
    /// A place for each worker; empty while it has no run.
    lanes: Vec<Option<Track>>,
    /// The runs that ended last, the latest first.
    past: VecDeque<Track>,
    /// What there was to say, in the first place how the runs ended.
    pub(super) lines: Vec<String>,
}

/// A run as it is watched.
pub(super) struct Track {
    /// Its place among the runs that have begun since the start.
    pub(super) number: u64,
    pub(super) variant: String,
    pub(super) seed: u64,
    /// How it goes, or how it ended, in a word or two.
    pub(super) state: &'static str,
    pub(super) step: u64,
    pub(super) loss: f64,
    /// Means of the loss over so many steps each, and the last of these.
    pub(super) losses: Vec<(u64, f64)>,
    over: u64,
    /// The sum of the losses since, and their number.
    sum: (f64, u64),
    /// The last held-out loss, and the accuracy where there is one.
    pub(super) held_out: Option<f64>,
    pub(super) accuracy: Option<f64>,
    /// The half-life of h, in steps.
    pub(super) half_life: Option<f64>,
    /// The profiles of h in the top layer: step, and norm by lag.
    pub(super) profiles: Vec<(u64, Vec<f64>)>,
    /// When a line on it was written last.
    said: Instant,
}

impl Board {
    pub(super) fn new(task: &dyn Task, runs: u64, steps: u64) -> Self {
        Self::of(format!("{}, T = {}", task.name(), task.length()), runs, steps)
    }

    /// While nothing has begun.
    pub(super) fn idle() -> Self {
        Self::of(String::new(), 0, 0)
    }

    /// A comparison begins; what there was to say before it stays.
    pub(super) fn renew(&mut self, task: &dyn Task, runs: u64, steps: u64) {
        let lines = std::mem::take(&mut self.lines);
        *self = Self { lines, ..Self::new(task, runs, steps) };
    }

    fn of(task: String, runs: u64, steps: u64) -> Self {
        Self {
            task,
            runs,
            steps,
            ended: 0,
            start: Instant::now(),
            before: 0.0,
            begun: 0,
            lanes: Vec::new(),
            past: VecDeque::new(),
            lines: Vec::new(),
        }
    }

    /// Whether there is a run that has not ended.
    pub(super) fn runs_anything(&self) -> bool {
        self.ended < self.runs
    }

    /// So many runs have ended before.
    pub(super) fn found(&mut self, ended: u64) {
        self.ended = ended;
        self.before = self.share();
    }

    /// A run begins.
    pub(super) fn begin(&mut self, lane: usize, variant: &str, seed: u64) {
        if self.lanes.len() <= lane {
            self.lanes.resize_with(lane + 1, || None);
        }
        self.lanes[lane] = Some(Track::new(self.begun, variant, seed));
        self.begun += 1;
    }

    /// Something has happened in the run of this place.
    pub(super) fn told(&mut self, lane: usize, event: Event) {
        if let Event::Resumed(steps) = event {
            self.before += steps.len() as f64 / self.all_steps() as f64;
        }
        if let Some(Some(track)) = self.lanes.get_mut(lane) {
            track.told(event);
        }
    }

    /// A line on the run of this place, if there was none for so long.
    pub(super) fn news(&mut self, lane: usize, silence: Duration) -> Option<String> {
        let track = self.lanes.get_mut(lane)?.as_mut()?;
        if track.said.elapsed() < silence {
            return None;
        }
        track.said = Instant::now();
        let line = track.sentence(self.steps);
        Some(format!("  {line}, {}", self.left()))
    }

    /// The run of this place has ended; gives its line, numbered.
    pub(super) fn end(&mut self, lane: usize, run: &RunRecord) -> String {
        if let Some(track) = self.lanes.get_mut(lane).and_then(Option::take) {
            self.past.push_front(Track { state: state(run), ..track });
            self.past.truncate(PAST);
        }
        self.ended += 1;
        let line = format!("[{}/{}] {}", self.ended, self.runs, sentence(run));
        if run.status == Status::Stopped {
            line
        } else {
            format!("{line}, {}", self.left())
        }
    }

    /// The runs on their way, then those that have ended, the latest first.
    pub(super) fn tracks(&self) -> Vec<&Track> {
        self.lanes.iter().flatten().chain(&self.past).collect()
    }

    /// The run of this place.
    pub(super) fn track(&self, lane: usize) -> Option<&Track> {
        self.lanes.get(lane)?.as_ref()
    }

    /// The number of steps that are done, of all runs. A run that has ended has done all of its.
    pub(super) fn steps_done(&self) -> u64 {
        let under_way: u64 = self.lanes.iter().flatten().map(|track| track.step).sum();
        self.ended.saturating_mul(self.steps).saturating_add(under_way)
    }

    fn all_steps(&self) -> u64 {
        self.runs.saturating_mul(self.steps).max(1)
    }

    /// The share of all steps that is done.
    pub(super) fn share(&self) -> f64 {
        (self.steps_done() as f64 / self.all_steps() as f64).min(1.0)
    }

    /// The time that is left, in words, if it goes on as it did since the start.
    pub(super) fn left(&self) -> String {
        match self.remaining() {
            Some(left) => format!("about {} left", clock(left)),
            None => "time left not known yet".to_owned(),
        }
    }

    fn remaining(&self) -> Option<Duration> {
        let share = self.share();
        // At the very start this is a division by zero, and no duration.
        let seconds = self.start.elapsed().as_secs_f64() * (1.0 - share) / (share - self.before);
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl Track {
    fn new(number: u64, variant: &str, seed: u64) -> Self {
        Self {
            number,
            variant: variant.to_owned(),
            seed,
            state: "running",
            step: 0,
            loss: f64::NAN,
            losses: Vec::new(),
            over: 1,
            sum: (0.0, 0),
            held_out: None,
            accuracy: None,
            half_life: None,
            profiles: Vec::new(),
            said: Instant::now(),
        }
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::Damaged(_) => {}
            Event::Resumed(steps) => {
                steps.iter().for_each(|step| self.trained(step.step, step.loss))
            }
            Event::Step(step, loss) => self.trained(step, loss),
            Event::Evaluated(eval) => {
                (self.held_out, self.accuracy) = (Some(eval.loss), eval.accuracy);
            }
            Event::Profiled { profiles, half_life } => {
                self.half_life = half_life;
                let steps = profiles.chunk_by(|one, next| one.step == next.step);
                self.profiles
                    .extend(steps.filter_map(top).map(|top| (top.step, top.median.clone())));
            }
        }
    }

    /// A training step is done.
    fn trained(&mut self, step: u64, loss: f64) {
        (self.step, self.loss) = (step, loss);
        self.sum = (self.sum.0 + loss, self.sum.1 + 1);
        if self.sum.1 == self.over {
            self.losses.push((step, self.sum.0 / self.over as f64));
            self.sum = (0.0, 0);
        }
        if self.losses.len() == LOSSES {
            let pairs = self.losses.chunks_exact(2);
            self.losses = pairs.map(|pair| (pair[1].0, (pair[0].1 + pair[1].1) / 2.0)).collect();
            self.over *= 2;
        }
    }

    /// The name of the run.
    pub(super) fn name(&self) -> String {
        format!("{} seed {}", self.variant, self.seed)
    }

    /// One line on where the run is.
    fn sentence(&self, steps: u64) -> String {
        let Self { step, loss, .. } = self;
        if *step == 0 {
            return format!("{}: in its first step", self.name());
        }
        let mut line = format!("{}: step {step} of {steps}, loss {loss:.4}", self.name());
        line += &self.held_out.map_or(String::new(), |loss| format!(", held-out {loss:.4}"));
        line += &self
            .accuracy
            .map_or(String::new(), |share| format!(", accuracy {:.2} %", 100.0 * share));
        line + &self
            .half_life
            .map_or(String::new(), |steps| format!(", half-life of h {}", numbers::steps(steps)))
    }
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
            Some(accuracy) => {
                format!("accuracy {:.2} % after {} steps", 100.0 * accuracy, run.outcome.steps)
            }
            None if run.config.task.criterion.is_none() => {
                format!("ended after {} steps", run.outcome.steps)
            }
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

/// How a run ended, in a word or two.
fn state(run: &RunRecord) -> &'static str {
    match run.status {
        Status::Failed(_) => "failed",
        Status::Stopped => "stopped",
        Status::Finished if run.outcome.steps_to_solve.is_some() => "solved",
        Status::Finished if run.config.task.criterion.is_some() => "not solved",
        Status::Finished => "ended",
    }
}

/// A time, in its two largest units.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
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
    use anyhow::{Context, Result};
    use recurrent_records::record::StepRecord;
    use recurrent_records::sample;
    use recurrent_tasks as tasks;

    fn board() -> Result<Board> {
        Ok(Board::new(tasks::by_name("adding", Some(100), None)?.as_ref(), 4, 4000))
    }

    #[test]
    fn a_run_is_followed() -> Result<()> {
        let mut board = board()?;
        let lane = 0;
        board.begin(lane, "lstm", 7);
        (1..=2000).for_each(|step| board.told(lane, Event::Step(step, step as f64 / 4000.0)));
        let profile = |part, step| sample::profile("lstm", part, 7, step, 5.0);
        let profiles = [profile("c", 25), profile("h", 25), profile("h", 50), profile("c", 50)];
        board.told(lane, Event::Profiled { profiles: &profiles, half_life: Some(5.04) });
        let eval = sample::records().evals.remove(0);
        board.told(lane, Event::Evaluated(&eval));

        let track = board.track(lane).context("it is on its way")?;
        // Means over eight steps each, of which the last is named.
        let means: Vec<_> =
            (1..=250).map(|mean| (8 * mean, (8 * mean) as f64 / 4000.0 - 3.5 / 4000.0)).collect();
        assert_eq!(track.losses.len(), means.len());
        for ((step, loss), (last, mean)) in track.losses.iter().zip(means) {
            assert!(
                *step == last && (loss - mean).abs() < 1e-12,
                "{step} {loss}, expected {last} {mean}"
            );
        }
        assert_eq!(track.profiles, [25, 50].map(|step| (step, profiles[1].median.clone())));
        assert_eq!(board.news(lane, Duration::from_secs(3600)), None);
        let line = board.news(lane, Duration::ZERO).context("it is time for one")?;
        let start =
            format!("  lstm seed 7: step 2000 of 4000, loss 0.5000, held-out {:.4}, ", eval.loss);
        assert!(
            line.starts_with(&start) && line.contains(", half-life of h 5.0, about "),
            "{line}"
        );
        Ok(())
    }

    #[test]
    fn runs_that_have_ended_stay_for_a_while() -> Result<()> {
        let mut board = board()?;
        let lanes = [0, 1];
        assert_eq!((board.share(), board.left().as_str()), (0.0, "time left not known yet"));
        let run = &sample::records().runs[0];
        for seed in 0..40 {
            board.begin(lanes[0], "vanilla", seed);
            let line = board.end(lanes[0], run);
            let start = format!("[{}/4] vanilla seed 1: not solved in 2000 steps, loss ", seed + 1);
            assert!(line.starts_with(&start) && line.contains(", half-life of h "), "{line}");
        }
        board.begin(lanes[1], "gru", 0);
        let tracks = board.tracks();
        let names: Vec<_> = tracks.iter().map(|track| (track.name(), track.state)).collect();
        assert_eq!(names.len(), 1 + PAST);
        assert_eq!(names[0], ("gru seed 0".to_owned(), "running"));
        assert_eq!(names[1], ("vanilla seed 39".to_owned(), "not solved"));
        Ok(())
    }

    #[test]
    fn the_time_left_counts_what_was_done_since_the_start() -> Result<()> {
        let mut board = board()?;
        let lane = 0;
        board.found(2);
        board.begin(lane, "lstm", 7);
        let one = sample::records().steps.remove(0);
        let steps: Vec<_> = (1..=2000).map(|step| StepRecord { step, ..one.clone() }).collect();
        board.told(lane, Event::Resumed(&steps));
        let track = board.track(lane).context("it is on its way")?;
        assert_eq!(
            (track.step, track.losses.len(), track.losses[0].0),
            (2000, 250, 8),
            "the curve is whole"
        );
        assert_eq!((board.share(), board.remaining()), (0.625, None));
        board.told(lane, Event::Step(3000, 0.1));
        let (left, gone) = (board.remaining().context("a step is done")?, board.start.elapsed());
        assert!(left <= 5 * gone, "a sixteenth of all took {gone:?}, five are left, {left:?} said");
        Ok(())
    }

    #[test]
    fn times_are_told_in_two_units() {
        let words =
            [0.4, 59.6, 754.0, 7384.0].map(|seconds| clock(Duration::from_secs_f64(seconds)));
        assert_eq!(words, ["0 s", "1 min 00 s", "12 min 34 s", "2 h 03 min"]);
    }
}
