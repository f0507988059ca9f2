//! Replay: the loop over time for any cell, device and dtype, which the backward pass runs again.

use crate::sequence::select;
use crate::{
    Activations, BackwardInput, Bptt, Cell, Engine, EngineValue, Forward, Gate, HiddenGradClip,
    InputGrads, LayerId, Saved, SequenceInput, State, StepMasks, TimeIndex,
};
use candle_core::{bail, DType, Result, Tensor, Var};

/// Runs [`Cell::step`] over a sequence.
///
/// The forward pass saves the state at the start of every segment of √T steps. The backward pass
/// takes the segments from the last to the first. It runs each segment again, with a separate graph
/// for every step, and differentiates these graphs from the last step to the first. The depth of
/// recursion is that of one step, and memory grows with √T. The loop holds the gradient of the
/// state at every step, for truncation, clipping and the recorder.
pub(crate) struct Replay<C>(pub(crate) C);

/// The states at the starts of the segments.
struct Segments {
    len: usize,
    states: Vec<Vec<Tensor>>,
}

/// The graph of one step: its inputs as leaves, and its outputs.
struct Tape {
    x: Tensor,
    before: Vec<Var>,
    after: Vec<Tensor>,
}

/// Step `t` of a cell, with dropout and zoneout.
pub(crate) fn noisy_step<C: Cell>(
    cell: &C,
    masks: &StepMasks,
    t: usize,
    x: &Tensor,
    before: &[Tensor],
) -> Result<Vec<Tensor>> {
    let state = C::State::from_fields(before.to_vec())?;
    let mut after = match &masks.recurrent {
        None => cell.step(x, &state)?,
        Some(mask) => cell.step_with_recurrent_input(x, &(&before[0] * mask)?, &state)?,
    }
    .fields();
    for (index, (after, before)) in after.iter_mut().zip(before).enumerate() {
        let Some(zoneout) = masks.zoneout(index) else { continue };
        let (batch, size) = before.dims2()?;
        let keep = zoneout.at(t, batch, size, before)?;
        *after = ((before * &keep)? + (&*after * keep.affine(-1.0, 1.0)?)?)?;
    }
    Ok(after)
}

impl<C: Cell> Replay<C> {
    /// Step `t` of the examples that have not ended, with dropout and zoneout; the others keep
    /// their state.
    fn step(
        &self,
        cell: &C,
        inputs: &SequenceInput,
        steps: &Steps,
        t: usize,
        x: &Tensor,
        before: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        let after = noisy_step(cell, &inputs.masks, t, x, before)?;
        let Some(running) = steps.running(t)? else { return Ok(after) };
        after.iter().zip(before).map(|(after, before)| select(&running, after, before)).collect()
    }
}

impl<C: Cell> Replay<C> {
    /// Runs forward and records the states and the gates of every step.
    pub(crate) fn record_activations(
        &self,
        inputs: &SequenceInput,
        layer_id: LayerId,
    ) -> Result<Activations> {
        let steps = Steps::new(&inputs.time_index, &inputs.xs)?;
        let xs = steps.by_step(&inputs.xs)?;
        let cell = self.0.with_params(inputs.params.clone())?;
        let (mut states, mut gates): (Vec<_>, Vec<Vec<Gate>>) =
            (vec![inputs.carry.clone()], Vec::new());
        for t in 0..steps.count {
            let (x, before) = (xs.get(t)?, &states[t]);
            let mut seen = before.clone();
            if let Some(mask) = &inputs.masks.recurrent {
                seen[0] = (&seen[0] * mask)?;
            }
            gates.push(cell.gates(&x, &C::State::from_fields(seen)?)?);
            states.push(self.step(&cell, inputs, &steps, t, &x, before)?);
        }
        let over_time = |values: Vec<&Tensor>| Tensor::stack(&values, 1); // (batch, steps, size)
        let state = |(index, name): (usize, &&'static str)| {
            Ok((*name, over_time(states.iter().map(|fields| &fields[index]).collect())?))
        };
        let gate = |index: usize| {
            let Gate { name, keeps, .. } = gates[0][index];
            let values = over_time(gates.iter().map(|gates| &gates[index].values).collect())?;
            Ok(Gate { name, values, keeps })
        };
        Ok(Activations {
            layer_id,
            lengths: (0..inputs.time_index.batch()).map(|row| inputs.time_index.len(row)).collect(),
            states: C::State::FIELDS.iter().enumerate().map(state).collect::<Result<_>>()?,
            gates: (0..gates.first().map_or(0, Vec::len)).map(gate).collect::<Result<_>>()?,
        })
    }
}

