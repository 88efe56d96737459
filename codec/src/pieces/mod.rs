//! Pieces: one continuous code, cut into parts of equal length (SPEC 4.15).

mod decoder;
mod encoder;
mod ends;

pub use decoder::{Decoder, Step};
pub use encoder::Encoder;
