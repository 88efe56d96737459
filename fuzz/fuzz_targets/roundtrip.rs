//! Tokens, slots and limits of any kind through encoder and decoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_codec::fuzzing::roundtrip(bytes));
