//! The `config.json` of a saved model.

use crate::{Model, RnnConfig};
use candle_core::{bail, DType, Error, Result};
use recurrent_weights::Tensors;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const KIND: &str = "recurrent";
/// Raised when an older version would misread the file.
const FORMAT: u64 = 1;

pub(super) struct Config {
    pub(super) spec: RnnConfig,
    pub(super) input: usize,
    pub(super) hidden: usize,
    pub(super) dtype: DType,
}

#[derive(Serialize, Deserialize)]
struct Written {
    kind: String,
    format: u64,
    version: String,
    spec: RnnConfig,
    input: usize,
    hidden: usize,
    dtype: String,
}

impl Config {
    pub(super) fn of(model: &Model) -> Self {
        Self {
            spec: model.spec.clone(),
            input: model.input,
            hidden: model.hidden,
            dtype: model.dtype,
        }
    }

    pub(super) fn text(&self) -> Result<String> {
        let written = Written {
            kind: KIND.to_string(),
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_string(),
            spec: self.spec.clone(),
            input: self.input,
            hidden: self.hidden,
            dtype: self.dtype.as_str().to_string(),
        };
        Ok(serde_json::to_string_pretty(&written).map_err(Error::wrap)? + "\n")
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(Error::wrap)?;
        if value["kind"] != KIND {
            bail!("kind: expected {KIND:?}, found {}", value["kind"])
        }
        if value["format"].as_u64() != Some(FORMAT) {
            bail!(
                "format: this version reads {FORMAT}, found {} (written by version {})",
                value["format"],
                value["version"]
            )
        }
        let written: Written = serde_json::from_value(value.clone()).map_err(Error::wrap)?;
        // Options have defaults, so an unknown key must be an error.
        if let Some(unknown) =
            unknown(&value, &serde_json::to_value(&written).map_err(Error::wrap)?)
        {
            bail!("{unknown}: unknown key (written by version {})", value["version"])
        }
        let Written { spec, input, hidden, dtype, .. } = written;
        let dtype = match dtype.parse() {
            Ok(dtype @ (DType::F16 | DType::BF16 | DType::F32 | DType::F64)) => dtype,
            _ => bail!("dtype: expected f16, bf16, f32 or f64, found {dtype:?}"),
        };
        Ok(Self { spec, input, hidden, dtype })
    }

    /// Checks, before anything is built, that the tensors are large enough for the sizes.
    pub(super) fn plausible(&self, tensors: &Tensors) -> Result<()> {
        let held: usize = tensors.values().map(|tensor| tensor.elem_count()).sum();
        let (input, hidden, layers) = (self.input, self.hidden, self.spec.layers);
        if input > held || hidden > held || layers > tensors.len() {
            bail!(
                "expected {layers} layers of {hidden} units on {input} features, found {} \
                tensors of {held} numbers",
                tensors.len()
            )
        }
        // Without the learned initial state; its sizes are only known once a cell is built.
        let least =
            RnnConfig { learned_start: false, ..self.spec.clone() }.param_count(input, hidden)?;
        if least > held {
            bail!("expected {least} numbers, found {held}")
        }
        Ok(())
    }
}

/// The first key of `value` that `known` does not have.
fn unknown(value: &Value, known: &Value) -> Option<String> {
    match (value, known) {
        (Value::Object(value), Value::Object(known)) => {
            value.iter().find_map(|(key, value)| match known.get(key) {
                None => Some(key.clone()),
                Some(known) => unknown(value, known).map(|below| format!("{key}.{below}")),
            })
        }
        (Value::Array(value), Value::Array(known)) => {
            value.iter().zip(known).enumerate().find_map(|(index, (value, known))| {
                unknown(value, known).map(|below| format!("{index}.{below}"))
            })
        }
        _ => None,
    }
}
