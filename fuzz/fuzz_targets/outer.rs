//! Frames with good checks, and others, against outer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    weir_wire::fuzzing::raw_outer(bytes);
});
