//! The one place that touches bytes: a reader over a slice and the varint writer.

use alloc::vec::Vec;

use crate::error::Malformed;

/// Reads a slice from front to back; every method fails rather than panics when bytes run out.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or(Malformed)?;
        self.bytes = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(Malformed)?;
        self.bytes = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Unsigned LEB128 in its shortest form, at most 10 bytes. SPEC 1.
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for i in 0..10 {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if i == 9 && bits > 1 {
                return Err(Malformed); // above 2^64
            }
            value |= bits << (7 * i);
            if byte & 0x80 == 0 {
                return if i > 0 && byte == 0 {
                    Err(Malformed)
                } else {
                    Ok(value)
                };
            }
        }
        Err(Malformed)
    }

    /// A varint that must fit 32 bits.
    pub(crate) fn varint32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Turns leftover bytes into an error.
    pub(crate) const fn finish(self) -> Result<(), Malformed> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// Appends `value` as a varint. SPEC 1.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that `put_varint` appends.
pub(crate) const fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// The code without its trailing zero bytes, which are implied. SPEC 5.1.
pub(crate) fn strip_zeros(code: &[u8]) -> &[u8] {
    let len = code
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    &code[..len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn varints_are_shortest_or_refused() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), u64::MAX] {
            let mut out = vec![];
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
            let mut reader = Reader::new(&out);
            assert_eq!(reader.varint(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
        }
        for long in [&[0x80, 0x00][..], &[0xff, 0x80, 0x00], &[0x80; 10], &[0x80], &[]] {
            assert_eq!(Reader::new(long).varint(), Err(Malformed));
        }
        let mut above = [0xff; 10];
        above[9] = 0x02;
        assert_eq!(Reader::new(&above).varint(), Err(Malformed));
    }

    #[test]
    fn only_trailing_zeros_go() {
        assert_eq!(strip_zeros(&[0, 1, 0, 2, 0, 0]), &[0, 1, 0, 2]);
        assert_eq!(strip_zeros(&[0, 0]), &[] as &[u8]);
        assert_eq!(strip_zeros(&[]), &[] as &[u8]);
    }
}
