//! The loop over training steps.

use super::clip::clip;
use super::keep::{self, Found, Keeper, NotKept, Present};
use super::log::{step_record, Log};
use super::penalty::{self, Penalties};
use super::probe::{scheduled, Probe};
use super::{failed, Event, Job, IN_A_ROW};
use crate::network::Network;
use crate::record::{EvalRecord, Generalised, Status};
use crate::settings::GENERALISED;
use crate::task::{Batch, BatchDraw, Criterion, Split, Task};
use crate::tier::Tier;
use crate::treatment::Treatment;
use anyhow::{Context, Result};
use candle::{DType, Tensor};
use recurrent_core::{spectral_radius, Carry, Pass};
use recurrent_train::{
    global_norm, safetensors_bytes, AdamW, AdamWConfig, Clip, GradientWatch, Optimizer, Params,
};
use std::sync::atomic::{AtomicBool, Ordering};

/// A network on its way.
pub(super) struct Training<'a> {
    job: &'a Job<'a>,
    treatment: Treatment,
    network: Network,
    params: Params,
    optimizer: AdamW,
    watch: GradientWatch,
    probe: Probe,
    /// The state at the end of the last batch, where the next goes on from it.
    carry: Option<Carry>,
}

impl<'a> Training<'a> {
    /// A network at its start.
    pub(super) fn new(job: &'a Job) -> Result<Self> {
        let (settings, treatment) = (job.settings, job.treatment());
        treatment.validate()?;
        let (network, params) = Network::trainable(
            job.variant,
            job.size(),
            job.task,
            treatment.readout,
            settings.dtype,
            &settings.device,
        )?;
        penalty::check(&treatment, network.rnn(), settings.dtype, &settings.device)?;
        let optimizer = AdamW::new(&params, AdamWConfig { lr: treatment.lr, ..AdamWConfig::default() })?;
        let (watch, probe) = (GradientWatch::new(&params), Probe::new(job)?);
        Ok(Self { job, treatment, network, params, optimizer, watch, probe, carry: None })
    }

    /// Looks at the network at its start: the first profile of its gradient, and what else is asked for.
    pub(super) fn begin(&mut self, log: &mut Log, said: &mut dyn FnMut(Event)) -> Result<()> {
        let rnn = self.network.rnn();
        (log.params, log.layers) = (self.params.element_count(), rnn.depth());
        for (name, block) in rnn.recurrent_blocks()? {
            log.spectral_radius.insert(name, spectral_radius(&block)?);
        }
        self.profile(log, said)?;
        self.measure(log)
    }

    /// Goes back to where a checkpoint was taken, and gives what had been found until then.
    pub(super) fn restore(&mut self, found: Found) -> Result<Log> {
        let Found { checkpoint, watch, log } = found;
        checkpoint.restore(&self.params, &mut self.optimizer).context(NotKept)?;
        let tensors = checkpoint.tensors;
        self.watch.load_state(watch).context(NotKept)?;
        if log.done() > 0 && self.job.task.is_stateful(self.draw(log.done() + 1)) {
            // The form of the state is that of any other; its values are the checkpoint's.
            let batch = self.batch(log.done())?;
            let (_, form) = self.network.forward_from(&batch.xs, None, &Pass::default())?;
            self.carry = keep::carry(&tensors, &form)?;
        }
        Ok(log)
    }

    /// The weights as they are, as the bytes of a safetensors file.
    pub(super) fn weights(&self) -> Result<Vec<u8>> {
        Ok(safetensors_bytes(&self.params.state()?)?)
    }

