//! The state of a running comparison. Lines, bars and the screen show it; the runs only send
//! events.

use recurrent_harness::run::Event;
use recurrent_records::record::{ProfileRecord, RunRecord, Status};
use recurrent_report::numbers::short_loss;
use recurrent_tasks::task::Task;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The number of mean losses that are kept of a run, an even number. When it is reached, each pair
/// becomes one mean over twice as many steps.
const LOSSES: usize = 256;

/// The number of ended runs that the screen can still show.
const PAST: usize = 32;

/// The runs of a comparison, unfinished and finished.
pub(super) struct ComparisonState {
    /// The task, in words, and the length of its sequences.
    pub(super) task: String,
    length: usize,
    /// The number of runs, of the steps of each, and of the runs that have ended.
    pub(super) runs: u64,
    pub(super) steps: u64,
    pub(super) ended: u64,
    pub(super) start: Instant,
    /// The prefix of a run's name: the length, in a sweep.
    pub(super) prefix: String,
    /// The variants of the runs that have not begun.
    waiting: Vec<String>,
    /// The pace of each variant, from its finished runs.
    paces: BTreeMap<String, Pace>,
    /// The number of runs that have begun since the start.
    begun: u64,
    /// The run of each worker; `None` while it has no run.
    workers: Vec<Option<RunState>>,
    /// The last runs that ended, the latest first.
    past: VecDeque<RunState>,
    /// Lines to print below the screen, mostly on how runs ended.
    pub(super) lines: Vec<String>,
}

/// A run that is shown.
pub(super) struct RunState {
    /// Its position among the runs that have begun since the start.
    pub(super) number: u64,
    pub(super) variant: String,
    pub(super) seed: u64,
    /// Its status in a word or two.
    pub(super) status: &'static str,
    pub(super) step: u64,
    /// When it began, and the number of steps that had been done before.
    begun: Instant,
    resumed: u64,
    pub(super) loss: f64,
    /// Mean losses over `over` steps each, with the last of these steps.
    pub(super) losses: Vec<(u64, f64)>,
    over: u64,
    /// The sum of the losses since the last mean, and their number.
    sum: (f64, u64),
    /// The last held-out loss, and the accuracy if the task has one.
    pub(super) held_out: Option<f64>,
    pub(super) accuracy: Option<f64>,
    /// The half-life of h in words; `None` before its first profile.
    pub(super) half_life: Option<String>,
    /// The profiles of h in the top layer: step, and norm by lag.
    pub(super) profiles: Vec<(u64, Vec<f64>)>,
    /// The time of the last line about it.
    last_line: Instant,
}

impl ComparisonState {
    pub(super) fn new(task: &dyn Task, runs: u64, steps: u64) -> Self {
        let name = format!("{}, T = {}", task.name(), task.length());
        Self::of(name, task.length(), runs, steps)
    }

    /// The state before a comparison has begun.
    pub(super) fn idle() -> Self {
        Self::of(String::new(), 0, 0, 0)
    }

    /// A comparison begins. The lines that were shown before stay. `waiting` are the variants of
    /// the remaining runs.
    pub(super) fn renew(
        &mut self,
        task: &dyn Task,
        runs: u64,
        steps: u64,
        waiting: &[&str],
        with_length: bool,
    ) {
        let lines = std::mem::take(&mut self.lines);
        let waiting = waiting.iter().map(|name| (*name).to_owned()).collect();
        let prefix = if with_length { format!("T = {}, ", task.length()) } else { String::new() };
        *self = Self { lines, waiting, prefix, ..Self::new(task, runs, steps) };
    }

    fn of(task: String, length: usize, runs: u64, steps: u64) -> Self {
        Self {
            task,
            length,
            runs,
            steps,
            ended: 0,
            start: Instant::now(),
            prefix: String::new(),
            waiting: Vec::new(),
            paces: BTreeMap::new(),
            begun: 0,
            workers: Vec::new(),
            past: VecDeque::new(),
            lines: Vec::new(),
        }
    }

    /// Whether there is a run that has not ended.
    pub(super) fn is_running(&self) -> bool {
        self.ended < self.runs
    }

    /// Counts runs that had ended before.
    pub(super) fn found(&mut self, ended: u64) {
        self.ended = ended;
    }

