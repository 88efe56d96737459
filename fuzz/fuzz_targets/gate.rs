//! A gate under any rules, limits and frames.
#![no_main]

#[path = "../../gate/tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::run(hostile::Input(bytes)));
