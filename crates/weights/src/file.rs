//! Files of tensors, recognised by their content.

use crate::{archive::Archive, npz, torch};
use candle_core::{bail, Device, Error, Result, Tensor};
use recurrent_core::write_whole;
use safetensors::SafeTensors;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// The content of a file of tensors.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The tensors, on the CPU, in the dtypes of the file. Names of a nested PyTorch checkpoint are
    /// joined by dots: `state_dict.rnn.weight_ih_l0`.
    pub tensors: Tensors,
    /// The metadata of a safetensors file; empty for other kinds.
    pub metadata: BTreeMap<String, String>,
}

/// The tensors of a file: safetensors, PyTorch's `.pt` or `.pth` (since 1.6), or NumPy's `.npz`,
/// recognised by its content, not by its name.
///
/// The whole file is read, so memory holds the file and its tensors for a moment. The unpacked
/// archive, with the views of a PyTorch file (which may share or repeat numbers), may take 64 times
/// the length of the file plus 16 MiB; a larger one is refused.
///
/// # Errors
/// If it cannot be read, is truncated or corrupt, or holds anything but tensors; the message begins
/// with the path.
pub fn read(path: impl AsRef<Path>) -> Result<Contents> {
    let path = path.as_ref();
    let read = || read_bytes(&std::fs::read(path)?);
    read().map_err(|error| Error::msg(format!("{}: {error}", path.display())))
}

/// The same from memory.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(bytes: &[u8]) -> Result<Contents> {
    let others = |tensors| Contents { tensors, metadata: BTreeMap::new() };
    match bytes {
        [b'P', b'K', 3 | 5, ..] => {
            let mut archive = Archive::new(bytes)?;
            match archive.torch_folder() {
                Some(folder) => Ok(others(torch::read(&mut archive, &folder)?)),
                None => Ok(others(npz::read(&mut archive)?)),
            }
        }
        [_, _, _, _, _, _, _, _, b'{', ..] => safetensors(bytes),
        [0x80, _, 0x8a, ..] => bail!(
            "a file that PyTorch before 1.6 wrote, or a bare pickle: expected one that torch.save \
            writes since 1.6"
        ),
        [0x89, b'H', b'D', b'F', ..] => {
            bail!(
                "an HDF5 file: expected safetensors, .pt or .npz (numpy.savez writes one from \
                  Keras's weights)"
            )
        }
        _ => {
            bail!("expected safetensors, .pt or .npz, found {} bytes of another kind", bytes.len())
        }
    }
}

fn safetensors(bytes: &[u8]) -> Result<Contents> {
    let wrong = |error| Error::msg(format!("safetensors: {error}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(wrong)?;
    let file = SafeTensors::deserialize(bytes).map_err(wrong)?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let tensor = candle_core::safetensors::Load::load(&view, &Device::Cpu)
            .map_err(|error| Error::msg(format!("safetensors '{name}': {error}")))?;
        tensors.insert(name.to_string(), tensor);
    }
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(Contents { tensors, metadata })
}

/// Writes a safetensors file atomically, with `metadata` in its header.
///
/// # Errors
/// If it cannot be written, or safetensors does not know the dtype of a tensor; an earlier file is
/// then unchanged.
pub fn write(
    path: impl AsRef<Path>,
    tensors: &Tensors,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let write = || -> Result<()> {
        let host = tensors
            .iter()
            .map(|(name, tensor)| Ok((name, tensor.to_device(&Device::Cpu)?.contiguous()?)));
        let host = host.collect::<Result<Vec<_>>>()?;
        let metadata: HashMap<_, _> = metadata.clone().into_iter().collect();
        let metadata = (!metadata.is_empty()).then_some(metadata);
        let bytes = safetensors::serialize(host, metadata).map_err(Error::wrap)?;
        Ok(write_whole(path, &bytes)?)
    };
    write().map_err(|error| Error::msg(format!("{}: {error}", path.display())))
}
