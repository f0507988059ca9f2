//! Truncation and clipping of the gradient through time.

use candle_core::{bail, Result};
use serde::{Deserialize, Serialize};

/// Truncation and clipping of the gradient of the carried state; neither by default.
///
/// ```text
/// truncation   no gradient flows from the steps after a border at t to s_t: truncated BPTT
/// clip         dL/dh_t is bounded at every step, before it flows further back
/// ```
///
/// Both change the recorded gradients; neither changes the forward pass. A user's [`crate::Layer`]
/// that is not built on [`crate::Rnn`] must implement them itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bptt {
    /// The steps through which the gradient flows.
    pub truncation: Option<Truncation>,
    /// The bound on dL/dh_t.
    pub clip: Option<HiddenGradClip>,
}

/// The steps through which the gradient of the state flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncation {
    /// Windows of `k` steps from the beginning of the sequence, as in truncated backpropagation
    /// through time (Williams and Peng 1990, with k1 = k2). No gradient flows from one window into
    /// the previous one.
    Every(usize),
    /// The last `k` steps of each example only. dL/ds is zero at larger lags, except for direct
    /// contributions of the loss.
    Last(usize),
}

/// The bound on dL/dh_t at every step of the backward pass. Clipping the gradient of the weights is
/// another thing: it happens after the backward pass and does not change dL/dh_t.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HiddenGradClip {
    /// Clips every element to ± this bound (Graves 2013, arXiv:1308.0850v5, section 2.1).
    Value(f64),
    /// Scales each example's dL/dh_t to at most this norm.
    Norm(f64),
}

impl Bptt {
    /// Truncated backpropagation through time with windows of `steps` steps.
    pub fn truncated(steps: usize) -> Self {
        Self { truncation: Some(Truncation::Every(steps)), clip: None }
    }

    /// Truncation to the last `steps` steps of each example.
    pub fn last(steps: usize) -> Self {
        Self { truncation: Some(Truncation::Last(steps)), clip: None }
    }

    /// Clips the gradient of h at every step.
    pub fn clipped(clip: HiddenGradClip) -> Self {
        Self { truncation: None, clip: Some(clip) }
    }

    /// Refuses a truncation to 0 steps and a bound that is not positive.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(Truncation::Every(0) | Truncation::Last(0)) = self.truncation {
            bail!("bptt truncation: expected at least 1 step, got 0")
        }
        match self.clip {
            Some(HiddenGradClip::Value(bound) | HiddenGradClip::Norm(bound))
                if bound.is_nan() || bound <= 0.0 =>
            {
                bail!("bptt clip: expected a positive bound, got {bound}")
            }
            _ => Ok(()),
        }
    }

    /// Whether truncation cuts the gradient between step `t` (from 0) of an example of `len` steps
    /// and the state before that step.
    pub fn ends(&self, t: usize, len: usize) -> bool {
        match self.truncation {
            None => false,
            Some(Truncation::Every(steps)) => t > 0 && t < len && t.is_multiple_of(steps),
            Some(Truncation::Last(steps)) => t + steps == len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders() {
        let all = |bptt: Bptt, len| (0..12).filter(|&t| bptt.ends(t, len)).collect::<Vec<_>>();
        assert_eq!(all(Bptt::truncated(4), 12), [4, 8]);
        assert_eq!(
            all(Bptt::truncated(4), 8),
            [4],
            "there is no border after the end of an example"
        );
        assert_eq!(all(Bptt::last(3), 10), [7]);
        assert_eq!(all(Bptt::last(10), 10), [0], "no gradient reaches the initial carry");
        assert_eq!((all(Bptt::last(11), 10), all(Bptt::default(), 10)), (vec![], vec![]));
        assert!(Bptt::last(0).check().is_err() && Bptt::truncated(0).check().is_err());
        for bound in [0.0, -1.0, f64::NAN] {
            assert!(Bptt::clipped(HiddenGradClip::Value(bound)).check().is_err());
        }
    }
}
