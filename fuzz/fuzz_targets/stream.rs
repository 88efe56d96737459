//! Any bytes as the code of one text.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_codec::fuzzing::stream(bytes));
