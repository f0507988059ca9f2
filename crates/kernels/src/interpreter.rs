//! Runs instructions over rows.

use crate::layout::{Address, Bound, Region};
use crate::program::{Chain, Op};
use crate::simd::SimdLoop;
use crate::KernelFloat;
use recurrent_core::description::{Binary, Norm, Unary};
use std::hint::black_box;

/// The values of a block of rows in scratch memory: few enough to stay in the first-level cache.
const BLOCK: usize = 1024;

/// The number of rows that an instruction runs over at once, with `width` values each.
pub(crate) fn block_rows(width: usize) -> usize {
    (BLOCK / width.max(1)).max(1)
}

/// The tape, which the forward pass writes and the backward pass reads.
pub(crate) enum Tape<'a, F> {
    Write(&'a mut [F]),
    Read(&'a [F]),
}

impl<F> Tape<'_, F> {
    #[inline(always)]
    pub(crate) fn values(&self) -> &[F] {
        match self {
            Self::Write(values) => values,
            Self::Read(values) => values,
        }
    }
}

/// The memory of one step: the tape and the scratch memory, and the position of the step in each.
pub(crate) struct Memory<'a, F> {
    pub(crate) tape: Tape<'a, F>,
    pub(crate) work: &'a mut [F],
    pub(crate) step: [usize; 2],
}

impl<F> Memory<'_, F> {
    /// The rows at two addresses that do not overlap, the first of them to write.
    pub(crate) fn pair(
        &mut self,
        write: (Address, usize),
        read: (Address, usize),
    ) -> (&mut [F], &[F]) {
        let (start, len) = (write.0.start(self.step, 0), write.1);
        let from = read.0.start(self.step, 0);
        let (mut around, out) = self.split(write.0.region, start, len);
        around.of = read.0.region;
        (out, &around.from(from)[..read.1])
    }

    /// The rows at an address, to write.
    pub(crate) fn out(&mut self, (address, len): (Address, usize)) -> &mut [F] {
        self.split(address.region, address.start(self.step, 0), len).1
    }

    /// The rows at an address.
    pub(crate) fn read(&self, address: Address, len: usize) -> &[F] {
        let region = match address.region {
            Region::Work => &*self.work,
            Region::Tape => self.tape.values(),
        };
        &region[address.start(self.step, 0)..][..len]
    }

    /// `len` values of a region to write, and everything else to read.
    #[inline(always)]
    fn split(&mut self, region: Region, start: usize, len: usize) -> (Around<'_, F>, &mut [F]) {
        let (whole, other) = match (region, &mut self.tape) {
            (Region::Work, tape) => (&mut *self.work, tape.values()),
            (Region::Tape, Tape::Write(tape)) => (&mut **tape, &*self.work),
            (Region::Tape, Tape::Read(_)) => panic!("the backward pass does not write the tape"),
        };
        let (low, rest) = whole.split_at_mut(start);
        let (out, high) = rest.split_at_mut(len);
        (Around { low, high, other, own: region, of: region, end: start + len }, out)
    }
}

/// The memory around the rows that an instruction writes.
#[derive(Clone, Copy)]
struct Around<'a, F> {
    low: &'a [F],
    high: &'a [F],
    other: &'a [F],
    /// The region that is written.
    own: Region,
    /// The region that is read.
    of: Region,
    end: usize,
}

impl<'a, F> Around<'a, F> {
    /// The values from `start` on.
    #[inline(always)]
    fn from(&self, start: usize) -> &'a [F] {
        if self.of != self.own {
            &self.other[start..]
        } else if start >= self.end {
            &self.high[start - self.end..]
        } else {
            &self.low[start..]
        }
    }
}

/// Some instructions over all rows of a step.
pub(crate) struct Interpreter<'a, 'b, F> {
    pub(crate) instructions: &'a [Bound],
    pub(crate) memory: &'a mut Memory<'b, F>,
    pub(crate) rows: usize,
    /// The most rows of a block.
    pub(crate) block: usize,
    /// Whether the example of a row has not ended.
    pub(crate) runs: &'a [bool],
}

impl<F: KernelFloat> SimdLoop for Interpreter<'_, '_, F> {
    #[inline(always)]
    fn run<const FUSED: bool>(mut self) {
        let instructions = self.instructions;
        for first in (0..self.rows).step_by(self.block) {
            let rows = self.block.min(self.rows - first);
            for code in instructions {
                self.instruction::<FUSED>(code, first, rows);
            }
        }
    }
}

