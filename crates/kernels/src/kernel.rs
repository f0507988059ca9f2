//! The driver: runs the program of a description as an engine, in chunks of examples over threads.

use crate::backward::BackwardArgs;
use crate::buffer::Buffer;
use crate::forward::Chunk;
use crate::inference::InferenceKernel;
use crate::program::Program;
use crate::step::Batch;
use crate::weights::{values, with_values, WeightGrads, Weights};
use crate::KernelFloat;
use candle_core::{bail, DType, Device, Result, Shape, Tensor};
use rayon::prelude::*;
use recurrent_core::description::{Additions, Graph};
use recurrent_core::{
    BackwardInput, Engine, EngineValue, Forward, InferenceLayer, InputGrads, Saved, SequenceInput,
    StepMasks, Zoneout,
};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Describes a cell with what the driver adds.
type Description = Arc<dyn Fn(Additions) -> Result<Graph> + Send + Sync>;

/// Programs by what the driver adds.
type Programs = Arc<Mutex<Vec<(Additions, Arc<Program>)>>>;

/// A described cell run over whole sequences on the CPU, in f32 and f64.
#[derive(Clone)]
pub struct Kernel {
    name: &'static str,
    field_names: &'static [&'static str],
    pub(crate) describe: Description,
    temporal_residual: Option<f64>,
    /// The programs that have been needed so far.
    programs: Programs,
}

impl Kernel {
    /// The kernel called `name` of the graph that `describe` returns, whose fields have the names
    /// `field_names`.
    pub fn new(
        name: &'static str,
        field_names: &'static [&'static str],
        describe: impl Fn(Additions) -> Result<Graph> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            field_names,
            describe: Arc::new(describe),
            temporal_residual: None,
            programs: Arc::default(),
        }
    }

    /// The program for a call with these masks.
    fn program(&self, masks: &StepMasks) -> Result<Arc<Program>> {
        let fields = 0..self.field_names.len();
        let additions = Additions {
            temporal_residual: self.temporal_residual,
            mask: masks.recurrent.is_some(),
            zoneout: fields.map(|field| masks.zoneout(field).is_some()).collect(),
        };
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, program)) = programs.iter().find(|(known, _)| *known == additions) {
            return Ok(program.clone());
        }
        let program = Arc::new(Program::new(&(self.describe)(additions.clone())?));
        programs.push((additions, program.clone()));
        Ok(program)
    }
}

/// The values that the forward pass saves for the backward pass.
struct SavedRun<F: KernelFloat> {
    program: Arc<Program>,
    weights: Weights<F>,
    mask: Vec<F>,
    chunks: Vec<Vec<Segment<F>>>,
}

/// A range of steps of a chunk, and the values saved for it.
struct Segment<F: KernelFloat> {
    steps: Range<usize>,
    saved: SavedSegment<F>,
}

enum SavedSegment<F: KernelFloat> {
    /// All values that the backward pass needs.
    Tape(Buffer<F>),
    /// The state at its start, from which the rest is recomputed.
    Start(Vec<Vec<F>>),
}

impl Engine for Kernel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn temporal_residual(&self, alpha: f64) -> Option<Arc<dyn Engine>> {
        self.temporal_residual.is_none().then(|| -> Arc<dyn Engine> {
            Arc::new(Self {
                temporal_residual: Some(alpha),
                programs: Arc::default(),
                ..self.clone()
            })
        })
    }

    fn to_inference(
        &self,
        params: &[Tensor],
        start: &[Tensor],
        masks: &StepMasks,
    ) -> Result<Option<Arc<dyn InferenceLayer>>> {
        let program = self.program(masks)?;
        Ok(Some(Arc::new(InferenceKernel {
            weights: Weights::new(&program.graph, params)?,
            zoneout: zoneout(masks, start.len()),
            start: start.iter().map(values::<f32>).collect::<Result<_>>()?,
            field_names: self.field_names,
            program,
        })))
    }

    fn forward(&self, inputs: &SequenceInput, outputs: bool, saved: bool) -> Result<Forward> {
        match inputs.xs.dtype() {
            DType::F32 => self.run_forward::<f32>(inputs, outputs, saved),
            DType::F64 => self.run_forward::<f64>(inputs, outputs, saved),
            other => bail!("{}: expected f32 or f64, got {other:?}", self.name),
        }
    }

    fn backward(&self, input: BackwardInput) -> Result<InputGrads> {
        match input.inputs.xs.dtype() {
            DType::F32 => self.run_backward::<f32>(input),
            DType::F64 => self.run_backward::<f64>(input),
            other => bail!("{}: expected f32 or f64, got {other:?}", self.name),
        }
    }
}

