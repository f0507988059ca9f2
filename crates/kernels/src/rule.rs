//! What a cell brings to the driver: the arithmetic of one row.

use crate::KernelFloat;

/// What happens to one row of the batch in one step, there and back.
///
/// A row of `kept` begins with the pre-activations: W_ih x_t in the first gates, W_hh h_{t-1} in as many gates from
/// [`Rule::RECURRENT_AT`] on, added where the two overlap. Behind them there is room for what the way back needs. `hidden` is the number
/// of units; `output` that of h, which differs from it where a projection follows.
///
/// A rule whose last gate sees what the others made of the last output ([`Rule::TWO_STAGES`]) runs in two parts: [`Rule::forth`] writes that into
/// `h`, the driver multiplies it by the last gate's rows of W_hh and adds it to the last gate, and [`Rule::finish`] gives the output.
///
/// Methods are `#[inline(always)]`: the driver compiles them for the instruction set at hand, which has a fused multiply-add if `FUSED`.
pub trait Rule: Clone + Send + Sync + 'static {
    /// How many gates there are.
    const GATES: usize;
    /// How many values are kept a hidden unit and step, beside the state; at least [`span`](Rule::SPAN).
    const KEPT: usize;
    /// Whether the state has a memory `c` beside the output `h`.
    const MEMORY: bool;
    /// The gate of a row at which the recurrent part begins.
    const RECURRENT_AT: usize = 0;
    /// The gates of `weight_ih` in the order in which they lie in a row; empty: as they are.
    const INPUT_ORDER: &'static [usize] = &[];
    /// How many gates the pre-activations take in a row.
    const SPAN: usize = Self::RECURRENT_AT + Self::GATES;
    /// Whether the last gate sees what [`Rule::forth`] writes in the place of the last output. Needs `RECURRENT_AT` = 0 and no memory.
    const TWO_STAGES: bool = false;
    /// How many values are kept a row and step on top of that.
    const KEPT_A_ROW: usize = 0;
    /// How many values of scratch memory a hidden unit the rule works in.
    const SCRATCH: usize = 0;
    /// How many vectors of weights, at the end of the cell's, are the rule's own.
    const OWN: usize = 0;
    /// Whether the driver adds the biases `bias_ih` and `bias_hh`, if the cell has them.
    const BIAS: bool = true;
    /// What the rule is called, for those who ask which path runs.
    const NAME: &'static str;

    /// One step of one row.
    fn forth<F: KernelFloat, const FUSED: bool>(&self, row: RowForth<F>);

    /// The derivative of one step of one row.
    fn back<F: KernelFloat, const FUSED: bool>(&self, row: RowBack<F>);

    /// The second stage.
    #[inline(always)]
    fn finish<F: KernelFloat, const FUSED: bool>(&self, _row: RowForth<F>) {}

    /// The derivative of the second stage. [`Rule::back`] then gets dL/d(what `forth` wrote) as `dh`.
    #[inline(always)]
    fn finish_back<F: KernelFloat, const FUSED: bool>(&self, _row: RowBack<F>) {}
}

/// One row on the way there. The `c`s are empty where there is no memory.
pub struct RowForth<'a, F> {
    /// In: pre-activations. Out: what the way back needs.
    pub kept: &'a mut [F],
    /// What the recurrent matrices saw: h_{t-1}, or a part of it where dropout hides the rest.
    pub seen: &'a [F],
    /// h_{t-1}.
    pub h_before: &'a [F],
    /// c_{t-1}.
    pub c_before: &'a [F],
    /// Out: h_t, `hidden` elements.
    pub h: &'a mut [F],
    /// Out: c_t.
    pub c: &'a mut [F],
    /// The rule's own weights.
    pub own: &'a [Vec<F>],
    /// Memory to work in, with anything in it.
    pub scratch: &'a mut [F],
}

/// One row on the way back. All outputs but `d_own` and `d_seen` are written, not added to.
pub struct RowBack<'a, F> {
    /// What was kept.
    pub kept: &'a [F],
    /// What the recurrent matrices saw.
    pub seen: &'a [F],
    /// h_{t-1}.
    pub h_before: &'a [F],
    /// c_{t-1}.
    pub c_before: &'a [F],
    /// h_t, as the rule wrote it.
    pub h: &'a [F],
    /// c_t, as the rule wrote it.
    pub c: &'a [F],
    /// dL/dh_t, `hidden` elements.
    pub dh: &'a [F],
    /// dL/dc_t, with h_t held fixed.
    pub dc: &'a [F],
    /// Out: the gradient of the pre-activations.
    pub d: &'a mut [F],
    /// Out: what reaches dL/dh_{t-1} without passing W_hh.
    pub dh_before: &'a mut [F],
    /// To be added to, by the first of two stages, and else empty: dL/d(seen), without what passes W_hh.
    pub d_seen: &'a mut [F],
    /// Out: dL/dc_{t-1}.
    pub dc_before: &'a mut [F],
    /// The rule's own weights.
    pub own: &'a [Vec<F>],
    /// The gradients of the rule's own weights, to be added to.
    pub d_own: &'a mut [Vec<F>],
    /// Memory to work in, with anything in it.
    pub scratch: &'a mut [F],
}
