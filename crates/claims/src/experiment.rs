//! Measurements of networks before and after training, with the same seeds and data.

use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use recurrent::{
    ActivationRecorder, Bptt, ForwardContext, GradientRecorder, Record, RnnConfig, Sequence,
};
use recurrent_harness::compare::{Comparison, ComparisonEvent};
use recurrent_harness::network::Network;
use recurrent_harness::size::solve;
use recurrent_harness::variant::{Size, Variant};
use recurrent_measures::{decay, Profile, Trajectory};
use recurrent_records::config::{Budget, Override, Readout, TrainingConfig, Width};
use recurrent_records::dir::OutputDir;
use recurrent_records::record::{RunRecord, Status};
use recurrent_tasks as tasks;
use recurrent_tasks::task::{Batch, BatchKey, Split, Task};
use recurrent_train::{clip_global_norm, global_norm, Params};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The number of examples in the batch on which gradients are measured.
const EXAMPLES: usize = 32;

/// The settings that all claims share, and the measurements.
pub(crate) struct Experiment<'a> {
    /// The options of the program, by which it resumes.
    pub(crate) request: serde_json::Value,
    pub(crate) seeds: u64,
    pub(crate) jobs: usize,
    /// Short sequences and a few steps of training, which do not decide anything.
    pub(crate) quick: bool,
    /// Training on sequences of twice the length, for twice as many steps.
    pub(crate) full: bool,
    pub(crate) folder: OutputDir,
    pub(crate) cancel: &'a AtomicBool,
    /// The command that started the claims.
    pub(crate) command: Vec<String>,
    /// Called with the events of the training.
    pub(crate) on_event: &'a (dyn Fn(ComparisonEvent) + Sync),
}

/// One network of an experiment.
#[derive(Clone)]
pub(crate) struct Arm {
    pub(crate) name: &'static str,
    pub(crate) spec: RnnConfig,
    pub(crate) overrides: Vec<Override>,
}

/// A network at its start with one seed, in f64: properties of its gradient on a batch of held-out
/// examples.
pub(crate) struct InitialState {
    /// The decay of dL/dh per step in the top layer; negative if it grows.
    pub(crate) decay_h: f64,
    /// The same for dL/dc, or for dL/dh if the state has no c.
    pub(crate) decay: f64,
    /// log10 of the norm of dL/dh at the first step over that at the last step, in the top layer.
    pub(crate) far: f64,
    /// log10 of the norm of dL/dh of the bottom layer over that of the top layer, over all steps
    /// together.
    pub(crate) depth: f64,
    /// The mean of every gate of the bottom layer.
    pub(crate) gates: BTreeMap<&'static str, f64>,
    /// The mean of f (1 − f) of the keep gate, to which the gradient of its weights is
    /// proportional.
    pub(crate) slope: f64,
    /// The share of dL/dW that comes from the first half of the sequence.
    pub(crate) share: f64,
    /// The same after clipping dL/dW to a tenth of its norm, and one minus the cosine of dL/dW
    /// before and after clipping.
    pub(crate) clipped: (f64, f64),
    /// The global norm of dL/dW.
    pub(crate) norm: f64,
}

impl Arm {
    pub(crate) fn new(name: &'static str, spec: RnnConfig) -> Self {
        Self { name, spec, overrides: Vec::new() }
    }

    pub(crate) fn with(name: &'static str, spec: &RnnConfig, overrides: &[Override]) -> Self {
        Self { name, spec: spec.clone(), overrides: overrides.to_vec() }
    }

    fn readout(&self) -> Readout {
        TrainingConfig::default().with(&self.overrides).readout
    }

    fn variant(&self) -> Variant {
        let spec = self.spec.clone();
        Variant {
            overrides: self.overrides.clone(),
            ..Variant::new(self.name, move |size: Size, vb| {
                spec.with_longest_lag(size.longest_lag).build(size.input, size.hidden, vb)
            })
        }
    }
}

/// The number of runs that count in the numbers although they did not converge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unconverged {
    /// The runs that ended without solving their task.
    pub(crate) unsolved: usize,
    /// Those of them that failed, for instance with a NaN.
    pub(crate) failed: usize,
}

