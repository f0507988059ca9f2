//! Gradients by plain autograd over a loop of `Cell::step`, one example at a time, with a copy of
//! the weights for every lag.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use recurrent_core::{
    Bidirectional, Cell, CellConfig, ForwardContext, Layer, LayerId, Pool, Rnn, Sequence, Stack,
    State,
};
use recurrent_measures::{LossReads, Objective};
use std::collections::BTreeMap;

pub(crate) const INPUT: usize = 2;
pub(crate) const HIDDEN: usize = 4;

/// Cells on top of each other, bottom first, in one direction.
pub(crate) struct Chain<C> {
    pub(crate) cells: Vec<C>,
    pub(crate) reverse: bool,
}

impl<C: Cell> Chain<C> {
    /// The end of the names of a layer's weights: `_l0`.
    fn suffix(&self, layer: usize) -> String {
        LayerId { layer, reverse: self.reverse }.suffix()
    }

    fn params(&self) -> impl Iterator<Item = (String, Tensor)> + '_ {
        let named = |(layer, cell): (usize, &C)| {
            let suffix = self.suffix(layer);
            let params = cell.params().into_iter();
            params.map(|(name, weight)| (name + &suffix, weight)).collect::<Vec<_>>()
        };
        self.cells.iter().enumerate().flat_map(named)
    }
}

/// A network, and the batch and the loss that it is measured on.
pub(crate) struct Case<C> {
    pub(crate) chains: Vec<Chain<C>>,
    pub(crate) xs: Tensor, // (batch, time, input)
    pub(crate) lengths: Vec<usize>,
    pub(crate) reads: LossReads,
}

