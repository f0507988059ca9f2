//! Matrix products on slices, with the right side packed once for many products.
//!
//! `gemm`, which candle uses, packs its right side at every call. At (32 x 512) · (512 x 2048) that
//! halves its speed: 62 against 118 GFLOP/s on one core with AVX-512; at smaller or squarer shapes
//! both reach 126 to 168. Here the right side is packed once for all steps, and a tile's sums stay
//! in registers: 75 to 94 of about 97 GFLOP/s on one core with AVX2, at the sizes of a step; 111 to
//! 115 on one with AVX-512, where PyTorch reaches 84 to 103.
//!
//! A [`Packed`] right side lies in panels as wide as a tile. The left side is read in place if its
//! rows are contiguous, or from interleaved rows ([`Interleaved`]) if it is transposed. A long sum
//! is computed in parts, so that one part of a panel stays in the first-level cache for all rows;
//! the next part continues the same sums. Every element of a product is one sum in the order of k,
//! whatever the shape, so the cut into batches changes no bit.
//!
//! A tile's accumulators are indexed with constants only; with a variable index LLVM spills all of
//! them to memory.

use crate::buffer::Buffer;
use crate::KernelFloat;
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// Most rows of a tile.
const TILE: usize = 6;

/// The bytes of a panel that one part of a sum reads, per vector of a tile's row. With short
/// vectors this is half of a first-level cache of 32 KiB; with the longest, two thirds of one of 48
/// KiB, or all of one of 32 KiB, which measured no slower.
const PART: usize = 1 << 13;

/// Vectors in a row of a tile: 6 x 4 sums with 32 registers, 6 x 2 with 16.
#[inline(always)]
fn tile_vectors<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 {
        4
    } else {
        2
    }
}

/// Rows in tiles as even as possible, since a tile of one or two rows takes as long as one of four.
#[derive(Clone, Copy)]
struct Tiles {
    count: usize,
    /// Rows of every tile; the first `longer` tiles have one more.
    rows: usize,
    longer: usize,
}

impl Tiles {
    #[inline(always)]
    fn new(rows: usize) -> Self {
        let count = rows.div_ceil(TILE);
        let even = rows / count.max(1);
        Self { count, rows: even, longer: rows - even * count }
    }

    /// The rows of each tile.
    #[inline(always)]
    fn iter(self) -> impl Iterator<Item = Range<usize>> {
        let border = move |tile: usize| tile * self.rows + tile.min(self.longer);
        (0..self.count).map(move |tile| border(tile)..border(tile + 1))
    }
}

/// The layout of a matrix in a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixLayout {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl MatrixLayout {
    /// Row-major, without gaps.
    pub(crate) fn rows(rows: usize, columns: usize) -> Self {
        Self { rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transposed matrix, in the same memory.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// A matrix as a right side, or to add products to: row-major panels as wide as a tile. The last
/// panel is padded with zeros.
pub(crate) struct Packed<F: KernelFloat> {
    panels: Buffer<F>,
    rows: usize,
    columns: usize,
    width: usize,
}

impl<F: KernelFloat> Packed<F> {
    /// Arbitrary content; zeros in the last panel if it is not full.
    fn recycled(rows: usize, columns: usize) -> Self {
        let width = Arch::new().dispatch(PanelWidth::<F>(std::marker::PhantomData));
        let mut panels = Buffer::recycled(columns.div_ceil(width) * width * rows);
        panels[columns / width * width * rows..].fill(F::ZERO);
        Self { panels, rows, columns, width }
    }

    /// Zeros.
    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        let mut zeros = Self::recycled(rows, columns);
        zeros.panels.fill(F::ZERO);
        zeros
    }

    /// Packs the matrix in `values`.
    pub(crate) fn pack(values: &[F], shape: MatrixLayout) -> Self {
        let MatrixLayout { rows, columns, row_stride, column_stride } = shape;
        let mut packed = Self::recycled(rows, columns);
        let width = packed.width;
        for (panel, out) in packed.panels.chunks_exact_mut((rows * width).max(1)).enumerate() {
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
        packed
    }

    /// The transpose, row-major.
    pub(crate) fn transposed(&self) -> Vec<F> {
        let Self { rows, columns, width, .. } = *self;
        let mut out = vec![F::ZERO; rows * columns];
        for (column, out) in out.chunks_exact_mut(rows.max(1)).enumerate() {
            let panel = &self.panels[column / width * width * rows..][column % width..];
            out.iter_mut().zip(panel.iter().step_by(width)).for_each(|(out, value)| *out = *value);
        }
        out
    }

    /// The matrix as an output.
    pub(crate) fn out(&mut self) -> Output<'_, F> {
        Output { values: &mut self.panels, stride: self.width, panel: self.rows * self.width }
    }
}

struct PanelWidth<F>(std::marker::PhantomData<F>);

impl<F: KernelFloat> WithSimd for PanelWidth<F> {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        tile_vectors::<S>() * F::lanes::<S>()
    }
}

