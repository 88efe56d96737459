//! GGUF's block formats: what the bytes of one block of one row mean.
//!
//! A block of `block` weights is codes with one scale `d` (and, for some, a minimum `m`); the formats with 256 weights
//! have small integer sub-scales (and sub-minimums) too. SPEC 2.2 has the formulas.

use crate::file::dtype::Dtype;

/// A format whose codes are kept as they are; other formats are requantized to `Q8_0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Q4_0 = 0,
    Q4_1 = 1,
    Q5_0 = 2,
    Q5_1 = 3,
    Q8_0 = 4,
    Q4K = 5,
    Q5K = 6,
    Q6K = 7,
}

/// The constants of a format. The weight of code `q` in sub-block `s` is
/// `d * (q - zero) [+ m]` for blocks of 32, and `d * sub[s] * (q - zero) [- m * submin[s]]` for blocks of 256.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Weights per block: 32 or 256.
    pub(crate) block: usize,
    /// Weights per sub-block: 32 or 16; `block` where there are none.
    pub(crate) sub: usize,
    /// Bits of a code.
    pub(crate) bits: u32,
    /// The code of zero.
    pub(crate) zero: i32,
    /// Whether there is a minimum.
    pub(crate) mins: bool,
    /// Whether the sub-scales are signed.
    pub(crate) signed: bool,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The kind that keeps the codes of `dtype`.
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::Q4_0 => Self::Q4_0,
            Dtype::Q4_1 => Self::Q4_1,
            Dtype::Q5_0 => Self::Q5_0,
            Dtype::Q5_1 => Self::Q5_1,
            Dtype::Q8_0 => Self::Q8_0,
            Dtype::Q4K => Self::Q4K,
            Dtype::Q5K => Self::Q5K,
            Dtype::Q6K => Self::Q6K,
            _ => return None,
        })
    }

    pub(crate) const fn shape(self) -> Shape {
        let (block, sub, bits, zero, mins, signed) = match self {
            Self::Q4_0 => (32, 32, 4, 8, false, false),
            Self::Q4_1 => (32, 32, 4, 0, true, false),
            Self::Q5_0 => (32, 32, 5, 16, false, false),
            Self::Q5_1 => (32, 32, 5, 0, true, false),
            Self::Q8_0 => (32, 32, 8, 128, false, false),
            Self::Q4K => (256, 32, 4, 0, true, false),
            Self::Q5K => (256, 32, 5, 0, true, false),
            Self::Q6K => (256, 16, 6, 32, false, true),
        };
        Shape {
            block,
            sub,
            bits,
            zero,
            mins,
            signed,
        }
    }
}

/// One block of one row, unpacked.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Block {
    pub(crate) d: f32,
    pub(crate) m: f32,
    /// Sub-scales as they are stored: the bits of an i8 where the format is signed.
    pub(crate) subs: [u8; 16],
    pub(crate) submins: [u8; 16],
    pub(crate) codes: [u8; 256],
}

impl Block {
    pub(crate) const ZERO: Self = Self {
        d: 0.0,
        m: 0.0,
        subs: [0; 16],
        submins: [0; 16],
        codes: [0; 256],
    };

