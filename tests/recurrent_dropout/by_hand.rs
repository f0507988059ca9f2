//! Second implementations of some cells, and a loop that runs them with noise, one example at a
//! time.

use super::masks::{Masks, Sizes};
use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var, D};
use candle_nn::ops::sigmoid;
use recurrent::{Carry, ForwardContext, Layer, LayerId, RecurrentDropout, Sequence};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A step: weights by name without the layer, x_t, the recurrent input (masked h_{t-1}), and the
/// state.
pub(crate) type Step = fn(&Weights, &Tensor, &Tensor, &[Tensor]) -> Result<Vec<Tensor>>;

type Weights = BTreeMap<String, Tensor>;

fn gates(p: &Weights, x: &Tensor, seen: &Tensor) -> Result<(Tensor, Tensor)> {
    let a = x.matmul(&p["weight_ih"].t()?)?.broadcast_add(&p["bias_ih"])?;
    Ok((a, seen.matmul(&p["weight_hh"].t()?)?.broadcast_add(&p["bias_hh"])?))
}

pub(crate) fn vanilla(p: &Weights, x: &Tensor, seen: &Tensor, _: &[Tensor]) -> Result<Vec<Tensor>> {
    let (a, b) = gates(p, x, seen)?;
    Ok(vec![(a + b)?.tanh()?])
}

/// c' and σ(o) for these gates.
fn memory(z: &Tensor, c: &Tensor) -> Result<(Tensor, Tensor)> {
    let z = z.chunk(4, 1)?;
    let new = (sigmoid(&z[0])? * z[2].tanh()?)?;
    Ok((((sigmoid(&z[1])? * c)? + new)?, sigmoid(&z[3])?))
}

pub(crate) fn lstm(p: &Weights, x: &Tensor, seen: &Tensor, s: &[Tensor]) -> Result<Vec<Tensor>> {
    let (a, b) = gates(p, x, seen)?;
    let (c, o) = memory(&(a + b)?, &s[1])?;
    Ok(vec![(o * c.tanh()?)?, c])
}

pub(crate) fn gru(p: &Weights, x: &Tensor, seen: &Tensor, s: &[Tensor]) -> Result<Vec<Tensor>> {
    let (a, b) = gates(p, x, seen)?;
    let (a, b) = (a.chunk(3, 1)?, b.chunk(3, 1)?);
    let (r, z) = (sigmoid(&(&a[0] + &b[0])?)?, sigmoid(&(&a[1] + &b[1])?)?);
    let n = (&a[2] + (r * &b[2])?)?.tanh()?;
    Ok(vec![((z.affine(-1.0, 1.0)? * n)? + (z * &s[0])?)?])
}

fn normed(v: &Tensor, gain: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centred = v.broadcast_sub(&v.mean_keepdim(D::Minus1)?)?;
    let variance = (&centred * &centred)?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)?.broadcast_mul(gain)?.broadcast_add(bias)
}

pub(crate) fn layernorm_lstm(
    p: &Weights,
    x: &Tensor,
    seen: &Tensor,
    s: &[Tensor],
) -> Result<Vec<Tensor>> {
    let a = normed(&x.matmul(&p["weight_ih"].t()?)?, &p["gain_ih"], &p["bias_ih"])?;
    let b = normed(&seen.matmul(&p["weight_hh"].t()?)?, &p["gain_hh"], &p["bias_hh"])?;
    let (c, o) = memory(&(a + b)?, &s[1])?;
    Ok(vec![(o * normed(&c, &p["gain_c"], &p["bias_c"])?.tanh()?)?, c])
}

pub(crate) const ALPHA: f64 = 0.3;

pub(crate) fn lstm_over_time(
    p: &Weights,
    x: &Tensor,
    seen: &Tensor,
    s: &[Tensor],
) -> Result<Vec<Tensor>> {
    let mut after = lstm(p, x, seen, s)?;
    after[0] = (&s[0] + (&after[0] * ALPHA)?)?;
    Ok(after)
}

pub(crate) fn kim_residual_lstm(
    p: &Weights,
    x: &Tensor,
    seen: &Tensor,
    s: &[Tensor],
) -> Result<Vec<Tensor>> {
    let (a, b) = gates(p, x, seen)?;
    let (c, o) = memory(&(a + b)?, &s[1])?;
    let m = c.tanh()?.matmul(&p["weight_projection"].t()?)?;
    Ok(vec![(o * (m + x.matmul(&p["weight_shortcut"].t()?)?)?)?, c])
}

/// A cell with noise, run over time by a plain loop in candle's own graph.
pub(crate) struct Loop {
    pub(crate) step: Step,
    pub(crate) noise: RecurrentDropout,
    pub(crate) layer_id: LayerId,
    pub(crate) fields: &'static [&'static str],
    pub(crate) input: usize,
    pub(crate) hidden: usize,
    pub(crate) params: Vec<(String, Tensor)>,
    pub(crate) taps: Taps,
}

/// Zeros added to every carried state. Their gradients are those of the states.
#[derive(Clone, Default)]
pub(crate) struct Taps(Arc<Mutex<BTreeMap<Tap, Var>>>);

