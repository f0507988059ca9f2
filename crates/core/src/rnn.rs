//! A cell run over time.

use crate::description::Additions;
use crate::inference::InferenceCell;
use crate::operation::RnnOpBuilder;
use crate::replay::{check_dtype, square_root, Replay};
use crate::{
    layer, Carry, Cell, CellConfig, Engine, Equations, ForwardContext, InferenceLayer, Layer,
    LayerGraph, LayerId, RecurrentDropout, RnnGraph, Sequence, State, TimeIndex,
};
use candle_core::{bail, DType, Device, Module, Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A cell run over time, forward or from each example's end to its beginning, as one operation in
/// candle's graph.
///
/// A sequence of 100,000 steps trains in a thread with a 2 MiB stack. A second `backward` over the
/// same graph gives the same gradients; two at the same time are not allowed, and neither are
/// gradients of gradients.
#[derive(Clone, Debug)]
pub struct Rnn<C> {
    cell: C,
    /// The end of the names of the weights: `_l0`, or nothing.
    suffix: String,
    reverse: bool,
    execution: Execution,
    noise: RecurrentDropout,
    recompute: Recompute,
    /// A learned initial state: its name, and `(1, size)`, a field.
    start: Vec<(String, Tensor)>,
}

/// Activation checkpointing: the states that the forward pass saves. The backward pass recomputes
/// the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recompute {
    /// The engine's default: a kernel saves everything, replay the states at the starts of segments
    /// of √T steps.
    #[default]
    Auto,
    /// The states at the starts of segments of √T steps: memory grows with √T.
    SquareRoot,
    /// The state at every `k`-th step.
    Every(usize),
}

/// The engine of a layer: its kernel, or replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Execution {
    /// The kernel if there is one for the cell, the device and the dtype; replay otherwise.
    #[default]
    Auto,
    /// Replay of the cell's `step`, which works for every cell, device and dtype.
    Replay,
    /// The kernel; an error if there is none.
    Kernel,
}

impl<C: Cell> Rnn<C> {
    /// A layer of `hidden` units on `input` features, run forward in time. The names of its weights
    /// end in `_l0`, as those of `torch.nn.LSTM` with one layer.
    ///
    /// # Errors
    /// As [`CellConfig::cell`].
    pub fn new<K: CellConfig<Cell = C>>(
        input: usize,
        hidden: usize,
        config: &K,
        vb: VarBuilder,
    ) -> Result<Self> {
        Self::at_layer(LayerId::default(), input, hidden, config, vb)
    }

    /// As [`Rnn::new`], for another layer of a stack, or in reverse.
    ///
    /// # Errors
    /// As [`CellConfig::cell`].
    pub fn at_layer<K: CellConfig<Cell = C>>(
        layer_id: LayerId,
        input: usize,
        hidden: usize,
        config: &K,
        vb: VarBuilder,
    ) -> Result<Self> {
        let cell = config.cell(input, hidden, Some(layer_id), vb)?;
        let layer = Self { suffix: layer_id.suffix(), ..Self::from_cell(cell) };
        Ok(if layer_id.reverse { layer.reversed() } else { layer })
    }

    /// The cell run forward in time.
    pub fn from_cell(cell: C) -> Self {
        let (noise, recompute) = (RecurrentDropout::default(), Recompute::Auto);
        Self {
            cell,
            suffix: String::new(),
            reverse: false,
            execution: Execution::Auto,
            noise,
            recompute,
            start: Vec::new(),
        }
    }

    /// The same layer with its weights named for `layer_id`, as in a stack: `weight_ih_l1`.
    #[must_use]
    pub fn named_for(self, layer_id: LayerId) -> Self {
        Self { suffix: layer_id.suffix(), ..self }
    }

