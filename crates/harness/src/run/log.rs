//! What a run has to say when it ends.

use super::{Event, Job, Run};
use crate::device;
use crate::panel::Panel;
use crate::record::{EvalRecord, Generalised, ProfileRecord, RunRecord, Status, StepRecord};
use anyhow::{Context, Result};
use candle::{DType, Device, Tensor};
use recurrent_measures::{decay, horizon, ratio, Fit, Profile, Underflow, HORIZON};
use recurrent_train::{Clip, ClipStatistics, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// What a run has found so far.
#[derive(Serialize, Deserialize)]
pub(super) struct Log {
    pub(super) params: usize,
    pub(super) layers: usize,
    pub(super) spectral_radius: BTreeMap<String, f64>,
    /// In a checkpoint, steps and clips are [columns](Log::columns).
    #[serde(skip)]
    pub(super) steps: Vec<StepRecord>,
    #[serde(skip)]
    pub(super) clips: Vec<Clip>,
    pub(super) evals: Vec<EvalRecord>,
    pub(super) profiles: Vec<ProfileRecord>,
    pub(super) panel: Panel,
    pub(super) warnings: Vec<String>,
    /// The step since which the task is solved.
    pub(super) solved: Option<u64>,
    /// Found at the end alone, hence in no checkpoint.
    #[serde(skip)]
    pub(super) generalisation: Vec<Generalised>,
    start: Gradients,
    now: Gradients,
    /// The wall time of the parts of this run before the present one.
    #[serde(skip)]
    pub(super) seconds: f64,
    #[serde(skip, default = "Instant::now")]
    since: Instant,
}

/// The measures of the top layer's profiles at one step.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Gradients {
    h: Option<Fit>,
    c: Option<Fit>,
    ratio: Option<f64>,
    horizon: Option<usize>,
    horizon_epsilon: Option<usize>,
    underflow: Underflow,
}

impl Gradients {
    /// Where a window ends the gradient, it is zero because of that, and only what is subnormal has underflowed.
    fn of(profiles: &[Profile], epsilon: f64, windowed: bool) -> Self {
        let fit = |profile: &Profile| decay(&profile.median, profile.steps);
        let (Some(h), c) = (top(profiles, "h"), top(profiles, "c")) else { return Self::default() };
        // Without the initial carry, which is no step: its gradient may be another matter, as that of layer norm at zero is.
        let norms = &h.median[..h.steps.min(h.median.len())];
        let horizon = |epsilon| horizon(norms, h.reference(), epsilon);
        Self {
            h: fit(h),
            c: c.and_then(fit),
            ratio: ratio(&h.median, h.steps, h.reference()),
            horizon: horizon(HORIZON),
            horizon_epsilon: horizon(epsilon),
            underflow: match windowed {
                true => Underflow::of(&Profile { zeros: vec![0.0; h.zeros.len()], ..h.clone() }),
                false => Underflow::of(h),
            },
        }
    }
}

/// The profile of the uppermost layer, forward if it has two directions.
fn top<'a>(profiles: &'a [Profile], part: &str) -> Option<&'a Profile> {
    let of_part = profiles.iter().filter(|profile| profile.part == part);
    of_part.max_by_key(|profile| (profile.layer_id.layer, !profile.layer_id.reverse))
}

impl Default for Log {
    fn default() -> Self {
        Self {
            params: 0,
            layers: 0,
            spectral_radius: BTreeMap::new(),
            steps: Vec::new(),
            clips: Vec::new(),
            evals: Vec::new(),
            profiles: Vec::new(),
            panel: Panel::default(),
            warnings: Vec::new(),
            solved: None,
            generalisation: Vec::new(),
            start: Gradients::default(),
            now: Gradients::default(),
            seconds: 0.0,
            since: Instant::now(),
        }
    }
}

/// The columns of steps and clips in a checkpoint; the rest of them is known.
const COLUMNS: [&str; 5] = ["loss", "lr", "before", "after", "scale"];

