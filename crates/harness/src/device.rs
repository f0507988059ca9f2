//! Devices and dtypes by name.

use crate::error::{Error, Result};
use crate::usage::bail_config;
use candle_core::{utils, DType, Device, DeviceLocation};

/// The device called `cpu`, `cuda`, `cuda:N` or `metal`.
///
/// # Errors
/// If there is no such name, or if this build or the machine lacks the device. Another device never
/// takes its place.
pub fn by_name(name: &str) -> Result<Device> {
    let (kind, number) = match name.split_once(':') {
        Some((kind, number)) => (kind, Some(number)),
        None => (name, None),
    };
    match (kind, number) {
        ("cpu", None) => Ok(Device::Cpu),
        ("cuda", number) => {
            let Ok(number) = number.unwrap_or("0").parse::<usize>() else {
                bail_config!("device {name}: expected cuda or cuda:N with a number N");
            };
            if !utils::cuda_is_available() {
                bail_config!("device {name}: this build has no CUDA: build with --features cuda");
            }
            Device::new_cuda(number)
                .map_err(|source| Error::Device { device: format!("device cuda:{number}"), source })
        }
        ("metal", None) if utils::metal_is_available() => Device::new_metal(0)
            .map_err(|source| Error::Device { device: format!("device {name}"), source }),
        ("metal", None) => {
            bail_config!("device {name}: this build has no Metal: build with --features metal")
        }
        _ => bail_config!("device {name}: no such device; there are cpu, cuda, cuda:N and metal"),
    }
}

/// The name of a device: `cpu`, `cuda:0`, `metal`.
pub fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".to_string(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { .. } => "metal".to_string(),
    }
}

/// The dtype called `f32` or `f64`.
///
/// # Errors
/// If there is no such dtype.
pub fn dtype(name: &str) -> Result<DType> {
    match name {
        "f32" => Ok(DType::F32),
        "f64" => Ok(DType::F64),
        _ => bail_config!("dtype {name}: expected f32 or f64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;

    #[test]
    fn names_and_devices() -> Result<()> {
        assert!(by_name("cpu")?.is_cpu());
        assert_eq!(name(&Device::Cpu), "cpu");
        assert_eq!((dtype("f32")?, dtype("f64")?), (DType::F32, DType::F64));
        for (found, expected) in [
            (
                by_name("gpu").err(),
                "device gpu: no such device; there are cpu, cuda, cuda:N and metal",
            ),
            (
                by_name("cpu:1").err(),
                "device cpu:1: no such device; there are cpu, cuda, cuda:N and metal",
            ),
            (by_name("cuda:x").err(), "device cuda:x: expected cuda or cuda:N with a number N"),
            (dtype("f16").err(), "dtype f16: expected f32 or f64"),
        ] {
            let error = found.expect("must fail");
            assert_eq!(
                (error.to_string().as_str(), 1 + u8::from(error.is_config())),
                (expected, 2)
            );
        }
        Ok(())
    }

    #[test]
    fn a_missing_cuda_device_is_an_error() {
        let error = by_name("cuda:99").expect_err("no machine has a hundred devices");
        let (line, code) = match utils::cuda_is_available() {
            true => ("device cuda:99 is not there", 1),
            false => ("device cuda:99: this build has no CUDA: build with --features cuda", 2),
        };
        assert_eq!((error.to_string().as_str(), 1 + u8::from(error.is_config())), (line, code));
    }
}
