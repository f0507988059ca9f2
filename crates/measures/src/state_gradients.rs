//! The gradients of a trace, state by state.

use candle_core::{bail, DType, Result};
use recurrent_core::GradientTrace;

/// The recorded gradients of one trace, in f64.
pub(crate) struct StateGradients {
    values: Vec<f64>, // (batch, steps + 1, size)
    states: usize,
    pub(crate) size: usize,
    lengths: Vec<usize>,
}

impl StateGradients {
    pub(crate) fn of(trace: &GradientTrace) -> Result<Self> {
        let Some(gradients) = &trace.gradients else {
            bail!("trace {}: expected its gradients; record with `Record::Gradients`", name(trace))
        };
        let (_, states, size) = gradients.dims3()?;
        let values = gradients.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        Ok(Self { values, states, size, lengths: trace.lengths.clone() })
    }

    pub(crate) fn batch(&self) -> usize {
        self.lengths.len()
    }

    /// The gradient of example `row` at `lag`; `None` if the example is shorter.
    pub(crate) fn at(&self, row: usize, lag: usize) -> Option<&[f64]> {
        let step = self.lengths[row].checked_sub(lag)?;
        Some(&self.values[(row * self.states + step) * self.size..][..self.size])
    }

    /// The gradients at `lag` of all examples of that length or more.
    pub(crate) fn lag(&self, lag: usize) -> impl Iterator<Item = &[f64]> + '_ {
        (0..self.batch()).filter_map(move |row| self.at(row, lag))
    }
}

/// The name of a trace in messages: `c_l1`.
pub(crate) fn name(trace: &GradientTrace) -> String {
    format!("{}{}", trace.field, trace.layer_id.suffix())
}
