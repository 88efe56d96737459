//! A small random model for tests of this crate and of those above it.
