//! Axes: positions of values and of ticks.

/// A linear scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    /// Maps the values `from` to the positions `to`. Equal ends of `from` are spread by one to
    /// either side.
    pub(super) fn new(from: (f64, f64), to: (f64, f64)) -> Self {
        let from = if from.0 == from.1 { (from.0 - 1.0, from.1 + 1.0) } else { from };
        Self { from, to }
    }

    /// The position of a value. Values outside are placed on the edge.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = ((value - self.from.0) / (self.from.1 - self.from.0)).clamp(0.0, 1.0);
        self.to.0 + share * (self.to.1 - self.to.0)
    }

    /// The values at its two ends.
    pub(super) fn values(&self) -> (f64, f64) {
        self.from
    }
}

/// At most `most` round values within the bounds, whose distance is 1, 2 or 5 times a power of ten.
pub(super) fn ticks((low, high): (f64, f64), most: usize) -> Vec<f64> {
    let rough = (high - low) / most.max(1) as f64;
    if !(rough > 0.0 && rough.is_finite()) {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|times| times * power)
        .find(|step| *step >= rough * (1.0 - 1e-9));
    spaced((low, high), step.unwrap_or(10.0 * power))
}

/// The same for common logarithms: whole decades.
pub(super) fn decades((low, high): (f64, f64), most: usize) -> Vec<f64> {
    let step = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
        .into_iter()
        .find(|step| (high - low) / step <= most.max(1) as f64)
        .unwrap_or(200.0);
    spaced((low, high), step)
}

fn spaced((low, high): (f64, f64), step: f64) -> Vec<f64> {
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|tick| tick as f64 * step).collect()
}

/// A round value without superfluous zeros.
pub(super) fn plain(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let scale = Scale::new((0.0, 10.0), (100.0, 0.0));
        assert_eq!(
            [scale.at(0.0), scale.at(2.5), scale.at(10.0), scale.at(99.0)],
            [100.0, 75.0, 0.0, 0.0]
        );
        assert_eq!(Scale::new((3.0, 3.0), (0.0, 1.0)).at(3.0), 0.5);
        assert_eq!(scale.at(f64::NEG_INFINITY), 100.0, "an underflow lies on the edge");
    }

    #[test]
    fn round_ticks() {
        assert_eq!(ticks((0.0, 99.0), 5), [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!(ticks((0.0, 1.0), 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks((2.0, 2.0), 5), [2.0]);
        assert_eq!(decades((-37.2, 0.4), 5), [-30.0, -20.0, -10.0, 0.0]);
        assert_eq!(decades((-2.3, -0.5), 5), [-2.0, -1.0]);
        assert_eq!([plain(0.6000000000000001), plain(20.0), plain(-0.0)], ["0.6", "20", "0"]);
    }
}