type Tap = (usize, usize, usize); // field, row, step

impl Taps {
    /// Removes the taps of an earlier run.
    pub(crate) fn clear(&self) {
        self.0.lock().expect("no test panics with it").clear();
    }

    fn tap(&self, state: Vec<Tensor>, row: usize, step: usize) -> Result<Vec<Tensor>> {
        let tapped = state.into_iter().enumerate().map(|(field, value)| {
            let zero = Var::from_tensor(&value.detach().zeros_like()?)?;
            let tapped = &value + zero.as_tensor();
            self.0.lock().expect("no test panics with it").insert((field, row, step), zero);
            tapped
        });
        tapped.collect()
    }

    /// The gradient of one field of the state, `(batch, steps + 1, hidden)`; zero after an
    /// example's end.
    pub(crate) fn gradient(&self, grads: &GradStore, field: usize) -> Result<Tensor> {
        let taps = self.0.lock().expect("no test panics with it");
        let batch = taps.keys().map(|(_, row, _)| row + 1).max().expect("there are taps");
        let states = taps.keys().map(|(_, _, step)| step + 1).max().expect("there are taps");
        let zero = taps[&(field, 0, 0)].zeros_like()?;
        let at = |row, step| {
            let gradient = taps.get(&(field, row, step)).and_then(|tap| grads.get(tap));
            gradient.map_or_else(|| zero.clone(), Tensor::detach)
        };
        let row = |row| Tensor::cat(&(0..states).map(|step| at(row, step)).collect::<Vec<_>>(), 0);
        Tensor::stack(&(0..batch).map(row).collect::<Result<Vec<_>>>()?, 0)
    }
}

impl Loop {
    fn weights(&self, masks: &Masks) -> Result<Weights> {
        let weight = |(name, weight): &(String, Tensor)| {
            let base =
                name.strip_suffix(&self.layer_id.suffix()).expect("a name ends with its place");
            let dropped =
                masks.weights.get(name).map_or_else(|| Ok(weight.clone()), |mask| weight * mask)?;
            Ok((base.to_string(), dropped))
        };
        self.params.iter().map(weight).collect()
    }

    /// The outputs of example `row`, `(time, hidden)`, and its state at the end.
    fn example(
        &self,
        xs: &Sequence,
        row: usize,
        start: &[Tensor],
        masks: &Masks,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let p = self.weights(masks)?;
        let (_, time, _) = xs.values().dims3()?;
        let len = xs.lengths().map_or(time, |lengths| lengths.as_slice()[row]);
        let of_row = |mask: &Tensor| mask.narrow(0, row, 1);
        let start = start.iter().map(of_row).collect::<Result<_>>()?;
        let mut state = self.taps.tap(start, row, 0)?;
        let mut ys = vec![state[0].detach().zeros_like()?; time];
        for step in 0..len {
            let position = if self.layer_id.reverse { len - 1 - step } else { step };
            let x = of_row(xs.values())?.narrow(1, position, 1)?.squeeze(1)?; // (1, input)
            let x = (x * of_row(&masks.input)?)?;
            let seen = (&state[0] * of_row(&masks.seen)?)?;
            let new = (self.step)(&p, &x, &seen, &state)?;
            let mixed = new.iter().zip(&state).zip(&masks.keep).map(|((new, old), keep)| {
                let k = of_row(keep)?.narrow(1, step, 1)?.squeeze(1)?; // (1, hidden)
                (&k * old)? + (k.affine(-1.0, 1.0)? * new)?
            });
            state = self.taps.tap(mixed.collect::<Result<_>>()?, row, step + 1)?;
            ys[position] = state[0].clone();
        }
        Ok((Tensor::cat(&ys, 0)?, state))
    }
}

impl Layer for Loop {
    fn input_size(&self) -> usize {
        self.input
    }

    fn output_size(&self) -> usize {
        self.hidden
    }

    fn reversed_size(&self) -> usize {
        if self.layer_id.reverse {
            self.hidden
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
        let (batch, steps, input) = xs.values().dims3()?;
        let sizes = Sizes { batch, steps, input, hidden: self.hidden };
        let masks = Masks::of(self.noise, context, sizes, &self.params)?;
        let start = self.fields.iter().map(|field| match carry {
            Some(carry) => carry.field(field).cloned(),
            None => masks.seen.zeros_like(),
        });
        let start = start.collect::<Result<Vec<_>>>()?;
        let rows = (0..batch).map(|row| self.example(xs, row, &start, &masks));
        let (ys, ends): (Vec<_>, Vec<_>) = rows.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let end = self.fields.iter().enumerate().map(|(index, field)| {
            let rows: Vec<_> = ends.iter().map(|end| &end[index]).collect();
            Ok((*field, Tensor::cat(&rows, 0)?))
        });
        Ok((xs.with_values(Tensor::stack(&ys, 0)?)?, Carry::Cell(end.collect::<Result<_>>()?)))
    }

    fn last(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Tensor, Carry)> {
        let (_, carry) = self.run(xs, carry, context)?;
        Ok((carry.field(self.fields[0])?.clone(), carry))
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        self.params.clone()
    }
}
