//! Any bytes as a signed order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_ledger::fuzzing::order(bytes));
