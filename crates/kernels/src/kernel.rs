//! A rule as an engine: chunks of rows, over threads.

use crate::backward::Back;
use crate::forward::{Chunk, History, Stepper};
use crate::frozen::FrozenKernel;
use crate::gradients::WeightGradients;
use crate::weights::{values, with_values, Sizes, Weights};
use crate::{KernelFloat, Rule};
use candle::{bail, DType, Device, Result, Shape, Tensor};
use rayon::prelude::*;
use recurrent_core::{
    Engine, EngineValue, Forward, GradientAccumulator, InferenceLayer, InputGrads, NeedsGrad,
    OutputGrads, Saved, SequenceInput, StepMasks,
};
use std::ops::Range;
use std::sync::Arc;

/// A [`Rule`] run over whole sequences on the CPU, in f32 and f64.
///
/// Its weights are `weight_ih`, `weight_hh`, then `bias_ih` and `bias_hh` or none, `weight_hr` if the output is [projected](Kernel::projected), and the
/// rule's own vectors, in this order. Chunks of examples run in parallel in the current rayon pool.
#[derive(Clone, Debug)]
pub struct Kernel<R> {
    rule: R,
    temporal_residual: Option<f64>,
    projected: bool,
}

impl<R: Rule> Kernel<R> {
    /// The rule, run over sequences.
    pub fn new(rule: R) -> Self {
        Self { rule, temporal_residual: None, projected: false }
    }

    /// The same with a projection behind the rule: h_t = W_hr (what the rule gives), with `weight_hr` `(output, hidden)`.
    #[must_use]
    pub fn projected(self) -> Self {
        Self { projected: true, ..self }
    }
}

impl<R: Rule> Engine for Kernel<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn temporal_residual(&self, alpha: f64) -> Option<Arc<dyn Engine>> {
        // A residual inside another says nothing new; the cell's own definition runs it.
        self.temporal_residual.is_none().then(|| -> Arc<dyn Engine> {
            Arc::new(Self { temporal_residual: Some(alpha), ..self.clone() })
        })
    }

    fn to_inference(
        &self,
        params: &[Tensor],
        start: &[Tensor],
        noise: &StepMasks,
    ) -> Result<Option<Arc<dyn InferenceLayer>>> {
        let (h, c) = state::<f32, R>(start)?;
        Ok(Some(Arc::new(FrozenKernel {
            rule: self.rule.clone(),
            temporal_residual: self.temporal_residual.map(|alpha| alpha as f32),
            zoneout: [noise.zoneout(0), noise.zoneout(1)],
            weights: Weights::of::<R>(params, self.projected)?,
            start: [h, c],
        })))
    }

    fn forward(&self, call: &SequenceInput, outputs: bool, saved: bool) -> Result<Forward> {
        match call.xs.dtype() {
            DType::F32 => self.forth::<f32>(call, outputs, saved),
            DType::F64 => self.forth::<f64>(call, outputs, saved),
            other => bail!("{}: expected f32 or f64, got {other:?}", R::NAME),
        }
    }

    fn backward(
        &self,
        call: &SequenceInput,
        saved: &Saved,
        output_grads: &OutputGrads,
        needs: NeedsGrad,
        accumulators: &mut [GradientAccumulator],
    ) -> Result<InputGrads> {
        match call.xs.dtype() {
            DType::F32 => self.back::<f32>(call, saved, output_grads, needs, accumulators),
            DType::F64 => self.back::<f64>(call, saved, output_grads, needs, accumulators),
            other => bail!("{}: expected f32 or f64, got {other:?}", R::NAME),
        }
    }
}

/// What is kept between the ways.
struct Kept<F: KernelFloat> {
    weights: Weights<F>,
    mask: Vec<F>,
    chunks: Vec<Vec<Segment<F>>>,
}

/// Steps of a chunk, and what is kept of them.
struct Segment<F: KernelFloat> {
    steps: Range<usize>,
    kept: Trail<F>,
}

/// What is kept of a segment.
enum Trail<F: KernelFloat> {
    /// All that the way back needs.
    History(History<F>),
    /// The state at its start, from which the rest is computed again.
    Start(Vec<F>, Vec<F>),
}

