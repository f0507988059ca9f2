//! Vectors of the instruction set found at run time, by [`pulp`].

use pulp::{Arch, Scalar, Simd, WithSimd};
use std::any::TypeId;

/// Runs `pass`, compiled for the widest vectors of this processor: its loops over slices vectorise.
/// `run` must be `#[inline(always)]`.
#[inline]
pub(crate) fn dispatch<P: SimdLoop>(pass: P) {
    struct Op<P>(P);
    impl<P: SimdLoop> WithSimd for Op<P> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            // WebAssembly has vectors but no fused multiply-add.
            if TypeId::of::<S>() == TypeId::of::<Scalar>() || cfg!(target_family = "wasm") {
                self.0.run::<false>();
            } else {
                self.0.run::<true>();
            }
        }
    }
    Arch::new().dispatch(Op(pass));
}

/// A loop over slices that vectorises.
pub(crate) trait SimdLoop {
    /// Runs the loop; `#[inline(always)]`. `FUSED`: the instruction set has a fused multiply-add.
    fn run<const FUSED: bool>(self);
}

/// Vectors of an element type.
pub trait SimdFloat: Copy + 'static {
    /// A vector of the instruction set `S`.
    type Vector<S: Simd>: Copy;

    /// The number of elements of a vector.
    fn lanes<S: Simd>() -> usize {
        size_of::<Self::Vector<S>>() / size_of::<Self>()
    }

    /// `value` in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;

    /// a + b.
    fn sum<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// a · b + c, rounded once if the instruction set has a fused multiply-add.
    fn product_sum<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;

    /// The whole vectors in `values`.
    fn vectors<S: Simd>(values: &[Self]) -> &[Self::Vector<S>];

    /// The whole vectors in `values`, mutable.
    fn vectors_mut<S: Simd>(values: &mut [Self]) -> &mut [Self::Vector<S>];

    /// Loads `values`, at most a vector, and fills up with zeros.
    fn load<S: Simd>(simd: S, values: &[Self]) -> Self::Vector<S>;

    /// Stores as many lanes as `values` has room for.
    fn store<S: Simd>(simd: S, values: &mut [Self], vector: Self::Vector<S>);
}

macro_rules! lanes {
    ($float:ty, $vector:ident, $splat:ident, $add:ident, $fma:ident, $as_simd:ident,
     $as_mut_simd:ident, $load:ident, $store:ident) => {
        impl SimdFloat for $float {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S> {
                simd.$splat(value)
            }

            #[inline(always)]
            fn sum<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn product_sum<S: Simd>(
                simd: S,
                a: Self::Vector<S>,
                b: Self::Vector<S>,
                c: Self::Vector<S>,
            ) -> Self::Vector<S> {
                simd.$fma(a, b, c)
            }

            #[inline(always)]
            fn vectors<S: Simd>(values: &[Self]) -> &[Self::Vector<S>] {
                S::$as_simd(values).0
            }

            #[inline(always)]
            fn vectors_mut<S: Simd>(values: &mut [Self]) -> &mut [Self::Vector<S>] {
                S::$as_mut_simd(values).0
            }

            #[inline(always)]
            fn load<S: Simd>(simd: S, values: &[Self]) -> Self::Vector<S> {
                simd.$load(values)
            }

            #[inline(always)]
            fn store<S: Simd>(simd: S, values: &mut [Self], vector: Self::Vector<S>) {
                simd.$store(values, vector);
            }
        }
    };
}

lanes!(
    f32,
    f32s,
    splat_f32s,
    add_f32s,
    mul_add_e_f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    partial_load_f32s,
    partial_store_f32s
);
lanes!(
    f64,
    f64s,
    splat_f64s,
    add_f64s,
    mul_add_e_f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    partial_load_f64s,
    partial_store_f64s
);
