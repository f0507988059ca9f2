//! The integration tests, in one binary.

mod diagnose;
/// The measures of dynamics against closed forms, finite differences and known systems.
mod dynamics;
mod network;
/// Measures that run a network, against independent calculations.
mod networks;
