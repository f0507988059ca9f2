//! Shared by all tasks: the random stream of a batch, checks of a length, and tensors.

use crate::error::Result;
use crate::task::{BatchKey, Split};
use crate::usage::bail_config;
use candle_core::{DType, Device, Shape, Tensor, WithDType};
use rand_chacha::ChaCha8Rng;

/// The upper bound of every length. Larger values are almost certainly typos: a single example
/// would need gigabytes.
pub(crate) const LONGEST: usize = 10_000_000;

/// Returns the T or L of a generated task if it is in range.
pub(crate) fn check_length(task: &str, length: usize, least: usize) -> Result<usize> {
    if !(least..=LONGEST).contains(&length) {
        bail_config!("{task} length: expected {least} to {LONGEST}, got {length}");
    }
    Ok(length)
}

/// The random stream of one batch of a generated task; `length` is the T or L of the task.
///
/// The stream of the test split is called `held`: the name determines the random numbers, so a
/// change would change every evaluation.
pub(crate) fn batch_rng(task: &str, length: usize, key: BatchKey) -> ChaCha8Rng {
    let split = match key.split {
        Split::Train => "train",
        Split::Test => "held",
    };
    recurrent_core::named_rng(key.seed, &format!("{split}/{task}/{length}/{}", key.step))
}

/// A tensor of `dtype` on `device`. The conversion happens on the CPU, which supports every dtype.
pub(crate) fn tensor<V: WithDType>(
    values: Vec<V>,
    shape: impl Into<Shape>,
    dtype: DType,
    device: &Device,
) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}

/// One-hot inputs `(batch, time, symbols)`: 1 at the symbol of each step, 0 elsewhere and in the
/// padding of shorter examples.
pub(crate) fn one_hot(
    examples: &[Vec<usize>],
    symbols: usize,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let time = examples.iter().map(Vec::len).max().unwrap_or(0);
    let mut values = vec![0f32; examples.len() * time * symbols];
    for (row, example) in examples.iter().enumerate() {
        for (step, symbol) in example.iter().enumerate() {
            values[(row * time + step) * symbols + symbol] = 1.0;
        }
    }
    Ok(tensor(values, (examples.len(), time, symbols), dtype, device)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;

    #[test]
    fn one_hot_leaves_the_padding_zero() -> Result<()> {
        let examples = [vec![1], vec![0, 2]];
        let found = one_hot(&examples, 3, DType::F32, &Device::Cpu)?.to_vec3::<f32>()?;
        assert_eq!(found, [[[0., 1., 0.], [0., 0., 0.]], [[1., 0., 0.], [0., 0., 1.]]]);
        Ok(())
    }
}
