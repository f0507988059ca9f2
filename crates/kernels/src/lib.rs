//! Whole-sequence CPU kernels for recurrent cells, forward and backward, in f32 and f64.
//!
//! [`Described`] makes a cell of its equations. A [`Kernel`] makes a program of them: stages of
//! element-wise instructions with matrix products between them, forward and backward. The backward
//! program is that of the graph's derivative
//! ([`Graph::adjoint`](recurrent_core::description::Graph::adjoint)); the forward pass saves the
//! values that it reads and cannot cheaply compute again.
//!
//! ```text
//! forward   linears_t = biases + W x_t                         products over a block of steps
//!           by stage: linears_t += W v_t,  instructions        v: a field, or a value of a stage before
//! backward  by stage: instructions of the derivative,  dv_t = Wᵀ dlinears_t
//!           dW += dlinears_tᵀ v_t,  dx_t = Wᵀ dlinears_t       products over a block of steps
//! ```
//!
//! Instructions run over blocks of rows whose values stay in the first-level cache. The batch is
//! cut into chunks of examples that run independently. Where products are large, a team of threads
//! runs a chunk, each with its own share of the units.
//!
//! All run in the current rayon pool. Chunks do not depend on the number of threads, their sums are
//! added in order, and every element of a product is one sum in the order of k: the result has the
//! same bits at any number of threads. Large buffers are pooled and reused; see [`release_memory`].
//!
//! The backward pass sets gradients below the smallest normal number to zero, because arithmetic on
//! subnormal numbers is far slower. With a gradient recorder they are kept, and counted.
//!
//! The loops of instructions have no branches, so that the compiler vectorises them for the
//! instruction set found at run time; [`KernelFloat`] states the accuracy of exp and tanh. These
//! functions and matrix products use fused multiply-add where the instruction set has it, so the
//! last bits depend on the processor.

#![forbid(unsafe_code)]

mod backward;
mod bptt;
mod buffer;
mod cell;
mod code;
mod float;
mod forward;
mod gemm;
mod inference;
mod interpreter;
mod kernel;
mod layout;
mod program;
mod share;
mod simd;
mod step;
mod team;
mod weights;

pub use buffer::release_memory;
pub use cell::{Describe, Described, Gated, GatedCell, GatedConfig};
pub use float::KernelFloat;
pub use kernel::Kernel;
