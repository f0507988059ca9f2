//! The subcommands.

pub(crate) mod ablate;
pub(crate) mod claims;
pub(crate) mod compare;
pub(crate) mod generate;
pub(crate) mod list;
pub(crate) mod report;
pub(crate) mod sweep;
