//! Compressed files: any bytes, and again with the magic and the check that belong to them.
#![no_main]

#[path = "../../cli/src/container.rs"]
mod container;

use container::Header;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut sealed = b"WEIRZIP\r\n\x01".to_vec();
    sealed.extend_from_slice(bytes);
    sealed.extend_from_slice(&blake3::hash(&sealed).as_bytes()[..16]);
    for file in [bytes, &sealed] {
        if let Ok((header, code)) = Header::parse(file) {
            assert_eq!(header.emit(code).as_deref(), Ok(file));
        }
    }
});
