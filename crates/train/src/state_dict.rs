//! Saved state: a map of named tensors, and its check on loading.

use std::collections::{BTreeMap, HashMap};

use candle_core::{bail, DType, Device, Result, Shape, Tensor};

/// Named tensors, as `candle_core::safetensors::save` takes them and
/// `candle_core::safetensors::load` returns them.
pub type StateDict = HashMap<String, Tensor>;

/// A copy with its own storage, outside of any graph, which does not change with the next step.
pub(crate) fn copy(tensor: &Tensor) -> Result<Tensor> {
    tensor.detach().force_contiguous()
}

/// A number that survives the file bit by bit.
pub(crate) fn number(value: f64) -> Result<Tensor> {
    Tensor::new(value, &Device::Cpu)
}

/// A counter. candle's safetensors has signed 64-bit integers.
pub(crate) fn counter(value: u64) -> Result<Tensor> {
    let Ok(value) = i64::try_from(value) else {
        bail!("state counter: expected less than 2^63, found {value}")
    };
    Tensor::new(value, &Device::Cpu)
}

/// Reads a tensor of [`counter`]; `name` is for the message.
pub(crate) fn read_counter(name: &str, tensor: &Tensor) -> Result<u64> {
    let value = tensor.to_scalar::<i64>()?;
    let Ok(value) = u64::try_from(value) else {
        bail!("state '{name}': expected a count, found {value}")
    };
    Ok(value)
}

/// Compares names, dtypes and shapes, and lists all mismatches in one message.
pub(crate) fn check(
    what: &str,
    expected: impl IntoIterator<Item = (String, DType, Shape)>,
    state: &StateDict,
) -> Result<()> {
    let expected: BTreeMap<String, (DType, Shape)> =
        expected.into_iter().map(|(name, dtype, shape)| (name, (dtype, shape))).collect();
    let mut missing = Vec::new();
    let mut misshapen = Vec::new();
    for (name, (dtype, shape)) in &expected {
        match state.get(name) {
            None => missing.push(format!("'{name}'")),
            Some(found) if found.dtype() != *dtype || found.shape() != shape => {
                misshapen.push(format!(
                    "'{name}' (expected {} {shape:?}, found {} {:?})",
                    dtype.as_str(),
                    found.dtype().as_str(),
                    found.shape()
                ))
            }
            Some(_) => {}
        }
    }
    let mut superfluous: Vec<String> = state
        .keys()
        .filter(|name| !expected.contains_key(*name))
        .map(|name| format!("'{name}'"))
        .collect();
    superfluous.sort();
    let parts: Vec<String> =
        [("missing", missing), ("superfluous", superfluous), ("misshapen", misshapen)]
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(kind, names)| format!("{kind} {}", names.join(", ")))
            .collect();
    if !parts.is_empty() {
        bail!("{what}: {}", parts.join("; "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_lists_everything() -> Result<()> {
        let expected =
            ["a", "b", "c", "d"].map(|name| (name.to_string(), DType::F32, Shape::from((2, 3))));
        let zeros = |shape: (usize, usize), dtype| Tensor::zeros(shape, dtype, &Device::Cpu);
        let state = StateDict::from([
            ("b".to_string(), zeros((3, 2), DType::F32)?),
            ("c".to_string(), zeros((2, 3), DType::F64)?),
            ("d".to_string(), zeros((2, 3), DType::F32)?),
            ("z".to_string(), zeros((2, 3), DType::F32)?),
            ("y".to_string(), zeros((2, 3), DType::F32)?),
        ]);
        let message =
            check("thing state", expected, &state).expect_err("much is wrong").to_string();
        let wanted = "thing state: missing 'a'; superfluous 'y', 'z'; misshapen \
                      'b' (expected f32 [2, 3], found f32 [3, 2]), 'c' (expected f32 [2, 3], found \
                      f64 [2, 3])";
        assert!(message.contains(wanted), "{message}");
        Ok(())
    }

    #[test]
    fn counters_and_numbers_survive() -> Result<()> {
        assert_eq!(read_counter("steps", &counter(1 << 60)?)?, 1 << 60);
        assert!(counter(u64::MAX).is_err());
        assert!(read_counter("steps", &Tensor::new(-1i64, &Device::Cpu)?).is_err());
        assert_eq!(number(0.1)?.to_scalar::<f64>()?.to_bits(), 0.1f64.to_bits());
        Ok(())
    }
}
