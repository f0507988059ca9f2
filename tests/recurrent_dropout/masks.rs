//! The masks of a training run, shown by special cells.

use candle_core::{DType, Device, Result, Tensor};
use recurrent::core::linear;
use recurrent::core::{LstmState, Parameters};
use recurrent::{Carry, Cell, Execution, ForwardContext, Layer, RecurrentDropout, Rnn, Sequence};
use std::collections::BTreeMap;

/// A cell that shows one kind of noise.
#[derive(Clone)]
pub(crate) struct Glass {
    pub(crate) shows: Shows,
    pub(crate) input: usize,
    pub(crate) size: usize,
    pub(crate) weights: Vec<(String, Tensor)>,
}

/// The output of a [`Glass`]. Its c counts the steps.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Shows {
    /// x_t.
    Input,
    /// The recurrent input.
    Seen,
    /// The first weight, flat, for every example.
    Weight,
    /// h_{t-1} + 1: a count that zoneout of h stops.
    CountOfH,
    /// c_{t-1}.
    LastC,
    /// W x_t, with the first weight: a linear step.
    Product,
}

impl Parameters for Glass {
    fn append_params(&self, params: &mut Vec<(String, Tensor)>) {
        params.extend(self.weights.iter().cloned());
    }

    fn replace_params(&self, params: &mut std::vec::IntoIter<Tensor>) -> Result<Self> {
        let names = self.weights.iter().map(|(name, _)| name.clone());
        Ok(Self { weights: names.zip(params).collect(), ..self.clone() })
    }
}

impl Cell for Glass {
    type State = LstmState;

    fn input_size(&self) -> usize {
        self.input
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.size; 2]
    }

    fn step(&self, x: &Tensor, s: &LstmState) -> Result<LstmState> {
        self.step_with_recurrent_input(x, &s.h, s)
    }

    fn step_with_recurrent_input(
        &self,
        x: &Tensor,
        seen: &Tensor,
        s: &LstmState,
    ) -> Result<LstmState> {
        let h = match self.shows {
            Shows::Input => x.clone(),
            Shows::Seen => seen.clone(),
            Shows::Weight => self.weights[0]
                .1
                .flatten_all()?
                .unsqueeze(0)?
                .broadcast_as(s.h.shape())?
                .contiguous()?,
            Shows::CountOfH => (&s.h + 1.0)?,
            Shows::LastC => s.c.clone(),
            Shows::Product => linear(x, &self.weights[0].1, None)?,
        };
        Ok(LstmState { h, c: (&s.c + 1.0)? })
    }
}

/// Sizes of a run.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) steps: usize,
    pub(crate) input: usize,
    pub(crate) hidden: usize,
}

/// All factors of one run. `keep` has a tensor `(batch, steps, hidden)` for h and one for c.
#[derive(Clone)]
pub(crate) struct Masks {
    pub(crate) input: Tensor, // (batch, input)
    pub(crate) seen: Tensor,  // (batch, hidden)
    pub(crate) keep: [Tensor; 2],
    pub(crate) weights: BTreeMap<String, Tensor>,
}

impl Masks {
    /// The masks of a run. In evaluation nothing is dropped, and zoneout uses its rate.
    pub(crate) fn of(
        noise: RecurrentDropout,
        context: &ForwardContext,
        sizes: Sizes,
        weights: &[(String, Tensor)],
    ) -> Result<Self> {
        let Sizes { batch, steps, input, hidden } = sizes;
        let full = |value: f64, dims: &[usize]| Tensor::full(value, dims, &Device::Cpu);
        if context.key.is_none() {
            let keep = |rate| full(rate, &[batch, steps, hidden]);
            return Ok(Self {
                input: full(1.0, &[batch, input])?,
                seen: full(1.0, &[batch, hidden])?,
                keep: [keep(noise.zoneout_h)?, keep(noise.zoneout_c)?],
                weights: BTreeMap::new(),
            });
        }
        let one_step = Sizes { steps: 1, ..sizes };
        let mut masks = BTreeMap::new();
        for (name, weight) in weights.iter().filter(|(name, _)| name.starts_with("weight_hh")) {
            let ones = vec![(name.clone(), weight.detach().ones_like()?.to_dtype(DType::F64)?)];
            let flat = Sizes { hidden: weight.elem_count(), ..one_step };
            let noise = RecurrentDropout { weights: noise.weights, ..RecurrentDropout::default() };
            let seen = look(Shows::Weight, noise, context, flat, ones)?;
            masks.insert(name.clone(), seen.narrow(0, 0, 1)?.reshape(weight.shape())?);
        }
        let variational = RecurrentDropout::variational(noise.input, noise.recurrent);
        let wide = Sizes { hidden: input, ..one_step };
        Ok(Self {
            input: look(Shows::Input, variational, context, wide, Vec::new())?.squeeze(1)?,
            seen: look(Shows::Seen, variational, context, one_step, Vec::new())?.squeeze(1)?,
            keep: [
                kept_h(noise.zoneout_h, context, sizes)?,
                kept_c(noise.zoneout_c, context, sizes)?,
            ],
            weights: masks,
        })
    }
}

/// The steps at which zoneout keeps h, `(batch, steps, hidden)`: h counts the others.
pub(crate) fn kept_h(rate: f64, context: &ForwardContext, sizes: Sizes) -> Result<Tensor> {
    let counts =
        look(Shows::CountOfH, RecurrentDropout::zoneout(rate, 0.0), context, sizes, Vec::new())?;
    let before = counts.narrow(1, 0, sizes.steps - 1)?.pad_with_zeros(1, 1, 0)?;
    1.0 - (counts - before)?
}

/// The steps at which zoneout keeps c: its count shows one step later.
pub(crate) fn kept_c(rate: f64, context: &ForwardContext, sizes: Sizes) -> Result<Tensor> {
    let longer = Sizes { steps: sizes.steps + 1, ..sizes };
    let counts =
        look(Shows::LastC, RecurrentDropout::zoneout(0.0, rate), context, longer, Vec::new())?;
    1.0 - (counts.narrow(1, 1, sizes.steps)? - counts.narrow(1, 0, sizes.steps)?)?
}

/// The outputs of a [`Glass`] on ones.
fn look(
    shows: Shows,
    noise: RecurrentDropout,
    context: &ForwardContext,
    sizes: Sizes,
    weights: Vec<(String, Tensor)>,
) -> Result<Tensor> {
    let Sizes { batch, steps, input, hidden } = sizes;
    let with_weights = RecurrentDropout { weights: 0.0, ..noise };
    let noise = if weights.is_empty() { with_weights } else { noise };
    let layer = Rnn::from_cell(Glass { shows, input, size: hidden, weights })
        .with_recurrent_dropout(noise)?;
    let ones = |dims: &[usize]| Tensor::ones(dims, DType::F64, &Device::Cpu);
    let c = ones(&[batch, hidden])?.zeros_like()?;
    let h = if shows == Shows::Seen { ones(&[batch, hidden])? } else { c.clone() };
    let carry = Carry::Cell(vec![("h", h), ("c", c)]);
    let xs = Sequence::new(ones(&[batch, steps, input])?)?;
    let context = ForwardContext { record: None, ..*context };
    Ok(layer.with_execution(Execution::Replay).run(&xs, Some(&carry), &context)?.0.into_values())
}
