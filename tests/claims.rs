//! The rules of `examples/claims` on made-up numbers: every verdict of each can come out, and
//! nothing else decides one.
//!
//! The example's own modules, since cargo builds an example either as a program or as a test.

#![allow(dead_code)] // the rules need no laboratory

#[path = "../examples/claims/experiments/mod.rs"]
mod experiments;
#[path = "../examples/claims/finding.rs"]
mod finding;
#[path = "../examples/claims/lab.rs"]
mod lab;
#[path = "../examples/claims/numbers.rs"]
mod numbers;
#[path = "../examples/shared/mod.rs"]
mod shared;
