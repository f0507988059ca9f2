//! A measure, or why there is none.

use serde::{Deserialize, Serialize};

/// What a measure found, or why it does not apply to this network: not the same as having found nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Applicable<T> {
    /// What was found.
    #[serde(rename = "found")]
    Value(T),
    /// Why there is no such measure here, in a sentence.
    #[serde(rename = "does-not-apply")]
    NotApplicable(String),
}

impl<T> Applicable<T> {
    /// What was found, if the measure applies.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::NotApplicable(_) => None,
        }
    }
}
