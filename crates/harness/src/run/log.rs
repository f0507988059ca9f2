//! The log of a run.

use super::{Event, Job, Run};
use crate::error::Result;
use crate::measure::MeasureLog;
use crate::record::{
    ClippingSummary, EvalRecord, Generalised, GradientSummary, Outcome, PhaseGradients,
    ProfileRecord, RunRecord, StateGradients, Status, StepRecord, SCHEMA,
};
use candle_core::{DType, Device, Tensor};
use recurrent_measures::{decay, horizon, ratio, Profile, Underflow, HORIZON};
use recurrent_train::{Clip, ClipStatistics, StateDict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// The results of a run so far.
#[derive(Serialize, Deserialize)]
pub(super) struct Log {
    pub(super) spectral_radius: BTreeMap<String, f64>,
    /// In a checkpoint, steps and clips are stored as [columns](Log::columns).
    #[serde(skip)]
    pub(super) steps: Vec<StepRecord>,
    #[serde(skip)]
    pub(super) clips: Vec<Clip>,
    pub(super) evals: Vec<EvalRecord>,
    pub(super) profiles: Vec<ProfileRecord>,
    pub(super) measures: MeasureLog,
    pub(super) warnings: Vec<String>,
    /// The step at which the task was solved.
    pub(super) solved: Option<u64>,
    /// Computed at the end only, so not part of a checkpoint.
    #[serde(skip)]
    pub(super) generalisation: Vec<Generalised>,
    start: PhaseGradients,
    now: PhaseGradients,
    /// The wall time of earlier sessions of this run.
    #[serde(skip)]
    pub(super) seconds: f64,
    #[serde(skip, default = "Instant::now")]
    since: Instant,
}

/// Summarises the profiles of the top layer. A truncation makes zeros itself; with one, only
/// subnormal elements count as underflow.
fn gradients(profiles: &[Profile], epsilon: f64, truncated: bool) -> PhaseGradients {
    let of = |part| match top(profiles, part) {
        Some(profile) => state_gradients(profile, epsilon, truncated),
        None => StateGradients::default(),
    };
    PhaseGradients { h: of("h"), c: of("c") }
}

fn state_gradients(profile: &Profile, epsilon: f64, truncated: bool) -> StateGradients {
    // Without the initial carry, which is not a step: layer norm at zero gives it a gradient of
    // another size.
    let norms = &profile.median[..profile.steps.min(profile.median.len())];
    let horizon = |epsilon| horizon(norms, profile.reference(), epsilon);
    let fit = decay(&profile.median, profile.steps);
    StateGradients {
        half_life: fit.and_then(|fit| fit.half_life()),
        fit,
        horizon: horizon(HORIZON),
        horizon_epsilon: horizon(epsilon),
        ratio: ratio(&profile.median, profile.steps, profile.reference()),
        underflow: match truncated {
            true => Underflow::from_profile(&Profile {
                zeros: vec![0.0; profile.zeros.len()],
                ..profile.clone()
            }),
            false => Underflow::from_profile(profile),
        },
    }
}

/// The profile of the top layer; the forward direction if there are two.
fn top<'a>(profiles: &'a [Profile], part: &str) -> Option<&'a Profile> {
    let of_part = profiles.iter().filter(|profile| profile.part == part);
    of_part.max_by_key(|profile| (profile.layer_id.layer, !profile.layer_id.reverse))
}

impl Default for Log {
    fn default() -> Self {
        Self {
            spectral_radius: BTreeMap::new(),
            steps: Vec::new(),
            clips: Vec::new(),
            evals: Vec::new(),
            profiles: Vec::new(),
            measures: MeasureLog::default(),
            warnings: Vec::new(),
            solved: None,
            generalisation: Vec::new(),
            start: PhaseGradients::default(),
            now: PhaseGradients::default(),
            seconds: 0.0,
            since: Instant::now(),
        }
    }
}

/// The columns of steps and clips in a checkpoint; the other fields follow from the job.
const COLUMNS: [&str; 5] = ["loss", "lr", "before", "after", "scale"];

