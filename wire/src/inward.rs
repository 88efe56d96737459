//! Inward datagrams: opening, ping, and data (acknowledgements, repeat requests, pieces of messages). SPEC 6.3.
//!
//! Bytes inward are free, so these are plain: every field is there and every datagram says its own length.

use alloc::vec::Vec;

use crc32fast::Hasher;

use crate::cursor::{Reader, put_varint, varint_len};
use crate::error::Malformed;
use crate::message::MESSAGE_BYTES_MAX;
use crate::parameters::{Agreement, Format, Parameters, VERSION};

/// A datagram of outer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inward<'a> {
    /// Layout of the frames that outer understands.
    pub format: Format,
    /// The session's id, drawn at random by outer.
    pub session: u64,
    /// The rest, by kind.
    pub body: Body<'a>,
}

/// A datagram's kind and content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// Open the session.
    Hello(Hello),
    /// An opening in another version of the protocol; nothing but the header is understood.
    HelloOfOtherVersion(u8),
    /// Acknowledgements, repeat requests and pieces of messages of one batch.
    Data(Data<'a>),
    /// Is this session still open?
    Ping,
    /// Not outer's but the gate's, of no session: a tick of this number is about to begin, so send now what is to leave on it.
    Tick(u64),
    /// For the gate and nobody behind it, of no session: what outer has received, under a MAC that is theirs to judge.
    Receipt(&'a [u8; RECEIPT_LEN]),
}

/// A datagram's kind alone, as its first byte says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// See [`Body::Hello`].
    Hello,
    /// See [`Body::Data`].
    Data,
    /// See [`Body::Ping`].
    Ping,
    /// See [`Body::Tick`].
    Tick,
    /// See [`Body::Receipt`].
    Receipt,
}

impl Kind {
    /// Of a datagram of which nothing else is known; `None` if no version of this protocol has such a kind.
    pub const fn of(datagram: &[u8]) -> Option<Self> {
        match datagram {
            [first, ..] => match *first & 0xf {
                kind::HELLO => Some(Self::Hello),
                kind::DATA => Some(Self::Data),
                kind::PING => Some(Self::Ping),
                kind::TICK => Some(Self::Tick),
                kind::RECEIPT => Some(Self::Receipt),
                _ => None,
            },
            [] => None,
        }
    }
}

/// What an opening proposes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Numbers to agree on.
    pub parameters: Parameters,
    /// Hashes to agree on.
    pub agreement: Agreement,
}

/// Acknowledgement, repeat request and message pieces of one batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data<'a> {
    /// The batch.
    pub batch: u16,
    /// Frames 0..ack have been decoded and accepted.
    pub ack: u64,
    /// Digest of outer's coder after frame ack - 1; 0 if ack is 0.
    pub digest: u64,
    /// Bit i asks for frame ack + i again.
    pub missing: u16,
    /// Pieces of messages, see [`Data::pieces`].
    pieces: &'a [u8],
}

/// Part of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece<'a> {
    /// Number of the message in its batch, from 0.
    pub number: u32,
    /// Length of the whole message in bytes.
    pub total: u32,
    /// Where this piece starts.
    pub offset: u32,
    /// The piece; not empty.
    pub bytes: &'a [u8],
}

impl<'a> Inward<'a> {
    /// Reads a datagram: layout, length, CRC and every piece's bounds.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut header = Reader::new(bytes);
        let kind = header.u8()?;
        let format = header.u8()?;
        let len = usize::from(header.u16()?);
        let crc = header.u32()?;
        let session = header.u64()?;
        let body = header.take(len.checked_sub(HEADER_LEN).ok_or(Malformed)?)?;
        let padding = &bytes[len..];
        if crc != crc_of(bytes, len) || padding.iter().any(|&byte| byte != 0) {
            return Err(Malformed);
        }
        let version = kind >> 4;
        let kind = kind & 0xf;
        let format = Format::from_byte(format)?;
        let body = match (version, kind) {
            (VERSION, kind::HELLO) => Body::Hello(Hello::parse(format, body)?),
            (VERSION, kind::DATA) => Body::Data(Data::parse(body)?),
            (VERSION, kind::PING) if body.is_empty() => Body::Ping,
            (VERSION, kind::TICK) if session == 0 => Body::Tick(tick(body)?),
            (VERSION, kind::RECEIPT) if session == 0 => {
                Body::Receipt(body.try_into().map_err(|_| Malformed)?)
            }
            (version, kind::HELLO) if version != VERSION => Body::HelloOfOtherVersion(version),
            _ => return Err(Malformed),
        };
        Ok(Self {
            format,
            session,
            body,
        })
    }

    /// Appends a datagram without pieces or with those of `body`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let (version, kind) = match &self.body {
            Body::Hello(_) => (VERSION, kind::HELLO),
            Body::HelloOfOtherVersion(version) => (*version, kind::HELLO),
            Body::Data(_) => (VERSION, kind::DATA),
            Body::Ping => (VERSION, kind::PING),
            Body::Tick(_) => (VERSION, kind::TICK),
            Body::Receipt(_) => (VERSION, kind::RECEIPT),
        };
        let start = out.len();
        out.extend_from_slice(&[version << 4 | kind, self.format.to_byte()]);
        out.extend_from_slice(&[0xff; 6]); // length and CRC, known at the end
        out.extend_from_slice(&self.session.to_be_bytes());
        match &self.body {
            Body::Hello(hello) => hello.emit(out),
            Body::Data(data) => data.emit(out),
            Body::Tick(number) => out.extend_from_slice(&number.to_be_bytes()),
            Body::Receipt(receipt) => out.extend_from_slice(*receipt),
            Body::HelloOfOtherVersion(_) | Body::Ping => {}
        }
        let datagram = &mut out[start..];
        let len = datagram.len();
        let field = u16::try_from(len).expect("callers keep datagrams within 65,507 bytes");
        datagram[2..4].copy_from_slice(&field.to_be_bytes());
        let crc = crc_of(datagram, len);
        datagram[CRC_START..CRC_END].copy_from_slice(&crc.to_be_bytes());
    }
}