    /// The same layer, run from each example's end to its beginning. Its carry is the state before
    /// the example's first step in time, so it cannot continue a sequence that comes in chunks.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { reverse: !self.reverse, ..self }
    }

    /// The same layer with another choice of engine.
    #[must_use]
    pub fn with_execution(self, execution: Execution) -> Self {
        Self { execution, ..self }
    }

    /// The same layer with dropout over time while training, and the expectation of zoneout in
    /// evaluation.
    ///
    /// # Errors
    /// If a rate is not in [0, 1), or the cell lacks the field or the weight that it applies to.
    pub fn with_recurrent_dropout(self, noise: RecurrentDropout) -> Result<Self> {
        noise.check(C::State::FIELDS)?;
        let names: Vec<_> = self.cell_params().into_iter().map(|(name, _)| name).collect();
        if noise.weights > 0.0 && !names.iter().any(|name| name.starts_with("weight_hh")) {
            bail!(
                "recurrent_dropout weights: expected a weight whose name begins with weight_hh, \
                 got {names:?}"
            )
        }
        Ok(Self { noise, ..self })
    }

    /// The same layer with activation checkpointing.
    ///
    /// # Errors
    /// For [`Recompute::Every`] with 0 steps.
    pub fn with_recompute(self, recompute: Recompute) -> Result<Self> {
        match recompute {
            Recompute::Every(0) => {
                bail!("recompute: expected the state at every 1 or more steps, got 0")
            }
            _ => Ok(Self { recompute, ..self }),
        }
    }

    /// The same layer with a learned initial state, for runs without a carry: `h0`, and `c0` for a
    /// cell with a cell state, each `(1, size)`. Their names end with the suffix of `layer_id`.
    /// They are looked up in `vb`, or zero if they do not exist yet.
    ///
    /// # Errors
    /// If one exists with another shape.
    pub fn with_learned_start(self, layer_id: LayerId, vb: &VarBuilder) -> Result<Self> {
        let start = C::State::FIELDS.iter().zip(self.cell.state_sizes()).map(|(field, size)| {
            let name = format!("{field}0{}", layer_id.suffix());
            let value = vb.get_with_hints((1, size), &name, candle_nn::Init::Const(0.0))?;
            Ok((name, value))
        });
        Ok(Self { start: start.collect::<Result<_>>()?, ..self })
    }

    /// The cell.
    pub fn cell(&self) -> &C {
        &self.cell
    }

    /// The weights of the cell, under their names in the layer.
    fn cell_params(&self) -> Vec<(String, Tensor)> {
        let named = |(name, param)| (format!("{name}{}", self.suffix), param);
        self.cell.params().into_iter().map(named).collect()
    }

    fn engine(&self, dtype: DType, device: &Device) -> Result<(Arc<dyn Engine>, String)> {
        let kernel = match (self.cell.kernel(), dtype) {
            (None, _) => Err("this cell has no kernel".to_string()),
            (Some(_), _) if !device.is_cpu() => {
                Err(format!("kernels run on the CPU, not on {:?}", device.location()))
            }
            (Some(kernel), DType::F32 | DType::F64) => Ok(kernel),
            (Some(_), _) => Err(format!("kernels run in f32 and f64, not in {dtype:?}")),
        };
        match (self.execution, kernel) {
            (Execution::Auto | Execution::Kernel, Ok(kernel)) => {
                Ok((kernel, "the cell has a kernel here".to_string()))
            }
            (Execution::Auto, Err(why)) => Ok((Arc::new(Replay(self.cell.clone())), why)),
            (Execution::Replay, _) => {
                Ok((Arc::new(Replay(self.cell.clone())), "asked for".to_string()))
            }
            (Execution::Kernel, Err(why)) => bail!("kernel: {why}"),
        }
    }

    fn apply(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
        outputs: bool,
    ) -> Result<Applied> {
        let (batch, _, input) = xs.values().dims3()?;
        let (dtype, device) = (xs.values().dtype(), xs.values().device());
        if input != self.cell.input_size() {
            let (expected, dims) = (self.cell.input_size(), xs.values().dims());
            bail!("recurrent xs: expected (batch, time, {expected}), got {dims:?}")
        }
        check_dtype(dtype)?;
        let xs = &self.noise.inputs(xs, context)?;
        let params = self.noise.params(self.cell_params(), context)?;
        if let Some(param) = params.iter().find(|param| param.dtype() != dtype) {
            bail!(
                "recurrent xs: expected the dtype of the weights, {:?}, got {dtype:?}",
                param.dtype()
            )
        }
        let carry = match carry {
            None if self.start.is_empty() => self.cell.zero_state(batch, dtype, device)?.fields(),
            None => self.learned_start(batch)?,
            Some(carry) => self.check_carry("carry", carry, batch, dtype)?,
        };
        let (engine, _) = self.engine(dtype, device)?;
        let time_index = TimeIndex::new(xs, self.reverse)?;
        let record =
            context.record.map(|recorder| (recorder.clone(), context.layer_id, C::State::FIELDS));
        let output = self.output_size();
        let masks = self.noise.step_masks(C::State::FIELDS, context, batch, output, xs.values())?;
        let segment = match self.recompute {
            Recompute::Auto => None,
            Recompute::SquareRoot => Some(square_root(time_index.steps())),
            Recompute::Every(steps) => Some(steps),
        };
        let bptt = context.bptt;
        bptt.check()?;
        let run = RnnOpBuilder {
            engine,
            xs: xs.values(),
            params: &params,
            carry: &carry,
            time_index,
            masks,
            segment,
            bptt,
            record,
        };
        if let Some(activations) = context.activations {
            activations.put(
                Replay(self.cell.clone()).record_activations(&run.inputs()?, context.layer_id)?,
            );
        }
        let (outputs, carry) = run.apply(outputs)?;
        Ok(Applied { outputs, carry })
    }

    fn learned_start(&self, batch: usize) -> Result<Vec<Tensor>> {
        self.start.iter().map(|(_, value)| value.repeat((batch, 1))).collect()
    }

    /// The carry that a run returns.
    fn end(&self, fields: Vec<Tensor>) -> Carry {
        match self.reverse {
            true => Carry::Reverse(Box::new(named::<C>(fields))),
            false => named::<C>(fields),
        }
    }

    /// The fields of `carry`; messages name it `what`.
    fn check_carry(
        &self,
        what: &str,
        carry: &Carry,
        batch: usize,
        dtype: DType,
    ) -> Result<Vec<Tensor>> {
        let fields = match carry {
            Carry::Cell(fields) => fields,
            Carry::Layers(parts) => {
                bail!("{what}: expected one layer's fields, got {} layers", parts.len())
            }
            Carry::Reverse(_) => bail!(
                "{what}: expected the state before the sequence, got the final state of a reversed \
                 run, which cannot continue a sequence in chunks; Carry::into_initial makes it an \
                 initial state"
            ),
        };
        let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
        if names != C::State::FIELDS {
            bail!("{what}: expected the fields {:?}, got {names:?}", C::State::FIELDS)
        }
        for ((name, field), size) in fields.iter().zip(self.cell.state_sizes()) {
            if field.dims() != [batch, size] {
                bail!(
                    "{what} {name}: expected (batch, hidden) = ({batch}, {size}), got {:?}",
                    field.dims()
                )
            }
            if field.dtype() != dtype {
                bail!("{what} {name}: expected the dtype of xs, {dtype:?}, got {:?}", field.dtype())
            }
        }
        Ok(fields.iter().map(|(_, field)| field.clone()).collect())
    }
}

