//! A layer's gradient against the lag, over all batches.

use super::thresholds::{TINY, UNDERFLOWED};
use crate::depth::pooled;
use crate::statistics::median_high;
use crate::{decay, horizon, Fit, Profile, HORIZON};
use recurrent_core::{GradientTrace, LayerId};

/// The gradient of one field of one layer's state against the lag: the median over batches of the
/// median over examples.
#[derive(Clone, Debug)]
pub(super) struct GradientCurve {
    pub(super) part: &'static str,
    norms: Vec<f64>,
    /// The share of elements that are zero or subnormal, by lag.
    lowest: Vec<f64>,
    /// The first lag at which a norm is not finite.
    pub(super) broken: Option<usize>,
    first: Option<usize>,
    strength: f64,
}

/// The profile of one field of one layer's state, from one batch.
#[derive(Clone, Debug)]
pub(super) struct BatchProfile {
    profile: Profile,
    pooled: f64,
}

impl BatchProfile {
    pub(super) fn from_trace(trace: &GradientTrace) -> Self {
        Self { profile: Profile::from_trace(trace), pooled: pooled(trace) }
    }
}

impl GradientCurve {
    /// The curve over all batches; `None` without batches.
    pub(super) fn new(batches: &[BatchProfile]) -> Option<Self> {
        let profiles: Vec<_> = batches.iter().map(|batch| &batch.profile).collect();
        let one = *profiles.first()?;
        let strengths: Vec<_> = batches.iter().map(|batch| batch.pooled).collect();
        let strength = median_high(&strengths)?;
        let lags = profiles.iter().map(|profile| profile.lag.len()).max()?;
        let at = |lag: usize, read: fn(&Profile) -> &Vec<f64>| {
            let batches = profiles.iter().filter_map(|profile| read(profile).get(lag).copied());
            median_high(&batches.collect::<Vec<_>>()).unwrap_or(f64::NAN)
        };
        let norms: Vec<_> = (0..lags).map(|lag| at(lag, |profile| &profile.median)).collect();
        let lowest = (0..lags)
            .map(|lag| at(lag, |profile| &profile.zeros) + at(lag, |profile| &profile.subnormals));
        let broken = |lag: &usize| {
            profiles
                .iter()
                .any(|profile| profile.mean.get(*lag).is_some_and(|norm| !norm.is_finite()))
        };
        let first = (one.reference()..lags).find(|&lag| norms[lag] > 0.0);
        Some(Self {
            part: one.part,
            lowest: lowest.collect(),
            broken: (0..lags).find(broken),
            first,
            strength,
            norms,
        })
    }

    /// The number of steps of the longest example.
    pub(super) fn steps(&self) -> usize {
        self.norms.len() - 1
    }

    /// The reference lag of shares: the first with a gradient, from [`Profile::reference`] on.
    pub(super) fn first(&self) -> Option<usize> {
        self.first
    }

    /// The norm at the reference.
    pub(super) fn start(&self) -> f64 {
        self.first.map_or(0.0, |first| self.norms[first])
    }

    /// The norm at `lag` over that at the reference.
    pub(super) fn share(&self, lag: usize) -> Option<f64> {
        self.first.filter(|&first| first < lag)?;
        self.norms.get(lag).map(|norm| norm / self.start())
    }

    /// The largest norm, and its lag.
    pub(super) fn peak(&self) -> (usize, f64) {
        let pairs = self.norms.iter().copied().enumerate();
        pairs.fold((0, 0.0), |peak, (lag, norm)| if norm > peak.1 { (lag, norm) } else { peak })
    }

    pub(super) fn fit(&self) -> Option<Fit> {
        decay(&self.norms, self.steps())
    }

    /// The largest lag with a thousandth of the reference norm.
    pub(super) fn horizon(&self) -> Option<usize> {
        horizon(&self.norms, self.first?, HORIZON)
    }

    /// The first lag, up to `reach`, at which the gradient is zero without having been tiny.
    pub(super) fn end(&self, reach: usize) -> Option<usize> {
        let first = self.first?;
        let last = (first..=reach.min(self.steps())).rfind(|&lag| self.norms[lag] > 0.0)?;
        (last < reach.min(self.steps()) && self.norms[last] > TINY).then_some(last + 1)
    }

