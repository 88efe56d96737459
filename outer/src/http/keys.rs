//! API keys: who may ask.

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The keys of the configuration, kept only as SHA-256 digests.
///
/// A key is hashed before it is compared, so neither its bytes nor its length can be learned from timing, and every
/// key is compared every time, so neither can its place in the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys(Vec<[u8; 32]>);

/// A key of the configuration is unusable.
#[derive(Debug, thiserror::Error)]
#[error("api_keys[{index}]: {why}")]
pub(crate) struct BadKey {
    index: usize,
    why: &'static str,
}

impl Keys {
    /// From the configuration: each entry is a key, or `sha256:` and the hex digest of one.
    pub(crate) fn new<S: AsRef<str>>(entries: &[S]) -> Result<Self, BadKey> {
        let mut keys = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let entry = entry.as_ref();
            keys.push(match entry.strip_prefix("sha256:") {
                Some(hex) => unhex(hex).ok_or(BadKey {
                    index,
                    why: "'sha256:' takes 64 hexadecimal digits",
                })?,
                None if entry.is_empty() => {
                    return Err(BadKey {
                        index,
                        why: "an empty key",
                    });
                }
                None => Sha256::digest(entry.as_bytes()).into(),
            });
        }
        Ok(Self(keys))
    }

    /// No keys: everyone who can connect may ask.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the value of an `Authorization` header holds one of the keys.
    pub(crate) fn admit(&self, authorization: Option<&[u8]>) -> bool {
        if self.is_open() {
            return true;
        }
        let given = authorization.and_then(bearer).unwrap_or_default();
        let digest: [u8; 32] = Sha256::digest(given).into();
        let hit = self
            .0
            .iter()
            .fold(Choice::from(0), |hit, key| hit | key.ct_eq(&digest));
        hit.into()
    }
}

/// The key in `Bearer <key>`; the scheme's name is case-insensitive (RFC 9110 11.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

fn unhex(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut out = [0; 32];
    for (index, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_its_digest_admit_the_same() {
        let plain = Keys::new(&["sk-one", "sk-two"]).unwrap();
        assert!(plain.admit(Some(b"Bearer sk-one")));
        assert!(plain.admit(Some(b"bearer sk-two")));
        assert!(!plain.admit(Some(b"Bearer sk-on")));
        assert!(!plain.admit(Some(b"Bearer ")));
        assert!(!plain.admit(Some(b"sk-one")));
        assert!(!plain.admit(None));
        let digest: String = Sha256::digest(b"sk-one")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let hashed = Keys::new(&[format!("sha256:{digest}")]).unwrap();
        assert!(hashed.admit(Some(b"Bearer sk-one")));
        assert!(!hashed.admit(Some(b"Bearer sk-two")));
    }

    #[test]
    fn bad_entries_are_named() {
        assert_eq!(
            Keys::new(&["a", ""]).unwrap_err().to_string(),
            "api_keys[1]: an empty key"
        );
        assert!(
            Keys::new(&["sha256:12"])
                .unwrap_err()
                .to_string()
                .contains("64 hex")
        );
        assert!(Keys::new::<&str>(&[]).unwrap().is_open());
    }
}
