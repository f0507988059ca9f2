//! Statistics of clipping over a run.

use crate::Clip;

/// Statistics of clipping over the training steps of a run: by the global norm (Pascanu, Mikolov
/// and Bengio 2013, arXiv:1211.5063v2, algorithm 1), by the norm of each tensor, or element by
/// element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipStatistics {
    /// The share of steps with a changed gradient, 0 to 1.
    pub fraction: f64,
    /// The mean of the factor by which the global norm was scaled, 1 for steps without a change.
    pub scale: f64,
    /// The mean of the global gradient norm before the clip.
    pub before: f64,
    /// The mean of the global gradient norm after the clip.
    pub after: f64,
}

impl ClipStatistics {
    /// The statistics of the steps; `None` without steps.
    pub fn from_steps(steps: &[Clip]) -> Option<Self> {
        let mean =
            |value: fn(&Clip) -> f64| steps.iter().map(value).sum::<f64>() / steps.len() as f64;
        (!steps.is_empty()).then(|| Self {
            fraction: mean(|clip| f64::from(u8::from(clip.clipped()))),
            scale: mean(|clip| clip.scale),
            before: mean(|clip| clip.before),
            after: mean(|clip| clip.after),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_steps() {
        let clip = |before: f64, scale: f64| Clip { before, after: before * scale, scale };
        let steps = [clip(4.0, 0.25), clip(0.5, 1.0), clip(2.0, 0.5), clip(1.5, 1.0)];
        let expected = ClipStatistics { fraction: 0.5, scale: 0.6875, before: 2.0, after: 1.0 };
        assert_eq!(ClipStatistics::from_steps(&steps), Some(expected));
        assert_eq!(ClipStatistics::from_steps(&[]), None);
    }
}
