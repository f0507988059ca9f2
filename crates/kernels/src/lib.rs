//! Whole-sequence CPU kernels for recurrent cells, with their own backward pass.
