//! A run over a whole sequence in candle's graph: two custom operations.
//!
//! ```text
//! RnnOp: (xs, flat weights, flat carry) -> flat final carry     owns the saved values and recorder
//! RnnOutputsOp: RnnOp -> (batch, time, output)                   returns the outputs of RnnOp
//! ```
//!
//! A custom operation has one output. Packing the outputs and the carry into one tensor and cutting
//! them apart again would cost as much as the recurrence, so there are two operations.
//! `RnnOutputsOp` depends on `RnnOp` in the graph. In the backward pass it runs first, stores
//! dL/dys in a slot and returns zeros. `RnnOp` takes the slot, which is empty if the loss does not
//! read the outputs, and its own gradient, which is that of the final carry. The saved values are
//! only read, since backward may run twice. Two *concurrent* backward passes over one graph would
//! share the slot and are not allowed.

use crate::{
    BackwardInput, Bptt, Engine, EngineValue, GradientRecorder, LayerId, NeedsGrad, OutputGrads,
    Saved, SequenceInput, StepMasks, TimeIndex,
};
use candle_core::backend::BackendStorage;
use candle_core::{
    bail, CpuStorage, CudaStorage, CustomOp1, CustomOp3, Layout, MetalStorage, Result, Shape,
    Storage, Tensor,
};
use std::sync::{Arc, Mutex, PoisonError};

/// The arguments of one run.
pub(crate) struct RnnOpBuilder<'a> {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) xs: &'a Tensor,
    pub(crate) params: &'a [Tensor],
    pub(crate) carry: &'a [Tensor],
    pub(crate) time_index: TimeIndex,
    pub(crate) masks: StepMasks,
    pub(crate) segment: Option<usize>,
    pub(crate) bptt: Bptt,
    pub(crate) record: Option<(GradientRecorder, LayerId, &'static [&'static str])>,
}

impl RnnOpBuilder<'_> {
    /// The input of the engine, outside of any graph.
    pub(crate) fn inputs(&self) -> Result<SequenceInput> {
        let detached = |tensors: &[Tensor]| {
            tensors.iter().map(|t| t.detach().contiguous()).collect::<Result<Vec<_>>>()
        };
        Ok(SequenceInput {
            xs: self.xs.detach().contiguous()?,
            params: detached(self.params)?,
            carry: detached(self.carry)?,
            time_index: self.time_index.clone(),
            masks: self.masks.clone(),
            segment: self.segment,
            bptt: self.bptt,
        })
    }

    /// Runs, and returns the outputs if `outputs`, and the final state, both in candle's graph.
    pub(crate) fn apply(self, outputs: bool) -> Result<(Option<Tensor>, Vec<Tensor>)> {
        let inputs = self.inputs()?;
        let mut all = [self.xs].into_iter().chain(self.params).chain(self.carry);
        let tracked = all.any(|tensor| tensor.track_op());
        let forward = self.engine.forward(&inputs, outputs, tracked)?;
        let device = inputs.xs.device().clone();
        let Some(saved) = forward.saved.filter(|_| tracked) else {
            let outputs = forward.outputs.map(|value| value.into_tensor(&device)).transpose()?;
            return Ok((outputs, forward.carry));
        };
        let slot = Slot::default();
        let carry = Flattened::of(&forward.carry);
        let anchor = RnnOp {
            value: Precomputed::new(EngineValue::Tensor(carry.pack(&forward.carry)?))?,
            params: Flattened::of(&inputs.params),
            carry,
            engine: self.engine,
            saved,
            inputs,
            slot: slot.clone(),
            record: self.record,
        };
        let (params, start, end) = (
            anchor.params.pack(self.params)?,
            anchor.carry.pack(self.carry)?,
            anchor.carry.clone(),
        );
        let anchor = self.xs.apply_op3(&params, &start, anchor)?;
        let hand_out =
            |value| anchor.apply_op1(RnnOutputsOp { value: Precomputed::new(value)?, slot });
        Ok((forward.outputs.map(hand_out).transpose()?, end.unpack(&anchor)?))
    }
}

/// dL/dys, for [`RnnOp`].
type Slot = Arc<Mutex<Option<Tensor>>>;

