//! Matrix products on slices, with the right side packed once for many of them.
//!
//! `gemm`, which candle uses, packs at every call; at the sizes of a step that costs up to half of the time. A [`Packed`] right side
//! lies in panels as wide as a tile; the left side is read in place where its rows lie behind each other, or in interleaved rows
//! ([`Interleaved`]) where it is transposed. Every element of a product is one sum in the order of k, whatever the shape of the rest: rows may be
//! cut into any batches without a change of bits.

use crate::workspace::Buffer;
use crate::Float;
use pulp::{Arch, Simd, WithSimd};

/// Rows of a tile.
const TILE: usize = 6;

/// Vectors of a row of a tile: with 32 registers 6 x 4 sums, with 16 registers 6 x 2.
#[inline(always)]
fn tile_vectors<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 {
        4
    } else {
        2
    }
}

/// A matrix in a slice: where each row and each column begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl Shape {
    /// Rows behind each other, without gaps.
    pub(crate) fn rows(rows: usize, columns: usize) -> Self {
        Self { rows, columns, row_stride: columns, column_stride: 1 }
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
}

/// A right side: panels of as many columns as a tile is wide, each with its rows behind each other; zeros fill the last.
pub(crate) struct Packed<F: Float> {
    panels: Buffer<F>,
    rows: usize,
    columns: usize,
    width: usize,
}

impl<F: Float> Packed<F> {
    /// The matrix in `values`.
    pub(crate) fn of(values: &[F], shape: Shape) -> Self {
        let Shape { rows, columns, row_stride, column_stride } = shape;
        let width = Arch::new().dispatch(Width::<F>(std::marker::PhantomData));
        let mut panels = Buffer::any(columns.div_ceil(width) * width * rows);
        panels[columns / width * width * rows..].fill(F::ZERO);
        for (panel, out) in panels.chunks_exact_mut((rows * width).max(1)).enumerate() {
            let (first, last) = (panel * width, columns.min((panel + 1) * width));
            if column_stride == 1 {
                for (row, out) in out.chunks_exact_mut(width).enumerate() {
                    out[..last - first].copy_from_slice(&values[row * row_stride..][first..last]);
                }
            } else {
                for column in first..last {
                    let source = values[column * column_stride..].iter().step_by(row_stride);
                    let places = out[column - first..].iter_mut().step_by(width);
                    places.zip(source).for_each(|(out, value)| *out = *value);
                }
            }
        }
        Self { panels, rows, columns, width }
    }
}

struct Width<F>(std::marker::PhantomData<F>);

impl<F: Float> WithSimd for Width<F> {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        tile_vectors::<S>() * F::lanes::<S>()
    }
}

/// The transpose of a matrix as a left side: its columns in groups of a tile's rows, each group row by row.
pub(crate) struct Interleaved<'a, F> {
    values: &'a [F],
    rows: usize,
    depth: usize,
}

impl<'a, F: Float> Interleaved<'a, F> {
    /// The transpose of `values`, `(depth, rows)`, laid out in `room`.
    pub(crate) fn of(values: &[F], rows: usize, room: &'a mut [F]) -> Self {
        let depth = values.len() / rows.max(1);
        let room = &mut room[..values.len()];
        for (group, first) in (0..rows).step_by(TILE).enumerate() {
            let count = TILE.min(rows - first);
            let out = &mut room[group * TILE * depth..][..count * depth];
            if count == TILE {
                let (groups, _) = out.as_chunks_mut::<TILE>();
                for (out, row) in groups.iter_mut().zip(values.chunks_exact(rows)) {
                    *out = *row[first..].first_chunk().expect("a tile's rows");
                }
                continue;
            }
            for (out, row) in out.chunks_exact_mut(count).zip(values.chunks_exact(rows)) {
                out.iter_mut().zip(&row[first..]).for_each(|(out, value)| *out = *value);
            }
        }
        Self { values: room, rows, depth }
    }
}