impl Log {
    /// Steps and clips as columns of numbers, which take less space than records and lose no bit.
    pub(super) fn columns(&self) -> candle_core::Result<StateDict> {
        let mut columns = COLUMNS.map(|_| Vec::with_capacity(self.clips.len()));
        for (step, clip) in self.steps.iter().zip(&self.clips) {
            let row = [step.loss, step.lr, clip.before, clip.after, clip.scale];
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        let tensor = |(name, column): (&str, Vec<f64>)| {
            let length = column.len();
            Ok((format!("log.{name}"), Tensor::from_vec(column, length, &Device::Cpu)?))
        };
        COLUMNS.into_iter().zip(columns).map(tensor).collect()
    }

    /// Restores steps and clips from a checkpoint's columns.
    pub(super) fn take_columns(&mut self, job: &Job, tensors: &StateDict) -> Result<()> {
        let column = |name: &str| -> Result<Vec<f64>> {
            let column = tensors.get(&format!("log.{name}"));
            Ok(column
                .ok_or_else(|| {
                    candle_core::Error::msg(format!("expected a tensor log.{name}, found none"))
                })?
                .to_vec1()?)
        };
        let [loss, lr, before, after, scale] = COLUMNS.map(column);
        let (loss, lr, before, after, scale) = (loss?, lr?, before?, after?, scale?);
        let rows = loss.into_iter().zip(lr).zip(before.into_iter().zip(after).zip(scale)).zip(1..);
        for (((loss, lr), ((before, after), scale)), step) in rows {
            let clip = Clip { before, after, scale };
            self.steps.push(step_record(job, step, loss, lr, clip));
            self.clips.push(clip);
        }
        Ok(())
    }

    /// The wall time of the run so far, over all sessions, in seconds.
    pub(super) fn elapsed(&self) -> f64 {
        self.seconds + self.since.elapsed().as_secs_f64()
    }

    /// The number of training steps done.
    pub(super) fn done(&self) -> u64 {
        self.clips.len() as u64
    }

    /// The last evaluation, as an event.
    pub(super) fn evaluated(&self) -> Option<Event<'_>> {
        self.evals.last().map(Event::Evaluated)
    }

    /// The profiles from number `first` on, as an event.
    pub(super) fn profiled(&self, first: usize) -> Event<'_> {
        Event::Profiled {
            profiles: &self.profiles[first..],
            decay: self.now.h.fit.map(|fit| fit.decay),
        }
    }

    /// Adds the profiles at the present step, and returns whether a gradient underflowed in the
    /// backward pass. Only a subnormal element shows this: zeros alone may come from a network that
    /// looks no further back.
    pub(super) fn profile(&mut self, job: &Job, profiles: Vec<Profile>) -> bool {
        let training = &job.config.training;
        let epsilon = match training.dtype {
            DType::F64 => f64::EPSILON,
            _ => f64::from(f32::EPSILON),
        };
        self.now = gradients(&profiles, epsilon, training.truncation.is_some());
        if self.profiles.is_empty() {
            self.start = self.now.clone();
        }
        let underflow =
            profiles.iter().any(|profile| profile.subnormals.iter().any(|share| *share > 0.0));
        let (name, seed, step) = (&job.variant.name, job.config.seed, self.done());
        self.profiles.extend(
            profiles.into_iter().map(|profile| ProfileRecord::of(profile, name, seed, step)),
        );
        underflow
    }

    /// The finished run.
    pub(super) fn close(mut self, job: &Job, status: Status, weights: Vec<u8>) -> Run {
        let seconds = self.elapsed();
        let last = self.profiles.last().map(|profile| profile.step);
        self.profiles.iter_mut().for_each(|profile| profile.last = Some(profile.step) == last);
        let trained = if last > Some(0) { self.now.clone() } else { PhaseGradients::default() };
        let clipping = ClipStatistics::from_steps(&self.clips).map(|clip| ClippingSummary {
            fraction: clip.fraction,
            scale: Some(clip.scale),
            norm_before: Some(clip.before),
            norm_after: Some(clip.after),
        });
        let evaluated = self.evals.last().filter(|_| !matches!(status, Status::Failed(_)));
        let outcome = Outcome {
            steps: self.done(),
            solved: self.solved.is_some(),
            steps_to_solve: self.solved,
            final_loss: evaluated.map_or(f64::NAN, |eval| eval.loss),
            accuracy: evaluated.and_then(|eval| eval.accuracy),
            generalisation: self.generalisation,
            threads: 1,
            seconds,
            measure_seconds: self.measures.seconds,
        };
        let record = RunRecord {
            schema: SCHEMA,
            config: job.config.clone(),
            status,
            outcome,
            gradients: GradientSummary { init: self.start, trained },
            clipping: clipping.unwrap_or_default(),
            spectral_radius: self.spectral_radius,
            warnings: self.warnings,
        };
        Run {
            record,
            steps: self.steps,
            evals: self.evals,
            profiles: self.profiles,
            measures: self.measures.lines,
            weights,
        }
    }
}

/// The record of a step of a job.
pub(super) fn step_record(job: &Job, step: u64, loss: f64, lr: f64, clip: Clip) -> StepRecord {
    StepRecord {
        variant: job.variant.name.clone(),
        seed: job.config.seed,
        step,
        loss,
        lr,
        grad_norm: clip.before,
        grad_norm_clipped: clip.after,
    }
}
