//! The integration tests, in one binary, but for two that need a process of their own: `fuzz`
//! measures its memory, and `hub_environment` changes its environment.

mod files;
#[cfg(feature = "hub")]
mod hub;
