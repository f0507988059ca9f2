//! A cell run over time.

use crate::operation::Run;
use crate::replay::{check_dtype, Replay};
use crate::{layer, Carry, Cell, CellConfig, Engine, Layer, Pass, Place, Route, Sequence, State};
use candle::{bail, DType, Device, Module, Result, Tensor};
use candle_nn::VarBuilder;
use std::sync::Arc;

/// A cell run over time, forward or from each example's end to its beginning, as one operation in candle's graph.
///
/// A sequence of 20,000 steps trains in a thread with a 2 MiB stack. A second `backward` over the same graph gives the
/// same gradients; two at the same time are not allowed, and neither are gradients of gradients.
#[derive(Clone, Debug)]
pub struct Rnn<C> {
    cell: C,
    reverse: bool,
    path: Path,
}

/// Which of the two ways of running a layer is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    /// The kernel where there is one for the cell, the device and the dtype, and else replay.
    #[default]
    Auto,
    /// Replay of the cell's `step`, which works for every cell, device and dtype.
    Replay,
    /// The kernel, and an error where there is none.
    Kernel,
}

impl<C: Cell> Rnn<C> {
    /// A layer of `hidden` units on `input` features, run forward in time. The names of its weights end in `_l0`, as those
    /// of `torch.nn.LSTM` with one layer.
    ///
    /// # Errors
    /// As [`CellConfig::cell`].
    pub fn new<K: CellConfig<Cell = C>>(
        input: usize,
        hidden: usize,
        config: &K,
        vb: VarBuilder,
    ) -> Result<Self> {
        Self::at(Place::default(), input, hidden, config, vb)
    }

    /// As [`Rnn::new`], for another place in a stack: layer, and direction.
    ///
    /// # Errors
    /// As [`CellConfig::cell`].
    pub fn at<K: CellConfig<Cell = C>>(
        place: Place,
        input: usize,
        hidden: usize,
        config: &K,
        vb: VarBuilder,
    ) -> Result<Self> {
        let layer = Self::from_cell(config.cell(input, hidden, Some(place), vb)?);
        Ok(if place.reverse { layer.reversed() } else { layer })
    }

    /// The cell run forward in time.
    pub fn from_cell(cell: C) -> Self {
        Self { cell, reverse: false, path: Path::Auto }
    }

    /// The same layer, run from each example's own end to its beginning. Its carry is the state *behind* the end, so a
    /// sequence that comes in chunks cannot be continued with it.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { reverse: !self.reverse, ..self }
    }

    /// The same layer on the given path.
    #[must_use]
    pub fn on(self, path: Path) -> Self {
        Self { path, ..self }
    }

    /// The cell.
    pub fn cell(&self) -> &C {
        &self.cell
    }

    /// Which engine runs for tensors of this dtype on this device, and why.
    pub fn explain(&self, dtype: DType, device: &Device) -> String {
        match self.engine(dtype, device) {
            Ok((engine, why)) => format!("{}: {why}", engine.name()),
            Err(error) => error.to_string(),
        }
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
        match (self.path, kernel) {
            (Path::Auto | Path::Kernel, Ok(kernel)) => Ok((kernel, "the cell has a kernel here".to_string())),
            (Path::Auto, Err(why)) => Ok((Arc::new(Replay(self.cell.clone())), why)),
            (Path::Replay, _) => Ok((Arc::new(Replay(self.cell.clone())), "asked for".to_string())),
            (Path::Kernel, Err(why)) => bail!("kernel: {why}"),
        }
    }

    fn apply(&self, xs: &Sequence, carry: Option<&Carry>, pass: &Pass, outputs: bool) -> Result<Applied> {
        let (batch, _, input) = xs.values().dims3()?;
        let (dtype, device) = (xs.values().dtype(), xs.values().device());
        if input != self.cell.input_size() {
            let (expected, dims) = (self.cell.input_size(), xs.values().dims());
            bail!("recurrent xs: expected (batch, time, {expected}), got {dims:?}")
        }
        check_dtype(dtype)?;
        let params: Vec<_> = self.cell.params().into_iter().map(|(_, tensor)| tensor).collect();
        if let Some(param) = params.iter().find(|param| param.dtype() != dtype) {
            bail!("recurrent xs: expected the dtype of the weights, {:?}, got {dtype:?}", param.dtype())
        }
        let carry = match carry {
            None => self.cell.zero_state(batch, dtype, device)?.fields(),
            Some(carry) => self.check_carry(carry, batch, dtype)?,
        };
        let (engine, _) = self.engine(dtype, device)?;
        let route = Route::new(xs, self.reverse)?;
        let record = pass.record.map(|recorder| (recorder.clone(), pass.place, C::State::FIELDS));
        let run = Run { engine, xs: xs.values(), params: &params, carry: &carry, route, record };
        let (outputs, carry) = run.apply(outputs)?;
        Ok(Applied { outputs, carry })
    }

    fn check_carry(&self, carry: &Carry, batch: usize, dtype: DType) -> Result<Vec<Tensor>> {
        let fields = match carry {
            Carry::Fields(fields) => fields,
            Carry::Parts(parts) => bail!("carry: expected one layer's fields, got {} parts", parts.len()),
        };
        let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
        if names != C::State::FIELDS {
            bail!("carry: expected the fields {:?}, got {names:?}", C::State::FIELDS)
        }
        for ((name, field), size) in fields.iter().zip(self.cell.state_sizes()) {
            if field.dims() != [batch, size] {
                bail!("carry {name}: expected (batch, hidden) = ({batch}, {size}), got {:?}", field.dims())
            }
            if field.dtype() != dtype {
                bail!("carry {name}: expected the dtype of xs, {dtype:?}, got {:?}", field.dtype())
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

    fn run(&self, xs: &Sequence, carry: Option<&Carry>, pass: &Pass) -> Result<(Sequence, Carry)> {
        let applied = self.apply(xs, carry, pass, true)?;
        let ys = xs.with_values(applied.outputs.expect("the outputs were asked for"))?;
        Ok((ys, named::<C>(applied.carry)))
    }

    fn last(&self, xs: &Sequence, carry: Option<&Carry>, pass: &Pass) -> Result<(Tensor, Carry)> {
        let carry = self.apply(xs, carry, pass, false)?.carry;
        Ok((carry[0].clone(), named::<C>(carry)))
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        self.cell.params()
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.cell.recurrent_blocks()
    }
}

fn named<C: Cell>(fields: Vec<Tensor>) -> Carry {
    Carry::Fields(C::State::FIELDS.iter().copied().zip(fields).collect())
}

impl<C: Cell> Module for Rnn<C> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        layer::forward(self, xs)
    }
}
