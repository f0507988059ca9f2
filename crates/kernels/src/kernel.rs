//! A rule as an engine: chunks of rows, over threads.

use crate::backward::{Back, WeightGradients};
use crate::forward::{Chunk, Reserve as ChunkReserve};
use crate::weights::{values, with_values, Weights};
use crate::{Float, Rule};
use candle::{bail, DType, Device, Result, Shape, Tensor};
use rayon::prelude::*;
use recurrent_core::{Call, Engine, Forward, Gradients, Probe, Reserve, Upstream, Value, Wants};
use std::sync::Arc;

/// Examples that run together. Chunks do not depend on the number of threads, so neither do the bits of the result.
const CHUNK: usize = 32;

/// A [`Rule`] run over whole sequences on the CPU, in f32 and f64.
///
/// Its weights are `weight_ih`, `weight_hh` and then the rule's own vectors, or, if it has none and there are biases, `bias_ih`
/// and `bias_hh`, in this order. Chunks of 32 examples run
/// in parallel in the current rayon pool.
#[derive(Clone, Debug)]
pub struct Kernel<R> {
    rule: R,
    over_time: Option<f64>,
}

impl<R: Rule> Kernel<R> {
    /// The rule, run over sequences.
    pub fn new(rule: R) -> Self {
        Self { rule, over_time: None }
    }
}

impl<R: Rule> Engine for Kernel<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn over_time(&self, alpha: f64) -> Option<Arc<dyn Engine>> {
        // A residual inside another says nothing new; the cell's own definition runs it.
        self.over_time
            .is_none()
            .then(|| -> Arc<dyn Engine> { Arc::new(Self { over_time: Some(alpha), ..self.clone() }) })
    }

    fn forward(&self, call: &Call, outputs: bool, reserve: bool) -> Result<Forward> {
        match call.xs.dtype() {
            DType::F32 => self.forth::<f32>(call, outputs, reserve),
            DType::F64 => self.forth::<f64>(call, outputs, reserve),
            other => bail!("{}: expected f32 or f64, got {other:?}", R::NAME),
        }
    }

    fn backward(
        &self,
        call: &Call,
        reserve: &Reserve,
        upstream: &Upstream,
        wants: Wants,
        probes: &mut [Probe],
    ) -> Result<Gradients> {
        match call.xs.dtype() {
            DType::F32 => self.back::<f32>(call, reserve, upstream, wants, probes),
            DType::F64 => self.back::<f64>(call, reserve, upstream, wants, probes),
            other => bail!("{}: expected f32 or f64, got {other:?}", R::NAME),
        }
    }
}

/// What is kept between the ways.
struct Kept<F> {
    weights: Weights<F>,
    chunks: Vec<ChunkReserve<F>>,
}

impl<R: Rule> Kernel<R> {
    fn forth<F: Float>(&self, call: &Call, outputs: bool, reserve: bool) -> Result<Forward> {
        let weights = Weights::<F>::of::<R>(call)?;
        let (batch, time, hidden) = (call.route.batch(), call.route.time(), weights.sizes.hidden);
        let (mut h, mut c) = state::<F, R>(&call.carry)?;
        let mut ys = vec![F::ZERO; if outputs { batch * time * hidden } else { 0 }];
        let chunks: Vec<_> = with_values::<F, _>(&call.xs, |xs| {
            let mut parts = Parts::new(&mut h, &mut c, &mut ys, hidden, time * hidden);
            let work = self.chunks(call, &weights, xs).map(|chunk| (parts.next(chunk.rows.len()), chunk));
            let work: Vec<_> = work.collect();
            work.into_par_iter().map(|((h, c, ys), chunk)| chunk.forth(h, c, ys, reserve)).collect()
        })?;
        let shape = Shape::from((batch, time, hidden));
        Ok(Forward {
            outputs: outputs.then(|| Value::Host(F::to_cpu_storage_owned(ys), shape)),
            carry: tensors::<F, R>(h, c, batch, hidden)?,
            reserve: reserve.then(|| -> Reserve {
                let chunks =
                    chunks.into_iter().map(|chunk| chunk.expect("the reserve was asked for")).collect();
                Box::new(Kept { weights, chunks })
            }),
        })
    }

