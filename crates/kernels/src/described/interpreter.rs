//! Runs instructions over rows.

use super::program::{Instruction, Op, Operand};
use crate::simd::SimdLoop;
use crate::KernelFloat;
use recurrent_core::description::{Binary, Unary};
use std::hint::black_box;

/// The values of a block of rows in registers: few enough to stay in the first-level cache.
const BLOCK: usize = 1024;

/// The number of rows that an instruction runs over at once, with `width` values each.
pub(super) fn block_rows(width: usize) -> usize {
    (BLOCK / width.max(1)).max(1)
}

/// The rows of a slot in one step.
pub(super) enum Rows<'a, F> {
    /// They are only read.
    Read(&'a [F], usize),
    /// They may be written.
    Write(&'a mut [F], usize),
    /// A block of rows of scratch memory.
    Temp(&'a mut [F], usize),
    /// They do not exist, or are being written.
    None,
}

impl<F> Rows<'_, F> {
    /// The rows from `first` on, and their width.
    #[inline(always)]
    pub(super) fn from(&self, first: usize) -> (&[F], usize) {
        match self {
            Self::Read(values, width) => (&values[first * width..], *width),
            Self::Write(values, width) => (&values[first * width..], *width),
            Self::Temp(values, width) => (values, *width),
            Self::None => panic!("an instruction reads a slot that is empty"),
        }
    }
}

/// The vectors of weights, and their gradients.
pub(super) struct Vectors<'a, F> {
    /// By weight; matrices are empty.
    pub(super) values: &'a [Vec<F>],
    /// By weight, or empty: the pass adds to them.
    pub(super) grads: &'a mut [Vec<F>],
}

/// Some instructions over all rows of a step.
pub(super) struct Interpreter<'a, 'b, 'c, F> {
    pub(super) instructions: &'a [Instruction],
    pub(super) frame: &'a mut [Rows<'b, F>],
    pub(super) vectors: &'a mut Vectors<'c, F>,
    pub(super) rows: usize,
    /// The most rows of a block.
    pub(super) block: usize,
    /// Whether the example of a row has not ended.
    pub(super) runs: &'a [bool],
}

/// An operand: rows of `stride` elements; `stride` 0: the same for all rows.
#[derive(Clone, Copy)]
struct Input<'a, F> {
    values: &'a [F],
    stride: usize,
    /// Whether it has one column.
    narrow: bool,
}

impl<F: KernelFloat> Interpreter<'_, '_, '_, F> {
    #[inline(always)]
    fn instruction<const FUSED: bool>(&mut self, code: &Instruction, first: usize, rows: usize) {
        if let Op::AddToWeight(weight, a) = code.op {
            return self.add_to_weight(weight, code, a, first, rows);
        }
        let mut out = std::mem::replace(&mut self.frame[code.out], Rows::None);
        let (values, stride) = match &mut out {
            Rows::Write(values, width) => (&mut values[first * *width..], *width),
            Rows::Temp(values, width) => (&mut values[..], *width),
            Rows::Read(..) | Rows::None => panic!("an instruction writes a slot that is empty"),
        };
        let room =
            Output { values: black_box(values), stride, start: code.start, width: code.width };
        let constants = constants::<F>(code.op);
        let read = |index: usize, operand: Operand| {
            self.input(operand, first, code.narrow[index], &constants[index..=index])
        };
        match code.op {
            Op::Copy(a) => room.unary(rows, read(0, a), |_, a| a),
            Op::Accumulate(a) => room.unary(rows, read(0, a), |out, a| out + a),
            Op::Unary(function, a) => {
                let a = read(0, a);
                match function {
                    Unary::Neg => room.unary(rows, a, |_, a: F| -a),
                    Unary::Sigmoid => room.unary(rows, a, |_, a: F| a.sigmoid::<FUSED>()),
                    Unary::Tanh => room.unary(rows, a, |_, a: F| KernelFloat::tanh::<FUSED>(a)),
                    Unary::Relu => room.unary(rows, a, |_, a| relu(a)),
                    Unary::Exp => room.unary(rows, a, |_, a: F| KernelFloat::exp::<FUSED>(a).0),
                    Unary::Sqrt => room.unary(rows, a, |_, a: F| a.root()),
                    Unary::Recip => room.unary(rows, a, |_, a| F::ONE / a),
                }
            }
            Op::Binary(function, a, b) => {
                let (a, b) = (read(0, a), read(1, b));
                match function {
                    Binary::Add => room.binary(rows, a, b, |a, b| a + b),
                    Binary::Sub => room.binary(rows, a, b, |a, b| a - b),
                    Binary::Mul => room.binary(rows, a, b, |a, b| a * b),
                    Binary::SigmoidGrad => room.binary(rows, a, b, |a, b| a * b * (F::ONE - b)),
                    Binary::TanhGrad => room.binary(rows, a, b, |a, b| a * (F::ONE - b * b)),
                    Binary::ReluGrad => {
                        room.binary(rows, a, b, |a, b| if b > F::ZERO { a } else { F::ZERO })
                    }
                }
            }
            Op::Sum(a) => room.sum(rows, read(0, a)),
            Op::AddToWeight(..) => {}
        }
        self.frame[code.out] = out;
    }

    #[inline(always)]
    fn input<'a>(
        &'a self,
        operand: Operand,
        first: usize,
        narrow: bool,
        constant: &'a [F],
    ) -> Input<'a, F> {
        match operand {
            Operand::Rows { slot, start } => {
                let (values, stride) = self.frame[slot].from(first);
                Input { values: &values[start..], stride, narrow }
            }
            Operand::Weight { weight, start } => {
                Input { values: &self.vectors.values[weight][start..], stride: 0, narrow }
            }
            Operand::Constant(_) => Input { values: constant, stride: 0, narrow: true },
        }
    }

    fn add_to_weight(
        &mut self,
        weight: usize,
        code: &Instruction,
        a: Operand,
        first: usize,
        rows: usize,
    ) {
        let mut grads = std::mem::take(&mut self.vectors.grads[weight]);
        let constants = constants::<F>(code.op);
        let a = self.input(a, first, code.narrow[0], &constants[..1]);
        let sum = &mut grads[code.start..][..code.width];
        for row in (0..rows).filter(|row| self.runs[first + row]) {
            let values = &a.values[row * a.stride..];
            match a.narrow {
                true => sum.iter_mut().for_each(|sum| *sum += values[0]),
                false => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += *value),
            }
        }
        self.vectors.grads[weight] = grads;
    }
}

