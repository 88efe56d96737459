//! The continuous code: segments in, pieces of equal length out. SPEC 4.15.

use weir_exact::Predict;

use super::{Encoder, Offer, Sealed};
use crate::Error;
use crate::counts::Framing;
use crate::symbol::Port;

impl<P: Predict> Encoder<P> {
    /// Codes one segment: what [`Encoder::frame`] codes, but uncut, behind what was coded before. The bytes come out as pieces;
    /// the segment itself has none, and its digest is what a piece gives later. Before the next segment all pieces that stand are
    /// to be taken ([`Encoder::piece`]); where none stands, the code is to be ended ([`Encoder::pad`]).
    ///
    /// # Errors
    /// As for frames; [`Error::Unfilled`] and [`Error::Empty`] for a segment that no decoder would take. The batch is as before.
    pub fn segment(&mut self, taken_in: u32, offers: &[(u8, Offer<'_>)]) -> Result<Sealed, Error> {
        self.check_arguments(taken_in, offers)?;
        if self.outlet.is_running && !self.outlet.is_drained {
            return Err(Error::Unfilled);
        }
        if taken_in == 0 && offers.is_empty() {
            return Err(Error::Empty);
        }
        self.batch.breach()?;
        self.outlet.is_drained = false;
        let mut before = 0.0;
        if self.outlet.is_running {
            Framing::goes_on(&mut Port::Write(&mut self.coder), true, &mut before);
        } else {
            self.coder.reset();
            self.outlet.is_running = true;
        }
        let mut sealed = self.code(taken_in, offers, None)?;
        sealed.stats.framing_bits += before;
        sealed.digest = self.batch.seal(self.coder.interval());
        self.coder.take(&mut self.outlet.ready);
        let position = self.outlet.sent + (self.outlet.ready.len() + self.coder.len()) as u64;
        self.outlet.ends.push(position, sealed.digest);
        self.batch.mend();
        Ok(sealed)
    }

    /// Whether the bytes of a piece of `len` stand.
    pub fn has_piece(&self, len: usize) -> bool {
        self.outlet.ready.len() >= len
    }

    /// Whether something was coded that no piece has said.
    pub fn is_behind(&self) -> bool {
        self.outlet.is_running || !self.outlet.ready.is_empty()
    }

    /// Ends the code, if one is running, with a PAD, and fills its last piece of `len` with zeros.
    pub fn pad(&mut self, len: usize) {
        if self.outlet.is_running {
            Framing::goes_on(&mut Port::Write(&mut self.coder), false, &mut 0.0);
            self.coder.end(&mut self.outlet.ready);
            let whole = self.outlet.ready.len().next_multiple_of(len);
            self.outlet.ready.resize(whole, 0);
            self.outlet.is_running = false;
        }
    }

    /// Appends the next piece of `len` bytes to `out`, if they stand; gives the digest that stands for all pieces so far.
    pub fn piece(&mut self, len: usize, out: &mut Vec<u8>) -> Option<u64> {
        if !self.has_piece(len) {
            return None;
        }
        out.extend(self.outlet.ready.drain(..len));
        self.outlet.sent += len as u64;
        self.outlet.is_drained = !self.has_piece(len);
        Some(self.outlet.ends.after(self.outlet.sent))
    }
}