    /// A run begins.
    pub(super) fn begin(&mut self, worker: usize, variant: &str, seed: u64) {
        if self.workers.len() <= worker {
            self.workers.resize_with(worker + 1, || None);
        }
        if let Some(place) = self.waiting.iter().position(|name| name == variant) {
            self.waiting.remove(place);
        }
        self.workers[worker] = Some(RunState::new(self.begun, variant, seed));
        self.begun += 1;
    }

    /// Takes an event of the run of a worker.
    pub(super) fn on_event(&mut self, worker: usize, event: Event) {
        if let Some(Some(run_state)) = self.workers.get_mut(worker) {
            run_state.on_event(event, self.length);
        }
    }

    /// A line on the run of a worker, if its last line is older than `silence`.
    pub(super) fn news(&mut self, worker: usize, silence: Duration) -> Option<String> {
        let run_state = self.workers.get_mut(worker)?.as_mut()?;
        if run_state.last_line.elapsed() < silence {
            return None;
        }
        run_state.last_line = Instant::now();
        let line = run_state.sentence(self.steps);
        Some(format!("  {}{line}, {}", self.prefix, self.left()))
    }

    /// The run of a worker has ended. Returns its line, with a number.
    pub(super) fn end(&mut self, worker: usize, run: &RunRecord) -> String {
        if let Some(run_state) = self.workers.get_mut(worker).and_then(Option::take) {
            self.paces.entry(run_state.variant.clone()).or_default().add(&run_state);
            self.past.push_front(RunState { status: status(run), ..run_state });
            self.past.truncate(PAST);
        }
        self.ended += 1;
        let line = format!("[{}/{}] {}{}", self.ended, self.runs, self.prefix, sentence(run));
        if run.status == Status::Stopped {
            line
        } else {
            format!("{line}, {}", self.left())
        }
    }

    /// The unfinished runs, then the finished ones, the latest first.
    pub(super) fn runs_shown(&self) -> Vec<&RunState> {
        self.workers.iter().flatten().chain(&self.past).collect()
    }

    /// The run of a worker.
    pub(super) fn run_state(&self, worker: usize) -> Option<&RunState> {
        self.workers.get(worker)?.as_ref()
    }

    /// The number of steps done in all runs. A finished run counts with all of its steps.
    pub(super) fn steps_done(&self) -> u64 {
        let under_way: u64 = self.workers.iter().flatten().map(|run_state| run_state.step).sum();
        self.ended.saturating_mul(self.steps).saturating_add(under_way)
    }

    fn all_steps(&self) -> u64 {
        self.runs.saturating_mul(self.steps).max(1)
    }

    /// The share of all steps that are done.
    pub(super) fn share(&self) -> f64 {
        (self.steps_done() as f64 / self.all_steps() as f64).min(1.0)
    }

    /// The remaining time in words, if every variant continues at its own pace.
    pub(super) fn left(&self) -> String {
        match self.remaining() {
            Some(left) => format!("about {} left", clock(left)),
            None => "time left not known yet".to_owned(),
        }
    }

    /// The remaining time. A variant without a finished step is assumed to be as fast as the
    /// others.
    fn remaining(&self) -> Option<Duration> {
        let mut paces = self.paces.clone();
        let running: Vec<_> = self.workers.iter().flatten().collect();
        for run_state in &running {
            paces.entry(run_state.variant.clone()).or_default().measure(run_state);
        }
        let mut all = Pace::default();
        paces.values().for_each(|pace| all.merge(pace));
        let usual = all.step()?;
        let step = |name: &str| paces.get(name).and_then(Pace::step).unwrap_or(usual);
        let steps = |name: &str| paces.get(name).and_then(Pace::run).unwrap_or(self.steps as f64);
        let mut seconds = 0.0;
        for run_state in &running {
            // A run that outlasts those before it may take all of its steps.
            let (done, usual) = (run_state.step as f64, steps(&run_state.variant));
            let whole = if done < usual { usual } else { self.steps as f64 };
            seconds += (whole - done).max(0.0) * step(&run_state.variant);
        }
        for name in &self.waiting {
            seconds += steps(name) * step(name);
        }
        let known = self.ended + running.len() as u64 + self.waiting.len() as u64;
        seconds += self.runs.saturating_sub(known) as f64 * self.steps as f64 * usual;
        Duration::try_from_secs_f64(seconds / self.workers.len().max(1) as f64).ok()
    }
}

/// The duration of steps, and the number of steps of a run.
#[derive(Clone, Debug, Default)]
struct Pace {
    seconds: f64,
    /// The number of steps in that time.
    steps: u64,
    /// The number of finished runs, and of their steps.
    runs: u64,
    run_steps: u64,
}