/// A left side.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a, F> {
    /// As many rows of the product's depth, each so many elements behind the last.
    Rows { values: &'a [F], rows: usize, stride: usize },
    /// A transpose.
    Interleaved(&'a Interleaved<'a, F>),
}

/// A product's result: rows `stride` apart, the first at the slice's start.
pub(crate) struct Out<'a, F> {
    pub(crate) values: &'a mut [F],
    pub(crate) stride: usize,
}

/// out += a · b.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn add_product<F: Float>(out: Out<F>, a: Left<F>, b: &Packed<F>) {
    Arch::new().dispatch(Product { out, a, b, add: true });
}

/// out = a · b.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn set_product<F: Float>(out: Out<F>, a: Left<F>, b: &Packed<F>) {
    Arch::new().dispatch(Product { out, a, b, add: false });
}

struct Product<'a, F: Float> {
    out: Out<'a, F>,
    a: Left<'a, F>,
    b: &'a Packed<F>,
    add: bool,
}

impl<F: Float> WithSimd for Product<'_, F> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        assert!(self.b.width == tile_vectors::<S>() * F::lanes::<S>(), "panels of another instruction set");
        if tile_vectors::<S>() == 4 {
            self.run::<S, 4>(simd);
        } else {
            self.run::<S, 2>(simd);
        }
    }
}

