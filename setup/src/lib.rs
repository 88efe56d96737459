//! What both ends are set up with.
//!
//! - [`session`]: sizes that inner and outer must have alike, as TOML and as flags;
//! - [`coding`]: a batch's codec in the mode that the shape asks for;
//! - [`prompts`]: system prompts that are computed once, as tokens;
//! - [`weak`]: the weak model's settings, and the model with all that both ends must agree on;
//! - [`log`](mod@log): the log, limited by kind;
//! - [`signals`]: those that a server was told to ignore;
//! - [`source`]: models by name: a file, or one of the embedded pair;
//! - [`file`](mod@file): reading a configuration, and flags over it;
//! - `tool`: what the command-line tools share (feature `tool`).
#![forbid(unsafe_code)]

pub mod coding;
pub mod file;
pub mod log;
pub mod prompts;
pub mod session;
pub mod signals;
pub mod source;
#[cfg(feature = "tool")]
pub mod tool;
pub mod weak;

pub use session::{SessionArgs, SessionConfig};
pub use source::Source;
pub use weak::{Weak, WeakConfig};