impl<F: KernelFloat> SimdLoop for Interpreter<'_, '_, '_, F> {
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

/// max(a, 0); NaN stays.
#[inline(always)]
fn relu<F: KernelFloat>(a: F) -> F {
    if a <= F::ZERO {
        F::ZERO
    } else {
        a
    }
}

/// The constants among the operands.
#[inline(always)]
fn constants<F: KernelFloat>(op: Op) -> [F; 2] {
    let value = |operand: Operand| match operand {
        Operand::Constant(value) => F::from_f64(value),
        _ => F::ZERO,
    };
    match op {
        Op::Copy(a) | Op::Accumulate(a) | Op::Unary(_, a) | Op::Sum(a) | Op::AddToWeight(_, a) => {
            [value(a), F::ZERO]
        }
        Op::Binary(_, a, b) => [value(a), value(b)],
    }
}

/// Columns of the rows that an instruction writes.
struct Output<'a, F> {
    values: &'a mut [F],
    stride: usize,
    start: usize,
    width: usize,
}

impl<F: KernelFloat> Output<'_, F> {
    /// All rows as one, if they and the operands lie without gaps.
    #[inline(always)]
    fn whole(&self, inputs: &[Input<F>]) -> bool {
        let dense = |input: &Input<F>| match input.narrow {
            true => input.stride == 0,
            false => input.stride == self.width,
        };
        self.stride == self.width && inputs.iter().all(dense)
    }

    #[inline(always)]
    fn unary(self, rows: usize, a: Input<F>, f: impl Fn(F, F) -> F + Copy) {
        if self.whole(&[a]) {
            let width = rows * self.width;
            return unary_row(&mut self.values[..width], a.values, a.narrow, f);
        }
        for row in 0..rows {
            let out = &mut self.values[row * self.stride + self.start..][..self.width];
            unary_row(out, &a.values[row * a.stride..], a.narrow, f);
        }
    }

    #[inline(always)]
    fn binary(self, rows: usize, a: Input<F>, b: Input<F>, f: impl Fn(F, F) -> F + Copy) {
        let narrow = [a.narrow, b.narrow];
        if self.whole(&[a, b]) {
            let width = rows * self.width;
            return binary_row(&mut self.values[..width], a.values, b.values, narrow, f);
        }
        for row in 0..rows {
            let out = &mut self.values[row * self.stride + self.start..][..self.width];
            let (a, b) = (&a.values[row * a.stride..], &b.values[row * b.stride..]);
            binary_row(out, a, b, narrow, f);
        }
    }

    /// Sums over the columns, in strands that vectorise.
    #[inline(always)]
    fn sum(self, rows: usize, a: Input<F>) {
        const STRANDS: usize = 16;
        for row in 0..rows {
            let values = &a.values[row * a.stride..][..self.width];
            let mut strands = [F::ZERO; STRANDS];
            let chunks = values.chunks_exact(STRANDS);
            let mut total = F::ZERO;
            chunks.remainder().iter().for_each(|value| total += *value);
            for chunk in chunks {
                for (strand, value) in strands.iter_mut().zip(chunk) {
                    *strand += *value;
                }
            }
            strands.into_iter().for_each(|strand| total += strand);
            self.values[row * self.stride + self.start] = total;
        }
    }
}

#[inline(always)]
fn unary_row<F: KernelFloat>(out: &mut [F], a: &[F], narrow: bool, f: impl Fn(F, F) -> F) {
    if narrow {
        let a = a[0];
        return out.iter_mut().for_each(|out| *out = f(*out, a));
    }
    let a = &a[..out.len()];
    for (out, a) in out.iter_mut().zip(a) {
        *out = f(*out, *a);
    }
}

#[inline(always)]
fn binary_row<F: KernelFloat>(
    out: &mut [F],
    a: &[F],
    b: &[F],
    narrow: [bool; 2],
    f: impl Fn(F, F) -> F,
) {
    let n = out.len();
    match narrow {
        [false, false] => {
            let (a, b) = (&a[..n], &b[..n]);
            out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f(*a, *b));
        }
        [false, true] => {
            let (a, b) = (&a[..n], b[0]);
            out.iter_mut().zip(a).for_each(|(out, a)| *out = f(*a, b));
        }
        [true, false] => {
            let (a, b) = (a[0], &b[..n]);
            out.iter_mut().zip(b).for_each(|(out, b)| *out = f(a, *b));
        }
        [true, true] => {
            let value = f(a[0], b[0]);
            out.fill(value);
        }
    }
}
