//! Changes to a good model file, so that a fuzzer gets past its magic.

use weir_model::testing::{Tiny, tiny_gguf};

/// The smallest GGUF file that loads.
pub fn good() -> Vec<u8> {
    tiny_gguf(&Tiny {
        layers: 1,
        vocab: 258,
        ..Tiny::default()
    })
}

/// `good` with up to 32 bytes near its front changed (three bytes of `bytes`: place and value), or cut.
pub fn edited(good: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut file = good.to_vec();
    for edit in bytes.chunks_exact(3).take(32) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % file.len();
        file[place] = edit[2];
    }
    if let ([.., high, low], 2) = (bytes, bytes.len() % 3) {
        let share = usize::from(u16::from_be_bytes([*high, *low]));
        file.truncate(file.len() * share / 65_536);
    }
    file
}
