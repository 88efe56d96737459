//! Compressed files: any bytes, and again with the magic and the check that belong to them; lists of missing bytes.
#![no_main]

#[path = "../../cli/src/aside.rs"]
mod aside;
#[path = "../../cli/src/container.rs"]
mod container;

use container::Header;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut sealed = b"WEIRZIP\r\n\x01".to_vec();
    sealed.extend_from_slice(bytes);
    sealed.extend_from_slice(&blake3::hash(&sealed).as_bytes()[..16]);
    for file in [bytes, &sealed] {
        if let Ok((header, missing, code)) = Header::parse(file) {
            assert_eq!(header.emit(missing, code).as_deref(), Ok(file));
        }
    }
    let (text, list) = aside::take(bytes, |byte| byte % 5 != 0);
    assert_eq!(
        aside::put_back(&text, &list, |byte| byte % 5 != 0).as_deref(),
        Some(bytes)
    );
    let _any = aside::put_back(&text, bytes, |_| false);
});
