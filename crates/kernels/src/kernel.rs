//! The driver: runs a [`CellKernel`] as an engine, in chunks of rows over threads.

use crate::backward::BackwardArgs;
use crate::forward::{Chunk, Stepper, Tape};
use crate::gradients::WeightGradients;
use crate::inference::InferenceKernel;
use crate::weights::{values, with_values, PackedWeights, Sizes};
use crate::{CellKernel, KernelFloat};
use candle_core::{bail, DType, Device, Result, Shape, Tensor};
use rayon::prelude::*;
use recurrent_core::{
    BackwardInput, Engine, EngineValue, Forward, InferenceLayer, InputGrads, Saved, SequenceInput,
    StepMasks,
};
use std::ops::Range;
use std::sync::Arc;

/// A [`CellKernel`] run over whole sequences on the CPU, in f32 and f64.
///
/// Its weights are, in this order: `weight_ih`, `weight_hh`, optionally `bias_ih` and `bias_hh`,
/// `weight_hr` if the output is [projected](Kernel::projected), and the cell's extra vectors.
/// Chunks of examples run in parallel in the current rayon pool.
#[derive(Clone, Debug)]
pub struct Kernel<K> {
    cell: K,
    temporal_residual: Option<f64>,
    projected: bool,
}

impl<K: CellKernel> Kernel<K> {
    /// Wraps a cell kernel.
    pub fn new(cell: K) -> Self {
        Self { cell, temporal_residual: None, projected: false }
    }

    /// Adds a projection of the output: h_t = W_hr (output of the cell), with `weight_hr` `(output,
    /// hidden)`.
    #[must_use]
    pub fn projected(self) -> Self {
        Self { projected: true, ..self }
    }
}

impl<K: CellKernel> Engine for Kernel<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn temporal_residual(&self, alpha: f64) -> Option<Arc<dyn Engine>> {
        // Only one temporal residual: a second one is left to replay of the cell's `step`.
        self.temporal_residual.is_none().then(|| -> Arc<dyn Engine> {
            Arc::new(Self { temporal_residual: Some(alpha), ..self.clone() })
        })
    }

    fn to_inference(
        &self,
        params: &[Tensor],
        start: &[Tensor],
        masks: &StepMasks,
    ) -> Result<Option<Arc<dyn InferenceLayer>>> {
        let (h, c) = state::<f32, K>(start)?;
        Ok(Some(Arc::new(InferenceKernel {
            cell: self.cell.clone(),
            temporal_residual: self.temporal_residual.map(|alpha| alpha as f32),
            zoneout: [masks.zoneout(0), masks.zoneout(1)],
            weights: PackedWeights::new::<K>(params, self.projected)?,
            start: [h, c],
        })))
    }

    fn forward(&self, inputs: &SequenceInput, outputs: bool, saved: bool) -> Result<Forward> {
        match inputs.xs.dtype() {
            DType::F32 => self.run_forward::<f32>(inputs, outputs, saved),
            DType::F64 => self.run_forward::<f64>(inputs, outputs, saved),
            other => bail!("{}: expected f32 or f64, got {other:?}", K::NAME),
        }
    }

    fn backward(&self, input: BackwardInput) -> Result<InputGrads> {
        match input.inputs.xs.dtype() {
            DType::F32 => self.run_backward::<f32>(input),
            DType::F64 => self.run_backward::<f64>(input),
            other => bail!("{}: expected f32 or f64, got {other:?}", K::NAME),
        }
    }
}

/// The values that the forward pass saves for the backward pass.
struct SavedRun<F: KernelFloat> {
    weights: PackedWeights<F>,
    mask: Vec<F>,
    chunks: Vec<Vec<Segment<F>>>,
}

/// A range of steps of a chunk, and the values saved for it.
struct Segment<F: KernelFloat> {
    steps: Range<usize>,
    saved: SavedSegment<F>,
}

/// The values saved for a segment.
enum SavedSegment<F: KernelFloat> {
    /// All values that the backward pass needs.
    Tape(Tape<F>),
    /// The state at its start, from which the rest is recomputed.
    Start(Vec<F>, Vec<F>),
}

