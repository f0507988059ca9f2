//! The reference files that `tests/data/generate.py` writes with PyTorch.

use crate::{Result, TensorMap};
use anyhow::{ensure, Context};
use candle_core::{safetensors, Device};
use serde::Deserialize;
use std::path::PathBuf;

/// One reference file: a case in one dtype. The generator's header describes its tensors.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The file's name without its extension: `lstm-1layer-f32`.
    pub file: String,
    /// The case that was computed.
    pub case: ReferenceCase,
    /// The version of PyTorch that computed it.
    pub torch: String,
    /// The tensors by name: `xs`, `h0`, `param.weight_ih_l0`, `ys`, `hn`, `loss.ys`, `loss`,
    /// `grad.xs`, ...
    pub tensors: TensorMap,
}

/// The case of a reference file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceCase {
    /// The name of the case: `lstm-1layer`.
    pub name: String,
    /// `vanilla`, `lstm`, `gru`, `layernorm-lstm`, `layernorm-gru`, `layernorm-vanilla`,
    /// `residual-time-tanh`, `residual-time-lstm`, `residual-depth-lstm`, `highway-depth-lstm`,
    /// `rezero-depth-lstm`, `kim-residual-lstm`, `lstm-peephole`, `lstm-coupled`,
    /// `lstm-coupled-peephole-proj` or `gru-reset-before`.
    pub family: String,
    /// `tanh` or `relu`, for a vanilla network, normalised or not.
    pub nonlinearity: Option<String>,
    /// The number of layers.
    pub layers: usize,
    /// Whether each layer runs in both directions.
    pub bidirectional: bool,
    /// Whether there are biases.
    pub bias: bool,
    /// The number of examples.
    pub batch: usize,
    /// The number of steps.
    pub time: usize,
    /// The number of input features.
    pub input: usize,
    /// The number of units, in each direction.
    pub hidden: usize,
    /// The length of each example, if they differ.
    pub lengths: Option<Vec<usize>>,
    /// Whether the initial state is other than zero.
    pub initial_state: bool,
    /// `f32` or `f64`.
    pub dtype: String,
    /// The seed of all values.
    pub seed: u64,
    /// Options of the family, such as `alpha` or `proj`.
    pub options: serde_json::Value,
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    case: String,
    torch: String,
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data"))
}

/// The names of all reference files, without extension, sorted.
///
/// # Errors
/// If the folder cannot be read, or is empty.
pub fn cases() -> Result<Vec<String>> {
    let folder = folder();
    let entries = std::fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".safetensors").map(str::to_string));
    }
    names.sort();
    ensure!(!names.is_empty(), "{}: expected reference files, got none", folder.display());
    Ok(names)
}

/// Reads the reference file of that name.
///
/// # Errors
/// If it does not exist, or does not have the generator's format.
pub fn load(file: &str) -> Result<Reference> {
    let path = folder().join(format!("{file}.safetensors"));
    let context = || format!("{}", path.display());
    let bytes = std::fs::read(&path).with_context(context)?;
    let (length, rest) =
        bytes.split_first_chunk::<8>().context("8 bytes of length").with_context(context)?;
    let length = usize::try_from(u64::from_le_bytes(*length))?;
    let header = rest.get(..length).context("the header is cut off").with_context(context)?;
    let Metadata { case, torch } =
        serde_json::from_slice::<Header>(header).with_context(context)?.metadata;
    let case: ReferenceCase = serde_json::from_str(&case).with_context(context)?;
    let expected = format!("{}-{}", case.name, case.dtype);
    ensure!(expected == file, "{}: the file says that it is {expected}", path.display());
    let tensors = safetensors::load_buffer(&bytes, &Device::Cpu)?.into_iter().collect();
    Ok(Reference { file: file.to_string(), case, torch, tensors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_with_their_metadata() -> Result<()> {
        assert!(cases()?.iter().any(|case| case == "lstm-1layer-lengths-f64"));
        let reference = load("lstm-1layer-lengths-f64")?;
        let ReferenceCase { batch, time, input, hidden, .. } = reference.case;
        assert_eq!(reference.tensors["xs"].dims(), [batch, time, input]);
        assert_eq!(reference.tensors["grad.weight_hh_l0"].dims(), [4 * hidden, hidden]);
        let lengths: Vec<_> =
            reference.tensors["lengths"].to_vec1::<i64>()?.iter().map(|&l| l as usize).collect();
        assert_eq!(Some(lengths), reference.case.lengths);
        assert!(load("lstm-17layers-f64").is_err());
        Ok(())
    }
}