impl<F: Float> Product<'_, F> {
    #[inline(always)]
    fn run<S: Simd, const NV: usize>(mut self, simd: S) {
        let (depth, width) = (self.b.rows, self.b.width);
        let rows = match self.a {
            Left::Rows { values, rows, stride } => {
                assert!(rows == 0 || (rows - 1) * stride + depth <= values.len(), "left side of a product");
                rows
            }
            Left::Interleaved(a) => {
                assert!(a.depth == depth, "depth of a product");
                a.rows
            }
        };
        for panel in 0..self.b.columns.div_ceil(width) {
            let b = &self.b.panels[panel * depth * width..][..depth * width];
            let columns = panel * width..self.b.columns.min((panel + 1) * width);
            for first in (0..rows).step_by(TILE) {
                match rows - first {
                    1 => self.tile::<S, NV, 1>(simd, first, b, columns.clone()),
                    2 => self.tile::<S, NV, 2>(simd, first, b, columns.clone()),
                    3 => self.tile::<S, NV, 3>(simd, first, b, columns.clone()),
                    4 => self.tile::<S, NV, 4>(simd, first, b, columns.clone()),
                    5 => self.tile::<S, NV, 5>(simd, first, b, columns.clone()),
                    _ => self.tile::<S, NV, TILE>(simd, first, b, columns.clone()),
                }
            }
        }
    }

    /// Rows `first..first + MR` of one panel's columns.
    #[inline(always)]
    fn tile<S: Simd, const NV: usize, const MR: usize>(
        &mut self,
        simd: S,
        first: usize,
        b: &[F],
        columns: std::ops::Range<usize>,
    ) {
        let depth = self.b.rows;
        let b = F::vectors::<S>(b);
        let mut sums = [[F::splat(simd, F::ZERO); NV]; MR];
        match self.a {
            Left::Rows { values, stride, .. } => {
                let mut a = [&values[..0]; MR];
                for (row, a) in a.iter_mut().enumerate() {
                    *a = &values[(first + row) * stride..][..depth];
                }
                for k in 0..depth {
                    let b = &b[k * NV..][..NV];
                    for row in 0..MR {
                        let a = F::splat(simd, a[row][k]);
                        for v in 0..NV {
                            sums[row][v] = F::product_sum(simd, a, b[v], sums[row][v]);
                        }
                    }
                }
            }
            Left::Interleaved(a) => {
                let a = &a.values[first * depth..][..MR * depth];
                for k in 0..depth {
                    let (a, b) = (&a[k * MR..][..MR], &b[k * NV..][..NV]);
                    for row in 0..MR {
                        let a = F::splat(simd, a[row]);
                        for v in 0..NV {
                            sums[row][v] = F::product_sum(simd, a, b[v], sums[row][v]);
                        }
                    }
                }
            }
        }
        let lanes = F::lanes::<S>();
        for (row, sums) in sums.into_iter().enumerate() {
            let out = &mut self.out.values[(first + row) * self.out.stride..][columns.clone()];
            if columns.len() == NV * lanes {
                for (out, sum) in F::vectors_mut::<S>(out).iter_mut().zip(sums) {
                    *out = if self.add { F::sum(simd, *out, sum) } else { sum };
                }
                continue;
            }
            for (out, sum) in out.chunks_mut(lanes).zip(sums) {
                let sum = if self.add { F::sum(simd, F::load(simd, out), sum) } else { sum };
                F::store(simd, out, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::WithDType;

    /// A matrix of small integers, so that every order of sums gives the same.
    fn matrix(rows: usize, columns: usize, seed: usize) -> Vec<f64> {
        (0..rows * columns).map(|i| ((i * 7 + seed) % 11) as f64 - 5.0).collect()
    }

    fn expected(a: &[f64], b: &[f64], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
        let places = (0..m).flat_map(|i| (0..n).map(move |j| (i, j)));
        places.map(|(i, j)| (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum()).collect()
    }

    fn check<F: Float>() {
        let to = |values: &[f64]| values.iter().map(|v| F::from_f64(*v)).collect::<Vec<_>>();
        let from = |values: &[F]| values.iter().map(|v| WithDType::to_f64(*v)).collect::<Vec<_>>();
        for (m, k, n) in [(1, 1, 1), (2, 3, 5), (6, 4, 64), (7, 9, 65), (13, 70, 31), (5, 1, 130), (4, 0, 3)]
        {
            let (a, b) = (matrix(m, k, 1), matrix(k, n, 2));
            let product = expected(&a, &b, (m, k, n));
            let transposed = |values: &[f64], rows: usize, columns: usize| -> Vec<f64> {
                (0..columns).flat_map(|j| (0..rows).map(move |i| values[i * columns + j])).collect()
            };
            let (fa, fb) = (to(&a), to(&b));
            let packed = Packed::of(&fb, Shape::rows(k, n));
            let mut out = vec![F::from_f64(9.0); m * n];
            set_product(
                Out { values: &mut out, stride: n },
                Left::Rows { values: &fa, rows: m, stride: k },
                &packed,
            );
            assert_eq!(from(&out), product, "set {m} {k} {n}");

            let packed = Packed::of(&to(&transposed(&b, k, n)), Shape::rows(n, k).t());
            let mut room = vec![F::ZERO; m * k];
            let left = to(&transposed(&a, m, k));
            let left = Interleaved { depth: k, rows: m, ..Interleaved::of(&left, m, &mut room) };
            let mut out = vec![F::ONE; m * (n + 3)];
            add_product(Out { values: &mut out, stride: n + 3 }, Left::Interleaved(&left), &packed);
            for (row, found) in from(&out).chunks(n + 3).enumerate() {
                let wanted: Vec<_> = product[row * n..][..n].iter().map(|v| v + 1.0).collect();
                assert_eq!(found[..n], wanted, "add {m} {k} {n}");
                assert_eq!(found[n..], [1.0; 3], "beside the result of {m} {k} {n}");
            }
        }
    }

    #[test]
    fn products_of_all_shapes_in_f64() {
        check::<f64>();
    }

    #[test]
    fn products_of_all_shapes_in_f32() {
        check::<f32>();
    }

    #[test]
    #[should_panic(expected = "left side of a product")]
    fn a_slice_that_is_too_short_is_refused() {
        let packed = Packed::of(&[1f32; 4], Shape::rows(2, 2));
        set_product(
            Out { values: &mut [0f32; 4], stride: 2 },
            Left::Rows { values: &[1.0; 3], rows: 2, stride: 2 },
            &packed,
        );
    }
}
