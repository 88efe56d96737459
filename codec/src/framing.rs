//! The symbols of a frame that are not tokens, and the one door through which all symbols pass (SPEC 4.8).

use weir_exact::Token;

use crate::coder;
use crate::query::MAX_COUNT;
use crate::stats;
use crate::winner::{Hit, Predictor};

/// Both directions of coding: what is written is what is read, so each syntax is written down once.
#[derive(Debug)]
pub(crate) enum Port<'a> {
    Write(&'a mut coder::Encoder),
    Read(&'a mut coder::Decoder),
}

impl Port<'_> {
    /// Writes `value`, or reads one and ignores `value`; counts its bits in `bits`.
    fn pass(&mut self, alphabet: &mut impl Alphabet, value: usize, bits: &mut f64) -> usize {
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
    pub(crate) fn token(&mut self, predictor: &mut Predictor, token: Token) -> (Token, f64) {
        match self {
            Self::Write(encoder) => {
                let place = predictor.place(token);
                encoder.code(place.first.0, place.first.1);
                if let Some((start, width)) = place.rest {
                    encoder.code(start, width);
                }
                (token, place.bits())
            }
            Self::Read(decoder) => match predictor.find(decoder.peek()) {
                Hit::Candidate(token, place) => {
                    decoder.take(place.0, place.1);
                    (token, stats::bits(place.1))
                }
                Hit::Escape(escape) => {
                    decoder.take(escape.0, escape.1);
                    let (token, place) = predictor.find_rest(decoder.peek());
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
trait Alphabet {
    fn place(&self, value: usize) -> (u32, u32);
    fn find(&self, at: u32) -> usize;
    fn learn(&mut self, value: usize);
}

/// What a slot brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Count {
    /// At most so many tokens; fewer only if the answer ends.
    Cap(usize),
    Refused,
    Failed,
}

/// Learned shares of the framing symbols of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Framing {
    full: usize,
    taken_none: Shares<2>,
    taken_one: Shares<2>,
    taken_log: Shares<15>,
    /// Whether a count is the full one, by the slot's last count and by the count before in this frame.
    is_full: [Shares<2>; 6],
    count: Shares<SYMBOLS>,
}

/// Counts 0..=64 but the full one, then refused and failed.
const SYMBOLS: usize = MAX_COUNT + 2;
const REFUSED: usize = MAX_COUNT + 1;
const FAILED: usize = MAX_COUNT + 2;

/// What is known of a slot before its count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Before {
    /// It has brought nothing yet.
    Fresh,
    /// Its last count was full.
    Full,
    /// It was not.
    Short,
}

impl Framing {
    pub(crate) fn new(full: u8) -> Self {
        Self {
            full: usize::from(full),
            taken_none: Shares::new([24, 8], 256),
            taken_one: Shares::new([16, 16], 256),
            taken_log: Shares::new([1; 15], 1024),
            is_full: [[1, 31], [1, 255], [8, 24], [8, 24], [8, 24], [24, 8]]
                .map(|start| Shares::new(start, 4096)),
            count: Shares::new([1; SYMBOLS], 4096),
        }
    }

    /// Number of inward messages that the frame takes in, below 2^16.
    pub(crate) fn taken_in(&mut self, port: &mut Port<'_>, value: u32, bits: &mut f64) -> u32 {
        if port.pass(&mut self.taken_none, usize::from(value != 0), bits) == 0 {
            return 0;
        }
        if port.pass(&mut self.taken_one, usize::from(value != 1), bits) == 0 {
            return 1;
        }
        // The highest bit's position, from 1 on: every number has one code.
        let log = 1 + port.pass(&mut self.taken_log, value.max(2).ilog2() as usize - 1, bits);
        let mut taken = 1;
        for bit in (0..log).rev() {
            let value = (value >> bit & 1) as usize;
            taken = taken << 1 | port.pass(&mut Even, value, bits) as u32;
        }
        taken
    }

    /// The count of one slot; `short` tells whether the count before it in this frame was not the full one.
    pub(crate) fn count(
        &mut self,
        port: &mut Port<'_>,
        before: Before,
        short: bool,
        value: Count,
        bits: &mut f64,
    ) -> Count {
        let symbol = match value {
            Count::Cap(cap) => cap,
            Count::Refused => REFUSED,
            Count::Failed => FAILED,
        };
        let context = match before {
            Before::Fresh => 0,
            Before::Full => 1,
            Before::Short => 2,
        } + 3 * usize::from(short);
        if port.pass(&mut self.is_full[context], usize::from(symbol == self.full), bits) == 1 {
            return Count::Cap(self.full);
        }
        // The full count has one code only, so it is left out here.
        let symbol = port.pass(&mut self.count, symbol - usize::from(symbol > self.full), bits);
        match symbol + usize::from(symbol >= self.full) {
            REFUSED => Count::Refused,
            FAILED => Count::Failed,
            cap => Count::Cap(cap),
        }
    }

    /// Whether the frame ends here although slots have more to bring.
    pub(crate) fn cut(port: &mut Port<'_>, value: bool, bits: &mut f64) -> bool {
        port.pass(&mut Cut, usize::from(value), bits) == 1
    }

    /// Whether the continuous code goes on with another segment; if not, this is PAD. A whole bit, so that no piece can hold more
    /// segments than bits.
    pub(crate) fn goes_on(port: &mut Port<'_>, value: bool, bits: &mut f64) -> bool {
        port.pass(&mut Even, usize::from(value), bits) == 1
    }

    pub(crate) fn full(&self) -> usize {
        self.full
    }

    /// The state as bytes, for the digest.
    pub(crate) fn bytes(&self, sink: &mut impl FnMut(&[u8])) {
        let Self {
            full: _,
            taken_none,
            taken_one,
            taken_log,
            is_full,
            count,
        } = self;
        let small = [taken_none, taken_one]
            .into_iter()
            .chain(is_full)
            .flat_map(|s| s.counts);
        for count in small.chain(taken_log.counts).chain(count.counts) {
            sink(&count.to_le_bytes());
        }
    }
}

/// Adaptive shares of N symbols: counts, halved when their sum passes a limit, so that no symbol costs more than the limit's
/// logarithm.
#[derive(Clone, Debug)]
struct Shares<const N: usize> {
    counts: [u16; N],
    limit: u16,
}

impl<const N: usize> Shares<N> {
    /// What a symbol that came gains.
    const STEP: u16 = 8;

    fn new(counts: [u16; N], limit: u16) -> Self {
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
struct Even;

impl Alphabet for Even {
    fn place(&self, value: usize) -> (u32, u32) {
        ((value as u32) << 31, 1 << 31)
    }

    fn find(&self, at: u32) -> usize {
        (at >> 31) as usize
    }

    fn learn(&mut self, _: usize) {}
}

/// Cut is the last 2^16 of 2^32.
struct Cut;

impl Alphabet for Cut {
    fn place(&self, value: usize) -> (u32, u32) {
        const START: u32 = 0xffff_0000;
        if value == 1 { (START, 1 << 16) } else { (0, START) }
    }

    fn find(&self, at: u32) -> usize {
        usize::from(at >= self.place(1).0)
    }

    fn learn(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_number_is_taken_in() {
        let mut framing = Framing::new(10);
        for value in (0..200).chain([255, 256, 1000, 32_767, 32_768, 65_535]) {
            let (mut coder, mut again) = (coder::Encoder::default(), framing.clone());
            framing.taken_in(&mut Port::Write(&mut coder), value, &mut 0.0);
            assert!(coder.len() <= 6);
            let mut code = Vec::new();
            coder.seal(&mut code);
            let mut coder = coder::Decoder::new(&code);
            assert_eq!(again.taken_in(&mut Port::Read(&mut coder), 0, &mut 0.0), value);
            assert!(coder.is_canonical());
        }
    }

    proptest! {
        /// Whatever is read has one code: written, it leads to the same interval.
        #[test]
        fn no_spare_codes(code in prop::collection::vec(any::<u8>(), 0..24), full in 1..=64u8, before in 0..3usize) {
            let mut reading = Framing::new(full);
            let mut writing = reading.clone();
            let (mut decoder, mut encoder) = (coder::Decoder::new(&code), coder::Encoder::default());
            let before = [Before::Fresh, Before::Full, Before::Short][before];
            for short in [false, true, false, true] {
                let taken = reading.taken_in(&mut Port::Read(&mut decoder), 0, &mut 0.0);
                writing.taken_in(&mut Port::Write(&mut encoder), taken, &mut 0.0);
                let count = reading.count(&mut Port::Read(&mut decoder), before, short, Count::Cap(0), &mut 0.0);
                writing.count(&mut Port::Write(&mut encoder), before, short, count, &mut 0.0);
                let cut = Framing::cut(&mut Port::Read(&mut decoder), false, &mut 0.0);
                Framing::cut(&mut Port::Write(&mut encoder), cut, &mut 0.0);
            }
            prop_assert_eq!(decoder.interval(), encoder.interval());
        }
    }
}