impl Unconverged {
    pub(crate) fn of(trained: &[Trained]) -> Self {
        let unsolved = trained.iter().map(|arm| arm.runs.len() - arm.solved()).sum();
        Self { unsolved, failed: trained.iter().map(Trained::failed).sum() }
    }
}

/// The runs of one arm, by seed.
pub(crate) struct Trained {
    pub(crate) name: &'static str,
    pub(crate) runs: Vec<RunRecord>,
}

impl Trained {
    pub(crate) fn solved(&self) -> usize {
        self.runs.iter().filter(|run| run.outcome.solved).count()
    }

    pub(crate) fn failed(&self) -> usize {
        self.runs.iter().filter(|run| matches!(run.status, Status::Failed(_))).count()
    }

    /// Whether it solved at least half of the seeds more than the other.
    pub(crate) fn solves_more_than(&self, other: &Self) -> bool {
        half_more(self.solved(), other.solved(), self.runs.len())
    }

    /// The training steps until the task was solved, or all allowed steps if it was not.
    pub(crate) fn steps(&self) -> Vec<f64> {
        self.runs
            .iter()
            .map(|run| run.outcome.steps_to_solve.unwrap_or(run.config.max_steps()) as f64)
            .collect()
    }

    /// ln of the held-out loss over the baseline. A failed run counts as 0, as if it had learnt
    /// nothing.
    pub(crate) fn log_losses(&self) -> Vec<f64> {
        let log = |run: &RunRecord| match run.outcome.final_loss {
            loss if loss.is_finite() && loss > 0.0 => (loss / run.config.task.baseline).ln(),
            _ => 0.0,
        };
        self.runs.iter().map(log).collect()
    }
}

/// Whether `solved` exceeds `others` by at least half of the seeds.
pub(crate) fn half_more(solved: usize, others: usize, seeds: usize) -> bool {
    2 * solved >= 2 * others + seeds
}