impl<C: Cell> Engine for Replay<C> {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn forward(&self, inputs: &SequenceInput, outputs: bool, saved: bool) -> Result<Forward> {
        let steps = Steps::new(&inputs.time_index, &inputs.xs)?;
        let xs = steps.by_step(&inputs.xs)?;
        let cell = self.0.with_params(inputs.params.clone())?;
        let len = inputs.segment.unwrap_or_else(|| square_root(steps.count));
        let (mut state, mut states, mut ys) = (inputs.carry.clone(), Vec::new(), Vec::new());
        for t in 0..steps.count {
            if saved && t % len == 0 {
                states.push(state.clone());
            }
            state = self.step(&cell, inputs, &steps, t, &xs.get(t)?, &state)?;
            if outputs {
                ys.push(state[0].clone());
            }
        }
        Ok(Forward {
            outputs: outputs.then(|| steps.by_example(&ys).map(EngineValue::Tensor)).transpose()?,
            carry: state,
            saved: saved.then(|| -> Saved { Box::new(Segments { len, states }) }),
        })
    }

    fn backward(&self, input: BackwardInput) -> Result<InputGrads> {
        let BackwardInput { inputs, saved, output_grads, needs, accumulators } = input;
        let Some(segments) = saved.downcast_ref::<Segments>() else {
            bail!("replay: the saved values are those of another engine")
        };
        let steps = Steps::new(&inputs.time_index, &inputs.xs)?;
        let xs = steps.by_step(&inputs.xs)?;
        let by_step = |grad| steps.zero_ended(steps.by_step(grad)?);
        let grad_ys = output_grads.outputs.as_ref().map(by_step).transpose()?;
        let params: Vec<_> = if needs.params {
            inputs.params.iter().map(Var::from_tensor).collect::<Result<_>>()?
        } else {
            Vec::new()
        };
        let leaves: Vec<_> = params.iter().map(|var| var.as_tensor().clone()).collect();
        let cell = self.0.with_params(if needs.params { leaves } else { inputs.params.clone() })?;
        let mut grad_params: Vec<Option<Tensor>> = vec![None; params.len()];
        let mut grad_xs = Vec::new();
        let mut grad_state = output_grads.carry.clone();

        for (index, start) in segments.states.iter().enumerate().rev() {
            let first = index * segments.len;
            let last = (first + segments.len).min(steps.count);
            let mut tapes = Vec::with_capacity(last - first);
            let mut state = start.clone();
            for t in first..last {
                let x = xs.get(t)?;
                let x = if needs.xs { Var::from_tensor(&x)?.into_inner() } else { x };
                let before = state.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
                let fields: Vec<_> = before.iter().map(|var| var.as_tensor().clone()).collect();
                let after = self.step(&cell, inputs, &steps, t, &x, &fields)?;
                state = after.iter().map(Tensor::detach).collect();
                tapes.push(Tape { x, before, after });
            }
            for (t, tape) in (first..last).zip(tapes).rev() {
                if let Some(grad_ys) = &grad_ys {
                    grad_state[0] = (&grad_state[0] + grad_ys.get(t)?)?;
                }
                grad_state[0] = steps.clipped(inputs.bptt, t, &grad_state[0])?;
                for (accumulator, grad) in accumulators.iter_mut().zip(&grad_state) {
                    accumulator.put_all(t + 1, grad)?;
                }
                let grads = seeded(&tape.after, &grad_state)?.backward()?;
                // A leaf's gradient is part of the graph that computed it. Detached, it is not
                // differentiated again in the next step.
                let or_zeros = |leaf: &Tensor| match grads.get(leaf) {
                    Some(grad) => Ok(grad.detach()),
                    None => leaf.detach().zeros_like(),
                };
                grad_state = tape.before.iter().map(|var| or_zeros(var)).collect::<Result<_>>()?;
                grad_state = steps.ended(inputs.bptt, t, grad_state)?;
                if needs.xs {
                    grad_xs.push(or_zeros(&tape.x)?);
                }
                for (sum, var) in grad_params.iter_mut().zip(&params) {
                    let Some(grad) = grads.get(var) else { continue };
                    let grad = grad.detach();
                    *sum = Some(match sum.take() {
                        Some(sum) => (sum + grad)?,
                        None => grad,
                    });
                }
            }
        }
        for (accumulator, grad) in accumulators.iter_mut().zip(&grad_state) {
            accumulator.put_all(0, grad)?;
        }
        let or_zeros = |(grad, var): (Option<Tensor>, &Var)| {
            grad.map_or_else(|| var.detach().zeros_like(), Ok)
        };
        grad_xs.reverse();
        Ok(InputGrads {
            xs: needs.xs.then(|| steps.by_example(&grad_xs)).transpose()?,
            params: grad_params.into_iter().zip(&params).map(or_zeros).collect::<Result<_>>()?,
            carry: grad_state,
        })
    }
}

