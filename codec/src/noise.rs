//! Seeded noise: one Gumbel variate for every (seed, position, token) (SPEC 4.4).

use weir_exact::chacha::Words;
use weir_exact::{Kernel, Token};

use crate::query::Seed;

/// Second half of the cipher key: what the words are for.
const PURPOSE: &[u8; 16] = b"weir noise key 1";
const HIGH: u32 = 0;
const LOW: u32 = 1;

/// The noise of one position of one answer.
///
/// Every token has a 64-bit word `w`; `E = -ln(1 - (w + 1/2) / 2^64)` is exponential and `g = -ln E` is Gumbel. *Small*
/// words win, so a winner's E has the full relative precision of a float.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Noise {
    high: Words,
    low: Words,
}

impl Noise {
    /// Noise of the token that is sent as number `position` (0 is the answer's first).
    pub fn new(seed: &Seed, position: u32) -> Self {
        let mut key = [0; 8];
        let (words, _) = seed.as_chunks::<4>();
        let (purpose, _) = PURPOSE.as_chunks::<4>();
        for (key, bytes) in key.iter_mut().zip(words.iter().chain(purpose)) {
            *key = u32::from_le_bytes(*bytes);
        }
        Self {
            high: Words {
                key,
                nonce: [position, HIGH, 0],
            },
            low: Words {
                key,
                nonce: [position, LOW, 0],
            },
        }
    }

    /// The word of `token`.
    pub fn word(&self, token: Token) -> u64 {
        u64::from(self.high.word(token)) << 32 | u64::from(self.low.word(token))
    }

    /// Gumbel variate of `token`.
    pub fn gumbel(&self, token: Token) -> f64 {
        -weir_exact::ln(exponential(self.word(token)))
    }

    /// Gumbel variates of several tokens; `scratch` is only room to work in.
    pub(crate) fn gumbels(
        &self,
        kernel: Kernel,
        tokens: &[Token],
        scratch: &mut Scratch,
        out: &mut Vec<f64>,
    ) {
        scratch.high.resize(tokens.len(), 0);
        scratch.low.resize(tokens.len(), 0);
        self.high.gather(kernel, tokens, &mut scratch.high);
        self.low.gather(kernel, tokens, &mut scratch.low);
        out.clear();
        let words = scratch.high.iter().zip(&scratch.low);
        out.extend(
            words.map(|(&high, &low)| -weir_exact::ln(exponential(u64::from(high) << 32 | u64::from(low)))),
        );
    }

    /// The stream of the words' upper halves.
    pub fn high(&self) -> &Words {
        &self.high
    }
}

/// Buffers of [`Noise::gumbels`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    high: Vec<u32>,
    low: Vec<u32>,
}

/// Exponential variate of a word: ascending, and relatively precise at both ends.
pub fn exponential(word: u64) -> f64 {
    const UNIT: f64 = 1.0 / 18_446_744_073_709_551_616.0;
    if word < 1 << 62 {
        -weir_exact::ln_1p(-((word as f64 + 0.5) * UNIT))
    } else {
        -weir_exact::ln((!word as f64 + 0.5) * UNIT)
    }
}
