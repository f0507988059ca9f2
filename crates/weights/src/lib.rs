//! Weights of recurrent networks in and out.

#![forbid(unsafe_code)]

#[cfg(feature = "hub")]
pub mod hub;
