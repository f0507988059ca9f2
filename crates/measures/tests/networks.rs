//! Measures that run a network, against independent calculations.

mod parts;
mod plain;
mod states;
