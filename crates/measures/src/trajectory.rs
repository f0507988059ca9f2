//! A layer run step by step, with the derivative of every step.

use crate::state_vector::{flatten, pieces, unflatten, StateSlice};
use candle_core::{bail, DType, Device, Result, Tensor, Var, D};
use nalgebra::DMatrix;
use recurrent_core::{
    ActivationRecorder, Carry, ForwardContext, GradientRecorder, GradientTrace, Layer, LayerId,
    Record, Sequence,
};

/// A layer run step by step over a batch. It stores the state before each step and computes the
/// derivative of any step.
///
/// The state vector s_t, of n values, is the concatenation of all fields of all parts of the carry;
/// see [`Trajectory::pieces`]. Step t, from 0, takes s_t to s_{t+1} at the input x_t. All tensors
/// are detached; the layer runs in evaluation mode, without dropout.
///
/// In a stack, s_t holds the states of all layers after t steps, and a derivative with respect to
/// one of them holds the others fixed. So ∂L/∂s_t of a lower layer is the gradient through its own
/// next step. A [`GradientRecorder`] also includes the gradient from the layer above at the same
/// step. For a single layer, and for the top layer, both are the same.
pub struct Trajectory<'a> {
    layer: &'a dyn Layer,
    inputs: Vec<Tensor>, // (batch, 1, input), by step
    states: Vec<Carry>,  // one more than steps
    pieces: Vec<StateSlice>,
    derivative: Derivative,
}

/// The method of differentiation of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Derivative {
    /// By candle's own backward pass through one step of the layer: works for every layer.
    #[default]
    Autograd,
    /// By [`Layer::vjp`], and an error for a layer that has none.
    ClosedForm,
    /// In closed form if the layer has one, else by autograd.
    Either,
}

impl<'a> Trajectory<'a> {
    /// Runs `layer` over `xs`, `(batch, time, input)`, a step at a time, from `carry`.
    ///
    /// Without a carry it starts from the layer's own state: zeros, or a learned state if an
    /// [`ActivationRecorder`] can read it.
    ///
    /// # Errors
    /// If part of the layer runs in reverse, the sequences differ in length, or the layer has its
    /// own initial state and does not record it; those of the layer.
    pub fn new(layer: &'a dyn Layer, xs: &Sequence, carry: Option<&Carry>) -> Result<Self> {
        if layer.reversed_size() > 0 {
            bail!(
                "trajectory layer: expected one that runs forward, got {} of {} features in \
                reverse; measure each direction by itself, the reversed one as a forward layer \
                over reversed sequences",
                layer.reversed_size(),
                layer.output_size()
            )
        }
        let xs = full("trajectory", xs)?.detach();
        let input = |t| xs.narrow(1, t, 1)?.contiguous();
        let inputs = (0..xs.dim(1)?).map(input).collect::<Result<Vec<_>>>()?;
        let mut states =
            vec![carry.map_or_else(|| start(layer, &inputs[0]), |carry| Ok(carry.detach()))?];
        for x in &inputs {
            let after = step(layer, x, &states[states.len() - 1])?;
            states.push(after.detach());
        }
        let pieces = pieces(&states[0])?;
        Ok(Self { layer, inputs, states, pieces, derivative: Derivative::default() })
    }

    /// The same trajectory with this method of differentiation.
    #[must_use]
    pub fn with_derivative(self, derivative: Derivative) -> Self {
        Self { derivative, ..self }
    }

    /// The number of steps T.
    pub fn steps(&self) -> usize {
        self.inputs.len()
    }

    /// The number of examples.
    pub fn batch(&self) -> usize {
        self.inputs[0].dims()[0]
    }

    /// The number n of values in the state vector.
    pub fn size(&self) -> usize {
        self.pieces.iter().map(|piece| piece.size).sum()
    }

    /// The slices of the state vector.
    pub fn pieces(&self) -> &[StateSlice] {
        &self.pieces
    }

    /// The states s_0 to s_T.
    pub fn states(&self) -> &[Carry] {
        &self.states
    }

    /// The dtype of the states.
    pub fn dtype(&self) -> DType {
        self.inputs[0].dtype()
    }

