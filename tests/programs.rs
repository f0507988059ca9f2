//! The examples `diagnose` and `char_lm` as programs.

mod char_lm;
mod diagnose;
mod program;