struct Applied {
    outputs: Option<Tensor>,
    carry: Vec<Tensor>,
}

impl<C: Cell> Layer for Rnn<C> {
    fn input_size(&self) -> usize {
        self.cell.input_size()
    }

    fn output_size(&self) -> usize {
        self.cell.state_sizes()[0]
    }

    fn reversed_size(&self) -> usize {
        if self.reverse {
            self.output_size()
        } else {
            0
        }
    }

    fn run(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Sequence, Carry)> {
        let applied = self.apply(xs, carry, context, true)?;
        let ys = xs.with_values(applied.outputs.expect("the outputs were asked for"))?;
        Ok((ys, self.end(applied.carry)))
    }

    fn last(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Tensor, Carry)> {
        let carry = self.apply(xs, carry, context, false)?.carry;
        Ok((carry[0].clone(), self.end(carry)))
    }

    fn to_inference(&self) -> Result<Arc<dyn InferenceLayer>> {
        if self.reverse {
            bail!("to_inference: a reversed layer cannot run step by step")
        }
        let single = |tensor: &Tensor| {
            tensor.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()
        };
        let params: Vec<_> =
            self.cell.params().iter().map(|(_, param)| single(param)).collect::<Result<_>>()?;
        let start = match self.start.is_empty() {
            true => self.cell.zero_state(1, DType::F32, &Device::Cpu)?.fields(),
            false => self.start.iter().map(|(_, value)| single(value)).collect::<Result<_>>()?,
        };
        let masks = self.noise.step_masks(
            C::State::FIELDS,
            &ForwardContext::default(),
            1,
            self.output_size(),
            &start[0],
        )?;
        let packed = self
            .cell
            .kernel()
            .map(|kernel| kernel.to_inference(&params, &start, &masks))
            .transpose()?;
        match packed.flatten() {
            Some(layer) => Ok(layer),
            None => {
                Ok(Arc::new(InferenceCell { cell: self.cell.with_params(params)?, start, masks }))
            }
        }
    }

