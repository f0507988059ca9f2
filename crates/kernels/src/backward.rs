//! The way back, for one chunk of rows.

use crate::forward::{block_steps, Chunk, Reserve};
use crate::gemm::{add_product, set_product, Shape};
use crate::simd::{widest, Pass};
use crate::weights::{Sizes, Weights};
use crate::{Float, RowBack, Rule};
use candle::{Device, Result, Tensor};
use recurrent_core::{Probe, Wants};

/// The gradients of the weights, from one chunk or from all.
pub(crate) struct WeightGradients<F> {
    pub(crate) ih: Vec<F>,
    pub(crate) hh: Vec<F>,
    pub(crate) b_ih: Vec<F>,
    pub(crate) b_hh: Vec<F>,
    pub(crate) own: Vec<Vec<F>>,
}

impl<F: Float> WeightGradients<F> {
    fn zeros(weights: &Weights<F>) -> Self {
        let Sizes { input, hidden, rows, .. } = weights.sizes;
        let zeros = |count| vec![F::ZERO; count];
        Self {
            ih: zeros(rows * input),
            hh: zeros(rows * hidden),
            b_ih: zeros(rows),
            b_hh: zeros(rows),
            own: weights.own.iter().map(|own| zeros(own.len())).collect(),
        }
    }

    /// Adds those of another chunk.
    pub(crate) fn add(&mut self, other: &Self) {
        let fixed = [
            (&mut self.ih, &other.ih),
            (&mut self.hh, &other.hh),
            (&mut self.b_ih, &other.b_ih),
            (&mut self.b_hh, &other.b_hh),
        ];
        for (mine, others) in fixed.into_iter().chain(self.own.iter_mut().zip(&other.own)) {
            mine.iter_mut().zip(others).for_each(|(mine, other)| *mine += *other);
        }
    }
}

impl<F: Float> WeightGradients<F> {
    /// As tensors, in the order of the call's weights.
    pub(crate) fn tensors(self, weights: &Weights<F>) -> Result<Vec<Tensor>> {
        let Sizes { input, hidden, rows, .. } = weights.sizes;
        let biases = if weights.bias { vec![self.b_ih, self.b_hh] } else { Vec::new() };
        let vectors = biases.into_iter().chain(self.own).map(|values| {
            let len = values.len();
            Tensor::from_vec(values, len, &Device::Cpu)
        });
        let matrices = [(self.ih, input), (self.hh, hidden)];
        let matrices = matrices
            .into_iter()
            .map(|(values, columns)| Tensor::from_vec(values, (rows, columns), &Device::Cpu));
        matrices.chain(vectors).collect()
    }
}

/// What goes back through a chunk, and what is wanted of it.
pub(crate) struct Back<'a, F> {
    pub(crate) reserve: &'a Reserve<F>,
    /// dL/dys, `(rows, time, hidden)`, or empty.
    pub(crate) grad_ys: &'a [F],
    pub(crate) wants: Wants,
    /// One a field of the state, or none.
    pub(crate) probes: &'a mut [Probe],
}

/// Gradients of the pre-activations of one block of steps.
struct Block<F> {
    input: Vec<F>,     // (steps, rows, gates * hidden)
    recurrent: Vec<F>, // the same where it is apart, and else empty
    xs: Vec<F>,        // (steps, rows, input)
    dxs: Vec<F>,       // (steps, rows, input)
}

