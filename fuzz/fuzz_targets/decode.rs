//! Any bytes as frames of a batch.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_codec::fuzzing::decode(bytes));
