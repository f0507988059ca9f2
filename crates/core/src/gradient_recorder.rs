//! Records dL/dh_t and dL/dc_t of every step of an ordinary backward pass.

use crate::{LayerId, TimeIndex};
use candle_core::{DType, Device, Result, Tensor};
use std::sync::{Arc, Mutex, PoisonError};

/// Receives, during a backward pass, the gradient of the loss with respect to the carried state at
/// every step.
///
/// Attach it with [`crate::ForwardContext::record`], call `backward` on the loss, then
/// [`GradientRecorder::take`] the traces, one for each layer, direction and field of the state. The
/// gradients are those of the carried state *vector* (h_t, c_t): dL/dc_t is the partial derivative
/// with h_t held fixed, as in the Jacobian of the recurrence. The state is the one after any
/// residual over time. It stays constant after the end of an example.
///
/// Clones share one record.
#[derive(Clone, Debug)]
pub struct GradientRecorder {
    record: Record,
    traces: Arc<Mutex<Vec<GradientTrace>>>,
}

/// How much a [`GradientRecorder`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Norms and counts only.
    Norms,
    /// The gradients too. Each field needs as much memory as the outputs.
    Gradients,
}

impl GradientRecorder {
    /// A recorder of norms, or of the gradients too.
    pub fn new(record: Record) -> Self {
        Self { record, traces: Arc::default() }
    }

    /// The traces since the last call, by layer and direction, then in the order of the state's
    /// fields.
    pub fn take(&self) -> Vec<GradientTrace> {
        let mut traces =
            std::mem::take(&mut *self.traces.lock().unwrap_or_else(PoisonError::into_inner));
        traces.sort_by_key(|trace| trace.layer_id); // stable: fields stay in their order
        traces
    }

    pub(crate) fn accumulators(
        &self,
        time_index: &TimeIndex,
        sizes: &[usize],
        dtype: DType,
    ) -> Vec<GradientAccumulator> {
        sizes
            .iter()
            .map(|&size| GradientAccumulator::new(time_index, size, self.record, dtype))
            .collect()
    }

    pub(crate) fn put(
        &self,
        layer_id: LayerId,
        fields: &[&'static str],
        accumulators: Vec<GradientAccumulator>,
    ) -> Result<()> {
        let traces = fields
            .iter()
            .zip(accumulators)
            .map(|(field, accumulator)| accumulator.trace(layer_id, field));
        let traces = traces.collect::<Result<Vec<_>>>()?;
        self.traces.lock().unwrap_or_else(PoisonError::into_inner).extend(traces);
        Ok(())
    }
}

/// The gradient of the loss with respect to one field of one layer's state, at every step.
///
/// The lag of a state is its distance, in steps as the layer runs them, from the last state of the
/// same example: lag 0 is the final state, lag `len` the initial carry of an example of `len`
/// steps.
#[derive(Clone, Debug)]
pub struct GradientTrace {
    /// Which layer, and which direction.
    pub layer_id: LayerId,
    /// Which field of the state: `h`, `c`.
    pub field: &'static str,
    /// The number of examples.
    pub batch: usize,
    /// The number of steps of each example.
    pub lengths: Vec<usize>,
    /// The norm of each example's row of the gradient, at index `lag * batch + example`; NaN if the
    /// example is shorter than the lag. If the loss is a mean over examples, multiply by their
    /// number for the norm of the example's own gradient.
    pub norms: Vec<f64>,
    /// The norm of the sum of the rows, by lag: if the loss is a mean over examples, that of the
    /// mean gradient.
    pub batch_norms: Vec<f64>,
    /// How many elements are exactly zero, by lag.
    pub zeros: Vec<usize>,
    /// How many elements are subnormal, by lag.
    pub subnormals: Vec<usize>,
    /// How many elements are not a number, by lag.
    pub nans: Vec<usize>,
    /// How many elements are infinite, by lag.
    pub infinities: Vec<usize>,
    /// How many elements there are, by lag.
    pub elements: Vec<usize>,
    /// The gradients, `(batch, steps + 1, size)`, step 0 being the initial carry; with
    /// [`Record::Gradients`]. Zero after the end of an example.
    pub gradients: Option<Tensor>,
}

impl GradientTrace {
    /// The number of lags: that of the longest example's states.
    pub fn lags(&self) -> usize {
        self.batch_norms.len()
    }

    /// The norms of the examples that have a state at `lag`.
    pub fn norms_at(&self, lag: usize) -> impl Iterator<Item = f64> + '_ {
        let row = &self.norms[lag * self.batch..(lag + 1) * self.batch];
        row.iter()
            .copied()
            .zip(&self.lengths)
            .filter(move |(_, &len)| lag <= len)
            .map(|(norm, _)| norm)
    }
}

