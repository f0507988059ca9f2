//! Tensors by name.

use crate::Result;
use candle_core::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::named_rng;
use std::collections::{BTreeMap, HashMap};

/// Tensors by name, sorted.
pub type TensorMap = BTreeMap<String, Tensor>;

/// Random values of mean 0 and variance 1, in f64, determined by `name`.
///
/// # Errors
/// Those of candle.
pub fn noise(name: &str, dims: &[usize]) -> Result<Tensor> {
    let mut rng = named_rng(11, name);
    let bound = 3f64.sqrt();
    let values: Vec<f64> =
        (0..dims.iter().product()).map(|_| rng.random_range(-bound..bound)).collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

/// The same values in f64, which is exact.
pub(crate) fn to_f64(named: &TensorMap) -> Result<TensorMap> {
    named.iter().map(|(name, value)| Ok((name.clone(), value.to_dtype(DType::F64)?))).collect()
}

/// The weights in `leaves`, by the names under which a case looks them up.
pub(crate) fn weights(leaves: &TensorMap) -> HashMap<String, Tensor> {
    let weight = |(name, value): (&String, &Tensor)| {
        Some((name.strip_prefix("param.")?.to_string(), value.clone()))
    };
    leaves.iter().filter_map(weight).collect()
}
