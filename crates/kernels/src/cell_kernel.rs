//! The arithmetic of one row, which each cell provides to the driver.

use crate::KernelFloat;

/// The arithmetic of one row of the batch in one step, forward and backward.
///
/// A row of `saved` begins with the pre-activations: W_ih x_t in the first gates, W_hh h_{t-1} in
/// as many gates from [`CellKernel::RECURRENT_OFFSET`] on, added where the two overlap. The rest of
/// the row is free for values that the backward pass needs. `hidden` is the number of units,
/// `output` the size of h; they differ if a projection follows.
///
/// The last gate of a cell may depend on a function of the other gates and the last output
/// ([`CellKernel::TWO_STAGES`]). Then [`CellKernel::forward`] writes that function into `h`, the
/// driver multiplies it by the last gate's rows of W_hh and adds it to the last gate, and
/// [`CellKernel::finish`] computes the output.
///
/// Methods are `#[inline(always)]`: the driver compiles them for the processor's instruction set,
/// which has a fused multiply-add if `FUSED`.
pub trait CellKernel: Clone + Send + Sync + 'static {
    /// The number of gates.
    const GATES: usize;
    /// The number of values saved per hidden unit and step, beside the state; at least
    /// [`SPAN`](CellKernel::SPAN).
    const SAVED: usize;
    /// Whether the state has a cell state `c` beside the hidden state `h`.
    const CELL_STATE: bool;
    /// The gate of a row at which the recurrent pre-activations begin.
    const RECURRENT_OFFSET: usize = 0;
    /// The order of the gates of `weight_ih` in a row; empty: the same order.
    const INPUT_ORDER: &'static [usize] = &[];
    /// The number of gates that the pre-activations take in a row.
    const SPAN: usize = Self::RECURRENT_OFFSET + Self::GATES;
    /// Whether the last gate depends on the value that [`CellKernel::forward`] writes in place of
    /// the last output. Needs `RECURRENT_OFFSET` = 0 and no cell state.
    const TWO_STAGES: bool = false;
    /// The number of further values saved per row and step.
    const SAVED_PER_ROW: usize = 0;
    /// The number of scratch values per hidden unit.
    const SCRATCH: usize = 0;
    /// The number of extra weight vectors of the cell, which follow its other weights.
    const EXTRA_WEIGHTS: usize = 0;
    /// Whether the driver adds the biases `bias_ih` and `bias_hh`, if the cell has them.
    const BIAS: bool = true;
    /// The engine's name, as `explain` shows it.
    const NAME: &'static str;

    /// Runs one step of one row.
    fn forward<F: KernelFloat, const FUSED: bool>(&self, row: ForwardRow<F>);

    /// Runs the derivative of one step of one row.
    fn backward<F: KernelFloat, const FUSED: bool>(&self, row: BackwardRow<F>);

    /// Runs the second stage.
    #[inline(always)]
    fn finish<F: KernelFloat, const FUSED: bool>(&self, _row: ForwardRow<F>) {}

    /// Runs the derivative of the second stage. Its result is the `dh` of [`CellKernel::backward`]:
    /// the gradient of the value that `forward` wrote.
    #[inline(always)]
    fn finish_backward<F: KernelFloat, const FUSED: bool>(&self, _row: BackwardRow<F>) {}
}

/// Arguments of one row, forward. `c_before` and `c` are empty for a cell without cell state.
pub struct ForwardRow<'a, F> {
    /// In: pre-activations. Out: the values that the backward pass needs.
    pub saved: &'a mut [F],
    /// The input of the recurrent matrices: h_{t-1}, masked by dropout.
    pub recurrent_input: &'a [F],
    /// h_{t-1}.
    pub h_before: &'a [F],
    /// c_{t-1}.
    pub c_before: &'a [F],
    /// Out: h_t, `hidden` elements.
    pub h: &'a mut [F],
    /// Out: c_t.
    pub c: &'a mut [F],
    /// The cell's extra weights.
    pub extra: &'a [Vec<F>],
    /// Scratch memory with arbitrary content.
    pub scratch: &'a mut [F],
}

/// Arguments of one row, backward. All outputs are overwritten, except `d_extra` and
/// `d_recurrent_input`, which are added to.
pub struct BackwardRow<'a, F> {
    /// The values that the forward pass saved.
    pub saved: &'a [F],
    /// The input of the recurrent matrices.
    pub recurrent_input: &'a [F],
    /// h_{t-1}.
    pub h_before: &'a [F],
    /// c_{t-1}.
    pub c_before: &'a [F],
    /// h_t, as the cell wrote it.
    pub h: &'a [F],
    /// c_t, as the cell wrote it.
    pub c: &'a [F],
    /// dL/dh_t, `hidden` elements.
    pub dh: &'a [F],
    /// dL/dc_t, with h_t held fixed.
    pub dc: &'a [F],
    /// Out: the gradient of the pre-activations.
    pub d: &'a mut [F],
    /// Out: the part of dL/dh_{t-1} that does not pass W_hh.
    pub dh_before: &'a mut [F],
    /// Added to by the first of two stages, empty otherwise: the part of dL/d(recurrent_input) that
    /// does not pass W_hh.
    pub d_recurrent_input: &'a mut [F],
    /// Out: dL/dc_{t-1}.
    pub dc_before: &'a mut [F],
    /// The cell's extra weights.
    pub extra: &'a [Vec<F>],
    /// Added to: the gradients of the cell's extra weights.
    pub d_extra: &'a mut [Vec<F>],
    /// Scratch memory with arbitrary content.
    pub scratch: &'a mut [F],
}