/// An operand: rows `row` elements apart; `narrow`: one value a row.
#[derive(Clone, Copy)]
struct Input<'a, F> {
    values: &'a [F],
    row: usize,
    narrow: bool,
}

impl<'a, F: Copy> Input<'a, F> {
    #[inline(always)]
    fn row(&self, row: usize, width: usize) -> &'a [F] {
        &self.values[row * self.row..][..width]
    }

    #[inline(always)]
    fn value(&self, row: usize) -> F {
        self.values[row * self.row]
    }
}

impl<F: KernelFloat> Interpreter<'_, '_, F> {
    #[inline(always)]
    fn instruction<const FUSED: bool>(&mut self, code: &Bound, first: usize, rows: usize) {
        let runs = self.runs;
        let step = self.memory.step;
        let start = code.out.start(step, first);
        let len = code.out.row * (rows - 1) + code.out_width;
        let (around, out) = self.memory.split(code.out.region, start, len);
        let read = |index: usize| {
            let Address { region, row, .. } = code.operands[index];
            let around = Around { of: region, ..around };
            let values = around.from(code.operands[index].start(step, first));
            Input { values, row, narrow: code.narrow[index] }
        };
        // Contiguous rows are one row.
        let (rows, width) = match code.dense || rows == 1 {
            true => (1, rows * code.width),
            false => (rows, code.width),
        };
        let room = Output { values: black_box(out), row: code.out.row, rows, width };
        match code.op {
            Op::Copy => room.assign(read(0), |_, a| a),
            Op::Accumulate => room.assign(read(0), |out, a| out + a),
            Op::Unary(function) => {
                let a = read(0);
                match function {
                    Unary::Neg => room.unary(a, |a: F| -a),
                    Unary::Sigmoid => room.unary(a, |a: F| a.sigmoid::<FUSED>()),
                    Unary::Tanh => room.unary(a, |a: F| KernelFloat::tanh::<FUSED>(a)),
                    Unary::Relu => room.unary(a, |a| relu(a)),
                    Unary::Exp => room.unary(a, |a: F| KernelFloat::exp::<FUSED>(a).0),
                    Unary::Sqrt => room.unary(a, |a: F| a.root()),
                    Unary::Recip => room.unary(a, |a| F::ONE / a),
                    Unary::Floor => room.unary(a, |a: F| a.whole()),
                }
            }
            Op::Binary(function) => {
                let (a, b) = (read(0), read(1));
                match function {
                    Binary::Add => room.binary(a, b, |a, b| a + b),
                    Binary::Sub => room.binary(a, b, |a, b| a - b),
                    Binary::Mul => room.binary(a, b, |a, b| a * b),
                    Binary::SigmoidGrad => room.binary(a, b, sigmoid_grad),
                    Binary::TanhGrad => room.binary(a, b, tanh_grad),
                    Binary::ReluGrad => {
                        room.binary(a, b, |a, b| if b > F::ZERO { a } else { F::ZERO })
                    }
                }
            }
            Op::Chain(chain) => {
                let (a, b, c) = (read(0), read(1), read(2));
                match chain {
                    Chain::MulAdd => room.ternary(a, b, c, |a, b, c| a * b + c),
                    Chain::MulMul => room.ternary(a, b, c, |a, b, c| a * b * c),
                    Chain::SubMul => room.ternary(a, b, c, |a, b, c| (a - b) * c),
                    Chain::AddAdd => room.ternary(a, b, c, |a, b, c| a + b + c),
                    Chain::MulSigmoidGrad => {
                        room.ternary(a, b, c, |a, b, c| sigmoid_grad(a * b, c))
                    }
                    Chain::MulTanhGrad => room.ternary(a, b, c, |a, b, c| tanh_grad(a * b, c)),
                }
            }
            Op::Sum => room.by_row(read(0), |row| sum(row)),
            Op::Scale(norm) => room.by_row(read(0), |row| scale(row, norm)),
            Op::Normalise(norm) => room.normalise(read(0), read(1), norm),
            Op::NormaliseGrad(norm) => room.normalise_grad(read(0), read(1), read(2), norm),
            Op::Softmax => room.softmax::<FUSED>(read(0)),
            Op::CumulativeSum { reverse } => room.cumulative_sum(read(0), reverse),
            Op::AddToWeight => room.add_rows(&runs[first..], read(0), None),
            Op::AddProductToWeight => room.add_rows(&runs[first..], read(0), Some(read(1))),
        }
    }
}

