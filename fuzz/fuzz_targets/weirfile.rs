//! `.weir` files: any bytes, and a good file with changes.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use std::sync::LazyLock;

use weir_model::fuzzing::{sealed_weir_file, weir_file};

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("weir-fuzz-{}", std::process::id()));
    let (from, to) = (folder.join("tiny.gguf"), folder.join("tiny.weir"));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    std::fs::write(&from, edits::good()).expect("the temporary folder can be written");
    weir_model::convert(&from, &to).expect("a tiny model is converted");
    let good = std::fs::read(&to).expect("what was written can be read");
    std::fs::remove_dir_all(&folder).expect("what was written can be removed");
    good
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    weir_file(bytes);
    let edited = edits::edited(&GOOD, bytes);
    weir_file(&edited);
    sealed_weir_file(&edited);
});