impl<F: Float, R: Rule> Chunk<'_, F, R> {
    /// Runs back, from the gradient of the final state to that of the initial one in `dh`, `dc`; writes the gradient of the inputs
    /// `(rows, time, input)` unless `dxs` is empty. `None` if the weights' are not wanted.
    pub(crate) fn back(
        &self,
        back: Back<F>,
        dh: &mut Vec<F>,
        dc: &mut Vec<F>,
        dxs: &mut [F],
    ) -> Option<WeightGradients<F>> {
        let Back { reserve, grad_ys, wants, probes } = back;
        let Sizes { input, hidden, rows, kept: width } = self.weights.sizes;
        let (count, steps) = (self.rows.len(), self.route.steps());
        let (state, memory) = (count * hidden, if R::MEMORY { count * hidden } else { 0 });
        let block = block_steps(count).min(steps);
        let zeros = |size: usize| vec![F::ZERO; size];
        let room = block * count;
        let mut scratch = Block {
            input: zeros(room * rows),
            recurrent: zeros(if R::APART { room * rows } else { 0 }),
            xs: zeros(room * input),
            dxs: zeros(if dxs.is_empty() { 0 } else { room * input }),
        };
        let mut grads = WeightGradients::zeros(self.weights);
        let mut work = zeros(R::SCRATCH * hidden);
        let mut residual = zeros(hidden);
        let (mut dh_before, mut dc_before) = (zeros(state), zeros(memory));
        for first in (0..steps).step_by(block).rev() {
            let last = (first + block).min(steps);
            for t in (first..last).rev() {
                self.add_outputs(grad_ys, t, dh);
                if probes.is_empty() {
                    flush(dh);
                    flush(dc);
                }
                self.probe(probes, t + 1, dh, dc);
                let at = (t - first) * count * rows..(t - first + 1) * count * rows;
                let d_input = &mut scratch.input[at.clone()];
                let d_recurrent = if R::APART { &mut scratch.recurrent[at] } else { &mut [][..] };
                widest(StepBack {
                    chunk: self,
                    t,
                    kept: &reserve.kept[t * count * width..][..count * width],
                    h_before: &reserve.h[t * state..][..state],
                    c_before: &reserve.c[t * memory..][..memory],
                    h: match self.over_time {
                        None => &reserve.h[(t + 1) * state..][..state],
                        Some(_) => &reserve.inner[t * state..][..state],
                    },
                    residual: &mut residual,
                    c: &reserve.c[(t + 1) * memory..][..memory],
                    dh: &*dh,
                    dc: &*dc,
                    d_input,
                    d_recurrent,
                    dh_before: &mut dh_before,
                    dc_before: &mut dc_before,
                    d_own: &mut grads.own,
                    scratch: &mut work,
                });
                if probes.is_empty() {
                    flush(d_input);
                    flush(d_recurrent);
                }
                let through = if R::APART { &*d_recurrent } else { &*d_input };
                let hh = (&self.weights.hh[..], Shape::rows(rows, hidden));
                add_product(
                    (&mut dh_before, Shape::rows(count, hidden)),
                    (through, Shape::rows(count, rows)),
                    hh,
                );
                std::mem::swap(dh, &mut dh_before);
                std::mem::swap(dc, &mut dc_before);
            }
            let h_before = &reserve.h[first * state..last * state];
            self.finish_block(first..last, &mut scratch, h_before, wants.params.then_some(&mut grads), dxs);
        }
        self.probe(probes, 0, dh, dc);
        wants.params.then_some(grads)
    }

    /// The products over a block of steps.
    fn finish_block(
        &self,
        steps: std::ops::Range<usize>,
        scratch: &mut Block<F>,
        h_before: &[F],
        grads: Option<&mut WeightGradients<F>>,
        dxs: &mut [F],
    ) {
        let Sizes { input, hidden, rows, .. } = self.weights.sizes;
        let all = steps.len() * self.rows.len();
        let d_input = &scratch.input[..all * rows];
        let shape = Shape::rows(all, rows);
        if let Some(grads) = grads {
            let d_recurrent = if R::APART { &scratch.recurrent[..all * rows] } else { d_input };
            let xs = &mut scratch.xs[..all * input];
            self.gather(self.xs, input, steps.clone(), xs);
            add_product(
                (&mut grads.ih, Shape::rows(rows, input)),
                (d_input, shape.t()),
                (xs, Shape::rows(all, input)),
            );
            let hh = (&mut grads.hh[..], Shape::rows(rows, hidden));
            add_product(hh, (d_recurrent, shape.t()), (h_before, Shape::rows(all, hidden)));
            if self.weights.bias {
                add_rows(&mut grads.b_ih, d_input);
                add_rows(&mut grads.b_hh, d_recurrent);
            }
        }
        if !dxs.is_empty() {
            let out = &mut scratch.dxs[..all * input];
            let ih = (&self.weights.ih[..], Shape::rows(rows, input));
            set_product((out, Shape::rows(all, input)), (d_input, shape), ih);
            self.scatter(&scratch.dxs, input, steps, dxs);
        }
    }

    /// Adds dL/dys of step `t` to dL/dh.
    fn add_outputs(&self, grad_ys: &[F], t: usize, dh: &mut [F]) {
        let hidden = self.weights.sizes.hidden;
        if grad_ys.is_empty() {
            return;
        }
        for (row, dh) in dh.chunks_exact_mut(hidden).enumerate() {
            if let Some(place) = self.place(row, t, hidden) {
                dh.iter_mut().zip(&grad_ys[place]).for_each(|(dh, dy)| *dh += *dy);
            }
        }
    }

    fn probe(&self, probes: &mut [Probe], step: usize, dh: &[F], dc: &[F]) {
        let hidden = self.weights.sizes.hidden;
        for (probe, gradient) in probes.iter_mut().zip([dh, dc]) {
            for (row, gradient) in gradient.chunks_exact(hidden).enumerate() {
                probe.put(self.rows.start + row, step, gradient);
            }
        }
    }

    /// The inverse of [`Chunk::gather`]; the padding is left alone.
    fn scatter(&self, steps_first: &[F], width: usize, steps: std::ops::Range<usize>, out: &mut [F]) {
        let mut values = steps_first.chunks_exact(width);
        for t in steps {
            for row in 0..self.rows.len() {
                let value = values.next().expect("a value for every step and row");
                if let Some(place) = self.place(row, t, width) {
                    out[place].copy_from_slice(value);
                }
            }
        }
    }
}

