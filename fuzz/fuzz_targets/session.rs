//! Edits of live traffic between two sessions.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_wire::fuzzing::session(bytes));
