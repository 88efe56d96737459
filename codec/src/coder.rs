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

    /// What makes the shortest code: the point with the fewest bytes. The range holds a multiple of 2^56, so it has one at most.
    fn seal(&self) -> Tail {
        self.tail(|_| 0)
    }

    /// What makes the shortest code that stays in the interval whatever follows.
    fn end(&self) -> Tail {
        self.tail(|bytes| (1 << (64 - 8 * bytes)) - 1)
    }

    /// The point with the fewest bytes behind which so much of the interval is left as `room` says of their number.
    fn tail(&self, room: impl Fn(usize) -> u128) -> Tail {
        let (low, end) = (
            u128::from(self.low),
            u128::from(self.low) + u128::from(self.range),
        );
        let point = |bytes: usize| low.next_multiple_of(1 << (64 - 8 * bytes));
        let bytes = (0..8).find(|&n| point(n) + room(n) < end).unwrap_or(8);
        Tail {
            point: point(bytes) as u64,
            bytes,
            carry: point(bytes) >> 64 != 0,
        }
    }
}

/// The end of a code: a point of the interval.
#[derive(Clone, Copy, Debug)]
struct Tail {
    /// Its 64 bits,
    point: u64,
    /// how many leading bytes of them are not zero,
    bytes: usize,
    /// and whether it lies past 2^64.
    carry: bool,
}

/// How many of the bytes shifted out no carry can change any more: what the encoder settles, counted by who has only the intervals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Standing {
    bytes: u64,
    /// A byte that is not 0xff was shifted out.
    is_held: bool,
    /// 0xff bytes after the last of those.
    ones: u64,
}

impl Standing {
    #[inline]
    fn carry(&mut self) {
        // The held byte goes up, the bytes after it become zeros, and the last of these is held.
        self.bytes += self.ones;
        self.ones = 0;
    }

    #[inline]
    fn shift(&mut self, byte: u8) {
        if byte == 0xff {
            self.ones += 1;
        } else {
            self.bytes += u64::from(self.is_held) + self.ones;
            (self.is_held, self.ones) = (true, 0);
        }
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

    /// Moves the bytes that nothing can change any more to the end of `out`; no earlier [`Mark`] is of use afterwards.
    pub fn take(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.settled);
        self.significant = 0;
    }

    /// Appends the sealed code to `out` and gives its length. The encoder is unchanged.
    pub fn seal(&self, out: &mut Vec<u8>) -> usize {
        let base = out.len();
        self.write(self.interval.seal(), out);
        while out.len() > base && out.last() == Some(&0) {
            out.pop();
        }
        out.len() - base
    }

