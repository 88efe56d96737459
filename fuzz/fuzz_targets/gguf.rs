//! GGUF files: any bytes, and a good file with changes.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use std::sync::LazyLock;

use weir_model::fuzzing::gguf;

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(edits::good);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gguf(bytes);
    gguf(&edits::edited(&GOOD, bytes));
});