impl<R: Rule> Kernel<R> {
    fn forth<F: KernelFloat>(
        &self,
        call: &SequenceInput,
        outputs: bool,
        saved: bool,
    ) -> Result<Forward> {
        let weights = Weights::<F>::of::<R>(&call.params, self.projected)?;
        let (batch, time, steps) =
            (call.time_index.batch(), call.time_index.time(), call.time_index.steps());
        let Sizes { hidden, output, .. } = weights.sizes;
        let mask = call.masks.recurrent.as_ref().map(values::<F>).transpose()?.unwrap_or_default();
        let (mut h, mut c) = state::<F, R>(&call.carry)?;
        let mut ys = vec![F::ZERO; if outputs { batch * time * output } else { 0 }];
        let segment = call.segment.unwrap_or(steps).min(steps);
        let chunks: Vec<_> = with_values::<F, _>(&call.xs, |xs| {
            let mut parts =
                Parts::new([(&mut h, output), (&mut c, hidden), (&mut ys, time * output)]);
            let work = self.chunks(call, &weights, &mask, xs);
            let work: Vec<_> = work.map(|chunk| (parts.next(chunk.rows.len()), chunk)).collect();
            let run = |([h, c, ys], chunk): (Part<F>, Chunk<F, R>)| {
                if !saved {
                    chunk.forth(0..steps, h, c, ys, false);
                    return Vec::new();
                }
                let segments = (0..steps).step_by(segment).map(|first| {
                    let steps = first..(first + segment).min(steps);
                    let start =
                        call.segment.is_some().then(|| Trail::Start(h.to_vec(), c.to_vec()));
                    let history = chunk.forth(steps.clone(), h, c, ys, start.is_none());
                    let kept =
                        start.or(history.map(Trail::History)).expect("one of them was asked for");
                    Segment { steps, kept }
                });
                segments.collect()
            };
            work.into_par_iter().map(run).collect()
        })?;
        let shape = Shape::from((batch, time, output));
        Ok(Forward {
            outputs: outputs.then(|| EngineValue::Host(F::to_cpu_storage_owned(ys), shape)),
            carry: tensors::<F, R>(h, c, batch, [output, hidden])?,
            saved: saved.then(|| -> Saved { Box::new(Kept { weights, mask, chunks }) }),
        })
    }

    fn back<F: KernelFloat>(
        &self,
        call: &SequenceInput,
        saved: &Saved,
        output_grads: &OutputGrads,
        needs: NeedsGrad,
        accumulators: &mut [GradientAccumulator],
    ) -> Result<InputGrads> {
        let Some(Kept { weights, mask, chunks }) = saved.downcast_ref::<Kept<F>>() else {
            bail!("{}: the reserve is that of another engine", R::NAME)
        };
        let (batch, time) = (call.time_index.batch(), call.time_index.time());
        let Sizes { input, hidden, output, .. } = weights.sizes;
        let (mut dh, mut dc) = state::<F, R>(&output_grads.carry)?;
        let mut dxs = vec![F::ZERO; if needs.xs { batch * time * input } else { 0 }];
        let (matrices, empty) = (weights.back(), accumulators.to_vec());
        let mut go = |xs: &[F], grad_ys: &[F]| -> Vec<_> {
            let mut parts =
                Parts::new([(&mut dh, output), (&mut dc, hidden), (&mut dxs, time * input)]);
            let work = self.chunks(call, weights, mask, xs).zip(chunks);
            let work: Vec<_> = work
                .map(|(chunk, segments)| (parts.next(chunk.rows.len()), chunk, segments))
                .collect();
            let run =
                |([dh, dc, dxs], chunk, segments): (Part<F>, Chunk<F, R>, &Vec<Segment<F>>)| {
                    let mut accumulators = empty.clone();
                    let mut grads = needs.params.then(|| WeightGradients::zeros(weights));
                    let width = time * output;
                    let grad_ys = grad_ys
                        .get(chunk.rows.start * width..chunk.rows.end * width)
                        .unwrap_or_default();
                    let (matrices, grads_of) = (&matrices, grads.as_mut());
                    let mut back = Back {
                        matrices,
                        grad_ys,
                        grads: grads_of,
                        dxs,
                        accumulators: &mut accumulators,
                    };
                    for Segment { steps, kept } in segments.iter().rev() {
                        match kept {
                            Trail::History(history) => {
                                chunk.back(steps.clone(), history, dh, dc, &mut back)
                            }
                            Trail::Start(h, c) => {
                                let (mut h, mut c) = (h.clone(), c.clone());
                                let again =
                                    chunk.forth(steps.clone(), &mut h, &mut c, &mut [], true);
                                let history = again.expect("it was asked for");
                                chunk.back(steps.clone(), &history, dh, dc, &mut back);
                            }
                        }
                    }
                    (grads, accumulators)
                };
            work.into_par_iter().map(run).collect()
        };
        let done = with_values::<F, _>(&call.xs, |xs| match &output_grads.outputs {
            Some(grad_ys) => with_values::<F, _>(grad_ys, |grad_ys| go(xs, grad_ys)),
            None => Ok(go(xs, &[])),
        })??;
        let mut total: Option<WeightGradients<F>> = None;
        for (grads, chunk_probes) in done {
            accumulators
                .iter_mut()
                .zip(&chunk_probes)
                .for_each(|(accumulator, chunk)| accumulator.merge(chunk));
            match (&mut total, grads) {
                (Some(total), Some(grads)) => total.add(&grads),
                (total, grads) => *total = grads,
            }
        }
        Ok(InputGrads {
            xs: needs
                .xs
                .then(|| Tensor::from_vec(dxs, (batch, time, input), &Device::Cpu))
                .transpose()?,
            params: total.map_or(Ok(Vec::new()), |total| total.tensors::<R>(weights))?,
            carry: tensors::<F, R>(dh, dc, batch, [output, hidden])?,
        })
    }