/// √steps, rounded up: segments of this length need the least memory.
pub(crate) fn square_root(steps: usize) -> usize {
    (steps as f64).sqrt().ceil() as usize
}

/// A scalar whose gradient with respect to each of `fields` is the matching tensor of `grads`.
fn seeded(fields: &[Tensor], grads: &[Tensor]) -> Result<Tensor> {
    let mut products = fields.iter().zip(grads).map(|(field, grad)| (field * grad)?.sum_all());
    let first = products.next().expect("a state has at least one field");
    products.try_fold(first?, |sum, product| sum + product?)
}

/// Converts between the order of a sequence and the order of the steps.
struct Steps<'a> {
    time_index: &'a TimeIndex,
    count: usize,
    /// For each step and example, the row of the flattened `(batch * time)` that it reads, its last
    /// one where it has ended; `None` if that is a transpose.
    rows: Option<Tensor>,
    /// `(steps, batch, 1)`: one where the example has not ended; `None` if all run to the end.
    running: Option<Tensor>,
}

impl<'a> Steps<'a> {
    fn new(time_index: &'a TimeIndex, xs: &Tensor) -> Result<Self> {
        let (count, batch, device) = (time_index.steps(), time_index.batch(), xs.device());
        let all_run = time_index.all_run(count - 1);
        let places = (0..count).flat_map(|t| (0..batch).map(move |b| (t, b)));
        let position = |t: usize, b| time_index.position(b, t.min(time_index.len(b) - 1));
        let in_order = places.clone().all(|(t, b)| position(t, b) == t);
        let rows = places.clone().map(|(t, b)| (b * time_index.time() + position(t, b)) as u32);
        let running = places.map(|(t, b)| u8::from(t < time_index.len(b)));
        Ok(Self {
            time_index,
            count,
            rows: (!in_order).then(|| Tensor::from_iter(rows, device)).transpose()?,
            running: (!all_run)
                .then(|| Tensor::from_iter(running, device)?.reshape((count, batch, 1)))
                .transpose()?,
        })
    }

