//! The findings of a gradient check.

use std::fmt;

/// A finding that stops the training; see [`GradientWatch`](crate::GradientWatch).
///
/// It converts into `candle_core::Error`, so `?` works in a function that returns candle's
/// `Result`.
#[derive(Debug)]
#[non_exhaustive]
pub enum GradientFault {
    /// The loss is NaN or infinite.
    Loss {
        /// Step at which it happened.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// Parameters have no gradient: the loss does not depend on them, or an operation without a
    /// backward pass lies between, as in `candle_nn::LayerNorm`.
    Absent {
        /// Step at which it happened.
        step: u64,
        /// Names of the parameters, sorted.
        names: Vec<String>,
    },
    /// Gradients hold NaN or infinity.
    NotFinite {
        /// Step at which it happened.
        step: u64,
        /// For each such parameter, sorted by name: its name, the number of NaN, the number of
        /// infinities.
        found: Vec<(String, usize, usize)>,
    },
    /// Gradients were exactly zero in all of the first steps.
    Dead {
        /// Step at which this was established.
        step: u64,
        /// Number of watched steps.
        watched: u64,
        /// Names of the parameters, sorted.
        names: Vec<String>,
    },
    /// A gradient could not be read.
    Unreadable(candle_core::Error),
}

impl fmt::Display for GradientFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss { step, loss } => {
                write!(f, "step {step}: expected a finite loss, found {loss}")
            }
            Self::Absent { step, names } => write!(
                f,
                "step {step}: expected a gradient for every parameter, found none for {}; the loss \
                 does not depend on them, or an operation without a backward pass cuts the graph",
                listed(names)
            ),
            Self::NotFinite { step, found } => {
                let count = |(name, nan, infinite): &(String, usize, usize)| {
                    format!("'{name}' ({nan} NaN, {infinite} infinite)")
                };
                let found = shortened(found, count);
                write!(f, "step {step}: expected finite gradients, found {found}")
            }
            Self::Dead { step, watched, names } => write!(
                f,
                "step {step}: expected gradients other than zero, found exactly zero in all of the \
                 first {watched} steps for {}",
                listed(names)
            ),
            Self::Unreadable(error) => write!(f, "gradient: {error}"),
        }
    }
}

impl std::error::Error for GradientFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<candle_core::Error> for GradientFault {
    fn from(error: candle_core::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<GradientFault> for candle_core::Error {
    fn from(fault: GradientFault) -> Self {
        match fault {
            GradientFault::Unreadable(error) => error,
            other => Self::msg(other),
        }
    }
}

/// A finding that does not stop the training: the gradient of a parameter is exactly zero in all
/// its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroGradient {
    /// Name of the parameter.
    pub name: String,
    /// Step at which it was found.
    pub step: u64,
    /// The cause, as far as it is known.
    pub cause: ZeroCause,
}

/// Why a gradient of zero may be legitimate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZeroCause {
    /// The cause is unknown.
    Unknown,
    /// A zero is allowed here, for this reason.
    Allowed(String),
    /// The caller reported underflow.
    Underflow,
}

impl fmt::Display for ZeroGradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: the gradient of '{}' is exactly zero", self.step, self.name)?;
        match &self.cause {
            ZeroCause::Unknown => Ok(()),
            ZeroCause::Allowed(reason) => write!(f, ", which is allowed: {reason}"),
            ZeroCause::Underflow => write!(f, ", with underflow on record"),
        }
    }
}

/// How many names a message shows.
const SHOWN: usize = 6;

/// The names, in quotes; after the first six the number of the others.
fn listed(names: &[String]) -> String {
    shortened(names, |name| format!("'{name}'"))
}

fn shortened<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    let shown = items.iter().take(SHOWN).map(show).collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more ({} in all)", items.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_names_are_shortened() {
        let names: Vec<String> = (0..44).map(|index| format!("w{index}")).collect();
        let message =
            |names: &[String]| GradientFault::Absent { step: 3, names: names.to_vec() }.to_string();
        let (few, many) = (message(&names[..6]), message(&names));
        assert!(
            few.contains("found none for 'w0', 'w1', 'w2', 'w3', 'w4', 'w5'; the loss"),
            "{few}"
        );
        assert!(many.contains("'w5' and 38 more (44 in all); the loss"), "{many}");
        let found = names.iter().map(|name| (name.clone(), 1, 0)).collect();
        let message = GradientFault::NotFinite { step: 3, found }.to_string();
        assert!(message.ends_with("'w5' (1 NaN, 0 infinite) and 38 more (44 in all)"), "{message}");
    }
}
