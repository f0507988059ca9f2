//! Numbers for readers. No number is ever printed as `NaN`, and no underflow as `0`.

/// A number with `digits` significant digits: plain between 0.001 and 99,999, otherwise with an
/// exponent.
pub fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "not finite".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    // "1.25e-3": rounds before the exponent is read
    let rounded = format!("{value:.*e}", digits.saturating_sub(1));
    let exponent: i32 =
        rounded.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    if !(-3..=4).contains(&exponent) {
        return rounded;
    }
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    format!("{value:.decimals$}")
}

/// A loss: three digits, or two if it is small.
pub(super) fn loss(value: f64) -> String {
    significant(value, if value.abs() < 0.01 { 2 } else { 3 })
}

/// A loss for a line on progress: four decimals, or two digits and an exponent if it is large.
pub fn short_loss(value: f64) -> String {
    if value.abs() < 1e5 {
        format!("{value:.4}")
    } else {
        significant(value, 2)
    }
}

/// A number of steps that need not be whole, such as a half-life.
pub(super) fn steps(value: f64) -> String {
    if value < 9.95 {
        significant(value, 2)
    } else {
        format!("{value:.0}")
    }
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "not finite".to_owned();
    }
    let percent = share * 100.0;
    let decimals =
        if (percent - percent.round()).abs() < 1e-9 || percent.abs() >= 99.95 { 0 } else { 1 };
    format!("{percent:.decimals$} %")
}

/// A time in seconds.
pub(super) fn seconds(value: f64) -> String {
    if value < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A whole number of things: `1 seed`, `3 seeds`.
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The limits of a dtype.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Precision {
    /// The distance from 1 to the next number: a sum loses terms below this share.
    pub(super) epsilon: f64,
    /// The smallest normal number: smaller values have underflowed.
    pub(super) tiny: f64,
    /// The description of an underflow.
    pub(super) below: &'static str,
}

impl Precision {
    /// The precision of a dtype by its name; an unknown name counts as `f32`.
    pub(super) fn of(dtype: &str) -> Self {
        match dtype {
            "f64" => Self { epsilon: f64::EPSILON, tiny: f64::MIN_POSITIVE, below: "below 1e-308" },
            "f16" => Self { epsilon: 2f64.powi(-10), tiny: 2f64.powi(-14), below: "below 6e-5" },
            "bf16" => Self {
                epsilon: 2f64.powi(-7),
                tiny: f64::from(f32::MIN_POSITIVE),
                below: "below 1e-38",
            },
            _ => Self {
                epsilon: f64::from(f32::EPSILON),
                tiny: f64::from(f32::MIN_POSITIVE),
                below: "below 1e-38",
            },
        }
    }

    /// The common logarithm of a norm: negative infinity if it has underflowed, `None` if it is not
    /// finite.
    pub(super) fn log10(self, norm: f64) -> Option<f64> {
        if !norm.is_finite() {
            None
        } else if norm < self.tiny {
            Some(f64::NEG_INFINITY)
        } else {
            Some(norm.log10())
        }
    }

    /// A ratio of two norms; zero means that the numerator has underflowed.
    pub(super) fn ratio(self, ratio: f64) -> String {
        if ratio == 0.0 {
            "underflow".to_owned()
        } else if ratio.abs() < self.tiny {
            self.below.to_owned()
        } else {
            significant(ratio, 2)
        }
    }
}

/// How profiles are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProfileScale {
    /// Determines which norms have underflowed.
    pub(super) precision: Precision,
    /// The length of the sequences.
    pub(super) length: usize,
}

/// The median and the range of some numbers, over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// The smallest number.
    pub(super) low: f64,
    /// The median; the mean of both if it lies between two numbers.
    pub(super) mid: f64,
    /// The largest number.
    pub(super) high: f64,
}