/// The gradient `a` through `b` = σ(·).
#[inline(always)]
fn sigmoid_grad<F: KernelFloat>(a: F, b: F) -> F {
    a * b * (F::ONE - b)
}

/// The gradient `a` through `b` = tanh(·).
#[inline(always)]
fn tanh_grad<F: KernelFloat>(a: F, b: F) -> F {
    a * (F::ONE - b * b)
}

/// max(a, 0); NaN stays.
#[inline(always)]
fn relu<F: KernelFloat>(a: F) -> F {
    if a <= F::ZERO {
        F::ZERO
    } else {
        a
    }
}

/// The rows that an instruction writes.
struct Output<'a, F> {
    values: &'a mut [F],
    row: usize,
    rows: usize,
    width: usize,
}

impl<F: KernelFloat> Output<'_, F> {
    #[inline(always)]
    fn row(&mut self, row: usize) -> &mut [F] {
        &mut self.values[row * self.row..][..self.width]
    }

    /// A function of the value there and the operand.
    #[inline(always)]
    fn assign(mut self, a: Input<F>, f: impl Fn(F, F) -> F + Copy) {
        for row in 0..self.rows {
            if a.narrow {
                let a = a.value(row);
                self.row(row).iter_mut().for_each(|out| *out = f(*out, a));
                continue;
            }
            let a = a.row(row, self.width);
            self.row(row).iter_mut().zip(a).for_each(|(out, a)| *out = f(*out, *a));
        }
    }

    /// The operand is as wide as the result.
    #[inline(always)]
    fn unary(mut self, a: Input<F>, f: impl Fn(F) -> F + Copy) {
        for row in 0..self.rows {
            let a = a.row(row, self.width);
            self.row(row).iter_mut().zip(a).for_each(|(out, a)| *out = f(*a));
        }
    }

    #[inline(always)]
    fn binary(mut self, a: Input<F>, b: Input<F>, f: impl Fn(F, F) -> F + Copy) {
        let width = self.width;
        for row in 0..self.rows {
            let out = self.row(row);
            match (a.narrow, b.narrow) {
                (false, false) => {
                    let (a, b) = (a.row(row, width), b.row(row, width));
                    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f(*a, *b));
                }
                (false, true) => {
                    let (a, b) = (a.row(row, width), b.value(row));
                    out.iter_mut().zip(a).for_each(|(out, a)| *out = f(*a, b));
                }
                (true, false) => {
                    let (a, b) = (a.value(row), b.row(row, width));
                    out.iter_mut().zip(b).for_each(|(out, b)| *out = f(a, *b));
                }
                (true, true) => unreachable!("a result is as wide as an operand"),
            }
        }
    }

    /// No operand is narrow.
    #[inline(always)]
    fn ternary(mut self, a: Input<F>, b: Input<F>, c: Input<F>, f: impl Fn(F, F, F) -> F + Copy) {
        let width = self.width;
        for row in 0..self.rows {
            let (a, b, c) = (a.row(row, width), b.row(row, width), c.row(row, width));
            let out = self.row(row).iter_mut().zip(a).zip(b).zip(c);
            out.for_each(|(((out, a), b), c)| *out = f(*a, *b, *c));
        }
    }

    /// Writes one number for each row.
    #[inline(always)]
    fn by_row(self, a: Input<F>, f: impl Fn(&[F]) -> F) {
        for row in 0..self.rows {
            self.values[row * self.row] = f(a.row(row, self.width));
        }
    }

    /// (a − mean a) scale.
    #[inline(always)]
    fn normalise(mut self, a: Input<F>, scale: Input<F>, norm: Norm) {
        for row in 0..self.rows {
            let (a, scale) = (a.row(row, self.width), scale.value(row));
            let mean = mean(a, norm);
            self.row(row).iter_mut().zip(a).for_each(|(out, a)| *out = (*a - mean) * scale);
        }
    }

    /// scale (d − mean d − y mean (d ∘ y)).
    #[inline(always)]
    fn normalise_grad(mut self, d: Input<F>, y: Input<F>, scale: Input<F>, norm: Norm) {
        let share = F::ONE / F::from_f64(self.width as f64);
        for row in 0..self.rows {
            let (d, y, scale) = (d.row(row, self.width), y.row(row, self.width), scale.value(row));
            let mean = mean(d, norm);
            let along = dot(d, y) * share;
            let out = self.row(row).iter_mut().zip(d).zip(y);
            out.for_each(|((out, d), y)| *out = scale * (*d - mean - *y * along));
        }
    }

    /// e^(a − max a), over its sum.
    #[inline(always)]
    fn softmax<const FUSED: bool>(mut self, a: Input<F>) {
        for row in 0..self.rows {
            let a = a.row(row, self.width);
            let larger = |largest, &a: &F| if a > largest { a } else { largest };
            let largest = a.iter().fold(a[0], larger);
            let out = self.row(row);
            for (out, a) in out.iter_mut().zip(a) {
                *out = KernelFloat::exp::<FUSED>(*a - largest).0;
            }
            let share = F::ONE / sum(out);
            out.iter_mut().for_each(|out| *out *= share);
        }
    }

    /// The sums of a up to each column, or from each on if they begin at the last one.
    #[inline(always)]
    fn cumulative_sum(mut self, a: Input<F>, reverse: bool) {
        for row in 0..self.rows {
            let a = a.row(row, self.width);
            let mut total = F::ZERO;
            let add = |(out, a): (&mut F, &F)| {
                total += *a;
                *out = total;
            };
            let columns = self.row(row).iter_mut().zip(a);
            match reverse {
                false => columns.for_each(add),
                true => columns.rev().for_each(add),
            }
        }
    }

    /// Adds the rows of the examples that run, of a or of a ∘ b, to a vector.
    #[inline(always)]
    fn add_rows(self, runs: &[bool], a: Input<F>, b: Option<Input<F>>) {
        let width = self.width;
        let out = &mut self.values[..width];
        for row in (0..self.rows).filter(|row| runs[*row]) {
            match b {
                None if a.narrow => {
                    let value = a.value(row);
                    out.iter_mut().for_each(|out| *out += value);
                }
                None => {
                    out.iter_mut().zip(a.row(row, width)).for_each(|(out, a)| *out += *a);
                }
                Some(b) => {
                    let pairs = a.row(row, width).iter().zip(b.row(row, width));
                    out.iter_mut().zip(pairs).for_each(|(out, (a, b))| *out += *a * *b);
                }
            }
        }
    }
}

