//! The crate's integration tests in one binary, because every further binary links candle again.

mod diagnose;
mod dynamics;
mod network;
mod networks;
