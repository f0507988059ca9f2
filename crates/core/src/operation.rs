//! How a run over a whole sequence sits in candle's graph: two small custom operations.
//!
//! ```text
//! Anchor: (xs, flat weights, flat carry) -> flat final carry      has the reserve, the route and the recorder
//! Outputs: anchor -> (batch, time, output)                        hands out what the anchor computed
//! ```
//!
//! A custom operation has one output, and packing the outputs and the carry into one tensor to cut them apart again
//! costs as much as the recurrence. So `RnnOutputsOp` depends on `RnnOp` in the graph; on the way back it runs first, leaves
//! dL/dys in a slot and returns zeros; `RnnOp` takes the slot, which is empty if the loss does not read the outputs,
//! together with its own gradient, which is that of the final carry. The reserve is only read, since backward may run
//! twice. Two *concurrent* backward passes over one graph would share the slot and are not allowed.

use crate::{
    Bptt, Engine, EngineValue, GradientRecorder, LayerId, NeedsGrad, OutputGrads, Saved,
    SequenceInput, StepMasks, TimeIndex,
};
use candle::backend::BackendStorage;
use candle::{
    bail, CpuStorage, CudaStorage, CustomOp1, CustomOp3, Layout, MetalStorage, Result, Shape,
    Storage, Tensor,
};
use std::sync::{Arc, Mutex, PoisonError};

/// One run: what goes in, and who watches.
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
    /// What an engine is told: everything outside of any graph.
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

    /// Runs, and gives the outputs if `outputs`, and the final state, both in candle's graph.
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
            value: Precomputed::new(EngineValue::Tensor(carry.pack(&forward.carry)?)),
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
            |value| anchor.apply_op1(RnnOutputsOp { value: Precomputed::new(value), slot });
        Ok((forward.outputs.map(hand_out).transpose()?, end.unpack(&anchor)?))
    }
}

/// Where dL/dys waits for the anchor.
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
        let gradients = self.engine.backward(
            &self.inputs,
            &self.saved,
            &output_grads,
            needs,
            &mut accumulators,
        )?;
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

/// A value computed before its operation is applied, handed over once when candle asks for it.
struct Precomputed(Mutex<Option<EngineValue>>);

impl Precomputed {
    fn new(value: EngineValue) -> Self {
        Self(Mutex::new(Some(value)))
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
            [one] => one.copy(), // storage of its own, at offset 0
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