    /// The first lag, up to `reach`, at which most elements are zero or subnormal and the gradient
    /// is or was tiny.
    pub(super) fn underflow(&self, reach: usize) -> Option<usize> {
        let first = self.first?;
        let tiny = (first..self.norms.len())
            .find(|&lag| (0.0..TINY).contains(&self.norms[lag]) && self.norms[lag] > 0.0)?;
        (tiny..=reach.min(self.steps())).find(|&lag| self.lowest[lag] > UNDERFLOWED)
    }

    /// The norm of the gradient of all steps together.
    pub(super) fn strength(&self) -> f64 {
        self.strength
    }
}

/// The curves of one layer, in one direction.
#[derive(Clone, Debug)]
pub(super) struct LayerGradients {
    pub(super) layer_id: LayerId,
    pub(super) curves: Vec<GradientCurve>,
}

impl LayerGradients {
    /// The curve of the field that carries the gradient: the cell state c if there is one, else the
    /// output h.
    pub(super) fn carrier(&self) -> Option<&GradientCurve> {
        self.curves.iter().find(|curve| curve.part != "h").or(self.curves.first())
    }

    /// The norm of the gradient of all fields and steps together.
    pub(super) fn strength(&self) -> f64 {
        self.curves.iter().map(|curve| curve.strength().powi(2)).sum::<f64>().sqrt()
    }

    /// The first lag at which a gradient is not finite.
    pub(super) fn broken(&self) -> Option<usize> {
        self.curves.iter().filter_map(|curve| curve.broken).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::trace;

    fn curve(part: &'static str, norms: &[f64]) -> GradientCurve {
        let seen = BatchProfile::from_trace(&trace(
            part,
            &norms.iter().map(|&norm| vec![norm]).collect::<Vec<_>>(),
        ));
        GradientCurve::new(&[seen]).expect("a profile")
    }

    #[test]
    fn shares_refer_to_the_first_gradient() {
        let h = curve("h", &[4.0, 2.0, 1.0, 8.0]);
        assert_eq!(
            (h.share(2), h.share(3), h.share(0), h.share(4)),
            (Some(0.25), Some(2.0), None, None)
        );
        assert_eq!((h.peak(), h.steps()), ((3, 8.0), 3));
        let c = curve("c", &[0.0, 2.0, 1.0]);
        assert_eq!((c.first(), c.share(2)), (Some(1), Some(0.5)));
        assert_eq!(
            curve("h", &[0.0, 0.0, 3.0, 6.0]).share(3),
            Some(2.0),
            "the loss reads an earlier step"
        );
        assert_eq!(curve("h", &[0.0; 3]).first(), None);
    }

    #[test]
    fn the_median_is_over_batches() {
        let of = |norm: f64| BatchProfile::from_trace(&trace("h", &[vec![norm], vec![norm / 2.0]]));
        let curve = GradientCurve::new(&[of(1.0), of(9.0), of(3.0)]).expect("three");
        assert_eq!((curve.start(), curve.share(1)), (3.0, Some(0.5)));
        assert!(GradientCurve::new(&[]).is_none());
        let broken = GradientCurve::new(&[of(1.0), of(f64::NAN)]).expect("two");
        assert_eq!(broken.broken, Some(0));
    }

    #[test]
    fn a_cut_differs_from_a_decay() {
        let cut = curve("h", &[1.0, 0.5, 0.25, 0.0, 0.0]);
        assert_eq!(
            (cut.end(4), cut.end(3), cut.end(2), cut.underflow(4)),
            (Some(3), Some(3), None, None)
        );

        let mut rows: Vec<_> = (0..60).map(|lag| vec![0.1f64.powi(lag)]).collect();
        rows.iter_mut().skip(46).for_each(|row| row[0] = 0.0);
        let mut fading = trace("h", &rows);
        for lag in 38..60 {
            (fading.subnormals[lag], fading.zeros[lag]) = if lag < 46 { (4, 0) } else { (0, 4) };
        }
        let fading = GradientCurve::new(&[BatchProfile::from_trace(&fading)]).expect("a profile");
        assert_eq!(
            (fading.end(59), fading.underflow(59), fading.underflow(37)),
            (None, Some(38), None)
        );
    }
}
