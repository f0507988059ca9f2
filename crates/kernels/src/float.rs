//! The two element types, with exp and tanh that vectorise.

use crate::buffer::BufferPool;
use crate::simd::SimdFloat;
use candle_core::WithDType;
use recurrent_core::Float;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// f32 or f64, with the functions that gates need.
///
/// `exp` is the Taylor polynomial of e^r − 1 on |r| ≤ ln 2 / 2, after r = y − n ln 2 in two parts
/// (Cody and Waite 1980), scaled by 2^n. The truncated terms are below 6e-9 relative in f32 (degree
/// 7) and 1e-17 in f64 (degree 13), so rounding dominates: against exact values, `sigmoid` and
/// `tanh` are within 4 units in the last place, relative, also near 0 and in the tails (tested).
/// `FUSED` uses fused multiply-add, for processors that have the instruction; it is slow elsewhere.
pub trait KernelFloat:
    WithDType
    + Float
    + SimdFloat
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

    /// The pool of unused buffers.
    fn pool() -> &'static BufferPool<Self>;

    /// √x.
    fn root(self) -> Self;

    /// ⌊x⌋.
    fn whole(self) -> Self;

    /// e^y, and e^y − 1 within rounding also near 0. y is clamped to the range where e^y is a
    /// normal number.
    fn exp<const FUSED: bool>(self) -> (Self, Self);

    /// |x|.
    fn magnitude(self) -> Self;

    /// x with the sign of `sign`.
    fn with_sign(self, sign: Self) -> Self;

    /// 1 / (1 + e^(−x)).
    #[inline(always)]
    fn sigmoid<const FUSED: bool>(self) -> Self {
        let (e, _) = (-self).exp::<FUSED>();
        Self::ONE / (Self::ONE + e)
    }

    /// The hyperbolic tangent.
    #[inline(always)]
    fn tanh<const FUSED: bool>(self) -> Self {
        // With m = e^(2x) − 1: m / (m + 2), without cancellation near 0.
        let (_, m) = (self + self).exp::<FUSED>();
        m / (m + (Self::ONE + Self::ONE))
    }
}

macro_rules! float {
    ($float:ty, mantissa $mantissa:literal, bias $bias:literal, limit $limit:literal,
     ln2 $high:literal $low:literal, factorials [$($factor:literal),*]) => {
        impl KernelFloat for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const SMALLEST: Self = <$float>::MIN_POSITIVE;

            fn pool() -> &'static BufferPool<Self> {
                static POOL: BufferPool<$float> = BufferPool::new();
                &POOL
            }

            #[inline(always)]
            fn root(self) -> Self {
                self.sqrt()
            }

            #[inline(always)]
            fn whole(self) -> Self {
                self.floor()
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
            fn exp<const FUSED: bool>(self) -> (Self, Self) {
                // y = r + n ln 2, |r| ≤ ln 2 / 2. Adding 1.5 * 2^mantissa rounds to an integer,
                // which the low bits then hold.
                const ROUND: $float = (3u64 << ($mantissa - 1)) as $float;
                let y = if self < -$limit { -$limit } else { self }; // keeps NaN
                let y = if y > $limit { $limit } else { y };
                let rounded = product_sum::<FUSED>(y, std::f64::consts::LOG2_E as $float, ROUND);
                let n = rounded - ROUND;
                let r = product_sum::<FUSED>(n, -$low, product_sum::<FUSED>(n, -$high, y));
                let mut m = 0.0;
                $(m = product_sum::<FUSED>(m, r, 1.0 / $factor);)*
                let m = m * r;
                let scale = <$float>::from_bits(rounded.to_bits().wrapping_add($bias) << $mantissa);
                (product_sum::<FUSED>(scale, m, scale), product_sum::<FUSED>(scale, m, scale - 1.0))
            }
        }

        /// a · b + c, rounded once if `FUSED`.
        #[inline(always)]
        fn product_sum<const FUSED: bool>(a: $float, b: $float, c: $float) -> $float {
            match FUSED {
                true => a.mul_add(b, c),
                false => a * b + c,
            }
        }

        const _: () = assert!(<$float>::MANTISSA_DIGITS == $mantissa + 1);
    };
}

