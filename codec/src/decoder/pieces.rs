//! The continuous code: pieces in, as many tokens out as they determine. SPEC 4.15.

use weir_exact::Predict;

use super::{Decoded, Decoder, whole};
use crate::Error;
use crate::coder;
use crate::counts::Framing;
use crate::pieces::Ends;
use crate::stats::FrameStats;

/// What pieces say next.
#[derive(Clone, PartialEq, Debug)]
#[must_use = "both ends take in the same messages at the same place"]
pub enum Step {
    /// Inner has taken in so many messages more: apply them before the next step, and at no other time.
    TakenIn(u32),
    /// New tokens of some slots; a digest comes with [`Decoder::digest`].
    Tokens(Decoded),
}

/// What has come in, and how far it is read.
#[derive(Debug)]
pub(super) struct Inlet {
    coder: coder::Decoder,
    stage: Stage,
    /// Bytes of a piece.
    len: u64,
    /// Bytes of pieces received, and those before the code that is read.
    received: u64,
    before: u64,
    /// Whole pieces of this code that stood when its last segment had ended, and whether that segment brought one of them.
    pieces: u64,
    is_filled: bool,
    /// The pieces determine no more.
    is_dry: bool,
    /// What was read and not told.
    stats: FrameStats,
    ends: Ends,
}

/// What is read next of a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// A segment's first symbol.
    TakenIn,
    Counts,
    Tokens,
    /// Another segment, or PAD.
    GoesOn,
    /// Nothing: the next piece begins another code.
    Over,
}

impl Default for Inlet {
    fn default() -> Self {
        Self {
            coder: coder::Decoder::in_parts(),
            stage: Stage::Over,
            len: 1,
            received: 0,
            before: 0,
            pieces: 0,
            is_filled: false,
            is_dry: true,
            stats: FrameStats::default(),
            ends: Ends::default(),
        }
    }
}

impl<P: Predict> Decoder<P> {
    /// Takes the next piece, of `len` bytes; zeros at its end may be left out of `code`. [`Decoder::advance`] gives what it says.
    ///
    /// # Errors
    /// [`Error::Broken`] after an earlier one.
    pub fn piece(&mut self, code: &[u8], len: usize) -> Result<(), Error> {
        self.batch.breach()?;
        let inlet = &mut self.inlet;
        if inlet.stage == Stage::Over {
            inlet.coder = coder::Decoder::in_parts();
            inlet.stage = Stage::TakenIn;
            inlet.before = inlet.received;
            inlet.pieces = 0;
        }
        inlet.len = len.max(1) as u64;
        let mut piece = code.to_vec();
        piece.resize(len, 0);
        inlet.coder.push(&piece);
        inlet.received += len as u64;
        inlet.is_dry = false;
        self.batch.mend();
        Ok(())
    }

    /// The next step that the pieces determine; none if they determine no more.
    ///
    /// # Errors
    /// [`Error::NotCanonical`], [`Error::Unfilled`] or [`Error::Empty`] if no encoder writes such pieces; a model's error. All
    /// leave the batch broken.
    pub fn advance(&mut self) -> Result<Option<Step>, Error> {
        self.batch.breach()?;
        let mut coder = core::mem::replace(&mut self.inlet.coder, coder::Decoder::in_parts());
        let mut step = None;
        while step.is_none() && !self.inlet.is_dry {
            step = self.read(&mut coder)?;
        }
        self.inlet.coder = coder;
        self.batch.mend();
        Ok(step)
    }

    /// The digest that stands for all pieces so far, equal to the encoder's. SPEC 4.15.
    pub fn digest(&mut self) -> u64 {
        self.inlet.ends.after(self.inlet.received)
    }

    /// Whether the last piece has ended its code.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is_over(&self) -> bool {
        self.inlet.stage == Stage::Over
    }

    /// Reads as far as one stage of a segment goes, or until the pieces determine no more.
    fn read(&mut self, coder: &mut coder::Decoder) -> Result<Option<Step>, Error> {
        let mut bits = core::mem::take(&mut self.inlet.stats.framing_bits);
        let framing = &mut self.batch.framing;
        let mut step = None;
        let next = match self.inlet.stage {
            Stage::TakenIn => {
                let taken_in = whole(coder, framing, &mut bits, |framing, port, bits| {
                    framing.taken_in(port, 0, bits)
                })?;
                // SPEC 4.15: nobody writes a segment that says nothing.
                if taken_in == Some(0) && self.batch.live().next().is_none() {
                    return Err(Error::Empty);
                }
                step = taken_in.map(Step::TakenIn);
                taken_in.map(|_| Stage::Counts)
            }
            Stage::Counts => self.head(coder, &mut bits)?.then_some(Stage::Tokens),
            Stage::Tokens => {
                let is_whole = self.rounds(coder, None)?;
                let mut decoded = Decoded::default();
                decoded.stats.framing_bits = core::mem::take(&mut bits);
                self.report(&mut decoded)?;
                if is_whole {
                    self.settle();
                    decoded.digest = self.batch.seal(coder.interval());
                    let position = self.inlet.before + coder.position();
                    self.inlet.ends.push(position, decoded.digest);
                    let pieces = coder.standing() / self.inlet.len;
                    self.inlet.is_filled = pieces > self.inlet.pieces;
                    self.inlet.pieces = pieces;
                }
                step = Some(Step::Tokens(decoded));
                is_whole.then_some(Stage::GoesOn)
            }
            Stage::GoesOn => {
                let goes_on = whole(coder, framing, &mut bits, |_, port, bits| {
                    Framing::goes_on(port, false, bits)
                })?;
                // SPEC 4.15: a piece that a segment did not fill was ended, or pieces could hold segments without number.
                if goes_on == Some(true) && !self.inlet.is_filled {
                    return Err(Error::Unfilled);
                }
                // SPEC 4.15: nothing may be said behind a PAD.
                if goes_on == Some(false) && !coder.is_canonical() {
                    return Err(Error::NotCanonical);
                }
                goes_on.map(|goes_on| if goes_on { Stage::TakenIn } else { Stage::Over })
            }
            Stage::Over => None,
        };
        self.inlet.stats.framing_bits += bits;
        match next {
            Some(stage) => self.inlet.stage = stage,
            None => self.inlet.is_dry = true,
        }
        Ok(step)
    }
}

#[cfg(test)]
mod tests;
