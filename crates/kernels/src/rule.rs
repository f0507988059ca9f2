//! What a cell brings to the driver: the arithmetic of one row.

use crate::Float;

/// What happens to one row of the batch in one step, there and back.
///
/// A row of `kept` begins with the pre-activations of the input part, `gates * hidden`, and has room for what the way back needs.
/// Unless [`Rule::APART`], the recurrent part has already been added to them.
///
/// Methods are `#[inline(always)]`: the driver compiles them for the instruction set at hand.
pub trait Rule: Clone + Send + Sync + 'static {
    /// How many gates there are.
    const GATES: usize;
    /// How many values are kept a hidden unit and step, beside the state; at least [`Rule::GATES`].
    const KEPT: usize;
    /// Whether the state has a memory `c` beside the output `h`.
    const MEMORY: bool;
    /// Whether the rule must see the recurrent part apart from the input part.
    const APART: bool;
    /// How many values are kept a row and step on top of that.
    const KEPT_A_ROW: usize = 0;
    /// How many values of scratch memory a hidden unit the rule works in.
    const SCRATCH: usize = 0;
    /// How many vectors of weights behind `weight_ih` and `weight_hh` are the rule's own. If there are none, the driver adds
    /// `bias_ih` and `bias_hh`; else pre-activations come without them.
    const OWN: usize = 0;
    /// What the rule is called, for those who ask which path runs.
    const NAME: &'static str;

    /// One step of one row.
    fn forth<F: Float>(&self, row: RowForth<F>);

    /// The derivative of one step of one row.
    fn back<F: Float>(&self, row: RowBack<F>);
}

/// One row on the way there. `h` and `c` have `hidden` elements; the `c`s are empty where there is no memory.
pub struct RowForth<'a, F> {
    /// In: pre-activations. Out: what the way back needs.
    pub kept: &'a mut [F],
    /// The recurrent part of the pre-activations, where it is apart, and else empty; the rule may work in it.
    pub recurrent: &'a mut [F],
    /// h_{t-1}.
    pub h_before: &'a [F],
    /// c_{t-1}.
    pub c_before: &'a [F],
    /// Out: h_t.
    pub h: &'a mut [F],
    /// Out: c_t.
    pub c: &'a mut [F],
    /// The rule's own weights.
    pub own: &'a [Vec<F>],
    /// Memory to work in, with anything in it.
    pub scratch: &'a mut [F],
}

/// One row on the way back. All outputs but `d_own` are written, not added to.
pub struct RowBack<'a, F> {
    /// What was kept.
    pub kept: &'a [F],
    /// h_{t-1}.
    pub h_before: &'a [F],
    /// c_{t-1}.
    pub c_before: &'a [F],
    /// h_t.
    pub h: &'a [F],
    /// c_t.
    pub c: &'a [F],
    /// dL/dh_t.
    pub dh: &'a [F],
    /// dL/dc_t, with h_t held fixed.
    pub dc: &'a [F],
    /// Out: the gradient of the input part's pre-activations (and of the recurrent part's, unless apart).
    pub d_input: &'a mut [F],
    /// Out: the gradient of the recurrent part's pre-activations, where it is apart.
    pub d_recurrent: &'a mut [F],
    /// Out: what reaches dL/dh_{t-1} without passing W_hh.
    pub dh_before: &'a mut [F],
    /// Out: dL/dc_{t-1}.
    pub dc_before: &'a mut [F],
    /// The rule's own weights.
    pub own: &'a [Vec<F>],
    /// The gradients of the rule's own weights, to be added to.
    pub d_own: &'a mut [Vec<F>],
    /// Memory to work in, with anything in it.
    pub scratch: &'a mut [F],
}
