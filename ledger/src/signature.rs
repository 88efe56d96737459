//! Operators' signatures, ed25519: the only file that knows of a curve. SPEC 7.7.

/// Whether `key` has signed `message`; `None` in a program that is built without feature `orders`, and cannot tell.
#[cfg(not(feature = "orders"))]
pub(crate) const fn is_good(_: &[u8; 32], _: &[u8], _: &[u8; 64]) -> Option<bool> {
    None
}

#[cfg(feature = "orders")]
pub(crate) use curve::{is_good, public_key, sign};

#[cfg(feature = "orders")]
mod curve {
    use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

    /// Whether `key` has signed `message`. Strictly: no key of small order, one form of each signature.
    pub(crate) fn is_good(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Option<bool> {
        let verified = VerifyingKey::from_bytes(key)
            .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)));
        Some(verified.is_ok())
    }

    /// An operator's signature.
    pub(crate) fn sign(secret: &[u8; 32], message: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(secret).sign(message).to_bytes()
    }

    /// The public key of an operator's secret.
    pub(crate) fn public_key(secret: &[u8; 32]) -> [u8; 32] {
        SigningKey::from_bytes(secret).verifying_key().to_bytes()
    }
}
