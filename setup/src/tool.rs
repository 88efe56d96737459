//! What the command-line tools share, `weir` and `weir-lab`: nothing that a server needs.
//!
//! - [`clock`]: how long something takes;
//! - [`ends`]: what is done whole, or last, when a signal ends the program;
//! - [`events`]: what an answer weighs as server-sent events;
//! - [`files`]: files that are there whole or not at all;
//! - [`machine`]: flags of commands that run a model, and opening one;
//! - [`progress`] and [`table`]: what a terminal shows;
//! - [`prompts`]: files of prompts, and those that come with the programs.

pub mod clock;
pub mod ends;
pub mod events;
pub mod files;
pub mod machine;
pub mod progress;
pub mod prompts;
pub mod table;
