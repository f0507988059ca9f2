//! The loop over training steps.

use super::checkpoint::{self, CheckpointWriter, Restored, Snapshot};
use super::clip::clip;
use super::log::{step_record, Log};
use super::penalty::{self, Penalties};
use super::probe::{scheduled, Probe};
use super::{failed, Event, Job, IN_A_ROW};
use crate::config::{Level, TrainingConfig, GENERALISATION_FACTORS};
use crate::error::{Error, Kept, Result};
use crate::network::Network;
use crate::record::{EvalRecord, Generalised, Status};
use crate::task::{Batch, BatchKey, Criterion, Split, Task};
use candle_core::{DType, Tensor};
use recurrent_core::{spectral_radius, Carry, ForwardContext};
use recurrent_train::{
    global_norm, safetensors_bytes, AdamW, AdamWConfig, Clip, GradientWatch, Optimizer, Params,
    Schedule,
};
use std::sync::atomic::{AtomicBool, Ordering};

/// A network in training.
pub(super) struct Training<'a> {
    job: &'a Job<'a>,
    network: Network,
    params: Params,
    optimizer: AdamW,
    watch: GradientWatch,
    probe: Probe,
    /// The state at the end of the last batch, if the next batch continues from it.
    carry: Option<Carry>,
}

impl<'a> Training<'a> {
    /// A network at its start.
    pub(super) fn new(job: &'a Job) -> Result<Self> {
        let (training, device) = (&job.config.training, &job.device);
        training.validate_gradient()?;
        let (network, params) = Network::trainable(
            job.variant,
            job.size(),
            job.task,
            training.readout,
            job.config.seed,
            training.dtype,
            device,
        )?;
        penalty::check(training, network.rnn(), training.dtype, device)?;
        let optimizer =
            AdamW::new(&params, AdamWConfig { lr: training.lr, ..AdamWConfig::default() })?;
        let (watch, probe) = (GradientWatch::new(&params)?, Probe::new(job)?);
        Ok(Self { job, network, params, optimizer, watch, probe, carry: None })
    }

    /// Measures the network at its start: the first profile of its gradient, and the other
    /// requested measures.
    pub(super) fn begin(&mut self, log: &mut Log, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let rnn = self.network.rnn();
        for (name, block) in rnn.recurrent_blocks()? {
            log.spectral_radius.insert(name, spectral_radius(&block)?);
        }
        self.profile(log, on_event)?;
        self.measure(log)
    }

    /// Restores the network and the log from a checkpoint, and returns the log.
    pub(super) fn restore(&mut self, found: Restored) -> Result<Log> {
        let Restored { checkpoint, watch, log } = found;
        checkpoint.restore(&self.params, &mut self.optimizer).kept()?;
        let tensors = checkpoint.tensors;
        self.watch.load_state(watch).kept()?;
        if log.done() > 0 && self.job.task.is_stateful(self.draw(log.done() + 1)) {
            // The structure of the state comes from a new one; its values come from the checkpoint.
            let batch = self.batch(log.done())?;
            let (_, form) =
                self.network.forward_from(&batch.xs, None, &ForwardContext::default())?;
            self.carry = checkpoint::carry(&tensors, &form)?;
        }
        Ok(log)
    }

    /// The present weights, as the bytes of a safetensors file.
    pub(super) fn weights(&self) -> Result<Vec<u8>> {
        Ok(safetensors_bytes(&self.params.state()?)?)
    }

