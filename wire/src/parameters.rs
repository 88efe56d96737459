//! What both ends must have set alike before a session opens. SPEC 6.1.

use core::time::Duration;

use crate::cursor::Reader;
use crate::error::{Malformed, ParameterError};
use crate::shape::Shape;
use alloc::vec::Vec;

/// Version of the protocol on the wire: the high nibble of an inward datagram's first byte.
pub const VERSION: u8 = 1;

/// Bytes of a batch id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IdWidth {
    /// Up to 255 batches.
    One,
    /// Up to 65,535 batches.
    Two,
}

impl IdWidth {
    /// Bytes on the wire.
    pub const fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// The all-ones id that marks a control frame and is no batch.
    pub const fn control(self) -> u16 {
        match self {
            Self::One => 0xff,
            Self::Two => 0xffff,
        }
    }
}

/// Bytes of a frame's check.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CheckWidth {
    /// 3 bits of the frame's number, 13 bits of CRC: only above a link-level FCS.
    Two,
    /// 5 bits of the frame's number, 27 bits of CRC.
    Four,
}

impl CheckWidth {
    /// Bytes on the wire.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Low bits of the frame's number that lead the check. SPEC 5.2.
    pub const fn number_bits(self) -> u32 {
        match self {
            Self::Two => 3,
            Self::Four => 5,
        }
    }

    /// The largest send window: half of the numbers that `number_bits` can tell apart.
    pub const fn window_max(self) -> u8 {
        1 << (self.number_bits() - 1)
    }
}

/// The widths that fix a frame's layout; every inward datagram says them, so that inner can always answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Format {
    /// Width of the batch id.
    pub id: IdWidth,
    /// Width of the check.
    pub check: CheckWidth,
}

impl Format {
    /// Bytes of a frame before its code.
    pub const fn header_len(self) -> usize {
        self.id.bytes() + self.check.bytes()
    }

    pub(crate) const fn to_byte(self) -> u8 {
        let id = matches!(self.id, IdWidth::Two) as u8;
        let check = matches!(self.check, CheckWidth::Four) as u8;
        id | check << 1
    }

    pub(crate) const fn from_byte(byte: u8) -> Result<Self, Malformed> {
        if byte > 0b11 {
            return Err(Malformed);
        }
        let id = if byte & 1 == 0 { IdWidth::One } else { IdWidth::Two };
        let check = if byte & 2 == 0 {
            CheckWidth::Two
        } else {
            CheckWidth::Four
        };
        Ok(Self { id, check })
    }
}

/// The agreed numbers. Equal on both ends, or the session is refused with the name of the one that differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameters {
    /// Widths of a frame's fields.
    pub format: Format,
    /// W: inner sends frame n only when n - W is acknowledged. 1..=4 with a 2-byte check, 1..=16 with 4 bytes.
    pub window: u8,
    /// Batches 0..batches are in use; below the all-ones id.
    pub batches: u16,
    /// Most tokens of one query in one frame.
    pub tokens_per_tick: u16,
    /// Microseconds from tick to tick.
    pub tick: u32,
    /// Longest frame in bytes, as the link's payload.
    pub mtu: u16,
    /// How frame lengths follow code lengths.
    pub shape: Shape,
}

/// One batch, 1-byte ids, 4-byte checks, W = 4, 10 tokens every 100 ms, frames that fit an Ethernet UDP datagram.
impl Default for Parameters {
    fn default() -> Self {
        Self {
            format: Format {
                id: IdWidth::One,
                check: CheckWidth::Four,
            },
            window: 4,
            batches: 1,
            tokens_per_tick: 10,
            tick: 100_000,
            mtu: 1472,
            shape: Shape::SEALED,
        }
    }
}

impl Parameters {
    /// Checks every parameter's range. SPEC 6.1.
    pub fn validate(&self) -> Result<(), ParameterError> {
        let window_range = match self.format.check {
            CheckWidth::Two => "1 to 4 with a 2-byte check",
            CheckWidth::Four => "1 to 16 with a 4-byte check",
        };
        let in_range = [
            (
                "window",
                u64::from(self.window),
                1,
                u64::from(self.format.check.window_max()),
                window_range,
            ),
            (
                "batches",
                u64::from(self.batches),
                1,
                u64::from(self.format.id.control()),
                "1 to 255 with 1-byte ids, 1 to 65535 with 2-byte ids",
            ),
            (
                "tokens_per_tick",
                u64::from(self.tokens_per_tick),
                1,
                64,
                "1 to 64",
            ),
            (
                "tick",
                u64::from(self.tick),
                1_000,
                10_000_000,
                "1000 to 10000000 microseconds",
            ),
            ("mtu", u64::from(self.mtu), 32, 65_507, "32 to 65507 bytes"),
            (
                "shape",
                u64::from(self.shape.0),
                0,
                2,
                "0 (sealed), 1 (bucketed) or 2 (constant)",
            ),
        ];
        for (name, value, least, most, range) in in_range {
            if value < least || value > most {
                return Err(ParameterError { name, value, range });
            }
        }
        Ok(())
    }

    /// Most bytes of code that a frame may carry.
    pub const fn code_limit(&self) -> usize {
        (self.mtu as usize).saturating_sub(self.format.header_len())
    }

    /// Bytes of code of every frame, where frames are pieces of one continuous code. SPEC 5.5.
    pub fn piece_len(&self) -> Option<usize> {
        (self.shape == Shape::CONSTANT).then_some(self.code_limit())
    }

    /// The tick as a duration.
    pub const fn tick(&self) -> Duration {
        Duration::from_micros(self.tick as u64)
    }

    /// Everything but the format, which the datagram's header says.
    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.window);
        out.extend_from_slice(&self.batches.to_be_bytes());
        out.extend_from_slice(&self.tokens_per_tick.to_be_bytes());
        out.extend_from_slice(&self.tick.to_be_bytes());
        out.extend_from_slice(&self.mtu.to_be_bytes());
        out.push(self.shape.0);
    }

    pub(crate) fn parse(format: Format, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            format,
            window: reader.u8()?,
            batches: reader.u16()?,
            tokens_per_tick: reader.u16()?,
            tick: reader.u32()?,
            mtu: reader.u16()?,
            shape: Shape(reader.u8()?),
        })
    }
}

/// Hashes, and rules, that both ends must share for a frame to mean the same on both. SPEC 6.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreement {
    /// Content hash of the weak model.
    pub model: [u8; 32],
    /// Hash of the tokenizer.
    pub tokenizer: [u8; 32],
    /// Hash of the codec settings, specification version included.
    pub codec: [u8; 32],
    /// By which rules queries are admitted: see [`crate::Service`]; zeros if there are none.
    pub service: [u8; 32],
}

impl Agreement {
    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        for hash in [&self.model, &self.tokenizer, &self.codec, &self.service] {
            out.extend_from_slice(hash);
        }
    }

    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            model: reader.array()?,
            tokenizer: reader.array()?,
            codec: reader.array()?,
            service: reader.array()?,
        })
    }
}
