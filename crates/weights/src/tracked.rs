//! Tensors for candle's `VarBuilder`, and which of them were read.

use crate::{Mismatch, Tensors};
use candle_core::{bail, DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Tensors for a [`VarBuilder`] that knows which of them were read.
///
/// A layer reads the tensors that it has and ignores all others: one LSTM layer loads a quarter of
/// a checkpoint with two layers and two directions, without an error. [`TrackedTensors::check`]
/// finds this after all layers are built.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use recurrent_weights::{Tensors, TrackedTensors};
///
/// # fn main() -> candle_core::Result<()> {
/// // `read("checkpoint.pt")?.tensors`, for example
/// let mut file = Tensors::new();
/// for name in ["encoder.weight", "encoder.bias", "head.weight"] {
///     file.insert(name.to_string(), Tensor::zeros((2, 2), DType::F32, &Device::Cpu)?);
/// }
/// let file = TrackedTensors::new(file);
/// let vb = file.var_builder(DType::F32, &Device::Cpu);
/// vb.get((2, 2), "encoder.weight")?; // as a layer does
///
/// let error = file.check("encoder.").expect_err("the bias was not read").to_string();
/// assert!(error.contains("superfluous 'encoder.bias' [2, 2]"), "{error}");
/// assert_eq!(file.unread(), ["encoder.bias", "head.weight"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TrackedTensors(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    tensors: Tensors,
    read: Mutex<BTreeSet<String>>,
}

impl TrackedTensors {
    /// These tensors, none of which was read.
    pub fn new(tensors: Tensors) -> Self {
        Self(Arc::new(Shared { tensors, read: Mutex::default() }))
    }

    /// A builder of layers that reads the tensors and converts them to a dtype and a device.
    pub fn var_builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, device.clone())
    }

    /// The names of the tensors that no layer has read.
    pub fn unread(&self) -> Vec<&str> {
        let read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.0.tensors.keys().map(String::as_str);
        names.filter(|name| !read.contains(*name)).collect()
    }

    /// Checks that all tensors whose names begin with `prefix` were read: `encoder.rnn.`, or an
    /// empty prefix for all tensors.
    ///
    /// # Errors
    /// A [`Mismatch`] that lists the unread tensors.
    pub fn check(&self, prefix: &str) -> Result<()> {
        let unread = self.unread().into_iter().filter(|name| name.starts_with(prefix));
        let shaped = |name: &str| (name.to_string(), self.0.tensors[name].dims().to_vec());
        let mut mismatch = Mismatch::new("the layers that were built");
        mismatch.superfluous.extend(unread.map(shaped));
        if mismatch.is_empty() {
            Ok(())
        } else {
            Err(mismatch.into())
        }
    }

    fn read(&self, name: &str) -> Result<&Tensor> {
        let Some(tensor) = self.0.tensors.get(name) else {
            bail!("'{name}': expected a tensor of this name, found none")
        };
        let mut read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert(name.to_string());
        Ok(tensor)
    }
}

impl SimpleBackend for TrackedTensors {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let tensor = self.read(name)?;
        if *tensor.shape() != shape {
            bail!("'{name}': expected {:?}, found {:?}", shape.dims(), tensor.dims())
        }
        tensor.to_device(device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.read(name)?.to_device(device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.tensors.contains_key(name)
    }
}
