//! Numbers in JSON that lose nothing: what is not finite is a string.
//!
//! JSON has no NaN and no infinity, and serde_json writes `null` for all three of them, which cannot be read back. A run
//! whose loss explodes must say so, hence `"NaN"`, `"Infinity"` and `"-Infinity"`: `float(...)` of Python and
//! `Number(...)` of JavaScript read them.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes a field of type `f64`: `#[serde(with = "number")]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Number(*value).serialize(serializer)
}

/// Reads it.
///
/// # Errors
/// If it is neither a number nor one of the three names.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Number::deserialize(deserializer)?.0)
}

/// For a field of type `Option<f64>`: `#[serde(with = "number::option")]`.
pub mod option {
    use super::*;

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Number).serialize(serializer)
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is neither a number, nor null, nor one of the three names.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Number>::deserialize(deserializer)?.map(|number| number.0))
    }
}

/// For a field of type `Vec<f64>`: `#[serde(with = "number::list")]`.
pub mod list {
    use super::*;

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| Number(*value)))
    }

    /// Reads it.
    ///
    /// # Errors
    /// If an entry is neither a number nor one of the three names.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        Ok(Vec::<Number>::deserialize(deserializer)?.into_iter().map(|number| number.0).collect())
    }
}

/// For a field of type `BTreeMap<String, f64>`: `#[serde(with = "number::map")]`.
pub mod map {
    use super::*;
    use std::collections::BTreeMap;

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        values: &BTreeMap<String, f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(values.iter().map(|(name, value)| (name, Number(*value))))
    }

    /// Reads it.
    ///
    /// # Errors
    /// If an entry is neither a number nor one of the three names.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, f64>, D::Error> {
        let values = BTreeMap::<String, Number>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|(name, number)| (name, number.0)).collect())
    }
}

struct Number(f64);

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
        enum Either {
            Finite(f64),
            Named(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Finite(value) => Ok(Self(value)),
            Either::Named(name) => match name.as_str() {
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
        #[serde(with = "super")]
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
            assert!(read.many.iter().zip(values).all(|(read, value)| same(*read, value)), "{text}");
        }
        assert!(
            serde_json::from_str::<Line>(r#"{"one": "nought", "many": [], "named": {}}"#).is_err()
        );
        assert!(serde_json::from_str::<Line>(r#"{"one": null, "many": [], "named": {}}"#).is_err());
        Ok(())
    }
}
