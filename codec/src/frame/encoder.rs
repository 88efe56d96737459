//! Inner's side: the tokens of all live slots to one code per frame, sealed by itself (SPEC 4.8).

use weir_exact::{Kernel, Predict};

use crate::Error;
use crate::batch::{Offer, Sealed, Slots, Writer};
use crate::query::{Settings, Vocabulary};

/// Writes the frames of one batch.
#[derive(Debug)]
pub struct Encoder<P> {
    writer: Writer<P>,
}

impl<P: Predict> Encoder<P> {
    /// A batch without live slots. `model` is the weak model, with `vocabulary` of its tokenizer. `kernel` says which code
    /// passes over the vocabulary; no choice changes a bit.
    pub fn new(model: P, vocabulary: Vocabulary, settings: Settings, kernel: Kernel) -> Self {
        Self {
            writer: Writer::new(model, vocabulary, settings, kernel),
        }
    }

    /// The slots, to be opened and closed between frames: by both ends at the frame that has taken the messages in.
    pub fn slots(&mut self) -> Slots<'_, P> {
        Slots::of(&mut self.writer.batch)
    }

    /// Codes one frame and appends it to `out`: at most `limit` bytes. `taken_in` is the number of inward messages that
    /// were applied since the last frame; `offers` names every live slot, ascending.
    ///
    /// # Errors
    /// For unusable arguments the batch is as before; after a model's error it is broken.
    pub fn frame(
        &mut self,
        taken_in: u32,
        offers: &[(u8, Offer<'_>)],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<Sealed, Error> {
        let least = Settings::least_limit(offers.len());
        if limit < least {
            return Err(Error::Limit { limit, least });
        }
        let writer = &mut self.writer;
        writer.check_arguments(taken_in, offers)?;
        writer.batch.breach()?;
        writer.coder.reset();
        let mut sealed = writer.code(taken_in, offers, Some(limit))?;
        sealed.stats.bytes = writer.coder.seal(out);
        sealed.digest = writer.batch.seal(writer.coder.interval());
        writer.batch.mend();
        Ok(sealed)
    }

    /// Slots that are live, ascending.
    pub fn live(&self) -> impl Iterator<Item = u8> {
        self.writer.batch.live().map(|(slot, _)| slot)
    }
}
