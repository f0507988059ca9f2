//! The underflow of a gradient.

use crate::Profile;
use serde::{Deserialize, Serialize};

/// The number of lags at which at least one element of the gradient is zero or subnormal, and the
/// first of them.
///
/// In f32 that is below 2^-126, about 1.2e-38; the profile of a network whose gradient halves every
/// step gets there by lag 126. Zeros by construction of the loss or the network count too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underflow {
    /// The number of such lags.
    pub lags: usize,
    /// The first of them.
    pub first: Option<usize>,
}

impl Underflow {
    /// The underflow of a profile, by its shares of zeros and of subnormals.
    pub fn from_profile(profile: &Profile) -> Self {
        let shares = profile.zeros.iter().zip(&profile.subnormals).zip(&profile.lag);
        let mut hit = shares
            .filter(|((zeros, subnormals), _)| **zeros + **subnormals > 0.0)
            .map(|(_, &lag)| lag);
        let first = hit.next();
        Self { lags: usize::from(first.is_some()) + hit.count(), first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::trace;

    #[test]
    fn lags_with_a_zero_or_a_subnormal_are_counted() {
        let mut trace = trace("h", &vec![vec![1.0, 1.0]; 6]);
        assert_eq!(
            Underflow::from_profile(&Profile::from_trace(&trace)),
            Underflow { lags: 0, first: None }
        );
        trace.subnormals = vec![0, 0, 0, 1, 8, 0];
        trace.zeros = vec![0, 0, 0, 0, 0, 8];
        assert_eq!(
            Underflow::from_profile(&Profile::from_trace(&trace)),
            Underflow { lags: 3, first: Some(3) }
        );
    }
}
