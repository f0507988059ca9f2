//! NumPy's `.npz`: a zip archive of `.npy` members.

use crate::archive::Archive;
use crate::{dtype, Tensors};
use candle_core::{bail, DType, Error, Result, Tensor};

/// More than any array needs: NumPy itself refuses longer headers by default.
const LONGEST_HEADER: usize = 10_000;
const MOST_AXES: usize = 32;

pub(crate) fn read(archive: &mut Archive) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    for member in archive.names().to_vec() {
        let Some(name) = member.strip_suffix(".npy") else {
            bail!(
                "'{member}': expected the members of an .npz, whose names end in .npy, or of a \
                PyTorch file"
            )
        };
        let Some(bytes) = archive.member(&member)? else { bail!("'{member}': it is missing") };
        let tensor = array(&bytes).map_err(|error| Error::msg(format!("npz '{name}': {error}")))?;
        if tensors.insert(name.to_string(), tensor).is_some() {
            bail!("npz '{name}': it occurs twice")
        }
    }
    Ok(tensors)
}

/// The tensor of a `.npy`.
fn array(bytes: &[u8]) -> Result<Tensor> {
    let Some((version, rest)) =
        bytes.strip_prefix(b"\x93NUMPY").and_then(|rest| rest.split_first_chunk::<2>())
    else {
        bail!("expected the magic of an .npy")
    };
    let (length, rest) = match (version, rest) {
        ([1, _], [a, b, rest @ ..]) => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        ([2 | 3, _], [a, b, c, d, rest @ ..]) => {
            (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest)
        }
        _ => bail!("expected version 1, 2 or 3 of .npy, found {}", version[0]),
    };
    if length > LONGEST_HEADER || length > rest.len() {
        bail!(
            "a header of {length} bytes: expected at most {LONGEST_HEADER}, and no more than \
              there are"
        )
    }
    let (header, data) = rest.split_at(length);
    let Some(ArrayHeader { dtype, fortran, mut shape }) =
        std::str::from_utf8(header).ok().and_then(ArrayHeader::parse).transpose()?
    else {
        bail!(
            "expected a header with descr, fortran_order and shape, found {:?}",
            String::from_utf8_lossy(header)
        )
    };
    if dtype::bytes(&shape, dtype) != Some(data.len()) {
        bail!(
            "expected the bytes of {shape:?} numbers of type {}, found {}",
            dtype.as_str(),
            data.len()
        )
    }
    if fortran {
        shape.reverse();
        let turned = dtype::tensor(data, dtype, &shape)?;
        return turned.permute((0..shape.len()).rev().collect::<Vec<_>>())?.contiguous();
    }
    dtype::tensor(data, dtype, &shape)
}

struct ArrayHeader {
    dtype: DType,
    fortran: bool,
    shape: Vec<usize>,
}

impl ArrayHeader {
    /// `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }`; `None` for anything else.
    fn parse(header: &str) -> Option<Result<Self>> {
        let value = |key: &str| Some(header.split_once(&format!("'{key}':"))?.1.trim_start());
        let (descr, _) = value("descr")?.strip_prefix('\'')?.split_once('\'')?;
        let fortran = match value("fortran_order")? {
            order if order.starts_with("False") => false,
            order if order.starts_with("True") => true,
            _ => return None,
        };
        let (sizes, _) = value("shape")?.strip_prefix('(')?.split_once(')')?;
        let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
        let shape: Vec<usize> = sizes.map(|size| size.parse().ok()).collect::<Option<_>>()?;
        if shape.len() > MOST_AXES {
            return None;
        }
        Some(dtype::of_numpy(descr).map(|dtype| Self { dtype, fortran, shape }))
    }
}