    /// The vector-Jacobian product of step `t`: gᵀ ∂s_{t+1}/∂s_t for every row g of `grad`,
    /// `(batch, n)`.
    ///
    /// # Errors
    /// If there is no such step, the shape differs, or the layer has no closed form and
    /// [`Derivative::ClosedForm`] is set; those of the layer.
    pub fn vjp(&self, t: usize, grad: &Tensor) -> Result<Tensor> {
        self.check_step(t)?;
        if grad.dims() != [self.batch(), self.size()] {
            let (batch, size) = (self.batch(), self.size());
            bail!("vjp, gradient: expected (batch, n) = ({batch}, {size}), got {:?}", grad.dims())
        }
        self.differentiate(&self.inputs[t], &self.states[t], grad)
    }

    /// The Jacobian of step `t` for example `example`, J = ∂s_{t+1}/∂s_t, `(n, n)` in f64 on the
    /// CPU: row i is the gradient of value i of s_{t+1}.
    ///
    /// All rows come from one backward pass over a batch of n copies of the example. Its precision
    /// is that of the layer's dtype.
    ///
    /// # Errors
    /// If there is no such step or example; as [`Trajectory::vjp`].
    pub fn jacobian(&self, t: usize, example: usize) -> Result<Tensor> {
        self.check_step(t)?;
        if example >= self.batch() {
            bail!("jacobian, example: expected one below {}, got {example}", self.batch())
        }
        let n = self.size();
        let copies = |tensor: &Tensor| {
            let mut dims = tensor.dims().to_vec();
            dims[0] = n;
            tensor.narrow(0, example, 1)?.broadcast_as(dims)?.contiguous()
        };
        let x = copies(&self.inputs[t])?;
        let state = self.states[t].map(&mut |field| copies(field))?;
        let seed = Tensor::eye(n, x.dtype(), x.device())?;
        self.differentiate(&x, &state, &seed)?.to_dtype(DType::F64)?.to_device(&Device::Cpu)
    }

    /// The gradients ∂L/∂s_0 to ∂L/∂s_T, `(batch, n)` each, of a loss that reads the last state
    /// alone and has the gradient `last` there: a chain of [`Trajectory::vjp`].
    ///
    /// # Errors
    /// As [`Trajectory::vjp`].
    pub fn gradients(&self, last: &Tensor) -> Result<Vec<Tensor>> {
        let mut back = vec![last.detach()];
        for t in (0..self.steps()).rev() {
            let before = self.vjp(t, &back[back.len() - 1])?;
            back.push(before);
        }
        back.reverse();
        Ok(back)
    }

    /// Traces for a layer that does not record: the norms of [`Trajectory::gradients`], one trace
    /// per slice of the state. [`crate::Profile::from_trace`] makes profiles of them.
    ///
    /// The layer id of a trace is the layer's number in the carry. If the loss is a mean over
    /// examples, `last` is 1/batch times each example's own gradient.
    ///
    /// # Errors
    /// As [`Trajectory::vjp`].
    pub fn traces(&self, last: &Tensor) -> Result<Vec<GradientTrace>> {
        let gradients = Tensor::stack(&self.gradients(last)?, 1)?; // (batch, steps + 1, n)
        self.pieces
            .iter()
            .map(|piece| trace(piece, &gradients.narrow(2, piece.start, piece.size)?))
            .collect()
    }

    /// [`Trajectory::jacobian`] as a matrix of finite numbers.
    pub(crate) fn matrix(&self, t: usize, example: usize) -> Result<DMatrix<f64>> {
        let values = self.jacobian(t, example)?.flatten_all()?.to_vec1::<f64>()?;
        if values.iter().any(|value| !value.is_finite()) {
            bail!("jacobian: expected finite numbers, got others at step {t} of example {example}")
        }
        Ok(DMatrix::from_row_slice(self.size(), self.size(), &values))
    }

    fn differentiate(&self, x: &Tensor, state: &Carry, grad: &Tensor) -> Result<Tensor> {
        if self.derivative == Derivative::Autograd {
            return autograd(self.layer, x, state, grad);
        }
        let closed = self.layer.vjp(&x.squeeze(1)?, state, &unflatten(&grad.detach(), state)?)?;
        match closed {
            Some(before) => Ok(flatten(&before)?.detach()),
            None if self.derivative == Derivative::Either => autograd(self.layer, x, state, grad),
            None => bail!("vjp: this layer has no closed form; use Derivative::Autograd"),
        }
    }

    fn check_step(&self, t: usize) -> Result<()> {
        match t < self.steps() {
            true => Ok(()),
            false => bail!("step: expected one below {}, got {t}", self.steps()),
        }
    }
}

