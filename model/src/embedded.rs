//! The trained pair that comes with the crate, as GGUF files: small enough to be part of the program.

/// The strong model of the pair.
pub fn strong() -> &'static [u8] {
    include_bytes!("../../models/strong.gguf")
}

/// The weak model of the pair, which the codec predicts with.
pub fn weak() -> &'static [u8] {
    include_bytes!("../../models/weak.gguf")
}
