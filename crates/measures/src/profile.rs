//! Gradient norm against lag.

use recurrent_core::{GradientTrace, LayerId};

/// Gradient norm against lag, of one field of one layer's state: g(k) = ‖dL/ds_{T-k}‖, for k from 0
/// (the final state) to T (the initial carry).
///
/// Hochreiter 1991; Bengio, Simard and Frasconi 1994; drawn against the time step by Cooijmans et
/// al. 2016 (arXiv:1603.09025, figure 1). There are two norms, which differ if gradients of
/// examples cancel: the norm of each example's own gradient, with its median and quartiles, and the
/// norm of the gradient of the batch's mean loss.
///
/// Lags are counted from each example's own end. An example shorter than a lag does not count at
/// that lag.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Which layer, and which direction.
    pub layer_id: LayerId,
    /// Which field of the state: `h`, `c`.
    pub part: &'static str,
    /// The length of the shortest example: up to this lag, all examples count.
    pub steps: usize,
    /// The lags, 0 to the length of the longest example.
    pub lag: Vec<usize>,
    /// The median over examples of the norm of the example's own gradient.
    pub median: Vec<f64>,
    /// The lower quartile.
    pub q25: Vec<f64>,
    /// The upper quartile.
    pub q75: Vec<f64>,
    /// The norm of the gradient of the mean loss.
    pub mean: Vec<f64>,
    /// The share of elements that are exactly zero.
    pub zeros: Vec<f64>,
    /// The share of elements that are subnormal.
    pub subnormals: Vec<f64>,
}

impl Profile {
    /// The profile of a trace, whose loss was the mean over the examples of the batch: the norm of
    /// a row is multiplied by the size of the batch to be that of the example's own loss.
    ///
    /// Quartiles are interpolated linearly between the ordered norms (type 7 of Hyndman and Fan
    /// 1996, as in numpy).
    pub fn from_trace(trace: &GradientTrace) -> Self {
        let lags = 0..trace.lags();
        let own = |lag| {
            let mut norms: Vec<_> =
                trace.norms_at(lag).map(|norm| norm * trace.batch as f64).collect();
            norms.sort_by(f64::total_cmp);
            norms
        };
        let quartiles: Vec<_> =
            lags.clone().map(|lag| [0.25, 0.5, 0.75].map(|p| quantile(&own(lag), p))).collect();
        let share = |counts: &[usize]| {
            let pairs = counts.iter().zip(&trace.elements);
            pairs.map(|(&count, &elements)| count as f64 / elements.max(1) as f64).collect()
        };
        Self {
            layer_id: trace.layer_id,
            part: trace.field,
            steps: trace.lengths.iter().copied().min().unwrap_or(0),
            lag: lags.collect(),
            median: quartiles.iter().map(|quartiles| quartiles[1]).collect(),
            q25: quartiles.iter().map(|quartiles| quartiles[0]).collect(),
            q75: quartiles.iter().map(|quartiles| quartiles[2]).collect(),
            mean: trace.batch_norms.clone(),
            zeros: share(&trace.zeros),
            subnormals: share(&trace.subnormals),
        }
    }

    /// The reference lag of ratios: 0, but 1 for every field other than the output h, whose
    /// partial derivative at the last step is zero by construction where the loss reads h alone.
    pub fn reference(&self) -> usize {
        usize::from(self.part != "h")
    }
}

/// The quantile `p` of ordered values; NaN without values.
pub(crate) fn quantile(ordered: &[f64], p: f64) -> f64 {
    let Some(last) = ordered.len().checked_sub(1) else { return f64::NAN };
    let at = p * last as f64;
    let (below, above) = (ordered[at.floor() as usize], ordered[at.ceil() as usize]);
    if below == above {
        return below; // also for infinity, where the difference would be NaN
    }
    below + at.fract() * (above - below)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A trace of full sequences with the given norms, by lag and then by example.
    pub(crate) fn trace(field: &'static str, rows: &[Vec<f64>]) -> GradientTrace {
        let batch = rows[0].len();
        GradientTrace {
            layer_id: LayerId { layer: 1, reverse: true },
            field,
            batch,
            lengths: vec![rows.len() - 1; batch],
            norms: rows.concat(),
            batch_norms: rows.iter().map(|row| row.iter().sum()).collect(),
            zeros: vec![0; rows.len()],
            subnormals: vec![0; rows.len()],
            nans: vec![0; rows.len()],
            infinities: vec![0; rows.len()],
            elements: vec![4 * batch; rows.len()],
            gradients: None,
        }
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([1, 2, 4, 8, 16], [.25, .5, .75]) and of [1, 2, 4, 8]
        let odd = [0.25, 0.5, 0.75].map(|p| quantile(&[1., 2., 4., 8., 16.], p));
        let even = [0.25, 0.5, 0.75].map(|p| quantile(&[1., 2., 4., 8.], p));
        assert_eq!((odd, even), ([2., 4., 8.], [1.75, 3., 5.]));
        assert_eq!(quantile(&[3.], 0.75), 3.0);
        assert_eq!(quantile(&[1., f64::INFINITY, f64::INFINITY], 0.75), f64::INFINITY);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn norms_are_those_of_the_examples_own_loss() {
        let mut trace = trace("c", &[vec![3., 1., 2.], vec![0.5, 0.25, 1.0]]);
        trace.zeros = vec![12, 3];
        trace.subnormals = vec![0, 6];
        let profile = Profile::from_trace(&trace);
        assert_eq!(profile.median, [6.0, 1.5], "three examples: times three");
        assert_eq!((&profile.q25[..], &profile.q75[..]), (&[4.5, 1.125][..], &[7.5, 2.25][..]));
        assert_eq!(profile.mean, [6.0, 1.75], "the mean loss's own, not multiplied");
        assert_eq!(
            (profile.zeros.clone(), profile.subnormals.clone()),
            (vec![1.0, 0.25], vec![0.0, 0.5])
        );
        assert_eq!((profile.steps, profile.reference(), &profile.lag[..]), (1, 1, &[0, 1][..]));
    }

    #[test]
    fn examples_that_have_ended_do_not_count() {
        let mut trace = trace("h", &[vec![1., 10.], vec![2., 20.], vec![3., f64::NAN]]);
        trace.lengths = vec![2, 1];
        let profile = Profile::from_trace(&trace);
        assert_eq!(profile.median, [11., 22., 6.]);
        assert_eq!((profile.steps, profile.lag.len()), (1, 3));
    }
}