/// The number of partial sums: they let the loop vectorise, and lose less to rounding than one sum.
const PARTIALS: usize = 16;

/// The sum of all values.
#[inline(always)]
fn sum<F: KernelFloat>(values: &[F]) -> F {
    sum_of(values, |value| value)
}

/// The sum of a function of the values.
#[inline(always)]
fn sum_of<F: KernelFloat>(values: &[F], f: impl Fn(F) -> F) -> F {
    let (chunks, rest) = values.as_chunks::<PARTIALS>();
    let mut partials = [F::ZERO; PARTIALS];
    for values in chunks {
        for s in 0..PARTIALS {
            partials[s] += f(values[s]);
        }
    }
    for (partial, value) in partials.iter_mut().zip(rest) {
        *partial += f(*value);
    }
    pairwise_sum(partials)
}

/// a · b.
#[inline(always)]
fn dot<F: KernelFloat>(a: &[F], b: &[F]) -> F {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<PARTIALS>(), b.as_chunks::<PARTIALS>());
    let mut partials = [F::ZERO; PARTIALS];
    for (a, b) in a.iter().zip(b) {
        for s in 0..PARTIALS {
            partials[s] += a[s] * b[s];
        }
    }
    for (partial, (a, b)) in partials.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *partial += *a * *b;
    }
    pairwise_sum(partials)
}

/// The mean, if the normalisation subtracts it; else 0.
#[inline(always)]
fn mean<F: KernelFloat>(values: &[F], norm: Norm) -> F {
    match norm.centred {
        true => sum(values) * (F::ONE / F::from_f64(values.len() as f64)),
        false => F::ZERO,
    }
}

/// 1 / √(mean (v − mean v)² + eps).
#[inline(always)]
fn scale<F: KernelFloat>(values: &[F], norm: Norm) -> F {
    let share = F::ONE / F::from_f64(values.len() as f64);
    let mean = mean(values, norm);
    let squares = sum_of(values, |v| (v - mean) * (v - mean)) * share;
    F::ONE / (squares + F::from_f64(norm.eps())).root()
}

/// Adds the partial sums, by halves.
#[inline(always)]
fn pairwise_sum<F: KernelFloat>(mut partials: [F; PARTIALS]) -> F {
    let mut half = PARTIALS / 2;
    while half > 0 {
        let (first, second) = partials.split_at_mut(half);
        for s in 0..half {
            first[s] += second[s];
        }
        half /= 2;
    }
    partials[0]
}