/// The rows of a chunk of examples in all fields, and in one other tensor.
type ChunkSlices<'a, F> = (Vec<&'a mut [F]>, &'a mut [F]);

/// Cuts fields, and another tensor with `width` values an example or none, into chunks of examples.
fn cut<'a, F>(
    fields: &'a mut [Vec<F>],
    sizes: &[usize],
    (other, width): (&'a mut [F], usize),
    rows: &[Range<usize>],
) -> Vec<ChunkSlices<'a, F>> {
    let count = rows.first().map_or(1, |rows| rows.len());
    let fields = fields.iter_mut().zip(sizes);
    let mut fields: Vec<_> = fields.map(|(field, size)| field.chunks_mut(count * size)).collect();
    let mut other = other.chunks_mut(count * width);
    let chunk = |_: &Range<usize>| {
        let own = fields.iter_mut().map(|field| field.next().unwrap_or_default());
        (own.collect(), other.next().unwrap_or_default())
    };
    rows.iter().map(chunk).collect()
}

impl Kernel {
    fn run_forward<F: KernelFloat>(
        &self,
        inputs: &SequenceInput,
        outputs: bool,
        saved: bool,
    ) -> Result<Forward> {
        let program = self.program(&inputs.masks)?;
        let weights = Weights::<F>::new(&program.graph, &inputs.params)?;
        let (batch, time, steps) =
            (inputs.time_index.batch(), inputs.time_index.time(), inputs.time_index.steps());
        let sizes = &program.graph.fields;
        let output = sizes[0];
        let mask =
            inputs.masks.recurrent.as_ref().map(values::<F>).transpose()?.unwrap_or_default();
        let zoneout = zoneout(&inputs.masks, sizes.len());
        let mut state = inputs.carry.iter().map(values::<F>).collect::<Result<Vec<_>>>()?;
        let mut ys = vec![F::ZERO; if outputs { batch * time * output } else { 0 }];
        let segment = inputs.segment.unwrap_or(steps).min(steps);
        let chunks: Vec<_> = with_values::<F, _>(&inputs.xs, |xs| {
            let rows = chunks(batch);
            let parts = cut(&mut state, sizes, (&mut ys, time * output), &rows);
            let work: Vec<_> = rows
                .iter()
                .zip(parts)
                .map(|(rows, parts)| {
                    (chunk(&program, inputs, &weights, (&mask, &zoneout), xs, rows), parts)
                })
                .collect();
            let run = |(chunk, (mut state, ys)): (Chunk<F>, ChunkSlices<F>)| {
                if !saved {
                    chunk.forward(0..steps, &mut state, ys, false);
                    return Vec::new();
                }
                let segments = (0..steps).step_by(segment).map(|first| {
                    let steps = first..(first + segment).min(steps);
                    let start = inputs.segment.is_some().then(|| {
                        SavedSegment::Start(state.iter().map(|field| field.to_vec()).collect())
                    });
                    let tape = chunk.forward(steps.clone(), &mut state, ys, start.is_none());
                    let saved =
                        start.or(tape.map(SavedSegment::Tape)).expect("one of them was asked for");
                    Segment { steps, saved }
                });
                segments.collect()
            };
            work.into_par_iter().map(run).collect()
        })?;
        let shape = Shape::from((batch, time, output));
        let carry = tensors(state, sizes, batch)?;
        let saved =
            saved.then(|| -> Saved { Box::new(SavedRun { program, weights, mask, chunks }) });
        Ok(Forward {
            outputs: outputs.then(|| EngineValue::Host(F::to_cpu_storage_owned(ys), shape)),
            carry,
            saved,
        })
    }