    /// Appends what ends the code for a reader who does not know where it ends: whatever comes behind these bytes lies in the
    /// interval. What was taken out before is left out. The encoder is unchanged.
    pub fn end(&self, out: &mut Vec<u8>) {
        self.write(self.interval.end(), out);
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
        let Tail { bytes, carry, .. } = self.interval.seal();
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

    /// The bytes so far, and a point's behind them.
    fn write(&self, tail: Tail, out: &mut Vec<u8>) {
        let Tail { point, bytes, carry } = tail;
        out.extend_from_slice(&self.settled);
        if let Some(held) = self.held {
            out.push(held + u8::from(carry));
        }
        out.resize(out.len() + self.ones, if carry { 0 } else { 0xff });
        out.extend_from_slice(&point.to_be_bytes()[..bytes]);
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

/// Bytes to symbols. A code is either there as a whole, with zeros past its end, so that every byte string decodes to something;
/// or it comes in parts, and a symbol that the parts do not determine yet runs the decoder *dry*.
#[derive(Clone, Debug)]
pub struct Decoder {
    interval: Interval,
    code: Vec<u8>,
    /// Bytes of `code` in or past the window.
    read: usize,
    /// The eight bytes of the code that line up with `low`.
    window: u64,
    /// The code comes in parts.
    in_parts: bool,
    /// A symbol was taken that is not determined.
    dry: bool,
    /// The code lies in no symbol, whatever comes.
    lost: bool,
    /// Bytes that stood before `code`.
    dropped: u64,
    standing: Standing,
}

/// A point in the decoder's life to which it can go back, as long as no part comes in between.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    interval: Interval,
    read: usize,
    window: u64,
    standing: Standing,
}

impl Decoder {
    /// Begins to read `code`.
    pub fn new(code: &[u8]) -> Self {
        Self::begin(code.to_vec(), false)
    }

    /// Begins to read a code of which nothing has come; see [`Decoder::push`].
    pub fn in_parts() -> Self {
        Self::begin(Vec::new(), true)
    }

    /// The code's next part has come.
    pub fn push(&mut self, part: &[u8]) {
        let done = self.read - WINDOW;
        self.code.drain(..done);
        self.dropped += done as u64;
        self.code.extend_from_slice(part);
        self.read = 0;
        (0..WINDOW).for_each(|_| self.next());
    }

    /// Takes the symbol `[start, start + width)`, which must hold the last [`Decoder::peek`]. Where the code does not determine
    /// it, nothing is taken, now and until [`Decoder::restore`].
    #[inline]
    pub fn take(&mut self, start: u32, width: u32) {
        if self.dry {
            return;
        }
        let mut interval = self.interval;
        let carries = interval.narrow(start, width);
        // The code is this point, or with bytes to come as far behind it as they can lead.
        let unknown = if self.in_parts { self.unknown() } else { 0 };
        let last = u128::from(self.window.wrapping_sub(interval.low)) + (1 << (8 * unknown)) - 1;
        if last >= u128::from(interval.range) {
            self.lost |= unknown == 0;
            self.dry = self.in_parts;
            if self.dry {
                return;
            }
        }
        self.interval = interval;
        if carries {
            self.standing.carry();
        }
        while self.interval.range < BOTTOM {
            self.standing.shift((self.interval.low >> 56) as u8);
            self.interval.shift();
            self.next();
        }
    }

    /// Where in 2^32 the code points: the next symbol is the one whose interval holds this.
    #[inline]
    pub fn peek(&self) -> u32 {
        let Interval { low, range } = self.interval;
        let offset = self.window.wrapping_sub(low);
        u32::try_from(offset / (range >> 32)).unwrap_or(u32::MAX)
    }

    /// Goes back to `place`.
    pub fn restore(&mut self, place: &Place) {
        let Place {
            interval,
            read,
            window,
            standing,
        } = *place;
        (self.interval, self.read, self.window, self.dry) = (interval, read, window, false);
        self.standing = standing;
    }

    /// This moment, for [`Decoder::restore`].
    pub fn place(&self) -> Place {
        Place {
            interval: self.interval,
            read: self.read,
            window: self.window,
            standing: self.standing,
        }
    }

    /// Whether a symbol was taken that the code does not determine.
    pub fn is_dry(&self) -> bool {
        self.dry
    }

    /// Whether no encoder writes such a code, whatever may come.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Bytes that the symbols taken have shifted out.
    pub fn position(&self) -> u64 {
        self.dropped + (self.read - WINDOW) as u64
    }

    /// Of those bytes, how many no carry can change any more: what the encoder has settled when it has coded the same symbols.
    pub fn standing(&self) -> u64 {
        self.standing.bytes
    }

    /// Whether the code, apart from zero bytes at its end, is what the encoder writes for the symbols taken: the sealed code, or
    /// the ended one if it comes in parts.
    pub fn is_canonical(&self) -> bool {
        let Tail { point, .. } = if self.in_parts {
            self.interval.end()
        } else {
            self.interval.seal()
        };
        // Two numbers of one interval, with nothing but zeros past the window.
        let rest = self.code.get(self.read..).unwrap_or_default();
        !self.lost && self.window == point && rest.iter().all(|&byte| byte == 0)
    }

    /// The interval, for digests.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    fn begin(code: Vec<u8>, in_parts: bool) -> Self {
        let mut decoder = Self {
            interval: Interval::FULL,
            code,
            read: 0,
            window: 0,
            in_parts,
            dry: false,
            lost: false,
            dropped: 0,
            standing: Standing::default(),
        };
        (0..WINDOW).for_each(|_| decoder.next());
        decoder
    }

    /// Bytes of the window that have not come.
    fn unknown(&self) -> usize {
        self.read.saturating_sub(self.code.len()).min(WINDOW)
    }

    #[inline]
    fn next(&mut self) {
        let byte = self.code.get(self.read).copied().unwrap_or(0);
        self.read += 1;
        self.window = self.window << 8 | u64::from(byte);
    }
}

/// Bytes of `low`.
const WINDOW: usize = 8;

#[cfg(test)]
mod tests;