impl Hello {
    fn parse(format: Format, body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let parameters = Parameters::parse(format, &mut reader)?;
        let agreement = Agreement::parse(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            parameters,
            agreement,
        })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        self.parameters.emit(out);
        self.agreement.emit(out);
    }
}

impl<'a> Data<'a> {
    /// Data with pieces already in wire form, see [`Piece::emit`].
    pub const fn new(batch: u16, ack: u64, digest: u64, missing: u16, pieces: &'a [u8]) -> Self {
        Self {
            batch,
            ack,
            digest,
            missing,
            pieces,
        }
    }

    /// The pieces, in the order they stand. Their bounds have been checked by `parse`.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'a>> + use<'a> {
        let mut reader = Reader::new(self.pieces);
        core::iter::from_fn(move || {
            if reader.is_empty() {
                None
            } else {
                Piece::parse(&mut reader).ok()
            }
        })
    }

    fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let (batch, ack) = (reader.u16()?, reader.u64()?);
        let (digest, missing) = (reader.u64()?, reader.u16()?);
        let pieces = &body[DATA_HEADER_LEN - HEADER_LEN..];
        while !reader.is_empty() {
            Piece::parse(&mut reader)?;
        }
        Ok(Self {
            batch,
            ack,
            digest,
            missing,
            pieces,
        })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.batch.to_be_bytes());
        out.extend_from_slice(&self.ack.to_be_bytes());
        out.extend_from_slice(&self.digest.to_be_bytes());
        out.extend_from_slice(&self.missing.to_be_bytes());
        out.extend_from_slice(self.pieces);
    }
}

impl<'a> Piece<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (number, total) = (reader.varint32()?, reader.varint32()?);
        let (offset, len) = (reader.varint32()?, reader.varint32()?);
        let end = offset.checked_add(len).ok_or(Malformed)?;
        // The last number is never used, so that counts of messages fit 32 bits.
        if number == u32::MAX || len == 0 || end > total || total as usize > MESSAGE_BYTES_MAX {
            return Err(Malformed);
        }
        Ok(Self {
            number,
            total,
            offset,
            bytes: reader.take(len as usize)?,
        })
    }

    /// Appends the piece.
    pub fn emit(&self, out: &mut Vec<u8>) {
        for field in [self.number, self.total, self.offset, self.bytes.len() as u32] {
            put_varint(out, u64::from(field));
        }
        out.extend_from_slice(self.bytes);
    }

    /// Most bytes of a message, from `offset` on, whose piece fits `room` bytes.
    pub(crate) fn fit(number: u32, total: u32, offset: u32, room: usize) -> usize {
        let fixed: usize = [number, total, offset]
            .map(|field| varint_len(u64::from(field)))
            .iter()
            .sum();
        let left = (total - offset) as usize;
        let room = room.saturating_sub(fixed);
        // The length's own varint is at most 3 bytes (MESSAGE_BYTES_MAX); take the shortest that is enough.
        (1..=3)
            .map(|len_bytes| {
                room.saturating_sub(len_bytes)
                    .min(left)
                    .min((1 << (7 * len_bytes)) - 1)
            })
            .max()
            .unwrap_or(0)
    }
}

fn tick(body: &[u8]) -> Result<u64, Malformed> {
    let mut reader = Reader::new(body);
    let number = reader.u64()?;
    reader.finish()?;
    Ok(number)
}

fn crc_of(bytes: &[u8], len: usize) -> u32 {
    let mut crc = Hasher::new();
    crc.update(&bytes[..CRC_START]);
    crc.update(&bytes[CRC_END..len]);
    crc.finalize()
}

const CRC_START: usize = 4;
const CRC_END: usize = 8;
/// Bytes of a receipt.
pub const RECEIPT_LEN: usize = 88;
/// Bytes before the body of any datagram.
pub const HEADER_LEN: usize = CRC_END + 8;
/// Bytes of a data datagram before its pieces.
pub const DATA_HEADER_LEN: usize = HEADER_LEN + 2 + 8 + 8 + 2;

mod kind {
    pub(super) const HELLO: u8 = 0;
    pub(super) const DATA: u8 = 1;
    pub(super) const PING: u8 = 2;
    pub(super) const TICK: u8 = 3;
    pub(super) const RECEIPT: u8 = 4;
}

#[cfg(test)]
mod tests;
