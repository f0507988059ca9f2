//! Weights of recurrent networks in and out.

#![forbid(unsafe_code)]
