//! The continuous code, written: segments in, pieces of equal length out. SPEC 4.15.

use weir_exact::{Kernel, Predict};

use super::ends::Ends;
use crate::Error;
use crate::batch::{Offer, Sealed, Slots, Writer};
use crate::counts::Framing;
use crate::query::{Settings, Vocabulary};
use crate::symbol::Port;

/// Writes one batch as pieces of equal length.
#[derive(Debug)]
pub struct Encoder<P> {
    writer: Writer<P>,
    outlet: Outlet,
    /// Bytes of a piece.
    len: usize,
}

/// What inner has coded and not yet given away.
#[derive(Debug, Default)]
struct Outlet {
    /// Bytes that stand; whole pieces, unless a code is running.
    ready: Vec<u8>,
    /// A code has begun and is not ended.
    is_running: bool,
    /// Since the last segment every piece that stood was given away, and there was one: only then another segment may follow.
    is_drained: bool,
    /// Bytes of pieces given away.
    sent: u64,
    ends: Ends,
}

impl<P: Predict> Encoder<P> {
    /// A batch without live slots, whose pieces have `len` bytes, at least 1; all else as for frames ([`crate::Encoder::new`]).
    pub fn new(model: P, vocabulary: Vocabulary, settings: Settings, kernel: Kernel, len: usize) -> Self {
        Self {
            writer: Writer::new(model, vocabulary, settings, kernel),
            outlet: Outlet::default(),
            len: len.max(1),
        }
    }

    /// The slots, to be opened and closed between segments: by both ends at the segment that has taken the messages in.
    pub fn slots(&mut self) -> Slots<'_, P> {
        Slots::of(&mut self.writer.batch)
    }

    /// Codes one segment: what [`crate::Encoder::frame`] codes, but uncut, behind what was coded before. The bytes come out as pieces;
    /// the segment itself has none, and its digest is what a piece gives later. Before the next segment all pieces that stand are
    /// to be taken ([`Encoder::piece`]); where none stands, the code is to be ended ([`Encoder::pad`]).
    ///
    /// # Errors
    /// As for frames; [`Error::Unfilled`] and [`Error::Empty`] for a segment that no decoder would take. The batch is as before.
    pub fn segment(&mut self, taken_in: u32, offers: &[(u8, Offer<'_>)]) -> Result<Sealed, Error> {
        self.writer.check_arguments(taken_in, offers)?;
        if self.outlet.is_running && !self.outlet.is_drained {
            return Err(Error::Unfilled);
        }
        if taken_in == 0 && offers.is_empty() {
            return Err(Error::Empty);
        }
        self.writer.batch.breach()?;
        self.outlet.is_drained = false;
        let mut before = 0.0;
        if self.outlet.is_running {
            Framing::goes_on(&mut Port::Write(&mut self.writer.coder), true, &mut before);
        } else {
            self.writer.coder.reset();
            self.outlet.is_running = true;
        }
        let mut sealed = self.writer.code(taken_in, offers, None)?;
        sealed.stats.framing_bits += before;
        sealed.digest = self.writer.batch.seal(self.writer.coder.interval());
        self.writer.coder.take(&mut self.outlet.ready);
        let position = self.outlet.sent + (self.outlet.ready.len() + self.writer.coder.len()) as u64;
        self.outlet.ends.push(position, sealed.digest);
        self.writer.batch.mend();
        Ok(sealed)
    }

    /// Whether the bytes of a piece stand.
    pub fn has_piece(&self) -> bool {
        self.outlet.ready.len() >= self.len
    }

    /// Whether something was coded that no piece has said.
    pub fn is_behind(&self) -> bool {
        self.outlet.is_running || !self.outlet.ready.is_empty()
    }

    /// Ends the code, if one is running, with a PAD, and fills its last piece with zeros.
    pub fn pad(&mut self) {
        if self.outlet.is_running {
            Framing::goes_on(&mut Port::Write(&mut self.writer.coder), false, &mut 0.0);
            self.writer.coder.end(&mut self.outlet.ready);
            let whole = self.outlet.ready.len().next_multiple_of(self.len);
            self.outlet.ready.resize(whole, 0);
            self.outlet.is_running = false;
        }
    }

    /// Appends the next piece to `out`, if its bytes stand; gives the digest that stands for all pieces so far.
    pub fn piece(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        if !self.has_piece() {
            return None;
        }
        out.extend(self.outlet.ready.drain(..self.len));
        self.outlet.sent += self.len as u64;
        self.outlet.is_drained = !self.has_piece();
        Some(self.outlet.ends.after(self.outlet.sent))
    }

    /// Slots that are live, ascending.
    pub fn live(&self) -> impl Iterator<Item = u8> {
        self.writer.batch.live().map(|(slot, _)| slot)
    }
}