impl Log {
    /// Steps and clips as columns of numbers, which are smaller than records and lose no bit.
    pub(super) fn columns(&self) -> candle::Result<State> {
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

    /// Steps and clips of a checkpoint's columns.
    pub(super) fn take_columns(&mut self, job: &Job, tensors: &State) -> Result<()> {
        let column = |name: &str| -> Result<Vec<f64>> {
            let column = tensors.get(&format!("log.{name}"));
            Ok(column
                .with_context(|| format!("expected a tensor log.{name}, found none"))?
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

    /// The wall time of the run so far, over all of its parts, in seconds.
    pub(super) fn elapsed(&self) -> f64 {
        self.seconds + self.since.elapsed().as_secs_f64()
    }

    /// The number of training steps done.
    pub(super) fn done(&self) -> u64 {
        self.clips.len() as u64
    }

    /// The last evaluation, as those who watch the run are told of it.
    pub(super) fn evaluated(&self) -> Option<Event<'_>> {
        self.evals.last().map(Event::Evaluated)
    }

    /// The profiles from this one on, likewise.
    pub(super) fn profiled(&self, first: usize) -> Event<'_> {
        let half_life = self.now.h.and_then(|fit| fit.half_life());
        Event::Profiled { profiles: &self.profiles[first..], half_life }
    }

    /// Takes the profiles at the present step, and says whether a gradient underflowed on its way back. That takes a
    /// subnormal element: zeros alone may also be those of a network that looks no further back.
    pub(super) fn profile(&mut self, job: &Job, profiles: Vec<Profile>) -> bool {
        let epsilon = match job.settings.dtype {
            DType::F64 => f64::EPSILON,
            _ => f64::from(f32::EPSILON),
        };
        self.now = Gradients::of(&profiles, epsilon, job.treatment().flow.truncation.is_some());
        if self.profiles.is_empty() {
            self.start = self.now.clone();
        }
        let underflow =
            profiles.iter().any(|profile| profile.subnormals.iter().any(|share| *share > 0.0));
        let (name, step) = (&job.variant.name, self.done());
        self.profiles.extend(
            profiles.into_iter().map(|profile| ProfileRecord::of(profile, name, job.seed, step)),
        );
        underflow
    }

    /// The whole of a run that has ended.
    pub(super) fn close(mut self, job: &Job, status: Status, weights: Vec<u8>) -> Run {
        let seconds = self.elapsed();
        let treatment = job.treatment();
        let Job { variant, task, settings, hidden, seed } = *job;
        let last = self.profiles.last().map(|profile| profile.step);
        self.profiles.iter_mut().for_each(|profile| profile.last = Some(profile.step) == last);
        let end = if last > Some(0) { self.now.clone() } else { Gradients::default() };
        let start = &self.start;
        let fits =
            [("h_init", start.h), ("h_final", end.h), ("c_init", start.c), ("c_final", end.c)];
        let half_life = |fit: Option<Fit>| fit.and_then(|fit| fit.half_life());
        let clip = ClipStatistics::of(&self.clips);
        let evaluated = self.evals.last().filter(|_| !matches!(status, Status::Failed(_)));
        let record = RunRecord {
            variant: variant.name.clone(),
            summary: variant.summary.clone(),
            options: variant.options.clone(),
            task: task.name().to_string(),
            data: task.checksum(),
            length: task.length(),
            longest_lag: task.longest_lag(),
            seed,
            params: self.params,
            hidden,
            layers: self.layers,
            init: variant.init.clone(),
            spectral_radius: self.spectral_radius.clone(),
            dtype: settings.dtype.as_str().to_string(),
            device: device::name(&settings.device),
            threads: 1,
            version: env!("CARGO_PKG_VERSION").to_string(),
            batch: settings.batch,
            lr: treatment.lr,
            clip: treatment.clip.bound(),
            clip_kind: treatment.clip.kind(),
            window: treatment.flow.truncation,
            state_clip: treatment.flow.clip,
            readout: treatment.readout,
            omega: treatment.omega,
            orthogonality: treatment.orthogonality,
            steps: self.done(),
            max_steps: settings.steps(task),
            solved: self.solved.is_some(),
            steps_to_solve: self.solved,
            final_loss: evaluated.map_or(f64::NAN, |eval| eval.loss),
            accuracy: evaluated.and_then(|eval| eval.accuracy),
            baseline: task.baseline(),
            criterion: task.criterion(),
            half_life_h_init: half_life(start.h),
            half_life_h_final: half_life(end.h),
            half_life_c_init: half_life(start.c),
            half_life_c_final: half_life(end.c),
            fits: fits
                .into_iter()
                .filter_map(|(name, fit)| Some((name.to_string(), fit?)))
                .collect(),
            horizon_init: start.horizon,
            horizon_final: end.horizon,
            horizon_epsilon_init: start.horizon_epsilon,
            horizon_epsilon_final: end.horizon_epsilon,
            underflow_lags: start.underflow.lags,
            underflow_from: start.underflow.first,
            grad_ratio_init: start.ratio,
            grad_ratio_final: end.ratio,
            clipped_fraction: clip.map_or(0.0, |clip| clip.fraction),
            clip_scale: clip.map(|clip| clip.scale),
            grad_norm: clip.map(|clip| clip.before),
            grad_norm_clipped: clip.map(|clip| clip.after),
            warnings: self.warnings,
            measure_seconds: self.panel.seconds,
            reference: task.reference(),
            generalisation: self.generalisation,
            seconds,
            status,
        };
        Run {
            record,
            steps: self.steps,
            evals: self.evals,
            profiles: self.profiles,
            measures: self.panel.lines,
            weights,
        }
    }
}

/// A step of a job.
pub(super) fn step_record(job: &Job, step: u64, loss: f64, lr: f64, clip: Clip) -> StepRecord {
    StepRecord {
        variant: job.variant.name.clone(),
        seed: job.seed,
        step,
        loss,
        lr,
        grad_norm: clip.before,
        grad_norm_clipped: clip.after,
    }
}