/// Collects the gradients of one field during an engine's backward pass, for some rows of the
/// batch.
#[derive(Clone, Debug)]
pub struct GradientAccumulator {
    time_index: TimeIndex,
    size: usize,
    dtype: DType,
    norms: Vec<f64>,
    sums: Vec<f64>, // (lag, size)
    zeros: Vec<usize>,
    subnormals: Vec<usize>,
    nans: Vec<usize>,
    infinities: Vec<usize>,
    elements: Vec<usize>,
    gradients: Option<Vec<f64>>, // (batch, steps + 1, size)
}

impl GradientAccumulator {
    fn new(time_index: &TimeIndex, size: usize, record: Record, dtype: DType) -> Self {
        let (lags, batch) = (time_index.steps() + 1, time_index.batch());
        Self {
            time_index: time_index.clone(),
            size,
            dtype,
            norms: vec![f64::NAN; lags * batch],
            sums: vec![0.0; lags * size],
            zeros: vec![0; lags],
            subnormals: vec![0; lags],
            nans: vec![0; lags],
            infinities: vec![0; lags],
            elements: vec![0; lags],
            gradients: (record == Record::Gradients).then(|| vec![0.0; batch * lags * size]),
        }
    }

    /// Adds the gradient with respect to the state of example `row` after `step` steps (0: the
    /// initial carry). States after the end of the example are copies of its final state and are
    /// not counted.
    ///
    /// # Panics
    /// If `row` or `step` lie outside of the run, or `gradient` has another size than the field.
    pub fn put<F: Float>(&mut self, row: usize, step: usize, gradient: &[F]) {
        assert_eq!(gradient.len(), self.size, "probe: size of the gradient");
        let Some(lag) = self.time_index.len(row).checked_sub(step) else { return };
        let sums = &mut self.sums[lag * self.size..(lag + 1) * self.size];
        // Eight partial sums, so that the loop vectorises.
        const STRANDS: usize = 8;
        let mut squares = [0.0; STRANDS];
        let mut plain = true;
        for (sums, values) in sums.chunks_mut(STRANDS).zip(gradient.chunks(STRANDS)) {
            for ((sum, squares), value) in sums.iter_mut().zip(&mut squares).zip(values) {
                plain &= !(value.is_zero() | value.is_subnormal());
                let value = value.to_f64();
                plain &= value.is_finite();
                *sum += value;
                *squares += value * value;
            }
        }
        if !plain {
            self.zeros[lag] += gradient.iter().filter(|value| value.is_zero()).count();
            self.subnormals[lag] += gradient.iter().filter(|value| value.is_subnormal()).count();
            self.nans[lag] += gradient.iter().filter(|value| value.to_f64().is_nan()).count();
            self.infinities[lag] +=
                gradient.iter().filter(|value| value.to_f64().is_infinite()).count();
        }
        self.elements[lag] += self.size;
        let squares = squares.iter().sum();
        self.norms[lag * self.time_index.batch() + row] =
            root(squares, || gradient.iter().map(|v| v.to_f64()));
        if let Some(gradients) = &mut self.gradients {
            let start = (row * (self.time_index.steps() + 1) + step) * self.size;
            let kept = &mut gradients[start..start + self.size];
            kept.iter_mut().zip(gradient).for_each(|(kept, value)| *kept = value.to_f64());
        }
    }

    /// Adds the gradients of all examples after `step` steps, `(batch, size)`.
    ///
    /// # Errors
    /// Those of candle.
    pub(crate) fn put_all(&mut self, step: usize, gradient: &Tensor) -> Result<()> {
        // The element type decides what is subnormal, so f32 and f64 keep theirs.
        match self.dtype {
            DType::F64 => self.put_rows(step, &gradient.to_vec2::<f64>()?),
            _ => self.put_rows(step, &gradient.to_dtype(DType::F32)?.to_vec2::<f32>()?),
        }
        Ok(())
    }

    fn put_rows<F: Float>(&mut self, step: usize, rows: &[Vec<F>]) {
        rows.iter().enumerate().for_each(|(row, gradient)| self.put(row, step, gradient));
    }

    /// Adds the gradients that `other` has collected from other rows of the same run.
    pub fn merge(&mut self, other: &GradientAccumulator) {
        let add = |mine: &mut Vec<usize>, others: &[usize]| {
            mine.iter_mut().zip(others).for_each(|(a, b)| *a += b)
        };
        add(&mut self.zeros, &other.zeros);
        add(&mut self.subnormals, &other.subnormals);
        add(&mut self.nans, &other.nans);
        add(&mut self.infinities, &other.infinities);
        add(&mut self.elements, &other.elements);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        let taken = |mine: &mut f64, other: &f64| {
            if !other.is_nan() {
                *mine = *other;
            }
        };
        self.norms.iter_mut().zip(&other.norms).for_each(|(mine, other)| taken(mine, other));
        if let (Some(mine), Some(others)) = (&mut self.gradients, &other.gradients) {
            mine.iter_mut().zip(others).for_each(|(a, b)| *a += b);
        }
    }

