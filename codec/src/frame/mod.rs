//! Frames: each a code of its own.

mod decoder;
mod encoder;

pub use decoder::{Begun, Decoder};
pub use encoder::Encoder;
