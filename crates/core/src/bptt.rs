//! What is done to the gradient of the state on its way back through time.

use candle::{bail, Result};
use serde::{Deserialize, Serialize};

/// What a backward pass does to the gradient of the carried state on its way back through time; nothing by default.
///
/// ```text
/// window   dL/ds_t takes nothing from the steps behind a border at t: truncated backpropagation through time
/// clip     dL/dh_t is bounded at every step, before it goes further back
/// ```
///
/// Both change what the recorder sees, and neither changes the forward pass. A layer of one's own that does not run through
/// [`crate::Rnn`] has to do this itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bptt {
    /// Where the gradient ends.
    pub truncation: Option<Truncation>,
    /// How dL/dh_t is bounded.
    pub clip: Option<HiddenGradClip>,
}

/// Where the gradient of the state ends on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncation {
    /// The sequence is cut into windows of so many steps, from its beginning, as in truncated backpropagation through time
    /// (Williams and Peng 1990, with k1 = k2): no gradient passes from one into the one before.
    Every(usize),
    /// Only the last so many steps of each example pass it on: dL/ds_{T-k} is zero for lags k of that number or more, but for what
    /// the loss reads there itself.
    Last(usize),
}

/// How dL/dh_t is bounded at every step of the way back. Not to be confused with clipping the gradient of the weights, which
/// happens after the way back and leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HiddenGradClip {
    /// Every element lies within ± this bound (Graves 2013, arXiv:1308.0850v5, section 2.1, clips the derivatives within the network so).
    Value(f64),
    /// The norm of each example's dL/dh_t is at most this.
    Norm(f64),
}

impl Bptt {
    /// Truncated backpropagation through time with windows of `steps` steps.
    pub fn truncated(steps: usize) -> Self {
        Self { truncation: Some(Truncation::Every(steps)), clip: None }
    }

    /// The last `steps` steps alone.
    pub fn last(steps: usize) -> Self {
        Self { truncation: Some(Truncation::Last(steps)), clip: None }
    }

    /// The gradient of h bounded at every step.
    pub fn clipped(clip: HiddenGradClip) -> Self {
        Self { truncation: None, clip: Some(clip) }
    }

    /// Refuses a window of no steps and a bound that is not positive.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(Truncation::Every(0) | Truncation::Last(0)) = self.truncation {
            bail!("flow window: expected at least 1 step, got 0")
        }
        match self.clip {
            Some(HiddenGradClip::Value(bound) | HiddenGradClip::Norm(bound))
                if bound.is_nan() || bound <= 0.0 =>
            {
                bail!("flow clip: expected a positive bound, got {bound}")
            }
            _ => Ok(()),
        }
    }

    /// Whether the gradient that comes back out of step `t` (from 0) of an example of `len` steps ends there, so that the state
    /// before that step gets none of it.
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
            "nothing ends where the example has ended already"
        );
        assert_eq!(all(Bptt::last(3), 10), [7]);
        assert_eq!(all(Bptt::last(10), 10), [0], "the initial carry gets nothing");
        assert_eq!((all(Bptt::last(11), 10), all(Bptt::default(), 10)), (vec![], vec![]));
        assert!(Bptt::last(0).check().is_err() && Bptt::truncated(0).check().is_err());
        for bound in [0.0, -1.0, f64::NAN] {
            assert!(Bptt::clipped(HiddenGradClip::Value(bound)).check().is_err());
        }
    }
}
