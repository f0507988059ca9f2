//! Cells, variants and tasks for tests: the harness depends on no family of cells.

use candle_core::{DType, Device, Tensor};
use recurrent_core::init::{Gates, Weights};
use recurrent_core::{
    linear, Carry, Cell, ForwardContext, HiddenState, Init, Layer, Params, Rnn, Sequence,
};
use recurrent_harness::variant::{Size, Variant};
use recurrent_tasks::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use recurrent_tasks::Result;
use std::sync::Arc;

/// h' = f(W x, U h).
#[derive(Clone, Params)]
pub(crate) struct Plain {
    #[param(name = "weight_ih")]
    w: Tensor,
    #[param(name = "weight_hh")]
    u: Tensor,
    #[param(skip)]
    f: fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>,
    /// The slope of f as a function of its value.
    #[param(skip)]
    slope: Option<fn(&Tensor) -> candle_core::Result<Tensor>>,
}

impl Plain {
    pub(crate) fn new(
        size: Size,
        vb: candle_nn::VarBuilder,
        f: fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<Self> {
        let gates = Gates { names: &["h"], forget: None, input: None };
        let init = Init::default();
        let weights = Weights::new(vb, None, &init, gates, size.hidden)?;
        Ok(Self { w: weights.weight_ih(size.input)?, u: weights.weight_hh()?, f, slope: None })
    }
}

impl Cell for Plain {
    type State = HiddenState;

    fn input_size(&self) -> usize {
        self.w.dims()[1]
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.u.dims()[1]]
    }

    fn step(&self, x: &Tensor, s: &HiddenState) -> candle_core::Result<HiddenState> {
        Ok(HiddenState { h: (self.f)(&linear(x, &self.w, None)?, &linear(&s.h, &self.u, None)?)? })
    }

    fn vjp(
        &self,
        x: &Tensor,
        s: &HiddenState,
        grad: &HiddenState,
    ) -> candle_core::Result<Option<HiddenState>> {
        let Some(slope) = self.slope else { return Ok(None) };
        let slope = slope(&self.step(x, s)?.h)?.detach();
        Ok(Some(HiddenState { h: (&grad.h * slope)?.matmul(&self.u)? }))
    }

    fn recurrent_blocks(&self) -> candle_core::Result<Vec<(String, Tensor)>> {
        Ok(vec![("h".to_string(), self.u.clone())])
    }
}

/// A variant of one layer of [`Plain`].
pub(crate) fn plain(name: &str, f: fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>) -> Variant {
    Variant::new(name, move |size, vb| Ok(Box::new(Rnn::from_cell(Plain::new(size, vb, f)?))))
}

/// h' = tanh(W x + U h).
pub(crate) fn tanh(name: &str) -> Variant {
    Variant::new(name, |size, vb| {
        let cell = Plain::new(size, vb, |x, h| (x + h)?.tanh())?;
        Ok(Box::new(Rnn::from_cell(Plain { slope: Some(|h| h.sqr()?.affine(-1.0, 1.0)), ..cell })))
    })
}

/// A layer whose outputs are detached from the graph.
pub(crate) struct Cut(pub(crate) Box<dyn Layer>);

impl Layer for Cut {
    fn input_size(&self) -> usize {
        self.0.input_size()
    }

    fn output_size(&self) -> usize {
        self.0.output_size()
    }

    fn run(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> candle_core::Result<(Sequence, Carry)> {
        let (ys, carry) = self.0.run(xs, carry, context)?;
        Ok((ys.with_values(ys.values().detach())?, carry.detach()))
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        self.0.params()
    }
}

/// Another task with some properties changed.
#[derive(Clone)]
pub(crate) struct Changed {
    pub(crate) task: Arc<dyn Task>,
    pub(crate) criterion: Option<Criterion>,
    pub(crate) examples: Option<usize>,
    pub(crate) held_out: usize,
}

impl Changed {
    pub(crate) fn new(task: Arc<dyn Task>) -> Self {
        Self {
            criterion: task.criterion(),
            examples: task.examples(),
            held_out: task.held_out(),
            task,
        }
    }
}

impl Task for Changed {
    fn name(&self) -> &'static str {
        self.task.name()
    }

    fn length(&self) -> usize {
        self.task.length()
    }

    fn longest_lag(&self) -> usize {
        self.task.longest_lag()
    }

    fn input_size(&self) -> usize {
        self.task.input_size()
    }

    fn output_size(&self) -> usize {
        self.task.output_size()
    }

    fn loss_target(&self) -> LossTarget {
        self.task.loss_target()
    }

    fn batch(&self, draw: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        self.task.batch(draw, dtype, device)
    }

    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        self.task.evaluate(outputs, batch)
    }

    fn baseline(&self) -> f64 {
        self.task.baseline()
    }

    fn criterion(&self) -> Option<Criterion> {
        self.criterion
    }

    fn examples(&self) -> Option<usize> {
        self.examples
    }

    fn held_out(&self) -> usize {
        self.held_out
    }
}