    fn back<F: Float>(
        &self,
        call: &Call,
        reserve: &Reserve,
        upstream: &Upstream,
        wants: Wants,
        probes: &mut [Probe],
    ) -> Result<Gradients> {
        let Some(Kept { weights, chunks }) = reserve.downcast_ref::<Kept<F>>() else {
            bail!("{}: the reserve is that of another engine", R::NAME)
        };
        let (batch, time) = (call.route.batch(), call.route.time());
        let (input, hidden) = (weights.sizes.input, weights.sizes.hidden);
        let (mut dh, mut dc) = state::<F, R>(&upstream.carry)?;
        let grad_ys = upstream.outputs.as_ref().map(values::<F>).transpose()?.unwrap_or_default();
        let mut dxs = vec![F::ZERO; if wants.xs { batch * time * input } else { 0 }];
        let empty = probes.to_vec();
        let done: Vec<_> = with_values::<F, _>(&call.xs, |xs| {
            let mut parts = Parts::new(&mut dh, &mut dc, &mut dxs, hidden, time * input);
            let work = self.chunks(call, weights, xs).map(|chunk| (parts.next(chunk.rows.len()), chunk));
            let work: Vec<_> =
                work.zip(chunks).map(|((part, chunk), reserve)| (part, chunk, reserve)).collect();
            let run = |((dh, dc, dxs), chunk, reserve): (Part<F>, Chunk<F, R>, &ChunkReserve<F>)| {
                let mut probes = empty.clone();
                let width = time * hidden;
                let grad_ys = if grad_ys.is_empty() {
                    &[]
                } else {
                    &grad_ys[chunk.rows.start * width..chunk.rows.end * width]
                };
                let back = Back { reserve, grad_ys, wants, probes: &mut probes };
                let (mut own_h, mut own_c) = (dh.to_vec(), dc.to_vec());
                let grads = chunk.back(back, &mut own_h, &mut own_c, dxs);
                dh.copy_from_slice(&own_h);
                dc.copy_from_slice(&own_c);
                (grads, probes)
            };
            work.into_par_iter().map(run).collect()
        })?;
        let mut total: Option<WeightGradients<F>> = None;
        for (grads, chunk_probes) in done {
            probes.iter_mut().zip(&chunk_probes).for_each(|(probe, chunk)| probe.merge(chunk));
            match (&mut total, grads) {
                (Some(total), Some(grads)) => total.add(&grads),
                (total, grads) => *total = grads,
            }
        }
        Ok(Gradients {
            xs: wants.xs.then(|| Tensor::from_vec(dxs, (batch, time, input), &Device::Cpu)).transpose()?,
            params: total.map_or(Ok(Vec::new()), |total| total.tensors(weights))?,
            carry: tensors::<F, R>(dh, dc, batch, hidden)?,
        })
    }

    fn chunks<'a, F: Float>(
        &'a self,
        call: &'a Call,
        weights: &'a Weights<F>,
        xs: &'a [F],
    ) -> impl Iterator<Item = Chunk<'a, F, R>> {
        let (batch, width) = (call.route.batch(), call.route.time() * weights.sizes.input);
        (0..batch).step_by(CHUNK).map(move |start| {
            let rows = start..(start + CHUNK).min(batch);
            let xs = &xs[rows.start * width..rows.end * width];
            Chunk {
                rule: &self.rule,
                over_time: self.over_time.map(F::from_f64),
                weights,
                route: &call.route,
                rows,
                xs,
            }
        })
    }
}

/// One chunk's rows of the state and of the values beside it.
type Part<'a, F> = (&'a mut [F], &'a mut [F], &'a mut [F]);

/// Cuts the state and the values beside it into the rows of chunks.
struct Parts<'a, F> {
    h: &'a mut [F],
    c: &'a mut [F],
    values: &'a mut [F],
    hidden: usize,
    width: usize,
}

impl<'a, F> Parts<'a, F> {
    fn new(h: &'a mut [F], c: &'a mut [F], values: &'a mut [F], hidden: usize, width: usize) -> Self {
        Self { h, c, values, hidden, width }
    }

    fn next(&mut self, rows: usize) -> Part<'a, F> {
        (
            cut(&mut self.h, rows * self.hidden),
            cut(&mut self.c, rows * self.hidden),
            cut(&mut self.values, rows * self.width),
        )
    }
}

/// The first `count` elements of `slice`, which loses them; none of an empty one.
fn cut<'a, F>(slice: &mut &'a mut [F], count: usize) -> &'a mut [F] {
    let count = count.min(slice.len());
    let (first, rest) = std::mem::take(slice).split_at_mut(count);
    *slice = rest;
    first
}

/// The fields of the state as slices of their own.
fn state<F: Float, R: Rule>(fields: &[Tensor]) -> Result<(Vec<F>, Vec<F>)> {
    match fields {
        [h] if !R::MEMORY => Ok((values(h)?, Vec::new())),
        [h, c] if R::MEMORY => Ok((values(h)?, values(c)?)),
        other => bail!("{}: expected another number of fields in the state, got {}", R::NAME, other.len()),
    }
}

fn tensors<F: Float, R: Rule>(h: Vec<F>, c: Vec<F>, batch: usize, hidden: usize) -> Result<Vec<Tensor>> {
    let tensor = |values| Tensor::from_vec(values, (batch, hidden), &Device::Cpu);
    let fields = if R::MEMORY { vec![h, c] } else { vec![h] };
    fields.into_iter().map(tensor).collect()
}
