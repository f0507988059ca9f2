//! Whole-sequence CPU kernels for recurrent cells, forward and backward, in f32 and f64.
//!
//! [`Kernel`] is the driver, written once. It cuts the batch into chunks of rows that run
//! independently, projects the inputs of a block of steps in one matrix product, and loops over
//! time with one recurrent product and one loop over the rows per step. Backward, it accumulates
//! the gradients of the weights in products over blocks of steps. A cell provides a [`CellKernel`]:
//! the arithmetic of one row, forward and backward.
//!
//! ```text
//! forward   saved_t = b + W_ih x_t                             a product over a block of steps
//!           saved_t += W_hh h_{t-1}                            in separate gates if the cell asks
//!           (h_t, c_t), saved_t = cell(saved_t, h_{t-1}, c_{t-1})
//! backward  (dsaved_t, direct dh_{t-1}, dc_{t-1}) = cell's derivative, of dh_t, dc_t and saved_t
//!           dh_{t-1} += W_hhᵀ dsaved_t
//!           dW_ih += dsaved_tᵀ x_t,  dW_hh += dsaved_tᵀ h_{t-1}     products over a block of steps
//!           dx_t = W_ihᵀ dsaved_t                                  a product over a block of steps
//! ```
//!
//! [`Described`] derives a kernel from the equations of a cell; [`CellKernel`]s are written by
//! hand, where that is faster.
//!
//! Chunks do not depend on the number of threads, and their sums are added in order: the result has
//! the same bits at any number of threads. They run in the current rayon pool. Large buffers are
//! pooled and reused; see [`release_memory`].
//!
//! The backward pass sets gradients below the smallest normal number to zero, because arithmetic on
//! subnormal numbers is far slower. With a gradient recorder they are kept, and counted.
//!
//! Row functions have no branches, so that the compiler vectorises them for the instruction set
//! found at run time; [`KernelFloat`] states the accuracy of exp and tanh. Row functions and matrix
//! products use fused multiply-add where the instruction set has it, so the last bits depend on the
//! processor.

#![forbid(unsafe_code)]

mod backward;
mod bptt;
mod buffer;
mod cell_kernel;
mod cells;
mod described;
mod float;
mod forward;
mod gemm;
mod gradients;
mod inference;
mod kernel;
mod simd;
mod weights;

pub use buffer::release_memory;
pub use cell_kernel::{BackwardRow, CellKernel, ForwardRow};
pub use cells::{Activation, Gru, GruResetBefore, LayerNormGru, LayerNormLstm, Lstm, Vanilla};
pub use described::{Describe, Described, DescribedKernel};
pub use float::KernelFloat;
pub use kernel::Kernel;