impl Experiment<'_> {
    /// The seeds.
    pub(crate) fn all(&self) -> std::ops::Range<u64> {
        0..self.seeds
    }

    /// The results of `one` for every seed, in their order; several run side by side.
    fn by_seed<T: Send>(&self, one: impl Fn(u64) -> Result<T> + Sync) -> Result<Vec<T>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.jobs).build()?;
        pool.install(|| self.all().into_par_iter().map(&one).collect())
    }

    /// The networks at their start, one per seed.
    pub(crate) fn starts(
        &self,
        arm: &Arm,
        task: &dyn Task,
        hidden: usize,
    ) -> Result<Vec<InitialState>> {
        self.by_seed(|seed| self.start(arm, task, hidden, seed))
    }

    /// A network at its start, and the data on which it is measured.
    fn fresh(&self, arm: &Arm, task: &dyn Task, hidden: usize, seed: u64) -> Result<Setup> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let size = Size { input: task.input_size(), hidden, longest_lag: task.longest_lag() };
        let (network, params) = Network::trainable(
            &arm.variant(),
            size,
            task,
            arm.readout(),
            seed,
            DType::F64,
            &Device::Cpu,
        )?;
        let draw = BatchKey { split: Split::Test, seed, step: 0, batch: EXAMPLES };
        Ok(Setup { network, params, batch: task.batch(draw, DType::F64, &Device::Cpu)? })
    }

    fn start(&self, arm: &Arm, task: &dyn Task, hidden: usize, seed: u64) -> Result<InitialState> {
        let Setup { network, params, batch } = self.fresh(arm, task, hidden, seed)?;
        let (recorder, activations) =
            (GradientRecorder::new(Record::Norms), ActivationRecorder::default());
        let context = ForwardContext::default().record(&recorder).activations(&activations);
        let mut grads = loss(task, &network, &batch, &context)?.backward()?;
        let profiles: Vec<_> = recorder.take().iter().map(Profile::from_trace).collect();
        let seen = activations.take();
        let whole = recurrent_part(&params, &grads)?;
        let border = ForwardContext::default().bptt(Bptt::last(task.length() / 2));
        let near = recurrent_part(&params, &loss(task, &network, &batch, &border)?.backward()?)?;
        let far_part = difference(&whole, &near);
        let norm_before = norm(&whole);
        let bound = 0.1 * global_norm(&params, &grads)?;
        let clip = clip_global_norm(&params, &mut grads, bound)?;
        let after = recurrent_part(&params, &grads)?;
        let near_after: Vec<_> = near.iter().map(|value| value * clip.scale).collect();
        let far_after = difference(&after, &near_after);
        let top = |part: &str| {
            profiles
                .iter()
                .filter(|profile| profile.part == part)
                .max_by_key(|profile| profile.layer_id.layer)
        };
        let h = top("h").ok_or_else(|| missing("h is not recorded"))?;
        let rate = |profile: &Profile| {
            decay(&profile.median, profile.steps).map_or(f64::NAN, |fit| fit.decay)
        };
        let pooled = |layer: usize| {
            let of_layer = profiles
                .iter()
                .find(|profile| profile.part == "h" && profile.layer_id.layer == layer);
            of_layer.map_or(f64::NAN, |profile| {
                profile.median.iter().map(|g| g * g).sum::<f64>().sqrt()
            })
        };
        let gates = &seen.first().ok_or_else(|| missing("no activations are recorded"))?.gates;
        let mean = |values: &Tensor| -> Result<f64> { Ok(values.mean_all()?.to_scalar()?) };
        let keeps = gates.iter().find(|gate| gate.keeps);
        Ok(InitialState {
            decay_h: rate(h),
            decay: rate(top("c").unwrap_or(h)),
            far: (h.median[h.steps - 1] / h.median[0]).log10(),
            depth: (pooled(0) / pooled(h.layer_id.layer)).log10(),
            gates: gates
                .iter()
                .map(|gate| Ok((gate.name, mean(&gate.values)?)))
                .collect::<Result<_>>()?,
            slope: keeps
                .map_or(Ok(f64::NAN), |gate| mean(&(&gate.values - gate.values.sqr()?)?))?,
            share: norm(&far_part) / norm_before,
            clipped: (norm(&far_after) / norm(&after), 1.0 - cosine(&whole, &after)),
            norm: clip.before,
        })
    }

    /// Trains every arm with every seed on the task. All have the number of hidden units that the
    /// first arm has at `params` weights, or each has `params` weights. Training takes at most the
    /// given number of steps.
    pub(crate) fn train(
        &self,
        id: &str,
        task: &str,
        length: usize,
        how: &TrainingPlan,
        arms: &[Arm],
    ) -> Result<Vec<Trained>> {
        let (length, steps) = match (self.quick, self.full) {
            (true, _) => (length.min(30), how.steps.min(60)),
            (_, true) => (2 * length, 2 * how.steps),
            _ => (length, how.steps),
        };
        let task = tasks::by_name(task, Some(length), None)?;
        let variants: Vec<_> = arms.iter().map(Arm::variant).collect();
        let params = Width::Params(how.params);
        let width = match how.same_units {
            true => Width::Hidden(solve(params, &variants[0], task.as_ref(), arms[0].readout())?.0),
            false => params,
        };
        let training = TrainingConfig {
            budget: Budget::Steps(steps),
            eval_every: (steps / 2).min(100),
            width,
            ..TrainingConfig::new(task.as_ref())
        };
        let training = training.with(&how.overrides);
        let (seeds, jobs) = (self.seeds, self.jobs);
        let (command, request) = (self.command.clone(), self.request.clone());
        let comparison = Comparison {
            training,
            seeds,
            jobs,
            command,
            request,
            ..Comparison::new(Arc::clone(&task), variants)
        };
        let records =
            comparison.check()?.run(&self.folder.inside(id)?, self.cancel, self.on_event)?;
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let of = |arm: &Arm| Trained {
            name: arm.name,
            runs: records
                .runs
                .iter()
                .filter(|run| run.config.model.variant == arm.name)
                .cloned()
                .collect(),
        };
        Ok(arms.iter().map(of).collect())
    }
}