/// The transpose of a matrix as a left side: its columns in groups of a tile's rows, each group
/// row-major.
pub(crate) struct Interleaved<'a, F> {
    values: &'a [F],
    rows: usize,
    depth: usize,
}

impl<'a, F: KernelFloat> Interleaved<'a, F> {
    /// Interleaves the transpose of `values`, `(depth, rows)`, in `room`.
    pub(crate) fn new(values: &[F], rows: usize, room: &'a mut [F]) -> Self {
        let depth = values.len() / rows.max(1);
        let room = &mut room[..values.len()];
        for tile in Tiles::new(rows).iter() {
            let out = &mut room[tile.start * depth..tile.end * depth];
            match tile.len() {
                TILE => interleave::<F, TILE>(values, rows, tile.start, out),
                5 => interleave::<F, 5>(values, rows, tile.start, out),
                4 => interleave::<F, 4>(values, rows, tile.start, out),
                3 => interleave::<F, 3>(values, rows, tile.start, out),
                2 => interleave::<F, 2>(values, rows, tile.start, out),
                _ => interleave::<F, 1>(values, rows, tile.start, out),
            }
        }
        Self { values: room, rows, depth }
    }
}

/// Copies `N` columns from `first` on, for each row of `values`.
fn interleave<F: KernelFloat, const N: usize>(
    values: &[F],
    width: usize,
    first: usize,
    out: &mut [F],
) {
    for (out, row) in out.as_chunks_mut::<N>().0.iter_mut().zip(values.chunks_exact(width)) {
        *out = *row[first..].first_chunk().expect("a tile's rows");
    }
}

/// The left side of a product.
#[derive(Clone, Copy)]
pub(crate) enum Lhs<'a, F> {
    /// Rows whose length is the depth of the product, `stride` elements apart.
    Rows { values: &'a [F], rows: usize, stride: usize },
    /// A transposed matrix.
    Interleaved(&'a Interleaved<'a, F>),
}

/// The output of a product.
pub(crate) struct Output<'a, F> {
    values: &'a mut [F],
    /// The distance between rows.
    stride: usize,
    /// The distance between the first columns of panels, or 0: panels lie side by side.
    panel: usize,
}

impl<'a, F> Output<'a, F> {
    /// Rows `stride` apart, from the start of the slice.
    pub(crate) fn rows(values: &'a mut [F], stride: usize) -> Self {
        Self { values, stride, panel: 0 }
    }
}

/// The initial value of the sums.
#[derive(Clone, Copy)]
enum InitialSum<'a, F> {
    Zero,
    Output,
    /// The same row for all.
    Row(&'a [F]),
}

/// out += a · b.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn add_product<F: KernelFloat>(out: Output<F>, a: Lhs<F>, b: &Packed<F>) {
    Arch::new().dispatch(Product { out, a, b, initial: InitialSum::Output });
}