/// The values of sequences of one length.
pub(crate) fn full<'a>(what: &str, xs: &'a Sequence) -> Result<&'a Tensor> {
    let time = xs.values().dim(1)?;
    match xs.lengths().and_then(|lengths| lengths.as_slice().iter().find(|&&length| length != time))
    {
        None => Ok(xs.values()),
        Some(length) => bail!(
            "{what} xs: expected sequences of one length, {time} steps, got one of {length}; \
             measure the examples of each length by themselves"
        ),
    }
}

fn step(layer: &dyn Layer, x: &Tensor, state: &Carry) -> Result<Carry> {
    Ok(layer.run(&Sequence::new(x.clone())?, Some(state), &ForwardContext::default())?.1)
}

/// The initial state of the layer: zeros, or the state in its activations, whichever leads to the
/// same first state.
fn start(layer: &dyn Layer, x: &Tensor) -> Result<Carry> {
    let activations = ActivationRecorder::default();
    let context = ForwardContext::default().activations(&activations);
    let (_, after) = layer.run(&Sequence::new(x.clone())?, None, &context)?;
    let mut seen = activations.take().into_iter().flat_map(|observation| observation.states);
    let shown = after.map(&mut |field| match seen.next() {
        Some((_, states)) if states.dim(D::Minus1)? == field.dim(1)? => {
            states.narrow(1, 0, 1)?.squeeze(1)
        }
        _ => field.zeros_like(),
    })?;
    for start in [after.map(&mut Tensor::zeros_like)?, shown] {
        let start = start.detach();
        if bits(&step(layer, x, &start)?)? == bits(&after)? {
            return Ok(start);
        }
    }
    bail!(
        "trajectory carry: expected the state at which this layer begins, which is not zero, got \
          none"
    )
}

fn bits(carry: &Carry) -> Result<Vec<u64>> {
    let values = flatten(carry)?.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    Ok(values.into_iter().map(f64::to_bits).collect())
}

/// gᵀ ∂s'/∂s by a backward pass through one step.
fn autograd(layer: &dyn Layer, x: &Tensor, state: &Carry, grad: &Tensor) -> Result<Tensor> {
    let before = Var::from_tensor(&flatten(state)?.detach())?;
    // With a recorder, kernels do not round subnormal numbers to zero.
    let recorder = GradientRecorder::new(Record::Norms);
    let context = ForwardContext::default().record(&recorder);
    let carry = unflatten(before.as_tensor(), state)?;
    let (_, after) = layer.run(&Sequence::new(x.clone())?, Some(&carry), &context)?;
    let grads = (flatten(&after)? * grad.detach())?.sum_all()?.backward()?;
    grads.get(&before).map_or_else(|| before.zeros_like(), |grad| Ok(grad.detach()))
}

/// The trace of `gradients`, `(batch, steps + 1, size)`, of full sequences.
fn trace(piece: &StateSlice, gradients: &Tensor) -> Result<GradientTrace> {
    let (batch, states, size) = gradients.dims3()?;
    let smallest = match gradients.dtype() {
        DType::F64 => f64::MIN_POSITIVE,
        _ => f64::from(f32::MIN_POSITIVE),
    };
    let values = gradients.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.to_vec3::<f64>()?;
    let lags = || (0..states).map(|lag| states - 1 - lag);
    let count = |counted: &dyn Fn(f64) -> bool| {
        let at = |t: usize| {
            values.iter().flat_map(|row| &row[t]).filter(|value| counted(**value)).count()
        };
        lags().map(at).collect::<Vec<_>>()
    };
    let sum = |t: usize| {
        let sums: Vec<f64> = (0..size).map(|i| values.iter().map(|row| row[t][i]).sum()).collect();
        norm(&sums)
    };
    Ok(GradientTrace {
        layer_id: LayerId::layer(piece.layer),
        field: piece.field,
        batch,
        lengths: vec![states - 1; batch],
        norms: lags().flat_map(|t| values.iter().map(move |row| norm(&row[t]))).collect(),
        batch_norms: lags().map(sum).collect(),
        zeros: count(&|value| value == 0.0),
        subnormals: count(&|value| value != 0.0 && value.abs() < smallest),
        nans: count(&|value| value.is_nan()),
        infinities: count(&|value| value.is_infinite()),
        elements: vec![batch * size; states],
        gradients: Some(gradients.contiguous()?),
    })
}

/// The root of the sum of squares, scaled so that squares stay within the range of f64.
fn norm(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return values.iter().map(|value| value * value).sum::<f64>().sqrt();
    }
    largest * values.iter().map(|value| (value / largest).powi(2)).sum::<f64>().sqrt()
}
