//! Any bytes as a ledger, and as what happens to a good one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_ledger::fuzzing::ledger(bytes));