mod single {
    use super::{BufferPool, KernelFloat};
    float!(f32, mantissa 23, bias 127, limit 87.0, ln2 0.693_359_4 -2.121_944_4e-4,
        factorials [5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0]);
}

mod double {
    use super::{BufferPool, KernelFloat};
    float!(f64, mantissa 52, bias 1023, limit 708.0,
        ln2 0.693_147_180_369_123_8 1.908_214_929_270_587_7e-10,
        factorials [6_227_020_800.0, 479_001_600.0, 39_916_800.0, 3_628_800.0, 362_880.0, 40_320.0,
            5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments over the whole range and around 0, of both signs.
    fn arguments() -> impl Iterator<Item = f64> {
        let wide = (0..40_000).map(|i| i as f64 * 1e-3 - 20.0);
        let small = (-300..20).map(|e| 1.37 * 10f64.powi(e.max(-37)) / 7.0);
        wide.chain(small.clone())
            .chain(small.map(|x| -x))
            .chain([0.0, -0.0, 90.0, -80.0, 1e9, -1e9])
    }

    /// Name and value of each function at `x`, fused and not.
    fn values<F: KernelFloat>(x: F) -> [(&'static str, F); 4] {
        let (fused, plain) = (x.sigmoid::<true>(), x.sigmoid::<false>());
        let (fused_tanh, plain_tanh) =
            (KernelFloat::tanh::<true>(x), KernelFloat::tanh::<false>(x));
        [
            ("fused sigmoid", fused),
            ("sigmoid", plain),
            ("fused tanh", fused_tanh),
            ("tanh", plain_tanh),
        ]
    }

    #[test]
    fn f32_is_within_four_units_of_exact() {
        for x in arguments().map(|x| x as f32) {
            let exact = f64::from(x);
            let sigmoid = if x < -80.0 { continue } else { 1.0 / (1.0 + (-exact).exp()) };
            for (name, found) in values(x) {
                let exact = if name.ends_with("tanh") { exact.tanh() } else { sigmoid };
                let error = (f64::from(found) - exact).abs()
                    / exact.abs().max(f64::from(f32::MIN_POSITIVE));
                let most = 4.0 * f64::from(f32::EPSILON);
                assert!(error <= most, "{name}({x}) = {found}, exactly {exact}: {error:e}");
            }
        }
    }

    #[test]
    fn f64_is_within_four_units_of_the_library() {
        for x in arguments() {
            let sigmoid = if x < -700.0 { continue } else { 1.0 / (1.0 + (-x).exp()) };
            for (name, found) in values(x) {
                let exact = if name.ends_with("tanh") { f64::tanh(x) } else { sigmoid };
                let error = (found - exact).abs() / exact.abs().max(f64::MIN_POSITIVE);
                assert!(
                    error <= 4.0 * f64::EPSILON,
                    "{name}({x}) = {found}, exactly {exact}: {error:e}"
                );
            }
        }
    }

    fn extremes<F: KernelFloat + std::fmt::Debug>(far: impl Iterator<Item = F>, nan: F) {
        for x in far {
            for ((name, above), (_, below)) in values(x).into_iter().zip(values(-x)) {
                assert_eq!(above, F::ONE, "{name}({x})");
                match name.ends_with("tanh") {
                    true => assert_eq!(below, -F::ONE, "{name}({})", -x),
                    false => assert!(
                        (F::ZERO..F::SMALLEST + F::SMALLEST).contains(&below),
                        "{name}({})",
                        -x
                    ),
                }
            }
        }
        values(nan)
            .iter()
            .for_each(|(name, value)| assert!(WithDType::to_f64(*value).is_nan(), "{name} of NaN"));
    }

    #[test]
    fn extremes_stay_in_range_and_nan_stays() {
        extremes([1e30, f32::INFINITY].into_iter(), f32::NAN);
        extremes([1e300, f64::INFINITY].into_iter(), f64::NAN);
    }
}
