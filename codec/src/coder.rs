//! The range coder: symbols of a 32-bit total to bytes and back (SPEC 4.2).
//!
//! The coder sees integers `(start, width)` out of 2^32 and nothing of models; derivation in `docs/notes/range-coding.md`.

/// `range` never falls below this between symbols, so a unit of a symbol is at least 2^24 wide.
const BOTTOM: u64 = 1 << 56;

/// The interval that the symbols so far have led to: `[low, low + range)` in units of 2^-64 of the bytes already shifted
/// out. Encoder and decoder narrow it with the same code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    /// Lower end, modulo 2^64.
    pub low: u64,
    /// Size; at least 2^56 between symbols.
    pub range: u64,
}

impl Interval {
    const FULL: Self = Self {
        low: 0,
        range: u64::MAX,
    };

    /// Goes on with the part `[start, start + width)` of 2^32. The last part also takes what the division left over, so
    /// that no point of the interval is without a symbol. True if `low` passed 2^64.
    #[inline]
    fn narrow(&mut self, start: u32, width: u32) -> bool {
        debug_assert!(width > 0 && u64::from(start) + u64::from(width) <= 1 << 32);
        let unit = self.range >> 32;
        let skipped = unit * u64::from(start);
        let last = start.wrapping_add(width) == 0;
        self.range = if last {
            self.range - skipped
        } else {
            unit * u64::from(width)
        };
        let (low, carry) = self.low.overflowing_add(skipped);
        self.low = low;
        carry
    }

    #[inline]
    fn shift(&mut self) {
        self.low <<= 8;
        self.range <<= 8;
    }
}

/// A point in the encoder's life to which it can go back: plain data, a few words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    interval: Interval,
    held: Option<u8>,
    ones: usize,
    settled: usize,
    significant: usize,
}

/// Symbols to bytes.
///
/// ```
/// use weir_codec::coder::{Decoder, Encoder};
/// let mut encoder = Encoder::default();
/// encoder.code(1 << 31, 1 << 31);
/// encoder.code(5, 1 << 20);
/// let mut code = Vec::new();
/// assert_eq!(encoder.tail(), encoder.seal(&mut code));
///
/// let mut decoder = Decoder::new(&code);
/// assert!(decoder.peek() >= 1 << 31);
/// decoder.take(1 << 31, 1 << 31);
/// assert!((5..5 + (1 << 20)).contains(&decoder.peek()));
/// decoder.take(5, 1 << 20);
/// assert!(decoder.is_canonical());
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    interval: Interval,
    /// Byte that a carry may still raise (once); `None` only while every byte so far is 0xff.
    held: Option<u8>,
    /// 0xff bytes after the held one; a carry turns them into zeros.
    ones: usize,
    /// Bytes that nothing can change any more.
    settled: Vec<u8>,
    /// Length of `settled` without trailing zeros.
    significant: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            interval: Interval::FULL,
            held: None,
            ones: 0,
            settled: Vec::new(),
            significant: 0,
        }
    }
}

impl Encoder {
    /// Begins anew; keeps the buffer.
    pub fn reset(&mut self) {
        let mut settled = std::mem::take(&mut self.settled);
        settled.clear();
        *self = Self {
            settled,
            ..Self::default()
        };
    }

    /// Adds the symbol `[start, start + width)` of 2^32; `width > 0`, `start + width <= 2^32`.
    #[inline]
    pub fn code(&mut self, start: u32, width: u32) {
        if self.interval.narrow(start, width) {
            self.carry();
        }
        while self.interval.range < BOTTOM {
            self.shift();
        }
    }

    /// Goes back to `mark`, which must be of this stream.
    pub fn restore(&mut self, mark: &Mark) {
        let Mark {
            interval,
            held,
            ones,
            settled,
            significant,
        } = *mark;
        self.settled.truncate(settled);
        (self.interval, self.held, self.ones, self.significant) = (interval, held, ones, significant);
    }

    /// Appends the sealed code to `out` and gives its length. The encoder is unchanged.
    pub fn seal(&self, out: &mut Vec<u8>) -> usize {
        let base = out.len();
        let (point, bytes, carry) = self.point();
        out.extend_from_slice(&self.settled);
        if let Some(held) = self.held {
            out.push(held + u8::from(carry));
        }
        out.resize(out.len() + self.ones, if carry { 0 } else { 0xff });
        out.extend_from_slice(&point.to_be_bytes()[..bytes]);
        while out.len() > base && out.last() == Some(&0) {
            out.pop();
        }
        out.len() - base
    }

    /// This moment, for [`Encoder::restore`].
    pub fn mark(&self) -> Mark {
        let Self {
            interval,
            held,
            ones,
            ref settled,
            significant,
        } = *self;
        Mark {
            interval,
            held,
            ones,
            settled: settled.len(),
            significant,
        }
    }

