//! The symbols of a frame that are not tokens: messages taken in, counts, cuts (SPEC 4.8).

use crate::limits::MAX_COUNT;
use crate::symbol::{Alphabet, Even, Port, Shares};

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
    use crate::coder;

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
