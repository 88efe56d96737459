//! The continuous code, read: pieces in, as many tokens out as they determine. SPEC 4.15.

use weir_exact::{Kernel, Predict};

use super::ends::Ends;
use crate::Error;
use crate::batch::{Decoded, Reader, Slots, whole};
use crate::coder;
use crate::counts::Framing;
use crate::query::{Settings, Vocabulary};
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
struct Inlet {
    coder: coder::Decoder,
    stage: Stage,
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

/// Reads one batch from pieces of equal length.
#[derive(Debug)]
pub struct Decoder<P> {
    reader: Reader<P>,
    inlet: Inlet,
    /// Bytes of a piece.
    len: usize,
}

impl<P: Predict> Decoder<P> {
    /// A batch without live slots; everything as given to the encoder.
    pub fn new(model: P, vocabulary: Vocabulary, settings: Settings, kernel: Kernel, len: usize) -> Self {
        Self {
            reader: Reader::new(model, vocabulary, settings, kernel),
            inlet: Inlet::default(),
            len: len.max(1),
        }
    }

    /// The slots, to be opened and closed at [`Step::TakenIn`] and at no other time.
    pub fn slots(&mut self) -> Slots<'_, P> {
        Slots::of(&mut self.reader.batch)
    }

    /// Slots that are live, ascending.
    pub fn live(&self) -> impl Iterator<Item = u8> {
        self.reader.batch.live().map(|(slot, _)| slot)
    }

    /// Takes the next piece; zeros at its end may be left out of `code`. [`Decoder::advance`] gives what it says.
    ///
    /// # Errors
    /// [`Error::Broken`] after an earlier one.
    pub fn piece(&mut self, code: &[u8]) -> Result<(), Error> {
        self.reader.batch.breach()?;
        let inlet = &mut self.inlet;
        if inlet.stage == Stage::Over {
            inlet.coder = coder::Decoder::in_parts();
            inlet.stage = Stage::TakenIn;
            inlet.before = inlet.received;
            inlet.pieces = 0;
        }
        let mut piece = code.to_vec();
        piece.resize(self.len, 0);
        inlet.coder.push(&piece);
        inlet.received += self.len as u64;
        inlet.is_dry = false;
        self.reader.batch.mend();
        Ok(())
    }

    /// The next step that the pieces determine; none if they determine no more.
    ///
    /// # Errors
    /// [`Error::NotCanonical`], [`Error::Unfilled`] or [`Error::Empty`] if no encoder writes such pieces; a model's error. All
    /// leave the batch broken.
    pub fn advance(&mut self) -> Result<Option<Step>, Error> {
        self.reader.batch.breach()?;
        let mut coder = core::mem::replace(&mut self.inlet.coder, coder::Decoder::in_parts());
        let mut step = None;
        while step.is_none() && !self.inlet.is_dry {
            step = self.read(&mut coder)?;
        }
        self.inlet.coder = coder;
        self.reader.batch.mend();
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
        let framing = &mut self.reader.batch.framing;
        let mut step = None;
        let next = match self.inlet.stage {
            Stage::TakenIn => {
                let taken_in = whole(coder, framing, &mut bits, |framing, port, bits| {
                    framing.taken_in(port, 0, bits)
                })?;
                // SPEC 4.15: nobody writes a segment that says nothing.
                if taken_in == Some(0) && self.reader.batch.live().next().is_none() {
                    return Err(Error::Empty);
                }
                step = taken_in.map(Step::TakenIn);
                taken_in.map(|_| Stage::Counts)
            }
            Stage::Counts => self.reader.head(coder, &mut bits)?.then_some(Stage::Tokens),
            Stage::Tokens => {
                let is_whole = self.reader.rounds(coder, None)?;
                let mut decoded = Decoded::default();
                decoded.stats.framing_bits = core::mem::take(&mut bits);
                self.reader.report(&mut decoded)?;
                if is_whole {
                    self.reader.settle();
                    decoded.digest = self.reader.batch.seal(coder.interval());
                    let position = self.inlet.before + coder.position();
                    self.inlet.ends.push(position, decoded.digest);
                    let pieces = coder.standing() / self.len as u64;
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
