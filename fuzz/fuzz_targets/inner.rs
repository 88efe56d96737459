//! Datagrams with good CRCs against inner.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    weir_wire::fuzzing::raw_inner(bytes);
});
