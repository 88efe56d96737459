//! Any bytes as an inward datagram or message, and again with the length and CRC that belong to them.
#![no_main]

use weir_wire::fuzzing::inward;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    inward(bytes);
    if let (16.., Ok(length)) = (bytes.len(), u16::try_from(bytes.len())) {
        let mut sealed = bytes.to_vec();
        sealed[2..4].copy_from_slice(&length.to_be_bytes());
        let crc = crc32fast::hash(&[&sealed[..4], &sealed[8..]].concat());
        sealed[4..8].copy_from_slice(&crc.to_be_bytes());
        inward(&sealed);
    }
});
