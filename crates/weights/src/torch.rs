//! The files of `torch.save`: a zip archive with a pickle and the elements of each storage.

use crate::archive::{Archive, UnpackBudget};
use crate::pickle::{self, TensorView};
use crate::{dtype, Tensors};
use candle_core::{bail, Error, Result, Tensor};
use std::collections::BTreeMap;

/// Pickles of state dicts take about 150 bytes per tensor.
const LONGEST_PICKLE: usize = 64 << 20;

pub(crate) fn read(archive: &mut Archive, folder: &str) -> Result<Tensors> {
    if let Some(order) = archive.member(&format!("{folder}byteorder"))? {
        if order != b"little" {
            bail!("byteorder: expected little, found {:?}", String::from_utf8_lossy(&order))
        }
    }
    let Some(pickle) = archive.member(&format!("{folder}data.pkl"))? else { bail!("no data.pkl") };
    if pickle.len() > LONGEST_PICKLE {
        bail!("data.pkl: expected at most {LONGEST_PICKLE} bytes, found {}", pickle.len())
    }
    let views = pickle::read(&pickle).map_err(|error| Error::msg(format!("data.pkl: {error}")))?;
    let mut by_storage: BTreeMap<String, Vec<(String, TensorView)>> = BTreeMap::new();
    for (name, view) in views {
        by_storage.entry(view.storage.key.clone()).or_default().push((name, view));
    }
    let mut tensors = Tensors::new();
    for (key, views) in by_storage {
        let member = format!("{folder}data/{key}");
        let Some(numbers) = archive.member(&member)? else {
            bail!("'{member}': it is not in the archive")
        };
        for (name, view) in views {
            let tensor = tensor(&view, &numbers, &name, &mut archive.budget)?;
            tensors.insert(name, tensor);
        }
    }
    Ok(tensors)
}

/// The elements of a view, in order.
fn tensor(
    view: &TensorView,
    numbers: &[u8],
    name: &str,
    budget: &mut UnpackBudget,
) -> Result<Tensor> {
    let TensorView { storage, offset, shape, strides } = view;
    let item = storage.dtype.size_in_bytes();
    if storage.count.checked_mul(item) != Some(numbers.len()) {
        bail!(
            "'{name}': expected {} numbers of {item} bytes in storage {}, found {} bytes",
            storage.count,
            storage.key,
            numbers.len()
        )
    }
    let Some(bytes) = dtype::bytes(shape, storage.dtype) else {
        bail!("'{name}': {shape:?} are too many numbers")
    };
    budget.spend(name, bytes as u64)?;
    if bytes == 0 {
        return dtype::tensor(&[], storage.dtype, shape);
    }
    let last = shape.iter().zip(strides).try_fold(*offset, |last, (size, stride)| {
        (size - 1).checked_mul(*stride).and_then(|more| last.checked_add(more))
    });
    match last {
        Some(last) if last < storage.count => {}
        _ => bail!(
            "'{name}': {shape:?} at {offset} with strides {strides:?} leaves its storage of {} \
            numbers",
            storage.count
        ),
    }
    if contiguous(shape, strides) {
        return dtype::tensor(&numbers[offset * item..][..bytes], storage.dtype, shape);
    }
    let mut gathered = Vec::with_capacity(bytes);
    let mut index = vec![0; shape.len()];
    while gathered.len() < bytes {
        let at = offset + index.iter().zip(strides).map(|(at, stride)| at * stride).sum::<usize>();
        gathered.extend_from_slice(&numbers[at * item..][..item]);
        for (at, size) in index.iter_mut().zip(shape).rev() {
            *at += 1;
            if *at < *size {
                break;
            }
            *at = 0;
        }
    }
    dtype::tensor(&gathered, storage.dtype, shape)
}

fn contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(size, stride)| {
        let fits = *size == 1 || *stride == expected;
        expected *= size;
        fits
    })
}