    fn trace(self, layer_id: LayerId, field: &'static str) -> Result<GradientTrace> {
        let batch = self.time_index.batch();
        let norm = |sums: &[f64]| root(sums.iter().map(|v| v * v).sum(), || sums.iter().copied());
        let shape = (batch, self.time_index.steps() + 1, self.size);
        let tensor = |values| Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(self.dtype);
        Ok(GradientTrace {
            layer_id,
            field,
            batch,
            lengths: (0..batch).map(|row| self.time_index.len(row)).collect(),
            norms: self.norms,
            batch_norms: self.sums.chunks(self.size).map(norm).collect(),
            zeros: self.zeros,
            subnormals: self.subnormals,
            nans: self.nans,
            infinities: self.infinities,
            elements: self.elements,
            gradients: self.gradients.map(tensor).transpose()?,
        })
    }
}

/// The root of a sum of squares, scaled if the squares underflow or overflow in f64.
fn root<I: Iterator<Item = f64>>(squares: f64, values: impl Fn() -> I) -> f64 {
    if (1e-280..1e280).contains(&squares) {
        return squares.sqrt();
    }
    let largest = values().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return squares.sqrt();
    }
    largest * values().map(|value| (value / largest).powi(2)).sum::<f64>().sqrt()
}

/// An element of a recorded gradient.
pub trait Float: Copy {
    /// The value.
    fn to_f64(self) -> f64;
    /// Whether it is zero.
    fn is_zero(self) -> bool;
    /// Whether it is subnormal in its own type.
    fn is_subnormal(self) -> bool;
}

macro_rules! element {
    ($($float:ty),*) => {$(
        impl Float for $float {
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn is_zero(self) -> bool {
                self == 0.0
            }
            fn is_subnormal(self) -> bool {
                <$float>::is_subnormal(self)
            }
        }
    )*};
}

element!(f32, f64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequence;

    #[test]
    fn rows_are_aligned_by_lag_and_counted() -> Result<()> {
        let xs = Sequence::padded(Tensor::zeros((2, 3, 1), DType::F32, &Device::Cpu)?, &[3, 1])?;
        let mut accumulator = GradientAccumulator::new(
            &TimeIndex::new(&xs, false)?,
            2,
            Record::Gradients,
            DType::F32,
        );
        accumulator.put(0, 3, &[3f32, 4.]);
        accumulator.put(0, 0, &[0f32, 1e-40]);
        accumulator.put(1, 1, &[3f32, -4.]);
        accumulator.put(1, 2, &[9f32, 9.]); // after its end
        let trace = accumulator.trace(LayerId::default(), "h")?;
        assert_eq!(trace.norms_at(0).collect::<Vec<_>>(), [5., 5.]);
        assert_eq!(trace.batch_norms[0], 6.);
        assert_eq!(
            (trace.zeros[3], trace.subnormals[3], trace.elements[3], trace.elements[0]),
            (1, 1, 2, 4)
        );
        assert_eq!(trace.norms_at(3).count(), 1, "the short example has no state at lag 3");
        let gradients = trace.gradients.expect("kept").to_vec3::<f32>()?;
        assert_eq!((gradients[0][3][1], gradients[1][1][1], gradients[1][2][1]), (4., -4., 0.));
        Ok(())
    }

    #[test]
    fn non_finite_values_are_counted_and_merged() -> Result<()> {
        let xs = Sequence::new(Tensor::zeros((2, 1, 1), DType::F32, &Device::Cpu)?)?;
        let empty = || {
            Ok::<_, candle_core::Error>(GradientAccumulator::new(
                &TimeIndex::new(&xs, false)?,
                3,
                Record::Norms,
                DType::F32,
            ))
        };
        let (mut accumulator, mut other) = (empty()?, empty()?);
        accumulator.put(0, 1, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        other.put(1, 1, &[1f32, f32::NAN, 0.]);
        accumulator.merge(&other);
        let trace = accumulator.trace(LayerId::default(), "h")?;
        assert_eq!((&trace.nans[..], &trace.infinities[..]), (&[2, 0][..], &[2, 0][..]));
        assert_eq!((trace.zeros[0], trace.elements[0]), (1, 6));
        Ok(())
    }

    #[test]
    fn norms_survive_the_range_of_f64() {
        for scale in [1e-200, 1.0, 1e200] {
            let values = [3.0 * scale, 4.0 * scale];
            let norm = root(values.iter().map(|v| v * v).sum(), || values.into_iter());
            assert!((norm / scale - 5.0).abs() < 1e-15 * 5.0, "{norm}");
        }
    }
}