    /// Length in bytes of the code if it were sealed now.
    pub fn tail(&self) -> usize {
        let (_, bytes, carry) = self.point();
        let held = usize::from(self.held.is_some());
        if bytes > 0 {
            return self.settled.len() + held + self.ones + bytes;
        }
        match self.held {
            _ if !carry && self.ones > 0 => self.settled.len() + held + self.ones,
            Some(byte) if byte + u8::from(carry) != 0 => self.settled.len() + 1,
            _ => self.significant,
        }
    }

    /// Bytes shifted out so far; a sealed code has at most one more.
    pub fn len(&self) -> usize {
        self.settled.len() + usize::from(self.held.is_some()) + self.ones
    }

    /// Whether no byte has been shifted out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The interval, for digests.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// The point of the interval with the fewest bytes: its 64 bits, how many leading bytes of them are not zero, and
    /// whether it lies past 2^64.
    fn point(&self) -> (u64, usize, bool) {
        let Interval { low, range } = self.interval;
        let (low, end) = (u128::from(low), u128::from(low) + u128::from(range));
        let point = |bytes: usize| low.next_multiple_of(1 << (64 - 8 * bytes));
        // The range holds a multiple of 2^56: at most one byte.
        let bytes = (0..8).find(|&n| point(n) < end).unwrap_or(8);
        (point(bytes) as u64, bytes, point(bytes) >> 64 != 0)
    }

    fn carry(&mut self) {
        // The code is below one, so a carry always finds a byte that is not 0xff.
        let Some(held) = self.held else { return };
        // Both ends of the interval carry at most once past the same byte, so 0xff may stand here now.
        if self.ones == 0 {
            self.held = Some(held + 1);
            return;
        }
        self.settle(held + 1);
        for _ in 1..self.ones {
            self.settle(0);
        }
        self.held = Some(0);
        self.ones = 0;
    }

    #[inline]
    fn shift(&mut self) {
        let byte = (self.interval.low >> 56) as u8;
        if byte == 0xff {
            self.ones += 1;
        } else {
            if let Some(held) = self.held {
                self.settle(held);
            }
            for _ in 0..self.ones {
                self.settle(0xff);
            }
            self.ones = 0;
            self.held = Some(byte);
        }
        self.interval.shift();
    }

    #[inline]
    fn settle(&mut self, byte: u8) {
        self.settled.push(byte);
        if byte != 0 {
            self.significant = self.settled.len();
        }
    }
}

/// Bytes to symbols. Reads zeros past the end, so every byte string decodes to something; encodes beside, so that
/// [`Decoder::is_canonical`] can tell whether the encoder would have written these bytes.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Owns the one interval of both.
    encoder: Encoder,
    code: Vec<u8>,
    /// Bytes of `code` in or past the window.
    read: usize,
    /// The eight bytes of the code that line up with `low`.
    window: u64,
}

impl Decoder {
    /// Begins to read `code`.
    pub fn new(code: &[u8]) -> Self {
        let mut decoder = Self {
            encoder: Encoder::default(),
            code: code.to_vec(),
            read: 0,
            window: 0,
        };
        for _ in 0..8 {
            decoder.shift();
        }
        decoder
    }

    /// Takes the symbol `[start, start + width)`, which must hold the last [`Decoder::peek`].
    #[inline]
    pub fn take(&mut self, start: u32, width: u32) {
        if self.encoder.interval.narrow(start, width) {
            self.encoder.carry();
        }
        while self.encoder.interval.range < BOTTOM {
            self.encoder.shift();
            self.shift();
        }
    }

    /// Where in 2^32 the code points: the next symbol is the one whose interval holds this.
    #[inline]
    pub fn peek(&self) -> u32 {
        let Interval { low, range } = self.encoder.interval;
        let offset = self.window.wrapping_sub(low);
        u32::try_from(offset / (range >> 32)).unwrap_or(u32::MAX)
    }

    /// Whether the code, apart from zero bytes at its end, is what the encoder writes for the symbols taken.
    pub fn is_canonical(&self) -> bool {
        let mut sealed = Vec::with_capacity(self.code.len() + 8);
        self.encoder.seal(&mut sealed);
        let len = self
            .code
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        sealed == self.code[..len]
    }

    /// The interval, for digests.
    pub fn interval(&self) -> Interval {
        self.encoder.interval
    }

    #[inline]
    fn shift(&mut self) {
        let byte = self.code.get(self.read).copied().unwrap_or(0);
        self.read += 1;
        self.window = self.window << 8 | u64::from(byte);
    }
}

#[cfg(test)]
mod tests;
