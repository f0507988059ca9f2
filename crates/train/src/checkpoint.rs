//! One checkpoint: everything that a training run needs to resume.

use candle_core::{bail, Device, Result, Tensor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::state_dict::StateDict;

/// The version of the format; raised when the meaning of the bytes changes.
const FORMAT: u32 = 1;
/// The name of the tensor of bytes with everything that is not a tensor.
const REST: &str = "rest";

/// Everything that a training run needs to resume with the same bits;
/// [`Checkpoints`](crate::Checkpoints) saves and loads it.
///
/// `rest` belongs to the loop and has any serde type: its configuration, the state of its random
/// numbers, the position in its data, the best result so far, a
/// [`GradientWatchState`](crate::GradientWatchState). Numbers in it keep their bits, also if they
/// are not finite.
///
/// The file is a safetensors file, which other programs can read. Its tensors are called
/// `weights.NAME`, `optimizer.NAME` and `tensors.NAME`, and `rest` holds everything else as bytes
/// of CBOR (RFC 8949).
#[derive(Clone, Debug)]
pub struct Checkpoint<R> {
    /// The number of completed training steps.
    pub step: u64,
    /// The result of [`Params::state`].
    pub weights: StateDict,
    /// The result of [`Optimizer::state`].
    pub optimizer: StateDict,
    /// Other tensors that the loop keeps between steps: a state carried across windows, columns of
    /// a log.
    pub tensors: StateDict,
    /// Everything else.
    pub rest: R,
}

/// The part of a checkpoint that is not tensors.
#[derive(Serialize, Deserialize)]
struct Rest<R> {
    format: u32,
    step: u64,
    rest: R,
}

impl<R> Checkpoint<R> {
    /// A model and its optimiser after `step` training steps, without other tensors.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn new(step: u64, params: &Params, optimizer: &dyn Optimizer, rest: R) -> Result<Self> {
        let (weights, optimizer) = (params.state()?, optimizer.state()?);
        Ok(Self { step, weights, optimizer, tensors: StateDict::new(), rest })
    }

    /// Restores the state of model and optimiser.
    ///
    /// # Errors
    ///
    /// As [`Optimizer::load_state`] and [`Params::load_state`]; if the weights do not fit, the
    /// optimiser has already been restored.
    pub fn restore(&self, params: &Params, optimizer: &mut dyn Optimizer) -> Result<()> {
        optimizer.load_state(&self.optimizer)?;
        params.load_state(&self.weights)
    }

    /// The three maps of tensors, with the prefixes of their names in the file.
    fn parts(&self) -> [(&'static str, &StateDict); 3] {
        [("weights", &self.weights), ("optimizer", &self.optimizer), ("tensors", &self.tensors)]
    }
}

impl<R: Serialize> Checkpoint<R> {
    /// The file: the same checkpoint gives the same bytes.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let rest = Rest { format: FORMAT, step: self.step, rest: &self.rest };
        ciborium::into_writer(&rest, &mut bytes).map_err(candle_core::Error::wrap)?;
        let length = bytes.len();
        let rest = Tensor::from_vec(bytes, length, &Device::Cpu)?;
        let mut tensors = vec![(REST.to_string(), &rest)];
        for (part, state) in self.parts() {
            tensors.extend(state.iter().map(|(name, tensor)| (format!("{part}.{name}"), tensor)));
        }
        safetensors::serialize(tensors, None).map_err(candle_core::Error::wrap)
    }
}

impl<R: DeserializeOwned> Checkpoint<R> {
    /// The checkpoint from bytes of [`Checkpoint::to_bytes`]; the tensors are on the CPU.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        let Some(rest) = tensors.remove(REST) else {
            bail!("expected a tensor '{REST}', found none");
        };
        let rest: Vec<u8> = rest.to_vec1()?;
        let Rest { format, step, rest } =
            ciborium::from_reader(&rest[..]).map_err(candle_core::Error::wrap)?;
        if format != FORMAT {
            bail!("expected format {FORMAT}, found {format}");
        }
        let mut found = Self {
            step,
            weights: StateDict::new(),
            optimizer: StateDict::new(),
            tensors: StateDict::new(),
            rest,
        };
        for (name, tensor) in tensors {
            let part = match name.split_once('.') {
                Some(("weights", name)) => Some((&mut found.weights, name)),
                Some(("optimizer", name)) => Some((&mut found.optimizer, name)),
                Some(("tensors", name)) => Some((&mut found.tensors, name)),
                _ => None,
            };
            let Some((part, own)) = part else {
                bail!("expected tensors of weights, optimizer and tensors, found '{name}'");
            };
            part.insert(own.to_string(), tensor);
        }
        Ok(found)
    }
}

/// The bytes of a safetensors file of some tensors: the same tensors give the same bytes.
///
/// # Errors
///
/// If safetensors does not support a dtype.
pub fn safetensors_bytes(state: &StateDict) -> Result<Vec<u8>> {
    safetensors::serialize(state.iter(), None).map_err(candle_core::Error::wrap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Loop {
        best: f64,
        losses: Vec<f64>,
        name: Option<String>,
    }

    #[test]
    fn a_round_trip_keeps_all_bits_of_numbers_and_file() -> Result<()> {
        let values = [
            0.1,
            1.0 / 3.0,
            -0.0,
            5e-324,
            f64::MAX,
            f64::INFINITY,
            f64::NEG_INFINITY,
            65504.0,
            0.7253841,
        ];
        let state = |names: &[&str]| -> Result<StateDict> {
            names
                .iter()
                .map(|name| Ok((name.to_string(), Tensor::new(&values, &Device::Cpu)?)))
                .collect()
        };
        let checkpoint = || -> Result<Checkpoint<Loop>> {
            Ok(Checkpoint {
                step: u64::MAX,
                weights: state(&["rnn.weight", "b", "a", "weights.odd"])?,
                optimizer: state(&["lr"])?,
                tensors: StateDict::new(),
                rest: Loop { best: f64::INFINITY, losses: values.to_vec(), name: None },
            })
        };
        let bytes = checkpoint()?.to_bytes()?;
        assert_eq!(bytes, checkpoint()?.to_bytes()?, "the order of maps is random");
        let read = Checkpoint::<Loop>::from_bytes(&bytes)?;
        assert_eq!((read.step, &read.rest), (u64::MAX, &checkpoint()?.rest));
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read.rest.losses), bits(&values));
        assert_eq!((read.weights.len(), read.optimizer.len(), read.tensors.len()), (4, 1, 0));
        assert_eq!(bits(&read.weights["weights.odd"].to_vec1::<f64>()?), bits(&values));
        Ok(())
    }

    #[test]
    fn other_files_are_refused() -> Result<()> {
        let other = safetensors_bytes(&StateDict::from([(
            "w".to_string(),
            Tensor::new(&[1f32], &Device::Cpu)?,
        )]))?;
        let error = Checkpoint::<Loop>::from_bytes(&other).expect_err("weights alone").to_string();
        assert!(error.contains("expected a tensor 'rest'"), "{error}");
        let whole = Checkpoint {
            step: 1,
            weights: StateDict::new(),
            optimizer: StateDict::new(),
            tensors: StateDict::new(),
            rest: 3,
        };
        assert!(Checkpoint::<Loop>::from_bytes(&whole.to_bytes()?).is_err(), "another loop's");
        assert!(Checkpoint::<Loop>::from_bytes(b"").is_err());
        Ok(())
    }
}