impl Pace {
    /// Counts the steps of a run so far.
    fn measure(&mut self, run: &RunState) {
        self.seconds += run.begun.elapsed().as_secs_f64();
        self.steps += run.step - run.resumed;
    }

    /// Counts a finished run.
    fn add(&mut self, run: &RunState) {
        self.measure(run);
        self.runs += 1;
        self.run_steps += run.step;
    }

    fn merge(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.steps += other.steps;
    }

    /// The seconds per step.
    fn step(&self) -> Option<f64> {
        (self.steps > 0).then(|| self.seconds / self.steps as f64)
    }

    /// The steps of a run. A run that solves its task ends early.
    fn run(&self) -> Option<f64> {
        (self.runs > 0).then(|| self.run_steps as f64 / self.runs as f64)
    }
}

impl RunState {
    fn new(number: u64, variant: &str, seed: u64) -> Self {
        Self {
            number,
            variant: variant.to_owned(),
            seed,
            status: "running",
            step: 0,
            begun: Instant::now(),
            resumed: 0,
            loss: f64::NAN,
            losses: Vec::new(),
            over: 1,
            sum: (0.0, 0),
            held_out: None,
            accuracy: None,
            half_life: None,
            profiles: Vec::new(),
            last_line: Instant::now(),
        }
    }

