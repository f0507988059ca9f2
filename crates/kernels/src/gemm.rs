//! Matrix products on slices.

use crate::Float;
use gemm::Parallelism;

/// A matrix in a slice: where each row and each column begins.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl Shape {
    /// Rows behind each other, without gaps.
    pub(crate) fn rows(rows: usize, columns: usize) -> Self {
        Self::strided(rows, columns, columns)
    }

    /// Rows `stride` elements apart.
    pub(crate) fn strided(rows: usize, columns: usize, stride: usize) -> Self {
        Self { rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// The transposed matrix in the same memory.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// How many elements of a slice the matrix reaches over.
    fn span(self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

/// out += a · b.
///
/// # Panics
/// If the shapes do not fit each other or their slices.
pub(crate) fn add_product<F: Float>(out: (&mut [F], Shape), a: (&[F], Shape), b: (&[F], Shape)) {
    product(F::ONE, out, a, b);
}

/// out = a · b.
///
/// # Panics
/// If the shapes do not fit each other or their slices.
pub(crate) fn set_product<F: Float>(out: (&mut [F], Shape), a: (&[F], Shape), b: (&[F], Shape)) {
    out.0.fill(F::ZERO);
    product(F::ONE, out, a, b);
}

fn product<F: Float>(scale: F, (out, o): (&mut [F], Shape), (a, l): (&[F], Shape), (b, r): (&[F], Shape)) {
    assert!(o.rows == l.rows && l.columns == r.rows && o.columns == r.columns, "shapes of a matrix product");
    assert!(
        o.span() <= out.len() && l.span() <= a.len() && r.span() <= b.len(),
        "slices of a matrix product"
    );
    assert!(o.column_stride == 1 && o.row_stride >= o.columns, "rows of a matrix product's result overlap");
    // gemm works by columns; the transposed product outᵀ = bᵀ · aᵀ has its columns behind each other.
    //
    // SAFETY: the spans checked above bound every element that the strides reach; `out` is exclusively borrowed, its rows do not
    // overlap, and F is f32 or f64, which gemm supports.
    unsafe {
        gemm::gemm(
            o.columns,
            o.rows,
            l.columns,
            out.as_mut_ptr(),
            o.row_stride as isize,
            o.column_stride as isize,
            true,
            b.as_ptr(),
            r.row_stride as isize,
            r.column_stride as isize,
            a.as_ptr(),
            l.row_stride as isize,
            l.column_stride as isize,
            scale,
            F::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_strided_and_transposed_matrices() {
        let a = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0]; // rows 3 apart: [[1, 2], [3, 4]]
        let b = [5.0, 6.0, 7.0, 8.0];
        let mut out = [1.0, 1.0, -1.0, 1.0, 1.0, -1.0];
        let (strided, square) = (Shape::strided(2, 2, 3), Shape::rows(2, 2));
        add_product((&mut out, strided), (&a, strided), (&b, square));
        assert_eq!(out, [20.0, 23.0, -1.0, 44.0, 51.0, -1.0]);
        let mut out = [7.0; 4];
        set_product((&mut out, square), (&a, strided.t()), (&b, square.t()));
        assert_eq!(out, [23.0, 31.0, 34.0, 46.0]);
    }

    #[test]
    #[should_panic(expected = "slices of a matrix product")]
    fn a_slice_that_is_too_short_is_refused() {
        let mut out = [0f32; 4];
        add_product(
            (&mut out, Shape::rows(2, 2)),
            (&[1.0; 3], Shape::rows(2, 2)),
            (&[1.0; 4], Shape::rows(2, 2)),
        );
    }
}
