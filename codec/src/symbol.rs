//! The one door through which all symbols pass, in both directions, and adaptive shares of small alphabets (SPEC 4.3, 4.8).

use weir_exact::Token;

use crate::coder;
use crate::predict::{Hit, Prediction};
use crate::stats;

/// Both directions of coding: what is written is what is read, so each syntax is written down once.
#[derive(Debug)]
pub(crate) enum Port<'a> {
    Write(&'a mut coder::Encoder),
    Read(&'a mut coder::Decoder),
}

impl Port<'_> {
    /// Writes `value`, or reads one and ignores `value`; counts its bits in `bits`.
    pub(crate) fn pass(&mut self, alphabet: &mut impl Alphabet, value: usize, bits: &mut f64) -> usize {
        let value = match self {
            Self::Write(_) => value,
            Self::Read(decoder) => alphabet.find(decoder.peek()),
        };
        let place = alphabet.place(value);
        self.code(place);
        alphabet.learn(value);
        *bits += stats::bits(place.1);
        value
    }

    /// Writes `token` under the prediction in force, or reads one; gives it and its bits.
    pub(crate) fn token(&mut self, prediction: &mut Prediction, token: Token) -> (Token, f64) {
        match self {
            Self::Write(encoder) => {
                let place = prediction.place(token);
                encoder.code(place.first.0, place.first.1);
                if let Some((start, width)) = place.rest {
                    encoder.code(start, width);
                }
                (token, place.bits())
            }
            Self::Read(decoder) => match prediction.find(decoder.peek()) {
                Hit::Candidate(token, place) => {
                    decoder.take(place.0, place.1);
                    (token, stats::bits(place.1))
                }
                Hit::Escape(escape) => {
                    decoder.take(escape.0, escape.1);
                    let (token, place) = prediction.find_rest(decoder.peek());
                    decoder.take(place.0, place.1);
                    (token, stats::bits(escape.1) + stats::bits(place.1))
                }
            },
        }
    }

    fn code(&mut self, (start, width): (u32, u32)) {
        match self {
            Self::Write(encoder) => encoder.code(start, width),
            Self::Read(decoder) => decoder.take(start, width),
        }
    }
}

/// A few symbols and their shares of 2^32.
pub(crate) trait Alphabet {
    fn place(&self, value: usize) -> (u32, u32);
    fn find(&self, at: u32) -> usize;
    fn learn(&mut self, value: usize);
}

/// Adaptive shares of N symbols: counts, halved when their sum passes a limit, so that no symbol costs more than the limit's
/// logarithm.
#[derive(Clone, Debug)]
pub(crate) struct Shares<const N: usize> {
    pub(crate) counts: [u16; N],
    limit: u16,
}

impl<const N: usize> Shares<N> {
    /// What a symbol that came gains.
    const STEP: u16 = 8;

    pub(crate) fn new(counts: [u16; N], limit: u16) -> Self {
        Self { counts, limit }
    }

    fn sum(&self) -> u64 {
        self.counts.iter().map(|&c| u64::from(c)).sum()
    }
}

impl<const N: usize> Alphabet for Shares<N> {
    fn place(&self, value: usize) -> (u32, u32) {
        let sum = self.sum();
        let below: u64 = self.counts[..value].iter().map(|&c| u64::from(c)).sum();
        let above = below + u64::from(self.counts[value]);
        let (start, end) = ((below << 32) / sum, (above << 32) / sum);
        (start as u32, (end - start) as u32)
    }

    fn find(&self, at: u32) -> usize {
        let holds = |&value: &usize| {
            let (start, width) = self.place(value);
            at >= start && at - start < width
        };
        (0..N).find(holds).expect("the shares cover all of 2^32")
    }

    fn learn(&mut self, value: usize) {
        self.counts[value] += Self::STEP;
        while self.sum() > u64::from(self.limit) {
            for count in &mut self.counts {
                *count = count.div_ceil(2);
            }
        }
    }
}

/// One bit that costs one bit.
pub(crate) struct Even;

impl Alphabet for Even {
    fn place(&self, value: usize) -> (u32, u32) {
        ((value as u32) << 31, 1 << 31)
    }

    fn find(&self, at: u32) -> usize {
        (at >> 31) as usize
    }

    fn learn(&mut self, _: usize) {}
}