struct RnnOp {
    value: Precomputed,
    params: Flattened,
    carry: Flattened,
    engine: Arc<dyn Engine>,
    saved: Saved,
    inputs: SequenceInput,
    slot: Slot,
    record: Option<(GradientRecorder, LayerId, &'static [&'static str])>,
}

impl CustomOp3 for RnnOp {
    fn name(&self) -> &'static str {
        "recurrent"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.value.cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.value.cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.value.metal()
    }

    fn bwd(
        &self,
        xs: &Tensor,
        params: &Tensor,
        start: &Tensor,
        _end: &Tensor,
        grad_end: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let outputs = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let output_grads =
            OutputGrads { outputs, carry: self.carry.unpack(&grad_end.detach().contiguous()?)? };
        let needs =
            NeedsGrad { xs: xs.track_op(), params: params.track_op(), carry: start.track_op() };
        let sizes =
            self.inputs.carry.iter().map(|field| field.dim(1)).collect::<Result<Vec<_>>>()?;
        let dtype = self.inputs.xs.dtype();
        let accumulators = self
            .record
            .as_ref()
            .map(|(recorder, ..)| recorder.accumulators(&self.inputs.time_index, &sizes, dtype));
        let mut accumulators = accumulators.unwrap_or_default();
        let gradients = self.engine.backward(BackwardInput {
            inputs: &self.inputs,
            saved: &self.saved,
            output_grads: &output_grads,
            needs,
            accumulators: &mut accumulators,
        })?;
        if let Some((recorder, layer_id, fields)) = &self.record {
            recorder.put(*layer_id, fields, accumulators)?;
        }
        let params = needs.params.then(|| self.params.pack(&gradients.params)).transpose()?;
        let carry = needs.carry.then(|| self.carry.pack(&gradients.carry)).transpose()?;
        Ok((gradients.xs.filter(|_| needs.xs), params, carry))
    }
}

struct RnnOutputsOp {
    value: Precomputed,
    slot: Slot,
}

impl CustomOp1 for RnnOutputsOp {
    fn name(&self) -> &'static str {
        "recurrent-outputs"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.value.cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.value.cuda()
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.value.metal()
    }

    fn bwd(&self, anchor: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(grad.detach().contiguous()?);
        Ok(Some(anchor.zeros_like()?))
    }
}

/// A value that is computed before its operation is applied, and returned once when candle runs the
/// operation.
struct Precomputed(Mutex<Option<EngineValue>>);

impl Precomputed {
    /// Candle takes the storage that an operation returns from its first element on. A view into
    /// another tensor, such as a cell's `step` may return, is copied into a storage of its own.
    fn new(value: EngineValue) -> Result<Self> {
        let value = match value {
            EngineValue::Tensor(tensor) => EngineValue::Tensor(without_offset(tensor)?),
            host @ EngineValue::Host(..) => host,
        };
        Ok(Self(Mutex::new(Some(value))))
    }

    fn take(&self) -> Result<EngineValue> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(value) => Ok(value),
            None => bail!("recurrent: the forward pass of this operation has already run"),
        }
    }

    fn cpu(&self) -> Result<(CpuStorage, Shape)> {
        let tensor = match self.take()? {
            EngineValue::Host(storage, shape) => return Ok((storage, shape)),
            EngineValue::Tensor(tensor) => tensor,
        };
        let (storage, layout) = tensor.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, tensor.shape().clone())),
            _ => bail!("recurrent: expected a value on the CPU"),
        }
    }

    fn cuda(&self) -> Result<(CudaStorage, Shape)> {
        match self.take()? {
            EngineValue::Host(..) => {
                bail!("recurrent: expected a value on the GPU, got host memory")
            }
            EngineValue::Tensor(tensor) => match &*tensor.storage_and_layout().0 {
                Storage::Cuda(storage) => {
                    Ok((storage.try_clone(tensor.layout())?, tensor.shape().clone()))
                }
                _ => bail!("recurrent: expected a value on a CUDA device"),
            },
        }
    }

    fn metal(&self) -> Result<(MetalStorage, Shape)> {
        match self.take()? {
            EngineValue::Host(..) => {
                bail!("recurrent: expected a value on the GPU, got host memory")
            }
            EngineValue::Tensor(tensor) => match &*tensor.storage_and_layout().0 {
                Storage::Metal(storage) => {
                    Ok((storage.try_clone(tensor.layout())?, tensor.shape().clone()))
                }
                _ => bail!("recurrent: expected a value on a Metal device"),
            },
        }
    }
}