    fn graph(&self) -> Result<LayerGraph> {
        let fields = C::State::FIELDS;
        let zoneout: Vec<_> = fields.iter().map(|field| self.noise.zoneout_rate(field)).collect();
        let additions = Additions {
            zoneout: zoneout.iter().map(|rate| *rate > 0.0).collect(),
            ..Additions::default()
        };
        Ok(LayerGraph::Recurrent(vec![RnnGraph {
            cell: Equations { graph: self.cell.graph(additions)?, weights: self.cell.params() },
            fields,
            zoneout,
            reverse: self.reverse,
            learned_start: !self.start.is_empty(),
        }]))
    }

    /// `None` with zoneout, which mixes the state before a step into the one after it.
    fn vjp(&self, x: &Tensor, carry: &Carry, grad: &Carry) -> Result<Option<Carry>> {
        if self.noise.zoneout_h > 0.0 || self.noise.zoneout_c > 0.0 {
            return Ok(None);
        }
        let (batch, input) = x.dims2()?;
        if input != self.cell.input_size() {
            let (expected, dims) = (self.cell.input_size(), x.dims());
            bail!("vjp x: expected (batch, {expected}), got {dims:?}")
        }
        let state =
            |what, carry| C::State::from_fields(self.check_carry(what, carry, batch, x.dtype())?);
        let before = self.cell.vjp(x, &state("carry", carry)?, &state("grad", grad)?)?;
        Ok(before.map(|before| named::<C>(before.fields())))
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        self.cell_params().into_iter().chain(self.start.iter().cloned()).collect()
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        let named = |(name, block): (String, Tensor)| match name.split_once('.') {
            Some((name, gate)) => (format!("{name}{}.{gate}", self.suffix), block),
            None => (format!("{name}{}", self.suffix), block),
        };
        Ok(self.cell.recurrent_blocks()?.into_iter().map(named).collect())
    }

    fn explain(&self, dtype: DType, device: &Device) -> String {
        match self.engine(dtype, device) {
            Ok((engine, why)) => format!("{}: {why}", engine.name()),
            Err(error) => error.to_string(),
        }
    }
}

fn named<C: Cell>(fields: Vec<Tensor>) -> Carry {
    Carry::Cell(C::State::FIELDS.iter().copied().zip(fields).collect())
}

impl<C: Cell> Module for Rnn<C> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        layer::forward(self, xs)
    }
}
