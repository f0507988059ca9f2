//! A measure that need not apply to every network.

use serde::{Deserialize, Serialize};

/// The value of a measure, or the reason why it does not apply to this network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Applicable<T> {
    /// The value.
    #[serde(rename = "found")]
    Value(T),
    /// The reason, in a sentence.
    #[serde(rename = "does-not-apply")]
    NotApplicable(String),
}

impl<T> Applicable<T> {
    /// The value, if the measure applies.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::NotApplicable(_) => None,
        }
    }
}