    /// Trains to the end, however it ends, and takes the last evaluation and the last profile.
    pub(super) fn finish(
        &mut self,
        log: &mut Log,
        checkpoints: &mut CheckpointWriter,
        cancel: &AtomicBool,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Status> {
        let status = match self.advance(log, checkpoints, cancel, on_event) {
            Err(error @ Error::Checkpoint(_)) => return Err(error),
            ended => ended.unwrap_or_else(|error| failed(&error)),
        };
        let profiled = log.profiles.last().is_some_and(|profile| profile.step == log.done());
        if !profiled {
            let last = self.profile(log, on_event);
            // The cause of the failure may well make the profile fail too; the first failure is
            // reported.
            if !matches!(status, Status::Failed(_)) {
                last?;
            }
        }
        if status == Status::Finished {
            self.generalise(log, cancel)?;
            self.measure(log)?;
        }
        Ok(status)
    }

    fn advance(
        &mut self,
        log: &mut Log,
        checkpoints: &mut CheckpointWriter,
        cancel: &AtomicBool,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Status> {
        let (training, steps) = (self.config(), self.job.config.max_steps());
        let examples = self.job.task.examples();
        // The position of the run is read from the log alone, so that a resumed run takes the same
        // path.
        loop {
            let done = log.done();
            let evaluates = done > 0 && (training.evaluates(examples, done) || done == steps);
            let evaluated = log.evals.last().is_some_and(|eval| eval.step == done);
            if evaluates && !evaluated {
                if !self.evaluate(log, cancel)? {
                    checkpoints.now(&self.snapshot(log))?;
                    return Ok(Status::Stopped);
                }
                log.evaluated().into_iter().for_each(&mut *on_event);
            }
            if log.solved.is_some() || done == steps {
                return Ok(Status::Finished);
            }
            if cancel.load(Ordering::Relaxed) {
                checkpoints.now(&self.snapshot(log))?;
                return Ok(Status::Stopped);
            }
            checkpoints.when_due(&self.snapshot(log))?;
            let loss = self.step(log, done + 1)?;
            on_event(Event::Step(done + 1, loss));
            if scheduled(done + 1, steps) {
                self.profile(log, on_event)?;
            }
        }
    }

    fn snapshot<'b>(&'b self, log: &'b Log) -> Snapshot<'b> {
        let (job, params, optimizer, watch) =
            (self.job, &self.params, &self.optimizer, self.watch.state());
        Snapshot { job, params, optimizer, watch, log, carry: self.carry.as_ref() }
    }

    /// The key of the batch of training step `step`, counted from 1.
    fn draw(&self, step: u64) -> BatchKey {
        let (seed, batch) = (self.job.config.seed, self.config().batch);
        BatchKey { split: Split::Train, seed, step: step - 1, batch }
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        Ok(self.job.task.batch(self.draw(step), self.config().dtype, &self.job.device)?)
    }

    fn config(&self) -> &'a TrainingConfig {
        &self.job.config.training
    }

    /// Trains one step, and returns its loss.
    fn step(&mut self, log: &mut Log, step: u64) -> Result<f64> {
        let (task, training, seed) = (self.job.task, self.config(), self.job.config.seed);
        if training.warmup > 0 {
            let factor = Schedule::warmup(training.warmup)?.factor(step - 1);
            self.optimizer.set_lr(training.lr * factor)?;
        }
        let batch = self.batch(step)?;
        let penalties = Penalties::new(training, self.network.rnn());
        let context =
            penalties.watched(ForwardContext::train(seed, step - 1).bptt(training.bptt()));
        let carry = self.carry.take().filter(|_| task.is_stateful(self.draw(step)));
        let (outputs, carry) = self.network.forward_from(&batch.xs, carry.as_ref(), &context)?;
        if task.is_stateful(self.draw(step + 1)) {
            self.carry = Some(carry.detach());
        }
        let loss = task.evaluate(&outputs, &batch)?.losses.mean_all()?;
        let mut grads = penalties.with_loss(&loss)?.backward()?;
        penalties.add_omega(&batch.xs, &self.params, &mut grads)?;
        let loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let record = |clip: Clip, lr| step_record(self.job, step, loss, lr, clip);
        match self.watch.check(step, loss, &grads) {
            Ok(warnings) => log.warnings.extend(warnings.iter().map(ToString::to_string)),
            Err(fault) => {
                let clip = Clip {
                    before: global_norm(&self.params, &grads)?,
                    after: f64::NAN,
                    scale: 1.0,
                };
                log.steps.push(record(clip, self.optimizer.lr()));
                return Err(fault.into());
            }
        }
        let clip = clip(training.clip, &self.params, &mut grads)?;
        self.optimizer.step(&grads)?;
        log.steps.push(record(clip, self.optimizer.lr()));
        log.clips.push(clip);
        Ok(loss)
    }

    /// Evaluates on fresh held-out examples, or on the whole held-out set. Returns `false` if it
    /// was interrupted.
    fn evaluate(&mut self, log: &mut Log, cancel: &AtomicBool) -> Result<bool> {
        let Job { variant, task, ref config, .. } = *self.job;
        let seed = config.seed;
        let Some((loss, accuracy)) = self.held_out(task, log.evals.len() as u64, cancel)? else {
            return Ok(false);
        };
        log.evals.push(EvalRecord {
            variant: variant.name.clone(),
            seed,
            step: log.done(),
            loss,
            accuracy,
        });
        log.solved = task.criterion().and_then(|criterion| solved(&log.evals, criterion));
        Ok(true)
    }

    /// The mean loss and accuracy of evaluation `number`, counted from 0; `None` if it was
    /// interrupted.
    fn held_out(
        &self,
        task: &dyn Task,
        number: u64,
        cancel: &AtomicBool,
    ) -> Result<Option<(f64, Option<f64>)>> {
        let (training, seed) = (self.config(), self.job.config.seed);
        let size = self.job.size();
        let network =
            Network::frozen(self.job.variant, size, task, training.readout, &self.params)?;
        let batches = training.held_out(task).div_ceil(task.eval_batch()) as u64;
        // Batch 0 of a generated task belongs to the probe. A data set starts again after its end.
        let first = if task.examples().is_none() { 1 + number * batches } else { 0 };
        let (mut losses, mut right, mut carry) = (Vec::new(), None, None);
        for step in first..first + batches {
            if cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let draw = BatchKey { split: Split::Test, seed, step, batch: task.eval_batch() };
            let batch = task.batch(draw, training.dtype, &self.job.device)?;
            let before = carry.take().filter(|_| task.is_stateful(draw));
            let (outputs, after) =
                network.forward_from(&batch.xs, before.as_ref(), &ForwardContext::default())?;
            carry = Some(after);
            let judged = task.evaluate(&outputs, &batch)?;
            losses.extend(values(&judged.losses)?);
            if let Some(judged) = judged.correct {
                right.get_or_insert_with(Vec::new).extend(judged);
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        Ok(Some((mean(&losses), right.as_deref().map(mean))))
    }

    /// Evaluates on longer sequences, if requested.
    fn generalise(&self, log: &mut Log, cancel: &AtomicBool) -> Result<()> {
        let factors = GENERALISATION_FACTORS.iter().filter(|_| self.config().generalise);
        for task in factors.filter_map(|&factor| self.job.task.scaled(factor)) {
            if let Some((loss, accuracy)) = self.held_out(task.as_ref(), 0, cancel)? {
                let (length, baseline) = (task.length(), task.baseline());
                log.generalisation.push(Generalised { length, loss, accuracy, baseline });
            }
        }
        Ok(())
    }

    /// Takes the requested measures beyond profiles.
    fn measure(&self, log: &mut Log) -> Result<()> {
        if self.config().measures > Level::Profiles {
            let step = log.done();
            log.measures.take(self.job, &self.network, &self.params, step)?;
        }
        Ok(())
    }

    fn profile(&mut self, log: &mut Log, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let profiles = self.probe.profiles(self.job.task, &self.network, self.config().bptt())?;
        let before = log.profiles.len();
        if log.profile(self.job, profiles) {
            self.watch.report_underflow();
        }
        on_event(log.profiled(before));
        Ok(())
    }
}

/// The first of the last [`IN_A_ROW`] evaluations, if all of these met the criterion.
fn solved(evals: &[EvalRecord], criterion: Criterion) -> Option<u64> {
    let met = |eval: &&EvalRecord| criterion.met(eval.loss, eval.accuracy);
    evals.iter().rev().take_while(met).nth(IN_A_ROW - 1).map(|eval| eval.step)
}

fn values(losses: &Tensor) -> candle_core::Result<Vec<f64>> {
    losses.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_evaluations_in_a_row_solve_a_task() {
        let eval = |(index, loss): (usize, &f64)| EvalRecord {
            variant: String::new(),
            seed: 0,
            step: 100 * (index as u64 + 1),
            loss: *loss,
            accuracy: None,
        };
        let since = |losses: &[f64]| {
            let evals: Vec<_> = losses.iter().enumerate().map(eval).collect();
            solved(&evals, Criterion::LossBelow(0.01))
        };
        assert_eq!(since(&[0.001, 0.001]), None);
        assert_eq!(since(&[0.001, 0.001, 0.01]), None, "not below");
        assert_eq!(since(&[0.001, 0.001, f64::NAN]), None);
        assert_eq!(since(&[0.1, 0.001, 0.02, 0.001, 0.002, 0.003]), Some(400));
    }
}
