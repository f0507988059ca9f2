//! The two element types, with exp and tanh that vectorise.

use crate::simd::Lanes;
use crate::workspace::Waiting;
use candle::WithDType;
use recurrent_core::Element;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// f32 or f64, with the functions that gates need.
///
/// `exp_m1` is the Taylor polynomial of e^r − 1 on |r| ≤ ln 2 / 2 after r = y − n ln 2 in two parts (Cody and Waite 1980), scaled by
/// 2^n. The truncated terms are below 6e-9 relative in f32 (degree 7) and 1e-17 in f64 (degree 13), so rounding dominates:
/// against exact values, `sigmoid` and `tanh` are within 4 units in the last place, relative, also near 0 and in the tails (tested).
pub trait Float:
    WithDType
    + Element
    + Lanes
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The smallest positive normal number.
    const SMALLEST: Self;

    /// The buffers that wait to be used again.
    fn waiting() -> &'static Waiting<Self>;

    /// √x.
    fn root(self) -> Self;

    /// e^y − 1 for y ≤ 0, within rounding also near 0; −1 below where e^y vanishes against 1.
    fn exp_m1_negative(self) -> Self;

    /// |x|.
    fn magnitude(self) -> Self;

    /// x with the sign of `sign`.
    fn with_sign(self, sign: Self) -> Self;

    /// 1 / (1 + e^(−x)).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        // With e = e^(-|x|): 1 / (1 + e) for x ≥ 0, and e / (1 + e) below.
        let e = (-self.magnitude()).exp_negative();
        let upper = Self::ONE / (Self::ONE + e);
        if self < Self::ZERO {
            e * upper
        } else {
            upper
        }
    }

    /// e^y for y ≤ 0; relative accuracy down to the smallest normal number.
    fn exp_negative(self) -> Self;

    /// The hyperbolic tangent.
    #[inline(always)]
    fn tanh(self) -> Self {
        // With m = e^(-2|x|) - 1: tanh |x| = -m / (2 + m), without cancellation near 0.
        let m = (-(self.magnitude() + self.magnitude())).exp_m1_negative();
        (-m / (Self::ONE + Self::ONE + m)).with_sign(self)
    }
}

macro_rules! float {
    ($float:ty, mantissa $mantissa:literal, bias $bias:literal, lowest $lowest:literal,
     ln2 $high:literal $low:literal, factorials [$($factor:literal),*]) => {
        impl Float for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const SMALLEST: Self = <$float>::MIN_POSITIVE;

            fn waiting() -> &'static Waiting<Self> {
                static WAITING: Waiting<$float> = Waiting::none();
                &WAITING
            }

            #[inline(always)]
            fn root(self) -> Self {
                self.sqrt()
            }

            #[inline(always)]
            fn magnitude(self) -> Self {
                self.abs()
            }

            #[inline(always)]
            fn with_sign(self, sign: Self) -> Self {
                self.copysign(sign)
            }

            #[inline(always)]
            fn exp_m1_negative(self) -> Self {
                let (m, scale) = reduced(self);
                scale * m + (scale - 1.0)
            }

            #[inline(always)]
            fn exp_negative(self) -> Self {
                let (m, scale) = reduced(self);
                scale * m + scale
            }
        }

        const _: () = assert!(<$float>::MANTISSA_DIGITS == $mantissa + 1);

        /// e^r − 1 and 2^n with y = r + n ln 2, for y from `lowest` to 0; below, y counts as `lowest`.
        #[inline(always)]
        fn reduced(y: $float) -> ($float, $float) {
            // Adding 1.5 * 2^mantissa rounds to an integer, which the low bits then hold.
            const ROUND: $float = (3u64 << ($mantissa - 1)) as $float;
            let y = if y < $lowest { $lowest } else { y }; // keeps NaN
            let rounded = y * std::f64::consts::LOG2_E as $float + ROUND;
            let n = rounded - ROUND;
            let r = y - n * $high - n * $low;
            let mut m = 0.0;
            $(m = m * r + 1.0 / $factor;)*
            let exponent = rounded.to_bits().wrapping_add($bias);
            (m * r, <$float>::from_bits(exponent << $mantissa))
        }
    };
}

mod single {
    use super::{Float, Waiting};
    float!(f32, mantissa 23, bias 127, lowest -87.0, ln2 0.693_359_4 -2.121_944_4e-4,
        factorials [5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0]);
}

mod double {
    use super::{Float, Waiting};
    float!(f64, mantissa 52, bias 1023, lowest -708.0, ln2 0.693_147_180_369_123_8 1.908_214_929_270_587_7e-10,
        factorials [6_227_020_800.0, 479_001_600.0, 39_916_800.0, 3_628_800.0, 362_880.0, 40_320.0, 5040.0, 720.0, 120.0,
            24.0, 6.0, 2.0, 1.0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments over the whole range and around 0, of both signs.
    fn arguments() -> impl Iterator<Item = f64> {
        let wide = (0..40_000).map(|i| i as f64 * 1e-3 - 20.0);
        let small = (-300..20).map(|e| 1.37 * 10f64.powi(e.max(-37)) / 7.0);
        wide.chain(small.clone()).chain(small.map(|x| -x)).chain([0.0, -0.0, 90.0, -80.0, 1e9, -1e9])
    }

    #[test]
    fn f32_is_within_four_units_of_exact() {
        for x in arguments().map(|x| x as f32) {
            let exact = f64::from(x);
            let sigmoid = if x < -80.0 { continue } else { 1.0 / (1.0 + (-exact).exp()) };
            for (name, found, exact) in
                [("sigmoid", x.sigmoid(), sigmoid), ("tanh", Float::tanh(x), exact.tanh())]
            {
                let error = (f64::from(found) - exact).abs() / exact.abs().max(f64::from(f32::MIN_POSITIVE));
                assert!(
                    error <= 4.0 * f64::from(f32::EPSILON),
                    "{name}({x}) = {found}, exactly {exact}: {error:e}"
                );
            }
        }
    }

    #[test]
    fn f64_is_within_four_units_of_the_library() {
        for x in arguments() {
            let sigmoid = if x < -700.0 { continue } else { 1.0 / (1.0 + (-x).exp()) };
            for (name, found, exact) in
                [("sigmoid", x.sigmoid(), sigmoid), ("tanh", Float::tanh(x), x.tanh())]
            {
                let error = (found - exact).abs() / exact.abs().max(f64::MIN_POSITIVE);
                assert!(error <= 4.0 * f64::EPSILON, "{name}({x}) = {found}, exactly {exact}: {error:e}");
            }
        }
    }

    #[test]
    fn extremes_stay_in_range_and_nan_stays() {
        for x in [1e30f32, f32::INFINITY] {
            assert_eq!((x.sigmoid(), Float::tanh(x), Float::tanh(-x)), (1.0, 1.0, -1.0));
            assert!((0.0..1e-37).contains(&(-x).sigmoid()));
        }
        assert!(f32::NAN.sigmoid().is_nan() && Float::tanh(f32::NAN).is_nan());
        assert!(f64::NAN.sigmoid().is_nan() && Float::tanh(f64::NAN).is_nan());
    }
}
