//! One error for everything that does not fit.

use crate::Tensors;
use candle_core::Result;
use std::collections::BTreeMap;
use std::fmt;

/// All tensors that do not fit what was expected, by name, with their shapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// The name of the expected convention.
    pub expected: String,
    /// Expected, but absent.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Present, but not expected.
    pub superfluous: Vec<(String, Vec<usize>)>,
    /// Present with another shape: the expected shape, then the found one.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// The convention that the tensors look like, if any.
    pub hint: Option<String>,
}

impl Mismatch {
    pub(crate) fn new(expected: &str) -> Self {
        Self { expected: expected.to_string(), ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.superfluous.is_empty() && self.misshapen.is_empty()
    }

    pub(crate) fn compare<'a>(
        &mut self,
        wanted: &BTreeMap<String, Vec<usize>>,
        found: impl Iterator<Item = (&'a str, &'a [usize])>,
    ) {
        let found: BTreeMap<_, _> = found.collect();
        for (name, shape) in wanted {
            match found.get(name.as_str()) {
                None => self.missing.push((name.clone(), shape.clone())),
                Some(other) if *other != shape.as_slice() => {
                    self.misshapen.push((name.clone(), shape.clone(), other.to_vec()));
                }
                Some(_) => {}
            }
        }
        let superfluous = found.iter().filter(|(name, _)| !wanted.contains_key(**name));
        self.superfluous
            .extend(superfluous.map(|(name, shape)| (name.to_string(), shape.to_vec())));
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let shaped = |all: &[(String, Vec<usize>)]| {
            all.iter()
                .map(|(name, shape)| format!("'{name}' {shape:?}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let misshapen = self.misshapen.iter().map(|(name, expected, found)| {
            format!("'{name}' (expected {expected:?}, found {found:?})")
        });
        let parts = [
            ("missing", shaped(&self.missing)),
            ("superfluous", shaped(&self.superfluous)),
            ("misshapen", misshapen.collect::<Vec<_>>().join(", ")),
        ];
        let parts = parts
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(kind, names)| format!("{kind} {names}"));
        write!(f, "weights of {}: {}", self.expected, parts.collect::<Vec<_>>().join("; "))?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Mismatch {}

impl From<Mismatch> for candle_core::Error {
    fn from(mismatch: Mismatch) -> Self {
        Self::wrap(mismatch)
    }
}

/// Compares names and shapes, for tensors that need no convention; `what` begins the message.
///
/// # Errors
/// A [`Mismatch`] that lists everything.
pub fn check(what: &str, expected: &[(String, Vec<usize>)], found: &Tensors) -> Result<()> {
    let mut mismatch = Mismatch::new(what);
    let wanted = expected.iter().cloned().collect();
    mismatch.compare(&wanted, found.iter().map(|(name, tensor)| (name.as_str(), tensor.dims())));
    if mismatch.is_empty() {
        Ok(())
    } else {
        Err(mismatch.into())
    }
}