    /// Trains to the end, whatever it is, and takes the last evaluation and the last profile there.
    pub(super) fn finish(
        &mut self,
        log: &mut Log,
        keeper: &mut Keeper,
        cancel: &AtomicBool,
        said: &mut dyn FnMut(Event),
    ) -> Result<Status> {
        let status = match self.advance(log, keeper, cancel, said) {
            Err(error) if error.is::<NotKept>() => return Err(error),
            ended => ended.unwrap_or_else(|error| failed(&error)),
        };
        let profiled = log.profiles.last().is_some_and(|profile| profile.step == log.done());
        if !profiled {
            let last = self.profile(log, said);
            // What made the run fail may well make its profile fail; it is the first that is to be told.
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
        keeper: &mut Keeper,
        cancel: &AtomicBool,
        said: &mut dyn FnMut(Event),
    ) -> Result<Status> {
        let (settings, task) = (self.job.settings, self.job.task);
        let steps = settings.steps(task);
        // Where the run stands is read off the log alone, so that one that goes on takes the same way.
        loop {
            let done = log.done();
            let evaluates = done > 0 && (settings.evaluates(task, done) || done == steps);
            let evaluated = log.evals.last().is_some_and(|eval| eval.step == done);
            if evaluates && !evaluated {
                if !self.evaluate(log, cancel)? {
                    keeper.now(&self.present(log))?;
                    return Ok(Status::Stopped);
                }
                log.evaluated().into_iter().for_each(&mut *said);
            }
            if log.solved.is_some() || done == steps {
                return Ok(Status::Finished);
            }
            if cancel.load(Ordering::Relaxed) {
                keeper.now(&self.present(log))?;
                return Ok(Status::Stopped);
            }
            keeper.when_due(&self.present(log))?;
            let loss = self.step(log, done + 1)?;
            said(Event::Step(done + 1, loss));
            if scheduled(done + 1, steps) {
                self.profile(log, said)?;
            }
        }
    }

    fn present<'b>(&'b self, log: &'b Log) -> Present<'b> {
        let (job, params, optimizer, watch) = (self.job, &self.params, &self.optimizer, self.watch.state());
        Present { job, params, optimizer, watch, log, carry: self.carry.as_ref() }
    }

    /// What training step `step`, from 1, is about.
    fn draw(&self, step: u64) -> BatchDraw {
        let Job { settings, seed, .. } = *self.job;
        BatchDraw { split: Split::Train, seed, step: step - 1, batch: settings.batch }
    }

    fn batch(&self, step: u64) -> Result<Batch> {
        let Job { task, settings, .. } = *self.job;
        task.batch(self.draw(step), settings.dtype, &settings.device)
    }

    /// One step; gives its loss.
    fn step(&mut self, log: &mut Log, step: u64) -> Result<f64> {
        let Job { task, seed, .. } = *self.job;
        let batch = self.batch(step)?;
        let penalties = Penalties::new(&self.treatment, self.network.rnn());
        let pass = penalties.watched(Pass::train(seed, step - 1).flow(self.treatment.flow));
        let carry = self.carry.take().filter(|_| task.is_stateful(self.draw(step)));
        let (outputs, carry) = self.network.forward_from(&batch.xs, carry.as_ref(), &pass)?;
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
                let clip = Clip { before: global_norm(&self.params, &grads)?, after: f64::NAN, scale: 1.0 };
                log.steps.push(record(clip, self.optimizer.lr()));
                return Err(fault.into());
            }
        }
        let clip = clip(self.treatment.clip, &self.params, &mut grads)?;
        self.optimizer.step(&grads)?;
        log.steps.push(record(clip, self.optimizer.lr()));
        log.clips.push(clip);
        Ok(loss)
    }

    /// Evaluates on fresh held-out examples, or on the whole held-out set, and gives whether it was not interrupted.
    fn evaluate(&mut self, log: &mut Log, cancel: &AtomicBool) -> Result<bool> {
        let Job { variant, task, seed, .. } = *self.job;
        let Some((loss, accuracy)) = self.held_out(task, log.evals.len() as u64, cancel)? else {
            return Ok(false);
        };
        log.evals.push(EvalRecord { variant: variant.name.clone(), seed, step: log.done(), loss, accuracy });
        log.solved = task.criterion().and_then(|criterion| solved(&log.evals, criterion));
        Ok(true)
    }

    /// The mean loss and accuracy of an evaluation, the `number`-th from 0 on; `None` if it was interrupted.
    fn held_out(
        &self,
        task: &dyn Task,
        number: u64,
        cancel: &AtomicBool,
    ) -> Result<Option<(f64, Option<f64>)>> {
        let Job { variant, settings, seed, .. } = *self.job;
        let network = Network::frozen(variant, self.job.size(), task, self.treatment.readout, &self.params)?;
        let batches = settings.held_out(task).div_ceil(task.eval_batch()) as u64;
        // Of a generated task batch 0 is the probe's. A data set begins anew behind its end.
        let first = if task.examples().is_none() { 1 + number * batches } else { 0 };
        let (mut losses, mut right, mut carry) = (Vec::new(), None, None);
        for step in first..first + batches {
            if cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let draw = BatchDraw { split: Split::Test, seed, step, batch: task.eval_batch() };
            let batch = task.batch(draw, settings.dtype, &settings.device)?;
            let before = carry.take().filter(|_| task.is_stateful(draw));
            let (outputs, after) = network.forward_from(&batch.xs, before.as_ref(), &Pass::default())?;
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

    /// Evaluates on longer sequences, if that is asked for.
    fn generalise(&self, log: &mut Log, cancel: &AtomicBool) -> Result<()> {
        let factors = GENERALISED.iter().filter(|_| self.job.settings.generalise);
        for task in factors.filter_map(|&factor| self.job.task.scaled(factor)) {
            if let Some((loss, accuracy)) = self.held_out(task.as_ref(), 0, cancel)? {
                let (length, baseline) = (task.length(), task.baseline());
                log.generalisation.push(Generalised { length, loss, accuracy, baseline });
            }
        }
        Ok(())
    }

    /// Takes what is asked for beyond profiles.
    fn measure(&self, log: &mut Log) -> Result<()> {
        if self.job.settings.measures > Tier::Profiles {
            let step = log.done();
            log.panel.take(self.job, &self.network, &self.params, step)?;
        }
        Ok(())
    }

    fn profile(&mut self, log: &mut Log, said: &mut dyn FnMut(Event)) -> Result<()> {
        let profiles = self.probe.profiles(self.job.task, &self.network, self.treatment.flow)?;
        let before = log.profiles.len();
        if log.profile(self.job, profiles) {
            self.watch.report_underflow();
        }
        said(log.profiled(before));
        Ok(())
    }
}

/// The first of the last [`IN_A_ROW`] evaluations, if all of these met the criterion.
fn solved(evals: &[EvalRecord], criterion: Criterion) -> Option<u64> {
    let met = |eval: &&EvalRecord| criterion.met(eval.loss, eval.accuracy);
    evals.iter().rev().take_while(met).nth(IN_A_ROW - 1).map(|eval| eval.step)
}

fn values(losses: &Tensor) -> candle::Result<Vec<f64>> {
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