    /// Unpacks a GGUF block; `bytes` has as many as [`Dtype::block_bytes`] says.
    pub(crate) fn read(kind: Kind, bytes: &[u8]) -> Self {
        let mut b = Self::ZERO;
        let half = |at: usize| f16(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        match kind {
            Kind::Q4_0 => {
                b.d = half(0);
                b.nibbles32(&bytes[2..18], 0);
            }
            Kind::Q4_1 => {
                (b.d, b.m) = (half(0), half(2));
                b.nibbles32(&bytes[4..20], 0);
            }
            Kind::Q5_0 => {
                b.d = half(0);
                b.nibbles32(
                    &bytes[6..22],
                    u32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]),
                );
            }
            Kind::Q5_1 => {
                (b.d, b.m) = (half(0), half(2));
                b.nibbles32(
                    &bytes[8..24],
                    u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
                );
            }
            Kind::Q8_0 => {
                b.d = half(0);
                for (code, &q) in b.codes.iter_mut().zip(&bytes[2..34]) {
                    *code = q ^ 0x80;
                }
            }
            Kind::Q4K => {
                (b.d, b.m) = (half(0), half(2));
                b.six_bit_pairs(&bytes[4..16]);
                b.nibbles256(&bytes[16..144], &[0; 32]);
            }
            Kind::Q5K => {
                (b.d, b.m) = (half(0), half(2));
                b.six_bit_pairs(&bytes[4..16]);
                b.nibbles256(&bytes[48..176], &bytes[16..48]);
            }
            Kind::Q6K => {
                b.d = half(208);
                b.subs.copy_from_slice(&bytes[192..208]);
                for (n, codes) in b.codes.chunks_mut(128).enumerate() {
                    let (low, high) = (&bytes[64 * n..], &bytes[128 + 32 * n..]);
                    for l in 0..32 {
                        let h = high[l];
                        codes[l] = low[l] & 15 | (h & 3) << 4;
                        codes[l + 32] = low[l + 32] & 15 | (h >> 2 & 3) << 4;
                        codes[l + 64] = low[l] >> 4 | (h >> 4 & 3) << 4;
                        codes[l + 96] = low[l + 32] >> 4 | h >> 6 << 4;
                    }
                }
            }
        }
        b
    }

    /// Quantizes 32 finite values as SPEC 2.3 quantizes activations; `None` if one is not finite.
    pub(crate) fn requantize(values: &[f32]) -> Option<Self> {
        let mut b = Self::ZERO;
        let max = values
            .iter()
            .fold(0.0f32, |max, v| if v.abs() > max { v.abs() } else { max });
        if !values.iter().all(|v| v.is_finite()) {
            return None;
        }
        let scale = if max < crate::net::ops::TINY {
            0.0
        } else {
            127.0 / max
        };
        b.d = if max < crate::net::ops::TINY {
            0.0
        } else {
            max / 127.0
        };
        for (code, &v) in b.codes.iter_mut().zip(values) {
            *code = ((v * scale).round_ties_even() as i32 + 128) as u8;
        }
        Some(b)
    }

    fn nibbles32(&mut self, low: &[u8], fifth: u32) {
        for (j, &v) in low.iter().enumerate() {
            self.codes[j] = v & 15 | ((fifth >> j & 1) as u8) << 4;
            self.codes[j + 16] = v >> 4 | ((fifth >> (j + 16) & 1) as u8) << 4;
        }
    }

    fn nibbles256(&mut self, low: &[u8], fifth: &[u8]) {
        for j in 0..4 {
            for l in 0..32 {
                let v = low[32 * j + l];
                self.codes[64 * j + l] = v & 15 | (fifth[l] >> (2 * j) & 1) << 4;
                self.codes[64 * j + 32 + l] = v >> 4 | (fifth[l] >> (2 * j + 1) & 1) << 4;
            }
        }
    }

    /// Eight 6-bit scales and eight 6-bit minimums in 12 bytes.
    fn six_bit_pairs(&mut self, s: &[u8]) {
        for j in 0..4 {
            self.subs[j] = s[j] & 63;
            self.submins[j] = s[j + 4] & 63;
            self.subs[j + 4] = s[j + 8] & 15 | s[j] >> 6 << 4;
            self.submins[j + 4] = s[j + 8] >> 4 | s[j + 4] >> 6 << 4;
        }
    }
}

/// The value of a half-precision number; exact.
pub(crate) fn f16(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, mantissa) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match exponent {
        // Subnormal: mantissa * 2^-24, both factors exact.
        0 => f32::from_bits(sign | (mantissa as f32 * f32::from_bits(103 << 23)).to_bits()),
        31 => f32::from_bits(sign | 255 << 23 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}