impl<K: CellKernel> Kernel<K> {
    fn run_forward<F: KernelFloat>(
        &self,
        inputs: &SequenceInput,
        outputs: bool,
        saved: bool,
    ) -> Result<Forward> {
        let weights = PackedWeights::<F>::new::<K>(&inputs.params, self.projected)?;
        let (batch, time, steps) =
            (inputs.time_index.batch(), inputs.time_index.time(), inputs.time_index.steps());
        let Sizes { hidden, output, .. } = weights.sizes;
        let mask =
            inputs.masks.recurrent.as_ref().map(values::<F>).transpose()?.unwrap_or_default();
        let (mut h, mut c) = state::<F, K>(&inputs.carry)?;
        let mut ys = vec![F::ZERO; if outputs { batch * time * output } else { 0 }];
        let segment = inputs.segment.unwrap_or(steps).min(steps);
        let chunks: Vec<_> = with_values::<F, _>(&inputs.xs, |xs| {
            let mut parts =
                ChunkSplitter::new([(&mut h, output), (&mut c, hidden), (&mut ys, time * output)]);
            let work = self.chunks(inputs, &weights, &mask, xs);
            let work: Vec<_> = work.map(|chunk| (parts.next(chunk.rows.len()), chunk)).collect();
            let run = |([h, c, ys], chunk): (ChunkSlices<F>, Chunk<F, K>)| {
                if !saved {
                    chunk.forward(0..steps, h, c, ys, false);
                    return Vec::new();
                }
                let segments = (0..steps).step_by(segment).map(|first| {
                    let steps = first..(first + segment).min(steps);
                    let start = inputs
                        .segment
                        .is_some()
                        .then(|| SavedSegment::Start(h.to_vec(), c.to_vec()));
                    let tape = chunk.forward(steps.clone(), h, c, ys, start.is_none());
                    let saved =
                        start.or(tape.map(SavedSegment::Tape)).expect("one of them was asked for");
                    Segment { steps, saved }
                });
                segments.collect()
            };
            work.into_par_iter().map(run).collect()
        })?;
        let shape = Shape::from((batch, time, output));
        Ok(Forward {
            outputs: outputs.then(|| EngineValue::Host(F::to_cpu_storage_owned(ys), shape)),
            carry: state_tensors::<F, K>(h, c, batch, [output, hidden])?,
            saved: saved.then(|| -> Saved { Box::new(SavedRun { weights, mask, chunks }) }),
        })
    }

    fn run_backward<F: KernelFloat>(&self, input: BackwardInput) -> Result<InputGrads> {
        let BackwardInput { inputs, saved, output_grads, needs, accumulators } = input;
        let Some(SavedRun { weights, mask, chunks }) = saved.downcast_ref::<SavedRun<F>>() else {
            bail!("{}: the saved values are those of another engine", K::NAME)
        };
        let (batch, time) = (inputs.time_index.batch(), inputs.time_index.time());
        let Sizes { input, hidden, output, .. } = weights.sizes;
        let (mut dh, mut dc) = state::<F, K>(&output_grads.carry)?;
        let mut dxs = vec![F::ZERO; if needs.xs { batch * time * input } else { 0 }];
        let (matrices, empty) = (weights.backward_matrices(), accumulators.to_vec());
        let mut run_chunks = |xs: &[F], grad_ys: &[F]| -> Vec<_> {
            let mut parts = ChunkSplitter::new([
                (&mut dh, output),
                (&mut dc, hidden),
                (&mut dxs, time * input),
            ]);
            let work = self.chunks(inputs, weights, mask, xs).zip(chunks);
            let work: Vec<_> = work
                .map(|(chunk, segments)| (parts.next(chunk.rows.len()), chunk, segments))
                .collect();
            let run = |([dh, dc, dxs], chunk, segments): (
                ChunkSlices<F>,
                Chunk<F, K>,
                &Vec<Segment<F>>,
            )| {
                let mut accumulators = empty.clone();
                let mut grads = needs.params.then(|| WeightGradients::zeros(weights));
                let width = time * output;
                let grad_ys = grad_ys
                    .get(chunk.rows.start * width..chunk.rows.end * width)
                    .unwrap_or_default();
                let (matrices, grads_of) = (&matrices, grads.as_mut());
                let mut args = BackwardArgs {
                    matrices,
                    grad_ys,
                    grads: grads_of,
                    dxs,
                    accumulators: &mut accumulators,
                };
                for Segment { steps, saved } in segments.iter().rev() {
                    match saved {
                        SavedSegment::Tape(tape) => {
                            chunk.backward(steps.clone(), tape, dh, dc, &mut args)
                        }
                        SavedSegment::Start(h, c) => {
                            let (mut h, mut c) = (h.clone(), c.clone());
                            let recomputed =
                                chunk.forward(steps.clone(), &mut h, &mut c, &mut [], true);
                            let tape = recomputed.expect("it was asked for");
                            chunk.backward(steps.clone(), &tape, dh, dc, &mut args);
                        }
                    }
                }
                (grads, accumulators)
            };
            work.into_par_iter().map(run).collect()
        };
        let done = with_values::<F, _>(&inputs.xs, |xs| match &output_grads.outputs {
            Some(grad_ys) => with_values::<F, _>(grad_ys, |grad_ys| run_chunks(xs, grad_ys)),
            None => Ok(run_chunks(xs, &[])),
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
            params: total.map_or(Ok(Vec::new()), |total| total.tensors::<K>(weights))?,
            carry: state_tensors::<F, K>(dh, dc, batch, [output, hidden])?,
        })
    }

