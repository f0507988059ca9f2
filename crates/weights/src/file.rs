//! Files of tensors, told apart by what is in them.

use crate::{archive::Archive, npz, torch};
use candle::{bail, Device, Error, Result, Tensor};
use recurrent_core::write_whole;
use safetensors::SafeTensors;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// What a file of tensors holds.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The tensors, on the CPU, in the file's own types. Names of a nested PyTorch checkpoint are joined by dots: `state_dict.rnn.weight_ih_l0`.
    pub tensors: Tensors,
    /// What a safetensors file says of itself; empty for other kinds.
    pub metadata: BTreeMap<String, String>,
}

/// The tensors of a file: safetensors, PyTorch's `.pt` or `.pth` (since 1.6), or NumPy's `.npz`, by what is in it, whatever its name.
///
/// The file is read whole: in memory are, for a moment, the file and its tensors. What an archive unpacks to, and what views in a PyTorch file
/// (which may share numbers, or repeat them) come to, may be 64 times the length of the file and 16 MiB more; beyond that it is refused.
///
/// # Errors
/// If it cannot be read, is cut short or corrupt, or holds what is not a tensor; the message begins with the path.
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
            "a file that PyTorch before 1.6 wrote, or a bare pickle: expected one that torch.save writes since 1.6"
        ),
        [0x89, b'H', b'D', b'F', ..] => {
            bail!("an HDF5 file: expected safetensors, .pt or .npz (numpy.savez writes one from Keras's weights)")
        }
        _ => bail!("expected safetensors, .pt or .npz, found {} bytes that are none of them", bytes.len()),
    }
}

fn safetensors(bytes: &[u8]) -> Result<Contents> {
    let wrong = |error| Error::msg(format!("safetensors: {error}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(wrong)?;
    let file = SafeTensors::deserialize(bytes).map_err(wrong)?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let tensor = candle::safetensors::Load::load(&view, &Device::Cpu)
            .map_err(|error| Error::msg(format!("safetensors '{name}': {error}")))?;
        tensors.insert(name.to_string(), tensor);
    }
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(Contents { tensors, metadata })
}

/// Writes a safetensors file, whole or not at all, with `metadata` in its head.
///
/// # Errors
/// If it cannot be written, or a tensor is of a type that safetensors does not know; what was there before is then still there.
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