    fn on_event(&mut self, event: Event, length: usize) {
        match event {
            Event::Damaged(_) => {}
            Event::Resumed(steps) => {
                self.resumed = steps.len() as u64;
                steps.iter().for_each(|step| self.trained(step.step, step.loss))
            }
            Event::Step(step, loss) => self.trained(step, loss),
            Event::Evaluated(eval) => {
                (self.held_out, self.accuracy) = (Some(eval.loss), eval.accuracy);
            }
            Event::Profiled { profiles, decay } => {
                self.half_life = Some(recurrent_report::half_life(decay, length));
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

    /// One line on the progress of the run.
    fn sentence(&self, steps: u64) -> String {
        let step = &self.step;
        if *step == 0 {
            return format!("{}: in its first step", self.name());
        }
        let mut line =
            format!("{}: step {step} of {steps}, loss {}", self.name(), short_loss(self.loss));
        if let Some(loss) = self.held_out {
            line += &format!(", held-out {}", short_loss(loss));
        }
        line += &self
            .accuracy
            .map_or(String::new(), |share| format!(", accuracy {:.2} %", 100.0 * share));
        if let Some(half_life) = &self.half_life {
            line += &format!(", half-life of h {half_life}");
        }
        line
    }
}

/// One line on how a run ended.
pub(super) fn sentence(run: &RunRecord) -> String {
    let end = match (&run.status, run.outcome.steps_to_solve) {
        (Status::Failed(message), _) => format!("failed: {message}"),
        (Status::Stopped, _) => {
            format!("interrupted after {} of {} steps", run.outcome.steps, run.config.max_steps())
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
        format!(", loss {}", short_loss(run.outcome.final_loss))
    };
    let [before, after] = recurrent_report::half_lives(run);
    let half_life = match (before.as_str(), after.as_str()) {
        ("too few points", "too few points") => String::new(),
        _ => format!(", half-life of h {before} → {after}"),
    };
    format!(
        "{} seed {}: {end}{loss}{half_life}, {:.1} s",
        run.config.model.variant, run.config.seed, run.outcome.seconds
    )
}

/// How a run ended, in a word or two.
fn status(run: &RunRecord) -> &'static str {
    match run.status {
        Status::Failed(_) => "failed",
        Status::Stopped => "stopped",
        Status::Finished if run.outcome.steps_to_solve.is_some() => "solved",
        Status::Finished if run.config.task.criterion.is_some() => "not solved",
        Status::Finished => "ended",
    }
}

/// A time in its two largest units.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// The profile of h in the top layer; the forward direction if there are two.
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

    fn state() -> Result<ComparisonState> {
        Ok(ComparisonState::new(tasks::by_name("adding", Some(100), None)?.as_ref(), 4, 4000))
    }

    #[test]
    fn a_run_is_followed() -> Result<()> {
        let mut state = state()?;
        let worker = 0;
        state.begin(worker, "lstm", 7);
        (1..=2000).for_each(|step| state.on_event(worker, Event::Step(step, step as f64 / 4000.0)));
        let profile = |part, step| sample::profile("lstm", part, 7, step, 5.0);
        let profiles = [profile("c", 25), profile("h", 25), profile("h", 50), profile("c", 50)];
        state.on_event(worker, Event::Profiled { profiles: &profiles, decay: Some(0.1375) });
        let eval = sample::records().evals.remove(0);
        state.on_event(worker, Event::Evaluated(&eval));

        let run_state = state.run_state(worker).context("it is running")?;
        // Means over eight steps each, with the last of these steps.
        let means: Vec<_> =
            (1..=250).map(|mean| (8 * mean, (8 * mean) as f64 / 4000.0 - 3.5 / 4000.0)).collect();
        assert_eq!(run_state.losses.len(), means.len());
        for ((step, loss), (last, mean)) in run_state.losses.iter().zip(means) {
            assert!(
                *step == last && (loss - mean).abs() < 1e-12,
                "{step} {loss}, expected {last} {mean}"
            );
        }
        assert_eq!(run_state.profiles, [25, 50].map(|step| (step, profiles[1].median.clone())));
        assert_eq!(state.news(worker, Duration::from_secs(3600)), None);
        let line = state.news(worker, Duration::ZERO).context("it is time for one")?;
        let start =
            format!("  lstm seed 7: step 2000 of 4000, loss 0.5000, held-out {:.4}, ", eval.loss);
        assert!(
            line.starts_with(&start) && line.contains(", half-life of h 5.0, about "),
            "{line}"
        );
        // Growth, a level gradient and too few lags for a fit have three names.
        for (decay, words) in
            [(Some(-0.1), "×2 in 6.9"), (Some(1e-6), "no decay"), (None, "too few points")]
        {
            state.on_event(worker, Event::Profiled { profiles: &[], decay });
            let line = state.news(worker, Duration::ZERO).context("it is time for one")?;
            assert!(line.contains(&format!(", half-life of h {words}, ")), "{line}");
        }
        Ok(())
    }

    #[test]
    fn ended_runs_stay_for_a_while() -> Result<()> {
        let mut state = state()?;
        let workers = [0, 1];
        assert_eq!((state.share(), state.left().as_str()), (0.0, "time left not known yet"));
        let mut run = sample::records().runs.remove(0);
        run.outcome.final_loss = 5.17e18;
        let run = &run;
        for seed in 0..40 {
            state.begin(workers[0], "vanilla", seed);
            let line = state.end(workers[0], run);
            let start =
                format!("[{}/4] vanilla seed 1: not solved in 2000 steps, loss 5.2e18", seed + 1);
            assert!(line.starts_with(&start) && line.contains(", half-life of h "), "{line}");
        }
        state.begin(workers[1], "gru", 0);
        let runs_shown = state.runs_shown();
        let names: Vec<_> =
            runs_shown.iter().map(|run_state| (run_state.name(), run_state.status)).collect();
        assert_eq!(names.len(), 1 + PAST);
        assert_eq!(names[0], ("gru seed 0".to_owned(), "running"));
        assert_eq!(names[1], ("vanilla seed 39".to_owned(), "not solved"));
        Ok(())
    }

    #[test]
    fn the_time_left_counts_steps_since_the_start() -> Result<()> {
        let mut state = state()?;
        let worker = 0;
        state.found(2);
        state.begin(worker, "lstm", 7);
        let one = sample::records().steps.remove(0);
        let steps: Vec<_> = (1..=2000).map(|step| StepRecord { step, ..one.clone() }).collect();
        state.on_event(worker, Event::Resumed(&steps));
        let run_state = state.run_state(worker).context("it is running")?;
        assert_eq!(
            (run_state.step, run_state.losses.len(), run_state.losses[0].0),
            (2000, 250, 8),
            "the curve is whole"
        );
        assert_eq!((state.share(), state.remaining()), (0.625, None));
        state.on_event(worker, Event::Step(3000, 0.1));
        let (left, gone) = (state.remaining().context("a step is done")?, state.start.elapsed());
        assert!(
            left <= 5 * gone,
            "a sixteenth of all took {gone:?}, five are left, {left:?} last_line"
        );
        Ok(())
    }

    #[test]
    fn times_have_two_units() {
        let words =
            [0.4, 59.6, 754.0, 7384.0].map(|seconds| clock(Duration::from_secs_f64(seconds)));
        assert_eq!(words, ["0 s", "1 min 00 s", "12 min 34 s", "2 h 03 min"]);
    }
}