    fn running(&self, t: usize) -> Result<Option<Tensor>> {
        self.running
            .as_ref()
            .filter(|_| !self.time_index.all_run(t))
            .map(|running| running.get(t))
            .transpose()
    }

    /// `(batch, time, feature)` to `(steps, batch, feature)`. An example that has ended reads its
    /// last step again: a cell and its derivative need not be defined for zeros.
    fn by_step(&self, values: &Tensor) -> Result<Tensor> {
        let (batch, time, feature) = values.dims3()?;
        match &self.rows {
            None => values.narrow(1, 0, self.count)?.transpose(0, 1)?.contiguous(),
            Some(rows) => {
                let rows = values.reshape((batch * time, feature))?.index_select(rows, 0)?;
                rows.reshape((self.count, batch, feature))
            }
        }
    }

    /// One `(batch, feature)` for each step to `(batch, time, feature)`, zero in the padding.
    fn by_example(&self, steps: &[Tensor]) -> Result<Tensor> {
        let steps = self.zero_ended(Tensor::stack(steps, 0)?)?;
        let (count, batch, feature) = steps.dims3()?;
        let values = match &self.rows {
            None => steps.transpose(0, 1)?.contiguous()?,
            Some(_) => {
                // The map from steps to positions is its own inverse.
                let places = (0..batch).flat_map(|b| (0..count).map(move |t| (b, t)));
                let rows = places.map(|(b, t)| (self.time_index.position(b, t) * batch + b) as u32);
                let rows = Tensor::from_iter(rows, steps.device())?;
                let rows = steps.reshape((count * batch, feature))?.index_select(&rows, 0)?;
                rows.reshape((batch, count, feature))?
            }
        };
        values.pad_with_zeros(1, 0, self.time_index.time() - count)
    }

    /// dL/dh after step `t`, clipped, for the examples that run there.
    fn clipped(&self, bptt: Bptt, t: usize, grad: &Tensor) -> Result<Tensor> {
        let clipped = match bptt.clip {
            None => return Ok(grad.clone()),
            Some(HiddenGradClip::Value(bound)) => grad.clamp(-bound, bound)?,
            Some(HiddenGradClip::Norm(bound)) => {
                // The norm is largest · root: squares of large elements are infinite, those of
                // small ones zero.
                let largest = grad.abs()?.max_keepdim(1)?; // (batch, 1)
                let largest = largest.eq(0.0)?.where_cond(&largest.ones_like()?, &largest)?;
                let root = grad.broadcast_div(&largest)?.sqr()?.sum_keepdim(1)?.sqrt()?;
                // 1 where the norm is 0
                let scale = (largest.recip()? * bound)?.div(&root)?.minimum(1.0)?;
                grad.broadcast_mul(&scale)?
            }
        };
        match self.running(t)? {
            None => Ok(clipped),
            Some(running) => select(&running, &clipped, grad),
        }
    }

    /// The gradients of the state before step `t`, zero where truncation cuts them.
    fn ended(&self, bptt: Bptt, t: usize, grads: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let batch = self.time_index.batch();
        let goes_on = |row| u8::from(!bptt.ends(t, self.time_index.len(row)));
        if (0..batch).all(|row| goes_on(row) == 1) {
            return Ok(grads);
        }
        let keep =
            Tensor::from_iter((0..batch).map(goes_on), grads[0].device())?.reshape((batch, 1))?;
        grads.iter().map(|grad| select(&keep, grad, &grad.zeros_like()?)).collect()
    }

    fn zero_ended(&self, steps: Tensor) -> Result<Tensor> {
        let Some(running) = &self.running else { return Ok(steps) };
        select(running, &steps, &steps.zeros_like()?)
    }
}

/// Whether replay can run in `dtype`: any float.
pub(crate) fn check_dtype(dtype: DType) -> Result<()> {
    match dtype.is_float() {
        true => Ok(()),
        false => bail!("recurrent xs: expected a float dtype, got {dtype:?}"),
    }
}