impl Spread {
    /// The spread of the numbers that are not NaN; `None` if there are none. Infinities are allowed
    /// and sorted.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        let (&low, &high) = (values.first()?, values.last()?);
        let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        let mid = if below == above || below.is_infinite() {
            below
        } else {
            below + (above - below) / 2.0
        };
        Some(Self { low, mid, high })
    }

    /// The median.
    pub(super) fn median(&self, text: impl Fn(f64) -> String) -> String {
        text(self.mid)
    }

    /// The range `low–high`; `None` if both ends have the same text.
    pub(super) fn range(&self, text: impl Fn(f64) -> String) -> Option<String> {
        let (low, high) = (text(self.low), text(self.high));
        (low != high).then(|| match (low.strip_suffix(" %"), high.strip_suffix(" %")) {
            (Some(low), Some(high)) => format!("{low}–{high} %"),
            _ => format!("{low}–{high}"),
        })
    }

    /// `median (low–high)`, or the median alone.
    pub(super) fn text(&self, text: impl Fn(f64) -> String + Copy) -> String {
        match self.range(text) {
            Some(range) => format!("{} ({range})", self.median(text)),
            None => self.median(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits() {
        for (value, expected) in [
            (0.166_66, "0.167"),
            // Rounded first, so that it is printed without an exponent.
            (0.000_999_9, "0.00100"),
            (0.000_999_1, "9.99e-4"),
            (1234.5, "1234"),
            (99_999.0, "1.00e5"),
            (1.0, "1.00"),
            (3.2e-31, "3.20e-31"),
            (0.0, "0"),
            (f64::NAN, "not finite"),
            (f64::INFINITY, "not finite"),
        ] {
            assert_eq!(significant(value, 3), expected, "{value}");
        }
        assert_eq!([loss(0.0045), loss(0.1687)], ["0.0045", "0.169"]);
        let losses = [0.16666, 0.0, 99_999.5, 5.17e18, f64::NAN].map(short_loss);
        assert_eq!(losses, ["0.1667", "0.0000", "99999.5000", "5.2e18", "not finite"]);
        assert_eq!([steps(2.24), steps(9.96), steps(128.6)], ["2.2", "10", "129"]);
        assert_eq!([percent(0.961), percent(1.0), percent(0.9999)], ["96.1 %", "100 %", "100 %"]);
        assert_eq!([count(1, "seed"), count(3, "seed")], ["1 seed", "3 seeds"]);
    }

    #[test]
    fn underflow_is_never_zero() {
        let precision = Precision::of("f32");
        assert_eq!(
            precision.log10(1e-39),
            Some(f64::NEG_INFINITY),
            "a subnormal norm has underflowed"
        );
        assert_eq!(precision.log10(1e-37), Some(-37.0));
        assert_eq!(precision.log10(f64::NAN), None);
        assert_eq!([precision.ratio(0.0), precision.ratio(1e-40)], ["underflow", "below 1e-38"]);
        assert_eq!(Precision::of("f64").log10(1e-100), Some(-100.0));
        assert_eq!(Precision::of("f64").ratio(1e-100), "1.0e-100");
    }

    #[test]
    fn spread() {
        let spread = Spread::of([3.0, 1.0, f64::NAN, 2.0, 8.0]).expect("four numbers");
        assert_eq!(spread, Spread { low: 1.0, mid: 2.5, high: 8.0 });
        assert_eq!(spread.text(|value| significant(value, 2)), "2.5 (1.0–8.0)");
        assert_eq!(Spread::of([0.5, 0.75]).expect("two").text(percent), "62.5 % (50–75 %)");
        assert_eq!(Spread::of([2.0, 2.0]).expect("two").text(steps), "2.0");
        assert_eq!(Spread::of([f64::NAN]), None);
        let underflow = Spread::of([f64::NEG_INFINITY, f64::NEG_INFINITY, -3.0]).expect("three");
        assert_eq!(underflow.mid, f64::NEG_INFINITY);
        let half = Spread::of([f64::NEG_INFINITY, -3.0]).expect("two");
        assert_eq!(
            half.mid,
            f64::NEG_INFINITY,
            "between an underflow and a number lies an underflow"
        );
    }
}