struct Setup {
    network: Network,
    params: Params,
    batch: Batch,
}

/// The training of an experiment.
pub(crate) struct TrainingPlan {
    pub(crate) params: usize,
    /// Whether all arms get the hidden units of the first arm, instead of equal numbers of weights.
    pub(crate) same_units: bool,
    pub(crate) steps: u64,
    pub(crate) overrides: Vec<Override>,
}

fn loss(
    task: &dyn Task,
    network: &Network,
    batch: &Batch,
    context: &ForwardContext,
) -> Result<Tensor> {
    let outputs = network.forward(&batch.xs, context)?;
    Ok(task.evaluate(&outputs, batch)?.losses.mean_all()?)
}

/// The gradient of the recurrent layers' weights as one vector, in the order of their names.
fn recurrent_part(params: &Params, grads: &candle_core::backprop::GradStore) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for (name, var) in params.with_prefix("rnn").iter() {
        let grad = grads.get(var).ok_or_else(|| missing(&format!("{name} has no gradient")))?;
        all.extend(grad.flatten_all()?.to_vec1::<f64>()?);
    }
    Ok(all)
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / (norm(a) * norm(b))
}

/// The effect of truncation on a network's gradient, with one seed.
pub(crate) struct TruncatedGradient {
    /// The largest norm of dL/dh at lags from the window on.
    pub(crate) beyond: f64,
    /// The norm of the error of dL/dW over the norm of dL/dW.
    pub(crate) error: f64,
    /// The cosine between the truncated dL/dW and the full one.
    pub(crate) cosine: f64,
}

impl Experiment<'_> {
    /// The effect of windows of the given number of steps on the gradient of networks at their
    /// start, by seed.
    pub(crate) fn truncations(
        &self,
        arm: &Arm,
        task: &dyn Task,
        hidden: usize,
        window: usize,
    ) -> Result<Vec<TruncatedGradient>> {
        self.by_seed(|seed| {
            let Setup { network, params, batch } = self.fresh(arm, task, hidden, seed)?;
            let recorder = GradientRecorder::new(Record::Norms);
            let context = ForwardContext::default().bptt(Bptt::truncated(window)).record(&recorder);
            let truncated =
                recurrent_part(&params, &loss(task, &network, &batch, &context)?.backward()?)?;
            let whole = recurrent_part(
                &params,
                &loss(task, &network, &batch, &ForwardContext::default())?.backward()?,
            )?;
            let traces = recorder.take();
            let norms = traces
                .iter()
                .flat_map(|trace| (window..trace.lags()).flat_map(|lag| trace.norms_at(lag)));
            Ok(TruncatedGradient {
                beyond: norms.fold(0.0, f64::max),
                error: norm(&difference(&truncated, &whole)) / norm(&whole),
                cosine: cosine(&truncated, &whole),
            })
        })
    }

    /// The largest difference between the elements of the Jacobians of two networks' states over
    /// the last `steps` steps, for the inputs of one example, by seed.
    pub(crate) fn jacobians_apart(
        &self,
        arms: &[Arm; 2],
        task: &dyn Task,
        hidden: usize,
        steps: usize,
    ) -> Result<Vec<f64>> {
        let product = |arm: &Arm, seed| -> Result<Tensor> {
            let Setup { network, batch, .. } = self.fresh(arm, task, hidden, seed)?;
            let one = Sequence::new(batch.xs.values().narrow(0, 0, 1)?)?;
            let trajectory = Trajectory::new(network.rnn(), &one, None)?;
            let end = trajectory.steps();
            let mut product = trajectory.jacobian(end - 1, 0)?;
            for t in (end.saturating_sub(steps)..end - 1).rev() {
                product = product.matmul(&trajectory.jacobian(t, 0)?)?;
            }
            Ok(product)
        };
        self.by_seed(|seed| {
            let difference = (product(&arms[0], seed)? - product(&arms[1], seed)?)?;
            Ok(difference.abs()?.max_all()?.to_scalar::<f64>()?)
        })
    }
}

fn missing(what: &str) -> Error {
    Error::Missing(what.to_string())
}
