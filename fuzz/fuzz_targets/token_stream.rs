//! Any bytes in any pieces as tokens.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_model::fuzzing::token_stream(bytes));
