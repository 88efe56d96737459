//! The `weir` tool: everything that has a command line of its own.
//!
//! - [`demo`](Command) and [`trace`](Command) make tokens, [`bench`](Command) measures what they cost,
//! - [`compress`](Command) puts the codec to work on files, whose format is [`container`],
//! - `inner`, `outer` and `train` hand over to the crates of these names.

#![forbid(unsafe_code)]

pub mod container;