/// Sets subnormal numbers to zero. A gradient that vanishes passes through them, and arithmetic on them is far slower; so
/// they live on only where somebody records, and wants to know.
fn flush<F: Float>(values: &mut [F]) {
    for value in values {
        *value = if value.magnitude() < F::SMALLEST { F::ZERO } else { *value };
    }
}

/// Adds every row of `rows` to `sum`.
fn add_rows<F: Float>(sum: &mut [F], rows: &[F]) {
    for row in rows.chunks_exact(sum.len()) {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
    }
}

/// One step of all rows, on the way back.
struct StepBack<'a, 'b, F, R> {
    chunk: &'a Chunk<'b, F, R>,
    t: usize,
    kept: &'a [F],
    h_before: &'a [F],
    c_before: &'a [F],
    h: &'a [F],
    residual: &'a mut [F],
    c: &'a [F],
    dh: &'a [F],
    dc: &'a [F],
    d_input: &'a mut [F],
    d_recurrent: &'a mut [F],
    dh_before: &'a mut [F],
    dc_before: &'a mut [F],
    d_own: &'a mut [Vec<F>],
    scratch: &'a mut [F],
}

impl<F: Float, R: Rule> Pass for StepBack<'_, '_, F, R> {
    #[inline(always)]
    fn run(self) {
        let Sizes { hidden, rows, kept: width, .. } = self.chunk.weights.sizes;
        let (memory, apart) = (if R::MEMORY { hidden } else { 0 }, if R::APART { rows } else { 0 });
        for row in 0..self.chunk.rows.len() {
            let (dh, dc) = (&self.dh[row * hidden..][..hidden], &self.dc[row * memory..][..memory]);
            let d_input = &mut self.d_input[row * rows..][..rows];
            let d_recurrent = &mut self.d_recurrent[row * apart..][..apart];
            let dh_before = &mut self.dh_before[row * hidden..][..hidden];
            let dc_before = &mut self.dc_before[row * memory..][..memory];
            if self.t >= self.chunk.route.len(self.chunk.rows.start + row) {
                d_input.fill(F::ZERO);
                d_recurrent.fill(F::ZERO);
                dh_before.copy_from_slice(dh);
                dc_before.copy_from_slice(dc);
                continue;
            }
            let total = dh;
            let dh = match self.chunk.over_time {
                None => dh,
                Some(alpha) => {
                    self.residual.iter_mut().zip(dh).for_each(|(inner, dh)| *inner = alpha * *dh);
                    &*self.residual
                }
            };
            self.chunk.rule.back(RowBack {
                kept: &self.kept[row * width..][..width],
                h_before: &self.h_before[row * hidden..][..hidden],
                c_before: &self.c_before[row * memory..][..memory],
                h: &self.h[row * hidden..][..hidden],
                c: &self.c[row * memory..][..memory],
                dh,
                dc,
                d_input,
                d_recurrent,
                dh_before: &mut *dh_before,
                dc_before,
                own: &self.chunk.weights.own,
                d_own: &mut *self.d_own,
                scratch: &mut *self.scratch,
            });
            if self.chunk.over_time.is_some() {
                dh_before.iter_mut().zip(total).for_each(|(before, dh)| *before += *dh);
            }
        }
    }
}
