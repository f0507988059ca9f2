//! Dtypes by the names of other libraries.

use candle_core::{bail, DType, Device, Result, Tensor};

/// The dtype of a PyTorch storage class: `FloatStorage`.
pub(crate) fn of_storage(class: &str) -> Result<DType> {
    Ok(match class {
        "FloatStorage" => DType::F32,
        "DoubleStorage" => DType::F64,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        "ShortStorage" => DType::I16,
        "ByteStorage" | "BoolStorage" => DType::U8,
        other => bail!(
            "a storage of class {other}: expected floats of 16 to 64 bits, integers of \
                       16 to 64, bytes or booleans"
        ),
    })
}

/// The dtype of NumPy's description: `<f4`.
pub(crate) fn of_numpy(descr: &str) -> Result<DType> {
    Ok(match descr {
        "<f2" => DType::F16,
        "<f4" => DType::F32,
        "<f8" => DType::F64,
        "<i8" => DType::I64,
        "<i4" => DType::I32,
        "<i2" => DType::I16,
        "<u4" => DType::U32,
        "|u1" | "|b1" => DType::U8,
        "|O" => bail!("an array of Python objects: expected numbers"),
        other => {
            bail!("an array of type {other:?}: expected one of <f2 <f4 <f8 <i2 <i4 <i8 <u4 |u1 |b1")
        }
    })
}

/// The number of bytes of `shape`; `None` on overflow.
pub(crate) fn bytes(shape: &[usize], dtype: DType) -> Option<usize> {
    // A 0 must not hide that the other sizes overflow.
    shape
        .iter()
        .filter(|&&size| size > 0)
        .try_fold(dtype.size_in_bytes(), |bytes, &size| bytes.checked_mul(size))?;
    Some(shape.iter().product::<usize>() * dtype.size_in_bytes())
}

/// The tensor of these little-endian bytes; the caller has checked their number.
pub(crate) fn tensor(bytes: &[u8], dtype: DType, shape: &[usize]) -> Result<Tensor> {
    if shape.contains(&0) {
        return Tensor::zeros(shape, dtype, &Device::Cpu);
    }
    Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu)
}