/// Values without a pattern, in [-scale, scale].
pub(crate) fn values(shape: &[usize], scale: f64, from: f64) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<_> = (0..count).map(|i| scale * (1.0 + from + 1.7 * i as f64).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

impl<C: Cell> Case<C> {
    pub(crate) fn new<K: CellConfig<Cell = C>>(
        config: &K,
        layers: usize,
        lengths: &[usize],
        reads: LossReads,
    ) -> Result<Self> {
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
        let cell = |layer: usize| {
            let input = if layer == 0 { INPUT } else { config.output_size(HIDDEN) };
            config.cell(input, HIDDEN, Some(LayerId::layer(layer)), vb.clone())
        };
        let cells = (0..layers).map(cell).collect::<Result<_>>()?;
        let time = lengths.iter().copied().max().unwrap_or(0);
        let xs = values(&[lengths.len(), time, INPUT], 1.5, 0.0)?;
        Ok(Self {
            chains: vec![Chain { cells, reverse: false }],
            xs,
            lengths: lengths.to_vec(),
            reads,
        })
    }

    /// With a second direction beside the first, of one layer.
    pub(crate) fn both<K: CellConfig<Cell = C>>(config: &K, lengths: &[usize]) -> Result<Self> {
        let mut case = Self::new(config, 1, lengths, LossReads::Ends)?;
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
        let layer_id = LayerId { layer: 0, reverse: true };
        let cells = vec![config.cell(INPUT, HIDDEN, Some(layer_id), vb)?];
        case.chains.push(Chain { cells, reverse: true });
        Ok(case)
    }

    /// The weights of all cells, named as in a stack.
    fn params(&self) -> impl Iterator<Item = (String, Tensor)> + '_ {
        self.chains.iter().flat_map(Chain::params)
    }

    fn layer(&self) -> Result<Box<dyn Layer>> {
        let rnn = |cell: &C| Rnn::from_cell(cell.clone());
        let forward = &self.chains[0].cells;
        Ok(match self.chains.get(1) {
            Some(back) => {
                Box::new(Bidirectional::new(rnn(&forward[0]), rnn(&back.cells[0]).reversed())?)
            }
            None => {
                let layers = forward.iter().map(|cell| Box::new(rnn(cell)) as Box<dyn Layer>);
                Box::new(Stack::from_layers(layers.collect())?)
            }
        })
    }

    /// Calls `f` with the case as an objective, by the layers of the library.
    pub(crate) fn objective<T>(&self, f: impl FnOnce(&Objective) -> Result<T>) -> Result<T> {
        let mut weights: Vec<_> = self.params().collect();
        weights.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (layer, xs) = (self.layer()?, Sequence::padded(self.xs.clone(), &self.lengths)?);
        let loss = |context: &ForwardContext| match self.reads {
            LossReads::Ends => square(&layer.last(&xs, None, context)?.0)?.mean_all(),
            LossReads::Steps => {
                let ys = layer.run(&xs, None, context)?.0;
                let (batch, time, size) = ys.values().dims3()?;
                let squares = square(&ys.values().reshape((batch * time, size))?)?
                    .reshape((batch, time, 1))?;
                xs.with_values(squares)?.pool(Pool::Mean)?.mean_all()
            }
        };
        f(&Objective { loss: &loss, weights: &weights, depth: layer.depth(), reads: self.reads })
    }

    /// (dL/dW)_k by weight and lag, from reads at lags below `reads`, cut at the borders of windows
    /// of `window` steps.
    pub(crate) fn parts(
        &self,
        reads: usize,
        window: Option<usize>,
    ) -> Result<BTreeMap<String, Vec<Vec<f64>>>> {
        let time = self.xs.dim(1)?;
        let mut parts = BTreeMap::new();
        for (name, weight) in self.params() {
            parts.insert(name, vec![vec![0.0; weight.elem_count()]; time]);
        }
        for (row, &len) in self.lengths.iter().enumerate() {
            let mut copies = Vec::new();
            let outputs = self.outputs(row, window, &mut copies)?;
            let read = |lag: usize| square(&Tensor::cat(&outputs[len - 1 - lag], 1)?)?.sum_all();
            let loss = match self.reads {
                LossReads::Ends => read(0)?,
                LossReads::Steps => {
                    let losses = (0..len.min(reads)).map(read).collect::<Result<Vec<_>>>()?;
                    (Tensor::stack(&losses, 0)?.sum_all()? / len as f64)?
                }
            };
            let grads = (loss / self.lengths.len() as f64)?.backward()?;
            for (name, lag, copy) in &copies {
                let Some(grad) = grads.get(copy) else { continue };
                let grad = grad.flatten_all()?.to_vec1::<f64>()?;
                let sum = &mut parts.get_mut(name).expect("every weight has an entry")[*lag];
                sum.iter_mut().zip(grad).for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(parts)
    }
}

impl<C: Cell> Case<C> {
    /// The outputs of every chain at each step, for one example; each step of a chain has its own
    /// copy of the weights.
    fn outputs(
        &self,
        row: usize,
        window: Option<usize>,
        copies: &mut Vec<(String, usize, Var)>, // weight, lag, copy
    ) -> Result<Vec<Vec<Tensor>>> {
        let len = self.lengths[row];
        let mut outputs = vec![Vec::new(); len];
        for chain in &self.chains {
            let zero = |cell: &C| cell.zero_state(1, DType::F64, &Device::Cpu);
            let mut states = chain.cells.iter().map(zero).collect::<Result<Vec<_>>>()?;
            for (t, outputs) in outputs.iter_mut().enumerate() {
                let position = if chain.reverse { len - 1 - t } else { t };
                let mut x = self.xs.get(row)?.narrow(0, position, 1)?;
                for (layer, (cell, state)) in chain.cells.iter().zip(&mut states).enumerate() {
                    let mut own = Vec::new();
                    for (name, weight) in cell.params() {
                        // `Var::from_tensor` of a variable would share it
                        let copy = Var::from_tensor(&weight.detach())?;
                        own.push(copy.as_tensor().clone());
                        copies.push((name + &chain.suffix(layer), len - 1 - t, copy));
                    }
                    if window.is_some_and(|window| t > 0 && t % window == 0) {
                        *state = C::State::from_fields(
                            state.fields().iter().map(Tensor::detach).collect(),
                        )?;
                    }
                    *state = cell.with_params(own)?.step(&x, state)?;
                    x = state.fields()[0].clone();
                }
                outputs.push(x);
            }
        }
        Ok(outputs)
    }
}

/// (v · y)² + y·y/10 of each row: nonlinear, so that examples differ, `(batch)`.
fn square(ys: &Tensor) -> Result<Tensor> {
    let v = values(&[ys.dim(1)?], 1.0, 0.3)?;
    ys.broadcast_mul(&v)?.sum(1)?.sqr()? + (ys.sqr()?.sum(1)? / 10.0)?
}

/// The sum of the parts of these lags, with the values of all weights in one vector, by name.
pub(crate) fn sum(
    parts: &BTreeMap<String, Vec<Vec<f64>>>,
    lags: std::ops::Range<usize>,
) -> BTreeMap<String, Vec<f64>> {
    let total = |by_lag: &Vec<Vec<f64>>| {
        let mut sum = vec![0.0; by_lag[0].len()];
        for part in by_lag.iter().take(lags.end).skip(lags.start) {
            sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        sum
    };
    parts.iter().map(|(name, by_lag)| (name.clone(), total(by_lag))).collect()
}

pub(crate) fn flat(gradient: &BTreeMap<String, Vec<f64>>) -> Vec<f64> {
    gradient.values().flatten().copied().collect()
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(crate) fn close(what: &str, found: Option<f64>, expected: f64) {
    let found = found.expect("there is such a number");
    assert!(
        (found - expected).abs() <= 1e-10 * expected.abs().max(1.0),
        "{what}: {found}, not {expected}"
    );
}
