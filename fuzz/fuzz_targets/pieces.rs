//! Any bytes as pieces of a continuous code.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_codec::fuzzing::pieces(bytes));