    fn chunks<'a, F: KernelFloat>(
        &'a self,
        call: &'a SequenceInput,
        weights: &'a Weights<F>,
        mask: &'a [F],
        xs: &'a [F],
    ) -> impl Iterator<Item = Chunk<'a, F, R>> {
        let (batch, width) =
            (call.time_index.batch(), call.time_index.time() * weights.sizes.input);
        let size = chunk_rows(batch);
        (0..batch).step_by(size).map(move |start| {
            let rows = start..(start + size).min(batch);
            let of = |width: usize| rows.start * width..rows.end * width;
            let stepper = Stepper {
                rule: &self.rule,
                weights,
                temporal_residual: self.temporal_residual.map(F::from_f64),
                zoneout: [call.masks.zoneout(0), call.masks.zoneout(1)],
                mask: mask.get(of(weights.sizes.output)).unwrap_or_default(),
            };
            Chunk {
                stepper,
                time_index: &call.time_index,
                bptt: call.bptt,
                xs: &xs[of(width)],
                rows,
            }
        })
    }
}

/// How many examples run together. It does not depend on the number of threads, and so neither do the bits of the result.
fn chunk_rows(batch: usize) -> usize {
    batch.div_ceil(2).clamp(16, 64)
}

/// One chunk's rows of h, of c, and of the values beside them.
type Part<'a, F> = [&'a mut [F]; 3];

/// Cuts the state and the values beside it into the rows of chunks: slices with their width.
struct Parts<'a, F>([(&'a mut [F], usize); 3]);

impl<'a, F> Parts<'a, F> {
    fn new(parts: [(&'a mut Vec<F>, usize); 3]) -> Self {
        Self(parts.map(|(values, width)| (&mut values[..], width)))
    }

    /// The next `rows` rows of each; nothing of an empty one.
    fn next(&mut self, rows: usize) -> Part<'a, F> {
        self.0.each_mut().map(|(values, width)| {
            let count = (rows * *width).min(values.len());
            let (first, rest) = std::mem::take(values).split_at_mut(count);
            *values = rest;
            first
        })
    }
}

/// The fields of the state as slices of their own.
fn state<F: KernelFloat, R: Rule>(fields: &[Tensor]) -> Result<(Vec<F>, Vec<F>)> {
    match fields {
        [h] if !R::MEMORY => Ok((values(h)?, Vec::new())),
        [h, c] if R::MEMORY => Ok((values(h)?, values(c)?)),
        other => bail!(
            "{}: expected another number of fields in the state, got {}",
            R::NAME,
            other.len()
        ),
    }
}

fn tensors<F: KernelFloat, R: Rule>(
    h: Vec<F>,
    c: Vec<F>,
    batch: usize,
    sizes: [usize; 2],
) -> Result<Vec<Tensor>> {
    let fields = if R::MEMORY { vec![h, c] } else { vec![h] };
    let tensor = |(values, size)| Tensor::from_vec(values, (batch, size), &Device::Cpu);
    fields.into_iter().zip(sizes).map(tensor).collect()
}
