//! The reference of every comparison: a plain loop over `step`, one example at a time.

use crate::truncation::{clipped, truncated};
use crate::Result;
use anyhow::Context;
use candle_core::backprop::GradStore;
use candle_core::{Result as CandleResult, Tensor, Var, D};
use recurrent_core::{Carry, Cell, ForwardContext, Layer, LayerId, Sequence, State};
use std::sync::{Arc, Mutex, PoisonError};

/// A cell run over time by a plain loop over its `step`, in candle's own graph.
///
/// Every example runs alone and for exactly its length, so there are no masks, no padding and no
/// index to get wrong. It is slow, and its graph is as deep as the number of steps.
pub struct StepLoop<C> {
    cell: C,
    layer_id: LayerId,
    taps: Option<GradientTaps>,
}

/// Zeros added to every carried state. Their gradients are those of the states: dL/dh_t, and
/// dL/dc_t with h_t held fixed.
#[derive(Clone, Debug, Default)]
pub struct GradientTaps(Arc<Mutex<Vec<GradientTap>>>);

#[derive(Clone, Debug)]
struct GradientTap {
    layer_id: LayerId,
    field: &'static str,
    row: usize,
    step: usize, // 0: the initial carry
    zero: Var,
}

impl<C: Cell> StepLoop<C> {
    /// The loop as the layer `layer_id`, forward or from the end to the beginning, with a tap on
    /// every state if `taps`.
    pub fn new(cell: C, layer_id: LayerId, taps: Option<GradientTaps>) -> Self {
        Self { cell, layer_id, taps }
    }

    fn tapped(
        &self,
        state: &C::State,
        layer_id: LayerId,
        row: usize,
        step: usize,
    ) -> CandleResult<C::State> {
        let Some(GradientTaps(taps)) = &self.taps else { return Ok(state.clone()) };
        let mut fields = state.fields();
        for (name, field) in C::State::FIELDS.iter().zip(&mut fields) {
            let zero = Var::from_tensor(&field.detach().zeros_like()?)?;
            *field = (&*field + zero.as_tensor())?;
            let tap = GradientTap { layer_id, field: name, row, step, zero };
            taps.lock().unwrap_or_else(PoisonError::into_inner).push(tap);
        }
        C::State::from_fields(fields)
    }

    /// The outputs of example `row`, `(1, time, output)`, and its state at the end.
    fn example(
        &self,
        xs: &Sequence,
        row: usize,
        start: &C::State,
        context: &ForwardContext,
    ) -> CandleResult<(Tensor, C::State)> {
        let (_, time, _) = xs.values().dims3()?;
        let len = xs.lengths().map_or(time, |lengths| lengths.as_slice()[row]);
        let mut state = self.tapped(start, context.layer_id, row, 0)?;
        let mut ys = vec![None; time];
        for step in 0..len {
            let position = if self.layer_id.reverse { len - 1 - step } else { step };
            let x = xs.values().narrow(0, row, 1)?.narrow(1, position, 1)?.squeeze(1)?;
            let after = self.cell.step(&x, &truncated(context.bptt, step, len, state)?)?;
            state = clipped(context.bptt, self.tapped(&after, context.layer_id, row, step + 1)?)?;
            ys[position] = Some(state.fields().swap_remove(0));
        }
        let zero = state.fields()[0].detach().zeros_like()?;
        let ys: Vec<_> = ys.into_iter().map(|y| y.unwrap_or_else(|| zero.clone())).collect();
        Ok((Tensor::stack(&ys, 1)?, state))
    }
}

impl<C: Cell> Layer for StepLoop<C> {
    fn input_size(&self) -> usize {
        self.cell.input_size()
    }

    fn output_size(&self) -> usize {
        self.cell.state_sizes()[0]
    }

    fn run(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> CandleResult<(Sequence, Carry)> {
        let batch = xs.values().dim(0)?;
        let fields = match carry {
            None => {
                self.cell.zero_state(batch, xs.values().dtype(), xs.values().device())?.fields()
            }
            Some(carry) => C::State::FIELDS
                .iter()
                .map(|name| carry.field(name).cloned())
                .collect::<CandleResult<_>>()?,
        };
        let (mut ys, mut ends) = (Vec::new(), vec![Vec::new(); fields.len()]);
        for row in 0..batch {
            let start =
                fields.iter().map(|field| field.narrow(0, row, 1)).collect::<CandleResult<_>>()?;
            let (y, end) = self.example(xs, row, &C::State::from_fields(start)?, context)?;
            ys.push(y);
            ends.iter_mut().zip(end.fields()).for_each(|(ends, field)| ends.push(field));
        }
        let cat = |(name, ends): (&&'static str, Vec<Tensor>)| Ok((*name, Tensor::cat(&ends, 0)?));
        let carry = C::State::FIELDS.iter().zip(ends).map(cat).collect::<CandleResult<_>>()?;
        Ok((xs.with_values(Tensor::cat(&ys, 0)?)?, Carry::Cell(carry)))
    }

    fn last(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> CandleResult<(Tensor, Carry)> {
        let (_, carry) = self.run(xs, carry, context)?;
        Ok((carry.field(C::State::FIELDS[0])?.clone(), carry))
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        let suffix = self.layer_id.suffix();
        let named = |(name, param)| (format!("{name}{suffix}"), param);
        self.cell.params().into_iter().map(named).collect()
    }
}

impl GradientTaps {
    /// The tapped layers, and the fields of each.
    pub(crate) fn places(&self) -> Vec<(LayerId, &'static str)> {
        let taps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places: Vec<_> = taps.iter().map(|tap| (tap.layer_id, tap.field)).collect();
        places.sort();
        places.dedup();
        places
    }

    /// The gradient of one field of the state of one layer, `(batch, steps + 1, size)`; zero after
    /// an example's end.
    pub(crate) fn gradient(
        &self,
        grads: &GradStore,
        layer_id: LayerId,
        field: &str,
    ) -> Result<Tensor> {
        let taps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taps: Vec<_> =
            taps.iter().filter(|tap| (tap.layer_id, tap.field) == (layer_id, field)).collect();
        let rows = taps.iter().map(|tap| tap.row + 1).max().context("no such tap")?;
        let states = taps.iter().map(|tap| tap.step + 1).max().context("no such tap")?;
        let zero = taps[0].zero.zeros_like()?.detach();
        let mut gradients = vec![zero; rows * states]; // (1, size) each
        for tap in taps {
            if let Some(gradient) = grads.get(&tap.zero) {
                gradients[tap.row * states + tap.step] = gradient.clone();
            }
        }
        let size = gradients[0].dim(D::Minus1)?;
        Ok(Tensor::cat(&gradients, 0)?.reshape((rows, states, size))?)
    }
}