/// out = a · b.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn set_product<F: KernelFloat>(out: Output<F>, a: Lhs<F>, b: &Packed<F>) {
    Arch::new().dispatch(Product { out, a, b, initial: InitialSum::Zero });
}

/// out = row + a · b, the same row for all.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn set_product_and_row<F: KernelFloat>(
    out: Output<F>,
    a: Lhs<F>,
    b: &Packed<F>,
    row: &[F],
) {
    Arch::new().dispatch(Product { out, a, b, initial: InitialSum::Row(row) });
}

struct Product<'a, F: KernelFloat> {
    out: Output<'a, F>,
    a: Lhs<'a, F>,
    b: &'a Packed<F>,
    initial: InitialSum<'a, F>,
}

impl<F: KernelFloat> WithSimd for Product<'_, F> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        assert!(
            self.b.width == tile_vectors::<S>() * F::lanes::<S>(),
            "panels of another instruction set"
        );
        if tile_vectors::<S>() == 4 {
            self.run::<S, 4>(simd);
        } else {
            self.run::<S, 2>(simd);
        }
    }
}

#[allow(clippy::needless_range_loop)] // accumulators are indexed with constants only
impl<F: KernelFloat> Product<'_, F> {
    #[inline(always)]
    fn run<S: Simd, const NV: usize>(mut self, simd: S) {
        let (depth, width) = (self.b.rows, self.b.width);
        let rows = match self.a {
            Lhs::Rows { values, rows, stride } => {
                assert!(
                    rows == 0 || (rows - 1) * stride + depth <= values.len(),
                    "left side of a product"
                );
                rows
            }
            Lhs::Interleaved(a) => {
                assert!(a.depth == depth, "depth of a product");
                a.rows
            }
        };
        let tiles = Tiles::new(rows);
        // One tile reads a panel once: in order, as the processor fetches ahead.
        let part = match tiles.count {
            1 => depth.max(1),
            _ => NV * PART / (width * size_of::<F>()),
        };
        let panels = self.b.columns.div_ceil(width);
        // A tile of few rows has too few sums to keep the arithmetic busy: several panels at once.
        let together = match (self.a, rows) {
            (Lhs::Rows { .. }, 1) => 4,
            (Lhs::Rows { .. }, 2 | 3) => 2,
            _ => 1,
        };
        for first in (0..depth.max(1)).step_by(part) {
            let part = first..depth.min(first + part);
            let mut panel = 0;
            while panel < panels {
                let count = if panel + together <= panels { together } else { 1 };
                for tile in tiles.iter() {
                    let at = (tile.start, panel);
                    match (tile.len(), count) {
                        (1, 4) => self.tile::<S, NV, 1, 4>(simd, at, part.clone()),
                        (2, 2) => self.tile::<S, NV, 2, 2>(simd, at, part.clone()),
                        (3, 2) => self.tile::<S, NV, 3, 2>(simd, at, part.clone()),
                        (1, _) => self.tile::<S, NV, 1, 1>(simd, at, part.clone()),
                        (2, _) => self.tile::<S, NV, 2, 1>(simd, at, part.clone()),
                        (3, _) => self.tile::<S, NV, 3, 1>(simd, at, part.clone()),
                        (4, _) => self.tile::<S, NV, 4, 1>(simd, at, part.clone()),
                        (5, _) => self.tile::<S, NV, 5, 1>(simd, at, part.clone()),
                        _ => self.tile::<S, NV, TILE, 1>(simd, at, part.clone()),
                    }
                }
                panel += count;
            }
            self.initial = InitialSum::Output;
        }
    }

    /// The first element of the output of row `first` in a panel's columns, and these columns.
    #[inline(always)]
    fn place(&self, first: usize, panel: usize) -> (usize, Range<usize>) {
        let width = self.b.width;
        let distance = if self.out.panel > 0 { self.out.panel } else { width };
        let columns = panel * width..self.b.columns.min((panel + 1) * width);
        (first * self.out.stride + panel * distance, columns)
    }

    /// The initial sums of rows `first..first + MR` in one panel's columns.
    #[inline(always)]
    fn load<S: Simd, const NV: usize, const MR: usize>(
        &self,
        simd: S,
        (first, panel): (usize, usize),
    ) -> [[F::Vector<S>; NV]; MR] {
        let (lanes, width) = (F::lanes::<S>(), NV * F::lanes::<S>());
        let (at, columns) = self.place(first, panel);
        let full = columns.len() == width || self.out.panel > 0;
        let mut sums = [[F::splat(simd, F::ZERO); NV]; MR];
        for row in 0..MR {
            let from = match self.initial {
                InitialSum::Zero => break,
                InitialSum::Output => &self.out.values[at + row * self.out.stride..],
                InitialSum::Row(start) => &start[columns.start..],
            };
            if full {
                sums[row] = F::vectors::<S>(&from[..width]).as_chunks().0[0];
            } else {
                // Not in `sums` itself, which would then stay in memory instead of registers.
                let mut edge = [F::splat(simd, F::ZERO); NV];
                for (sum, from) in edge.iter_mut().zip(from[..columns.len()].chunks(lanes)) {
                    *sum = F::load(simd, from);
                }
                sums[row] = edge;
            }
        }
        sums
    }

    /// Writes the sums of rows `first..first + MR` in one panel's columns.
    #[inline(always)]
    fn store<S: Simd, const NV: usize, const MR: usize>(
        &mut self,
        simd: S,
        (first, panel): (usize, usize),
        sums: [[F::Vector<S>; NV]; MR],
    ) {
        let (lanes, width) = (F::lanes::<S>(), NV * F::lanes::<S>());
        let (at, columns) = self.place(first, panel);
        let full = columns.len() == width || self.out.panel > 0;
        for row in 0..MR {
            let out = &mut self.out.values[at + row * self.out.stride..];
            if full {
                F::vectors_mut::<S>(&mut out[..width]).as_chunks_mut().0[0] = sums[row];
            } else {
                let edge = sums[row];
                for (out, sum) in out[..columns.len()].chunks_mut(lanes).zip(edge) {
                    F::store(simd, out, sum);
                }
            }
        }
    }

    /// Computes one part of the sums of rows `first..first + MR` in the columns of `NP` panels.
    #[inline(always)]
    fn tile<S: Simd, const NV: usize, const MR: usize, const NP: usize>(
        &mut self,
        simd: S,
        (first, panel): (usize, usize),
        part: Range<usize>,
    ) {
        let (depth, width, len) = (self.b.rows, self.b.width, part.len());
        // Loops, not `array::from_fn`, whose closure may not be inlined.
        let mut b: [&[[F::Vector<S>; NV]]; NP] = [&[]; NP];
        let mut sums = [[[F::splat(simd, F::ZERO); NV]; MR]; NP];
        for p in 0..NP {
            let own = &self.b.panels[(panel + p) * depth * width..];
            let own = &own[part.start * width..part.end * width];
            b[p] = &std::hint::black_box(F::vectors::<S>(own).as_chunks::<NV>().0)[..len];
            sums[p] = self.load::<S, NV, MR>(simd, (first, panel + p));
        }
        match self.a {
            Lhs::Rows { values, stride, .. } => {
                // `black_box`: the optimiser must treat these pointers as unrelated. Otherwise it
                // computes each from the others in every iteration.
                let mut a: [&[F]; MR] = [&[]; MR];
                for row in 0..MR {
                    let own = &values[(first + row) * stride + part.start..];
                    a[row] = &std::hint::black_box(own)[..len];
                }
                for k in 0..len {
                    for row in 0..MR {
                        let a = F::splat(simd, a[row][k]);
                        for p in 0..NP {
                            for v in 0..NV {
                                let sum = sums[p][row][v];
                                sums[p][row][v] = F::product_sum(simd, a, b[p][k][v], sum);
                            }
                        }
                    }
                }
            }
            Lhs::Interleaved(a) => {
                let a = &a.values[first * depth..][part.start * MR..part.end * MR];
                for (a, b) in a.as_chunks::<MR>().0.iter().zip(b[0]) {
                    for row in 0..MR {
                        let a = F::splat(simd, a[row]);
                        for v in 0..NV {
                            sums[0][row][v] = F::product_sum(simd, a, b[v], sums[0][row][v]);
                        }
                    }
                }
            }
        }
        for p in 0..NP {
            self.store(simd, (first, panel + p), sums[p]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::WithDType;

    /// A matrix of small integers: sums in any order are exact.
    fn matrix(rows: usize, columns: usize, seed: usize) -> Vec<f64> {
        (0..rows * columns).map(|i| ((i * 7 + seed) % 11) as f64 - 5.0).collect()
    }

    fn expected(a: &[f64], b: &[f64], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
        let places = (0..m).flat_map(|i| (0..n).map(move |j| (i, j)));
        places.map(|(i, j)| (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum()).collect()
    }

    fn check<F: KernelFloat>() {
        let to = |values: &[f64]| values.iter().map(|v| F::from_f64(*v)).collect::<Vec<_>>();
        let from = |values: &[F]| values.iter().map(|v| WithDType::to_f64(*v)).collect::<Vec<_>>();
        let small =
            [(1, 1, 1), (2, 3, 5), (6, 4, 64), (7, 9, 65), (13, 70, 31), (5, 1, 130), (4, 0, 3)];
        let in_parts = [(1, 1100, 9), (8, 1025, 33), (16, 600, 64)];
        for (m, k, n) in small.into_iter().chain(in_parts) {
            let (a, b) = (matrix(m, k, 1), matrix(k, n, 2));
            let product = expected(&a, &b, (m, k, n));
            let transposed = |values: &[f64], rows: usize, columns: usize| -> Vec<f64> {
                (0..columns).flat_map(|j| (0..rows).map(move |i| values[i * columns + j])).collect()
            };
            let (fa, fb) = (to(&a), to(&b));
            let packed = Packed::pack(&fb, MatrixLayout::rows(k, n));
            let mut out = vec![F::from_f64(9.0); m * n];
            set_product(
                Output::rows(&mut out, n),
                Lhs::Rows { values: &fa, rows: m, stride: k },
                &packed,
            );
            assert_eq!(from(&out), product, "set {m} {k} {n}");

            let row: Vec<_> = (0..n).map(|column| F::from_f64(column as f64)).collect();
            let left = Lhs::Rows { values: &fa, rows: m, stride: k };
            set_product_and_row(Output::rows(&mut out, n), left, &packed, &row);
            let wanted: Vec<_> =
                product.iter().enumerate().map(|(at, v)| v + (at % n) as f64).collect();
            assert_eq!(from(&out), wanted, "set, and a row, {m} {k} {n}");

            let mut sum = Packed::zeros(m, n);
            add_product(sum.out(), left, &packed);
            add_product(sum.out(), left, &packed);
            let twice: Vec<_> = product.iter().map(|v| v + v).collect();
            assert_eq!(from(&sum.transposed()), transposed(&twice, m, n), "in panels {m} {k} {n}");

            let packed = Packed::pack(&to(&transposed(&b, k, n)), MatrixLayout::rows(n, k).t());
            let mut room = vec![F::ZERO; m * k];
            let left = to(&transposed(&a, m, k));
            let left = Interleaved { depth: k, rows: m, ..Interleaved::new(&left, m, &mut room) };
            let mut out = vec![F::ONE; m * (n + 3)];
            add_product(Output::rows(&mut out, n + 3), Lhs::Interleaved(&left), &packed);
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
        let packed = Packed::pack(&[1f32; 4], MatrixLayout::rows(2, 2));
        set_product(
            Output::rows(&mut [0f32; 4], 2),
            Lhs::Rows { values: &[1.0; 3], rows: 2, stride: 2 },
            &packed,
        );
    }
}
