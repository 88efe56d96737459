//! Keys as files.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::error::Error;
use super::store::is_private;

/// A secret key from a file: 64 hexadecimal digits, for its owner's eyes alone.
///
/// # Errors
/// [`Error::File`], [`Error::Mode`], [`Error::Key`].
pub fn read_key(path: &Path) -> Result<[u8; 32], Error> {
    let mut key = File::open(path).map_err(Error::file(path))?;
    let metadata = key.metadata().map_err(Error::file(path))?;
    if metadata.is_file() && !is_private(&metadata) {
        return Err(Error::mode(path, metadata.mode()));
    }
    let mut text = String::new();
    key.read_to_string(&mut text).map_err(Error::file(path))?;
    parse_key(&text).ok_or_else(|| Error::Key(path.to_owned()))
}

/// 32 bytes that are no secret, in the form of a key: a public one, or a ledger's id.
///
/// # Errors
/// [`Error::File`], [`Error::Key`].
pub fn read_public(path: &Path) -> Result<[u8; 32], Error> {
    let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
    parse_key(&text).ok_or_else(|| Error::Key(path.to_owned()))
}

fn parse_key(text: &str) -> Option<[u8; 32]> {
    let digits = text.trim();
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 32];
    for (byte, place) in key.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[place..place + 2], 16).ok()?;
    }
    Some(key)
}
