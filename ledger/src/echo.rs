//! What outer says it has received, with a MAC: a witness that costs no upload. SPEC 7.5.

use crate::record::{Hash, array};

/// What has come out, as the other end counts it. It goes inward, where bytes are free; a ledger takes the most
/// that it hears as one of the `counts` of its opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo {
    /// The ledger that it speaks of.
    pub ledger: Hash,
    /// Above that of every echo before.
    pub number: u64,
    /// Datagrams received: in the life of the ledger by who keeps them, else since the start.
    pub datagrams: u64,
    /// Bits that they took on the link, without side bits.
    pub bits: u64,
}

impl Echo {
    /// The upper half of a number is that of a start, the lower one counts. What came between a start's last echo and its end is in no
    /// count.
    pub const START: u64 = 1 << 32;

    /// With the MAC of a key that both ends share: BLAKE3, keyed.
    pub fn seal(&self, key: &[u8; 32]) -> [u8; ECHO_LEN] {
        let mut bytes = [0; ECHO_LEN];
        bytes[..32].copy_from_slice(&self.ledger);
        bytes[32..40].copy_from_slice(&self.number.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.datagrams.to_be_bytes());
        bytes[48..56].copy_from_slice(&self.bits.to_be_bytes());
        let mac = blake3::keyed_hash(key, &bytes[..CONTENT]);
        bytes[CONTENT..].copy_from_slice(mac.as_bytes());
        bytes
    }

    /// `None` unless the key's owner made it.
    pub fn open(bytes: &[u8], key: &[u8; 32]) -> Option<Self> {
        let bytes: &[u8; ECHO_LEN] = bytes.try_into().ok()?;
        // Compared in constant time by the library.
        let mac = blake3::Hash::from_bytes(array(bytes, CONTENT..ECHO_LEN).ok()?);
        if blake3::keyed_hash(key, &bytes[..CONTENT]) != mac {
            return None;
        }
        let number = |range| Some(u64::from_be_bytes(array(bytes, range).ok()?));
        Some(Self {
            ledger: array(bytes, 0..32).ok()?,
            number: number(32..40)?,
            datagrams: number(40..48)?,
            bits: number(48..56)?,
        })
    }
}

const CONTENT: usize = 56;
/// Bytes of an echo.
pub const ECHO_LEN: usize = CONTENT + 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_its_makers_and_nobody_elses() {
        let echo = Echo {
            ledger: [3; 32],
            number: 9,
            datagrams: 4,
            bits: 2_688,
        };
        let sealed = echo.seal(&[7; 32]);
        assert_eq!(Echo::open(&sealed, &[7; 32]), Some(echo));
        assert_eq!(Echo::open(&sealed, &[8; 32]), None);
        assert_eq!(Echo::open(&sealed[1..], &[7; 32]), None);
        for byte in 0..ECHO_LEN {
            let mut changed = sealed;
            changed[byte] ^= 1;
            assert_eq!(Echo::open(&changed, &[7; 32]), None, "byte {byte}");
        }
    }
}
