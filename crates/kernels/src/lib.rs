//! Whole-sequence CPU kernels for recurrent cells, forward and backward, in f32 and f64.
//!
//! A [`Kernel`] is the driver, written once: it cuts the batch into chunks of rows that run independently, projects the
//! inputs of a block of steps in one matrix product, loops over time with one recurrent product and one pass over the rows
//! a step, and on the way back gathers the gradients of the weights in products over blocks of steps. A cell brings a
//! [`Rule`]: what happens to one row, there and back.
//!
//! ```text
//! forward   kept_t = b + W_ih x_t                              a product over a block of steps
//!           kept_t += W_hh h_{t-1}                             beside it, where a rule sees the two apart
//!           (h_t, c_t), kept_t = rule(kept_t, h_{t-1}, c_{t-1})
//! backward  (dkept_t, direct dh_{t-1}, dc_{t-1}) = rule's derivative, from dh_t, dc_t and what was kept
//!           dh_{t-1} += W_hhᵀ dkept_t
//!           dW_ih += dkept_tᵀ x_t,  dW_hh += dkept_tᵀ h_{t-1},  dx_t = W_ihᵀ dkept_t    products over a block
//! ```
//!
//! The chunks do not depend on the number of threads, and their sums are added in order: the same bits at any number of
//! threads. They run in the current rayon pool. Large buffers are kept for the next run; see [`release_memory`].
//!
//! On the way back, gradients below the smallest normal number count as zero (arithmetic on subnormal numbers is far
//! slower), unless a recorder watches: then they live on, and are counted.
//!
//! Row functions use no branches, so that the compiler vectorises them for the instruction set that is found at run time; [`KernelFloat`] says how
//! accurate exp and tanh are. They and the matrix products fuse multiplications with additions where the instruction set can, so that the last bits
//! depend on it.

#![forbid(unsafe_code)]

mod backward;
mod bptt;
mod float;
mod forward;
mod frozen;
mod gemm;
mod gradients;
mod kernel;
mod rule;
mod rules;
mod simd;
mod weights;
mod workspace;

pub use float::KernelFloat;
pub use kernel::Kernel;
pub use rule::{RowBack, RowForth, Rule};
pub use rules::{Activation, Gru, GruResetBefore, LayerNormGru, LayerNormLstm, Lstm, Vanilla};
pub use workspace::release_memory;
