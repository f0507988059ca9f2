//! Numbers in JSON that lose nothing: those that are not finite are strings.
//!
//! JSON has no NaN and no infinity, and serde_json writes `null` for all three of them, which
//! cannot be read back. A record of a run whose loss explodes must keep its loss, hence `"NaN"`,
//! `"Infinity"` and `"-Infinity"`: `float(...)` of Python and `Number(...)` of JavaScript read
//! them.
//!
//! ```
//! use recurrent_measures::json;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Line {
//!     #[serde(with = "json::number")]
//!     loss: f64,
//!     #[serde(with = "json::list")]
//!     norms: Vec<f64>,
//! }
//!
//! # fn main() -> serde_json::Result<()> {
//! let line = Line { loss: f64::NAN, norms: vec![0.5, f64::INFINITY] };
//! let text = serde_json::to_string(&line)?;
//! assert_eq!(text, r#"{"loss":"NaN","norms":[0.5,"Infinity"]}"#);
//! assert!(serde_json::from_str::<Line>(&text)?.loss.is_nan());
//! # Ok(())
//! # }
//! ```

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// For a field of type `f64`: `#[serde(with = "json::number")]`.
pub mod number {
    use super::*;

    /// Writes the number, or its name where it is not finite.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Number(*value).serialize(serializer)
    }

    /// Reads a number or one of the three names.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Number::deserialize(deserializer)?.0)
    }
}

/// For a field of type `Option<f64>`: `#[serde(with = "json::option")]`.
pub mod option {
    use super::*;

    /// Writes the number as [`number::serialize`] does, or `null`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Number).serialize(serializer)
    }

    /// Reads a number as [`number::deserialize`] does, or `null`.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Number>::deserialize(deserializer)?.map(|number| number.0))
    }
}

/// For a field of type `Vec<f64>`: `#[serde(with = "json::list")]`.
pub mod list {
    use super::*;

    /// Writes a list of numbers, as [`number::serialize`] does each of them.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| Number(*value)))
    }

    /// Reads a list of numbers, as [`number::deserialize`] does each of them.
    ///
    /// # Errors
    /// If one of them is anything else.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let values = Vec::<Number>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|number| number.0).collect())
    }
}

/// For a field of type `BTreeMap<String, f64>`: `#[serde(with = "json::map")]`.
pub mod map {
    use super::*;
    use std::collections::BTreeMap;

    /// Writes a map of numbers, as [`number::serialize`] does each of them.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        values: &BTreeMap<String, f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(values.iter().map(|(name, value)| (name, Number(*value))))
    }

    /// Reads a map of numbers, as [`number::deserialize`] does each of them.
    ///
    /// # Errors
    /// If one of them is anything else.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, f64>, D::Error> {
        let values = BTreeMap::<String, Number>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|(name, number)| (name, number.0)).collect())
    }
}

/// A number by itself, for types with other serde attributes: `Option<json::Number>`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => serializer.serialize_f64(value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value if value > 0.0 => serializer.serialize_str("Infinity"),
            _ => serializer.serialize_str("-Infinity"),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumberOrName {
            Number(f64),
            Name(String),
        }
        match NumberOrName::deserialize(deserializer)? {
            NumberOrName::Number(value) => Ok(Self(value)),
            NumberOrName::Name(name) => match name.as_str() {
                "NaN" => Ok(Self(f64::NAN)),
                "Infinity" => Ok(Self(f64::INFINITY)),
                "-Infinity" => Ok(Self(f64::NEG_INFINITY)),
                other => Err(D::Error::invalid_value(
                    Unexpected::Str(other),
                    &"a number, NaN, Infinity or -Infinity",
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Serialize, Deserialize)]
    struct Line {
        #[serde(with = "super::number")]
        one: f64,
        #[serde(with = "super::list")]
        many: Vec<f64>,
        #[serde(with = "super::map")]
        named: BTreeMap<String, f64>,
    }

    #[test]
    fn every_number_comes_back() -> serde_json::Result<()> {
        let values = [0.1, -0.0, 5e-324, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 3.0];
        for one in values {
            let named = BTreeMap::from([("hh".to_string(), one)]);
            let text = serde_json::to_string(&Line { one, many: values.to_vec(), named })?;
            assert!(!text.contains("null"), "{text}");
            let read: Line = serde_json::from_str(&text)?;
            let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            assert!(same(read.one, one) && same(read.named["hh"], one), "{text}");
            let mut pairs = read.many.iter().zip(values);
            assert!(pairs.all(|(read, value)| same(*read, value)), "{text}");
        }
        let refused = |text: &str| serde_json::from_str::<Line>(text).is_err();
        assert!(refused(r#"{"one": "nought", "many": [], "named": {}}"#));
        assert!(refused(r#"{"one": null, "many": [], "named": {}}"#));
        Ok(())
    }
}
