use crate::predict::network;
use crate::query::Settings;

/// Of this crate's syntax and constants: SPEC chapter 4. Changes with every change of what a code means.
const CODEC: &str = "weir codec 5";

/// What both ends must have in common for a code to mean the same, as 32 bytes; the session's agreement hash covers it
/// together with the model's and the tokenizer's (SPEC 4.11).
pub fn agreement(settings: &Settings) -> [u8; 32] {
    let Settings { full, retokenized } = *settings;
    let mut hasher = blake3::Hasher::new_derive_key(CODEC);
    hasher
        .update(&[full, u8::from(retokenized)])
        .update(network::BYTES);
    *hasher.finalize().as_bytes()
}
