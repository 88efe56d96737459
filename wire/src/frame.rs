//! The egress frame: `batch id | check | code`, and nothing else. SPEC 5.
//!
//! A view ([`Frame`]) over received bytes, and a [`Repr`] to emit. Neither judges the code, and the view does not
//! judge the check, for that takes the session's state: see [`check`].

use alloc::vec::Vec;

use crc32fast::Hasher;

use crate::cursor::strip_zeros;
use crate::error::Malformed;
use crate::parameters::{CheckWidth, Format, IdWidth};

/// View of a received frame. After `new_checked` no accessor panics.
#[derive(Clone, Copy, Debug)]
pub struct Frame<T: AsRef<[u8]>> {
    format: Format,
    buffer: T,
}

impl<T: AsRef<[u8]>> Frame<T> {
    /// Frames the buffer; only too few bytes are an error.
    pub fn new_checked(format: Format, buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < format.header_len() {
            Err(Malformed)
        } else {
            Ok(Self { format, buffer })
        }
    }

    /// The batch's id, or the format's all-ones id for a control frame.
    pub fn batch(&self) -> u16 {
        let buffer = self.buffer.as_ref();
        match self.format.id {
            IdWidth::One => u16::from(buffer[0]),
            IdWidth::Two => u16::from_be_bytes([buffer[0], buffer[1]]),
        }
    }

    /// The check field, right-aligned.
    pub fn check(&self) -> u32 {
        let buffer = &self.buffer.as_ref()[self.format.id.bytes()..];
        match self.format.check {
            CheckWidth::Two => u32::from(u16::from_be_bytes([buffer[0], buffer[1]])),
            CheckWidth::Four => u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]),
        }
    }

    /// The low bits of the frame's number: the top of the check field. SPEC 5.2.
    pub fn number_bits(&self) -> u8 {
        (self.check() >> crc_bits(self.format.check)) as u8
    }

    /// The code, without trailing zeros: a link's padding is not seen. SPEC 5.1.
    pub fn code(&self) -> &[u8] {
        strip_zeros(&self.buffer.as_ref()[self.format.header_len()..])
    }
}

/// A frame's fields as they stand on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repr<'a> {
    /// Batch id; fits the format's width.
    pub batch: u16,
    /// Check field, from [`check`].
    pub check: u32,
    /// Code; its trailing zeros are left out.
    pub code: &'a [u8],
}

impl<'a> Repr<'a> {
    /// Reads the fields of a view.
    pub fn parse<T: AsRef<[u8]>>(frame: &'a Frame<T>) -> Self {
        Self {
            batch: frame.batch(),
            check: frame.check(),
            code: frame.code(),
        }
    }

    /// Bytes that `emit` appends.
    pub fn buffer_len(&self, format: Format) -> usize {
        format.header_len() + strip_zeros(self.code).len()
    }

    /// Appends the frame.
    pub fn emit(&self, format: Format, out: &mut Vec<u8>) {
        let id = self.batch.to_be_bytes();
        out.extend_from_slice(&id[id.len() - format.id.bytes()..]);
        let check = self.check.to_be_bytes();
        out.extend_from_slice(&check[check.len() - format.check.bytes()..]);
        out.extend_from_slice(strip_zeros(self.code));
    }
}

/// What a frame's check vouches for, besides its code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The session's id.
    pub session: u64,
    /// The batch's id.
    pub batch: u16,
    /// The frame's number in its batch, from 0.
    pub number: u64,
    /// Digest of the coder's state after frame `number - W`; 0 while there is none.
    pub digest: u64,
}

/// The check field of a frame with this code (trailing zeros do not matter), right-aligned. SPEC 5.2.
///
/// Its top bits are the low bits of the number, so that a receiver knows which of the 2W numbers it can be before
/// it computes anything; the rest is the low end of a CRC-32.
pub fn check(format: Format, sealed: &Sealed, code: &[u8]) -> u32 {
    let mut crc = Hasher::new();
    crc.update(&sealed.session.to_be_bytes());
    crc.update(&sealed.batch.to_be_bytes());
    crc.update(&sealed.number.to_be_bytes());
    crc.update(&sealed.digest.to_be_bytes());
    crc.update(strip_zeros(code));
    let bits = crc_bits(format.check);
    let number = (sealed.number & ((1 << format.check.number_bits()) - 1)) as u32;
    number << bits | (crc.finalize() & ((1 << bits) - 1))
}

/// Bits of the check field that are CRC.
const fn crc_bits(check: CheckWidth) -> u32 {
    check.bytes() as u32 * 8 - check.number_bits()
}

#[cfg(test)]
mod tests;
