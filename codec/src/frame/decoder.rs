//! Outer's side: one code per frame to the tokens of all live slots (SPEC 4.8).

use weir_exact::{Kernel, Predict};

use crate::Error;
use crate::batch::{Decoded, Reader, Slots};
use crate::coder;
use crate::query::{Settings, Vocabulary};
use crate::stats::FrameStats;
use crate::symbol::Port;

/// Reads the frames of one batch.
#[derive(Debug)]
pub struct Decoder<P> {
    reader: Reader<P>,
}

/// A frame whose first symbol has been read. One that is dropped and not finished leaves its decoder broken: the frame's other
/// symbols are lost.
#[derive(Debug)]
#[must_use = "the frame's tokens are still in it"]
pub struct Begun<'a, P: Predict> {
    decoder: &'a mut Decoder<P>,
    taken_in: u32,
    /// None once the frame is finished.
    coder: Option<coder::Decoder>,
    framing_bits: f64,
    bytes: usize,
}

impl<P: Predict> Decoder<P> {
    /// A batch without live slots; everything as given to the encoder.
    pub fn new(model: P, vocabulary: Vocabulary, settings: Settings, kernel: Kernel) -> Self {
        Self {
            reader: Reader::new(model, vocabulary, settings, kernel),
        }
    }

    /// Reads the first symbol of a frame: how many inward messages it has taken in.
    ///
    /// # Errors
    /// [`Error::Broken`] after an earlier one.
    pub fn begin(&mut self, code: &[u8]) -> Result<Begun<'_, P>, Error> {
        let batch = &mut self.reader.batch;
        batch.breach()?;
        let mut coder = coder::Decoder::new(code);
        let mut framing_bits = 0.0;
        let taken_in = batch
            .framing
            .taken_in(&mut Port::Read(&mut coder), 0, &mut framing_bits);
        batch.mend();
        Ok(Begun {
            decoder: self,
            taken_in,
            coder: Some(coder),
            framing_bits,
            bytes: code.len(),
        })
    }

    /// The slots, for queries that both ends know by other means than messages that a frame takes in ([`Begun::slots`]).
    pub fn slots(&mut self) -> Slots<'_, P> {
        Slots::of(&mut self.reader.batch)
    }

    /// Slots that are live, ascending.
    pub fn live(&self) -> impl Iterator<Item = u8> {
        self.reader.batch.live().map(|(slot, _)| slot)
    }
}

impl<P: Predict> Begun<'_, P> {
    /// Inward messages that inner has taken in before this frame: apply them by [`Begun::slots`], then [`Begun::finish`].
    pub fn taken_in(&self) -> u32 {
        self.taken_in
    }

    /// The slots, to be opened and closed as the messages say that this frame has taken in.
    pub fn slots(&mut self) -> Slots<'_, P> {
        Slots::of(&mut self.decoder.reader.batch)
    }

    /// Reads the rest of the frame.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] if the code is not what an encoder writes; a model's error. Both leave the batch broken.
    pub fn finish(mut self) -> Result<Decoded, Error> {
        let reader = &mut self.decoder.reader;
        reader.batch.breach()?;
        let mut coder = self.coder.take().expect("a frame is finished once");
        let mut decoded = Decoded {
            stats: FrameStats {
                framing_bits: self.framing_bits,
                bytes: self.bytes,
                ..FrameStats::default()
            },
            ..Decoded::default()
        };
        // A code that is there as a whole never runs dry.
        reader.start();
        reader.head(&mut coder, &mut decoded.stats.framing_bits)?;
        reader.rounds(&mut coder, Some(&mut decoded.stats.framing_bits))?;
        reader.report(&mut decoded)?;
        reader.settle();
        if !coder.is_canonical() {
            return Err(Error::NotCanonical);
        }
        decoded.digest = reader.batch.seal(coder.interval());
        reader.batch.mend();
        Ok(decoded)
    }
}

impl<P: Predict> Drop for Begun<'_, P> {
    fn drop(&mut self) {
        if self.coder.is_some() {
            self.decoder.reader.batch.break_off();
        }
    }
}