    fn chunks<'a, F: KernelFloat>(
        &'a self,
        inputs: &'a SequenceInput,
        weights: &'a PackedWeights<F>,
        mask: &'a [F],
        xs: &'a [F],
    ) -> impl Iterator<Item = Chunk<'a, F, K>> {
        let (batch, width) =
            (inputs.time_index.batch(), inputs.time_index.time() * weights.sizes.input);
        let size = chunk_rows(batch);
        (0..batch).step_by(size).map(move |start| {
            let rows = start..(start + size).min(batch);
            let of = |width: usize| rows.start * width..rows.end * width;
            let stepper = Stepper {
                cell: &self.cell,
                weights,
                temporal_residual: self.temporal_residual.map(F::from_f64),
                zoneout: [inputs.masks.zoneout(0), inputs.masks.zoneout(1)],
                mask: mask.get(of(weights.sizes.output)).unwrap_or_default(),
            };
            Chunk {
                stepper,
                time_index: &inputs.time_index,
                bptt: inputs.bptt,
                xs: &xs[of(width)],
                rows,
            }
        })
    }
}

/// The number of examples that run together. It does not depend on the number of threads, so the
/// bits of the result do not either.
pub(crate) fn chunk_rows(batch: usize) -> usize {
    batch.div_ceil(2).clamp(16, 64)
}

/// One chunk's rows of h, of c, and of the values that go with them.
type ChunkSlices<'a, F> = [&'a mut [F]; 3];

/// Splits h, c and the values that go with them into the rows of chunks; each slice has its width.
struct ChunkSplitter<'a, F>([(&'a mut [F], usize); 3]);

impl<'a, F> ChunkSplitter<'a, F> {
    fn new(parts: [(&'a mut Vec<F>, usize); 3]) -> Self {
        Self(parts.map(|(values, width)| (&mut values[..], width)))
    }

    /// The next `rows` rows of each slice; an empty slice stays empty.
    fn next(&mut self, rows: usize) -> ChunkSlices<'a, F> {
        self.0.each_mut().map(|(values, width)| {
            let count = (rows * *width).min(values.len());
            let (first, rest) = std::mem::take(values).split_at_mut(count);
            *values = rest;
            first
        })
    }
}

/// The fields of the state as vectors: h, and c or an empty vector.
fn state<F: KernelFloat, K: CellKernel>(fields: &[Tensor]) -> Result<(Vec<F>, Vec<F>)> {
    match fields {
        [h] if !K::CELL_STATE => Ok((values(h)?, Vec::new())),
        [h, c] if K::CELL_STATE => Ok((values(h)?, values(c)?)),
        other => bail!(
            "{}: expected another number of fields in the state, got {}",
            K::NAME,
            other.len()
        ),
    }
}

fn state_tensors<F: KernelFloat, K: CellKernel>(
    h: Vec<F>,
    c: Vec<F>,
    batch: usize,
    sizes: [usize; 2],
) -> Result<Vec<Tensor>> {
    let fields = if K::CELL_STATE { vec![h, c] } else { vec![h] };
    let tensor = |(values, size)| Tensor::from_vec(values, (batch, size), &Device::Cpu);
    fields.into_iter().zip(sizes).map(tensor).collect()
}