    fn run_backward<F: KernelFloat>(&self, input: BackwardInput) -> Result<InputGrads> {
        let BackwardInput { inputs, saved, output_grads, needs, accumulators } = input;
        let Some(SavedRun { program, weights, mask, chunks: saved }) =
            saved.downcast_ref::<SavedRun<F>>()
        else {
            bail!("{}: the saved values are those of another engine", self.name)
        };
        let (batch, time) = (inputs.time_index.batch(), inputs.time_index.time());
        let graph = &program.graph;
        let (sizes, output) = (&graph.fields, graph.fields[0]);
        let zoneout = zoneout(&inputs.masks, sizes.len());
        let mut grad = output_grads.carry.iter().map(values::<F>).collect::<Result<Vec<_>>>()?;
        let mut dxs = vec![F::ZERO; if needs.xs { batch * time * graph.input } else { 0 }];
        let (matrices, empty) = (weights.backward(graph), accumulators.to_vec());
        let mut run_chunks = |xs: &[F], grad_ys: &[F]| -> Vec<_> {
            let rows = chunks(batch);
            let parts = cut(&mut grad, sizes, (&mut dxs, time * graph.input), &rows);
            let work: Vec<_> = rows
                .iter()
                .zip(parts)
                .zip(saved)
                .map(|((rows, parts), segments)| {
                    (chunk(program, inputs, weights, (mask, &zoneout), xs, rows), parts, segments)
                })
                .collect();
            let run = |(chunk, (mut grad, dxs), segments): (
                Chunk<F>,
                ChunkSlices<F>,
                &Vec<Segment<F>>,
            )| {
                let mut accumulators = empty.clone();
                let mut grads = needs.params.then(|| WeightGrads::zeros(weights));
                let width = time * output;
                let first = chunk.batch.first;
                let grad_ys = grad_ys
                    .get(first * width..(first + chunk.batch.rows) * width)
                    .unwrap_or_default();
                let mut args = BackwardArgs {
                    matrices: &matrices,
                    grad_ys,
                    grads: grads.as_mut(),
                    dxs,
                    accumulators: &mut accumulators,
                };
                for Segment { steps, saved } in segments.iter().rev() {
                    match saved {
                        SavedSegment::Tape(tape) => {
                            chunk.backward(steps.clone(), tape, &mut grad, &mut args)
                        }
                        SavedSegment::Start(state) => {
                            let mut state = state.clone();
                            let mut state: Vec<_> =
                                state.iter_mut().map(|field| &mut field[..]).collect();
                            let tape = chunk.forward(steps.clone(), &mut state, &mut [], true);
                            let tape = tape.expect("it was asked for");
                            chunk.backward(steps.clone(), &tape, &mut grad, &mut args);
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
        let mut total: Option<WeightGrads<F>> = None;
        for (grads, of_chunk) in done {
            accumulators
                .iter_mut()
                .zip(&of_chunk)
                .for_each(|(accumulator, chunk)| accumulator.merge(chunk));
            match (&mut total, grads) {
                (Some(total), Some(grads)) => total.add(&grads),
                (total, grads) => *total = grads,
            }
        }
        Ok(InputGrads {
            xs: needs
                .xs
                .then(|| Tensor::from_vec(dxs, (batch, time, graph.input), &Device::Cpu))
                .transpose()?,
            params: total.map_or(Ok(Vec::new()), |total| total.tensors(program))?,
            carry: tensors(grad, sizes, batch)?,
        })
    }
}

/// The zoneout of every field.
fn zoneout(masks: &StepMasks, fields: usize) -> Vec<Option<Zoneout>> {
    (0..fields).map(|field| masks.zoneout(field)).collect()
}

/// The examples of every chunk. It does not depend on the number of threads, so the bits of the
/// result do not either.
fn chunks(batch: usize) -> Vec<Range<usize>> {
    let size = batch.div_ceil(2).clamp(16, 64);
    (0..batch).step_by(size).map(|start| start..(start + size).min(batch)).collect()
}

fn chunk<'a, F: KernelFloat>(
    program: &'a Program,
    inputs: &'a SequenceInput,
    weights: &'a Weights<F>,
    (mask, zoneout): (&'a [F], &'a [Option<Zoneout>]),
    xs: &'a [F],
    rows: &Range<usize>,
) -> Chunk<'a, F> {
    let of = |width: usize| rows.start * width..rows.end * width;
    let graph = &program.graph;
    let batch = Batch {
        program,
        weights,
        zoneout,
        mask: mask.get(of(graph.fields[0])).unwrap_or_default(),
        first: rows.start,
        rows: rows.len(),
    };
    Chunk {
        batch,
        time_index: &inputs.time_index,
        bptt: inputs.bptt,
        xs: &xs[of(inputs.time_index.time() * graph.input)],
    }
}

fn tensors<F: KernelFloat>(
    fields: Vec<Vec<F>>,
    sizes: &[usize],
    batch: usize,
) -> Result<Vec<Tensor>> {
    let tensor =
        |(values, size): (Vec<F>, &usize)| Tensor::from_vec(values, (batch, *size), &Device::Cpu);
    fields.into_iter().zip(sizes).map(tensor).collect()
}
