//! The driver: runs the program of a description as an engine, in chunks of examples over threads.

use crate::backward::{block_steps, BackwardArgs};
use crate::buffer::Buffer;
use crate::forward::Chunk;
use crate::inference::InferenceKernel;
use crate::program::Program;
use crate::share::Share;
use crate::step::Batch;
use crate::team::{Exchange, Teams};
use crate::weights::{
    backward_matrices, sum_grads, values_of, weight_values, with_values, WeightGrads, Weights,
};
use crate::KernelFloat;
use candle_core::{bail, DType, Device, Result, Shape, Tensor};
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
    values: Vec<Vec<F>>,
    mask: Vec<F>,
    /// By chunk and member of its team.
    chunks: Vec<Vec<Vec<Segment<F>>>>,
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
        let values = weight_values(&program, params)?;
        Ok(Some(Arc::new(InferenceKernel {
            weights: Weights::new(&program, &values, Share::WHOLE),
            zoneout: zoneout(masks, start.len()),
            start: start.iter().map(values_of::<f32>).collect::<Result<_>>()?,
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
    let mut fields: Vec<_> = fields.iter_mut().map(|field| &mut field[..]).collect();
    let mut other = other;
    let chunk = |rows: &Range<usize>| {
        let own = fields.iter_mut().zip(sizes);
        let own = own.map(|(field, size)| field.split_off_mut(..rows.len() * size));
        let own = own.map(Option::unwrap_or_default).collect();
        (own, other.split_off_mut(..rows.len() * width).unwrap_or_default())
    };
    rows.iter().map(chunk).collect()
}

/// What the chunks of a call have in common.
struct Call<'a, F: KernelFloat> {
    program: &'a Program,
    inputs: &'a SequenceInput,
    /// The values of all weights.
    values: &'a [Vec<F>],
    mask: &'a [F],
    zoneout: &'a [Option<Zoneout>],
    xs: &'a [F],
}

impl<'a, F: KernelFloat> Call<'a, F> {
    /// The share of a member of the team of a chunk.
    fn chunk(
        &self,
        rows: &Range<usize>,
        weights: &'a Weights<F>,
        share: Share,
        exchange: Option<&'a Exchange<F>>,
    ) -> Chunk<'a, F> {
        let of = |width: usize| rows.start * width..rows.end * width;
        let graph = &self.program.graph;
        let batch = Batch {
            program: self.program,
            weights,
            zoneout: self.zoneout,
            mask: self.mask.get(of(graph.fields[0])).unwrap_or_default(),
            first: rows.start,
            rows: rows.len(),
            share,
            exchange,
        };
        Chunk {
            batch,
            time_index: &self.inputs.time_index,
            bptt: self.inputs.bptt,
            xs: &self.xs[of(self.inputs.time_index.time() * graph.input)],
        }
    }
}

/// The share of a member of a team, of fields with rows of `sizes` values.
fn own_fields<F: KernelFloat>(fields: &[&mut [F]], sizes: &[usize], share: Share) -> Vec<Vec<F>> {
    let own = |(field, &size): (&&mut [F], &usize)| {
        let own = share.of(size);
        field.chunks_exact(size).flat_map(|row| &row[own.clone()]).copied().collect()
    };
    fields.iter().zip(sizes).map(own).collect()
}

/// The inverse of [`own_fields`].
fn put_fields<F: KernelFloat>(
    fields: &mut [&mut [F]],
    sizes: &[usize],
    share: Share,
    own: &[Vec<F>],
) {
    for ((field, &size), own) in fields.iter_mut().zip(sizes).zip(own) {
        let columns = share.of(size);
        for (row, own) in field.chunks_exact_mut(size).zip(own.chunks_exact(columns.len())) {
            row[columns.clone()].copy_from_slice(own);
        }
    }
}

impl Kernel {
    fn run_forward<F: KernelFloat>(
        &self,
        inputs: &SequenceInput,
        outputs: bool,
        saved: bool,
    ) -> Result<Forward> {
        let program = self.program(&inputs.masks)?;
        let values = weight_values::<F>(&program, &inputs.params)?;
        let (batch, time, steps) =
            (inputs.time_index.batch(), inputs.time_index.time(), inputs.time_index.steps());
        let sizes = &program.graph.fields;
        let output = sizes[0];
        let mask = inputs.masks.recurrent.as_ref().map(values_of::<F>).transpose()?;
        let mask = mask.unwrap_or_default();
        let zoneout = zoneout(&inputs.masks, sizes.len());
        let mut state = inputs.carry.iter().map(values_of::<F>).collect::<Result<Vec<_>>>()?;
        let mut ys = vec![F::ZERO; if outputs { batch * time * output } else { 0 }];
        let segment = inputs.segment.unwrap_or(steps).min(steps);
        let rows = chunks(batch);
        let teams = Teams::new(&program, &rows, steps);
        let packed = (teams.members == 1).then(|| Weights::new(&program, &values, Share::WHOLE));
        let chunks: Vec<_> = with_values::<F, _>(&inputs.xs, |xs| {
            let call = Call {
                program: &program,
                inputs,
                values: &values,
                mask: &mask,
                zoneout: &zoneout,
                xs,
            };
            let parts = cut(&mut state, sizes, (&mut ys, time * output), &rows);
            let work: Vec<_> = rows.iter().zip(parts).collect();
            teams.run(work, |(rows, (mut state, ys))| {
                let ys = Mutex::new(ys);
                let ys = outputs.then_some(&ys);
                let member = |share: Share, exchange| {
                    let mut own = own_fields(&state, sizes, share);
                    let (call, packed) = (&call, &packed);
                    async move {
                        let weights;
                        let weights = match packed {
                            Some(weights) => weights,
                            None => {
                                weights = Weights::new(call.program, call.values, share);
                                &weights
                            }
                        };
                        let chunk = call.chunk(rows, weights, share, exchange);
                        let mut segments = Vec::new();
                        for first in (0..steps).step_by(segment) {
                            let steps = first..(first + segment).min(steps);
                            let start = inputs.segment.is_some().then(|| own.clone());
                            let save = saved && start.is_none();
                            let tape = chunk.forward(steps.clone(), &mut own, ys, save).await;
                            let saved = start.map_or(SavedSegment::Tape(tape), SavedSegment::Start);
                            segments.push(Segment { steps, saved });
                        }
                        segments.truncate(if saved { segments.len() } else { 0 });
                        (own, segments)
                    }
                };
                let exchange = teams.exchange(&program, 0);
                let done = teams.run_team(&exchange, member);
                let mut segments = Vec::new();
                for (index, (own, of_member)) in done.into_iter().enumerate() {
                    put_fields(&mut state, sizes, teams.share(index), &own);
                    segments.push(of_member);
                }
                segments
            })
        })?;
        let shape = Shape::from((batch, time, output));
        let carry = tensors(state, sizes, batch)?;
        let saved =
            saved.then(|| -> Saved { Box::new(SavedRun { program, values, mask, chunks }) });
        Ok(Forward {
            outputs: outputs.then(|| EngineValue::Host(F::to_cpu_storage_owned(ys), shape)),
            carry,
            saved,
        })
    }

    fn run_backward<F: KernelFloat>(&self, input: BackwardInput) -> Result<InputGrads> {
        let BackwardInput { inputs, saved, output_grads, needs, accumulators } = input;
        let Some(SavedRun { program, values, mask, chunks: saved }) =
            saved.downcast_ref::<SavedRun<F>>()
        else {
            bail!("{}: the saved values are those of another engine", self.name)
        };
        let (batch, time) = (inputs.time_index.batch(), inputs.time_index.time());
        let graph = &program.graph;
        let (sizes, output) = (&graph.fields, graph.fields[0]);
        let zoneout = zoneout(&inputs.masks, sizes.len());
        let mut grad = output_grads.carry.iter().map(values_of::<F>).collect::<Result<Vec<_>>>()?;
        let mut dxs = vec![F::ZERO; if needs.xs { batch * time * graph.input } else { 0 }];
        let empty = accumulators.to_vec();
        let rows = chunks(batch);
        let teams = Teams::of(saved.first().map_or(1, Vec::len));
        // What a member needs is packed once for all chunks if it has all units.
        let pack = |share| {
            let weights = match inputs.segment {
                Some(_) => Weights::new(program, values, share),
                None => Weights::vectors(program, values, share),
            };
            (weights, backward_matrices(program, values, share, needs.xs))
        };
        let packed = (teams.members == 1).then(|| pack(Share::WHOLE));
        let mut run_chunks = |xs: &[F], grad_ys: &[F]| -> Vec<_> {
            let call = Call { program, inputs, values, mask, zoneout: &zoneout, xs };
            let parts = cut(&mut grad, sizes, (&mut dxs, time * graph.input), &rows);
            let work: Vec<_> = rows.iter().zip(parts).zip(saved).collect();
            teams.run(work, |((rows, (mut grad, dxs)), segments)| {
                let dxs = Mutex::new(dxs);
                let dxs = needs.xs.then_some(&dxs);
                let width = time * output;
                let of_rows = rows.start * width..rows.end * width;
                let grad_ys = grad_ys.get(of_rows).unwrap_or_default();
                let member = |share: Share, exchange| {
                    let mut own = own_fields(&grad, sizes, share);
                    let (call, pack, packed, empty) = (&call, &pack, &packed, &empty);
                    let segments = &segments[share.index];
                    async move {
                        let mut accumulators =
                            if share.index == 0 { empty.clone() } else { Vec::new() };
                        let mut grads =
                            needs.params.then(|| WeightGrads::zeros(call.program, share));
                        let own_pack;
                        let (weights, matrices) = match packed {
                            Some(packed) => packed,
                            None => {
                                own_pack = pack(share);
                                &own_pack
                            }
                        };
                        let chunk = call.chunk(rows, weights, share, exchange);
                        let mut args = BackwardArgs {
                            matrices,
                            grad_ys,
                            grads: grads.as_mut(),
                            dxs,
                            recorded: !empty.is_empty(),
                            accumulators: &mut accumulators,
                        };
                        for Segment { steps, saved } in segments.iter().rev() {
                            let steps = steps.clone();
                            let recomputed;
                            let tape = match saved {
                                SavedSegment::Tape(tape) => tape,
                                SavedSegment::Start(start) => {
                                    let mut state = start.clone();
                                    recomputed =
                                        chunk.forward(steps.clone(), &mut state, None, true).await;
                                    &recomputed
                                }
                            };
                            chunk.backward(steps, tape, &mut own, &mut args).await;
                        }
                        (own, grads.map(|grads| grads.by_row(share)), accumulators)
                    }
                };
                let block = if needs.xs { block_steps(rows.len()) } else { 0 };
                let exchange = teams.exchange(program, block);
                let done = teams.run_team(&exchange, member);
                let (mut shares, mut of_chunk) = (Vec::new(), Vec::new());
                for (index, (own, grads, accumulators)) in done.into_iter().enumerate() {
                    put_fields(&mut grad, sizes, teams.share(index), &own);
                    shares.extend(grads);
                    of_chunk.extend(accumulators);
                }
                (shares, of_chunk)
            })
        };
        let done = with_values::<F, _>(&inputs.xs, |xs| match &output_grads.outputs {
            Some(grad_ys) => with_values::<F, _>(grad_ys, |grad_ys| run_chunks(xs, grad_ys)),
            None => Ok(run_chunks(xs, &[])),
        })??;
        let (grads, recorded): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        for of_chunk in &recorded {
            let both = accumulators.iter_mut().zip(of_chunk);
            both.for_each(|(accumulator, chunk)| accumulator.merge(chunk));
        }
        let dxs = || Tensor::from_vec(dxs, (batch, time, graph.input), &Device::Cpu);
        Ok(InputGrads {
            xs: needs.xs.then(dxs).transpose()?,
            params: if needs.params { sum_grads(program, &grads)? } else { Vec::new() },
            carry: tensors(grad, sizes, batch)?,
        })
    }
}

/// The zoneout of every field.
fn zoneout(masks: &StepMasks, fields: usize) -> Vec<Option<Zoneout>> {
    (0..fields).map(|field| masks.zoneout(field)).collect()
}

/// The examples of every chunk, as even as they can be: all in one if they are fewer than 32, two
/// chunks up to 128, then at most 64 in each. This does not depend on the number of threads, and
/// the gradients of the weights are summed over chunks in order, so that neither do their bits.
fn chunks(batch: usize) -> Vec<Range<usize>> {
    let count = if batch < 32 { batch.min(1) } else { batch.div_ceil(64).max(2) };
    (0..count).map(|index| batch * index / count..batch * (index + 1) / count).collect()
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
