//! Frames, inward messages and sessions of Weir: sans-IO, no_std.
#![forbid(unsafe_code)]