/// The tensor, contiguous from the first element of its storage on.
fn without_offset(tensor: Tensor) -> Result<Tensor> {
    match tensor.is_contiguous() && tensor.layout().start_offset() == 0 {
        true => Ok(tensor),
        false => tensor.force_contiguous(),
    }
}

/// Several tensors in one, since a custom operation has three inputs and one output.
#[derive(Clone)]
struct Flattened(Vec<Shape>);

impl Flattened {
    fn of(tensors: &[Tensor]) -> Self {
        Self(tensors.iter().map(|tensor| tensor.shape().clone()).collect())
    }

    fn pack(&self, tensors: &[Tensor]) -> Result<Tensor> {
        let flat = tensors.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
        match &flat[..] {
            [one] => one.force_contiguous(), // a storage of its own
            _ => Tensor::cat(&flat, 0),
        }
    }

    fn unpack(&self, flat: &Tensor) -> Result<Vec<Tensor>> {
        let mut start = 0;
        let mut cut = |shape: &Shape| {
            let part = flat.narrow(0, start, shape.elem_count())?.reshape(shape);
            start += shape.elem_count();
            part
        };
        self.0.iter().map(&mut cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::{linear, Cell, ForwardContext, HiddenState, Layer, Params, Rnn, Sequence};
    use candle_core::{DType, Device, Result, Tensor, Var};

    /// h' = tanh(W x + U h), as the second half of a concatenation.
    #[derive(Clone, Params)]
    struct View {
        w: Tensor,
        u: Tensor,
    }

    impl Cell for View {
        type State = HiddenState;

        fn input_size(&self) -> usize {
            self.w.dims()[1]
        }

        fn state_sizes(&self) -> Vec<usize> {
            vec![self.u.dims()[1]]
        }

        fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
            let new = (linear(x, &self.w, None)? + linear(&s.h, &self.u, None)?)?.tanh()?;
            let size = new.dim(1)?;
            Ok(HiddenState { h: Tensor::cat(&[&s.h, &new], 1)?.narrow(1, size, size)? })
        }
    }

    /// A view is contiguous with an offset where there is one example or one step.
    #[test]
    fn a_step_may_return_a_view() -> Result<()> {
        let wave = |from: usize, shape: (usize, usize)| {
            let values: Vec<_> =
                (0..shape.0 * shape.1).map(|i| (((from + i) as f64) * 0.7).sin()).collect();
            Tensor::from_vec(values, shape, &Device::Cpu)
        };
        let (w, u) = (Var::from_tensor(&wave(0, (4, 3))?)?, Var::from_tensor(&wave(20, (4, 4))?)?);
        let cell = View { w: w.as_tensor().clone(), u: u.as_tensor().clone() };
        let layer = Rnn::from_cell(cell.clone());
        for (batch, time) in [(1, 5), (3, 1), (1, 1), (3, 5)] {
            let xs = wave(40, (batch * time, 3))?.reshape((batch, time, 3))?;
            let mut state = cell.zero_state(batch, DType::F64, &Device::Cpu)?;
            for t in 0..time {
                state = cell.step(&xs.narrow(1, t, 1)?.squeeze(1)?, &state)?;
            }
            let context = ForwardContext::default();
            let (last, _) = layer.last(&Sequence::new(xs.clone())?, None, &context)?;
            let (ys, _) = layer.run(&Sequence::new(xs)?, None, &context)?;
            let end = ys.values().narrow(1, time - 1, 1)?.squeeze(1)?;
            for found in [&last, &end] {
                let off = (found - &state.h)?.abs()?.max_all()?.to_scalar::<f64>()?;
                assert!(off < 1e-14, "({batch}, {time}): off by {off}");
            }
            let (found, expected) = (last.sum_all()?.backward()?, state.h.sum_all()?.backward()?);
            for var in [&w, &u] {
                let grad = |grads: &candle_core::backprop::GradStore| {
                    grads.get(var).expect("the loss depends on it").clone()
                };
                let off = (grad(&found) - grad(&expected))?.abs()?.max_all()?;
                assert!(off.to_scalar::<f64>()? < 1e-14, "({batch}, {time}): a gradient is off");
            }
        }
        Ok(())
    }
}
