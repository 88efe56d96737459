//! Outer's side: one code per frame back to the tokens of all live slots.

use weir_model::{Predict, Slot, Token};

use crate::Error;
use crate::batch::{Batch, End};
use crate::coder;
use crate::framing::{Before, Count, Framing, Port};
use crate::query::{Query, Settings, Vocabulary};
use crate::stats::{FrameStats, SlotStats};

/// Reads the frames of one batch.
#[derive(Debug)]
pub struct Decoder<P> {
    batch: Batch<P>,
    parts: Vec<Part>,
    rows: Vec<(Slot, Token)>,
    /// Of each row: index into `parts`.
    of_row: Vec<usize>,
}

/// A frame whose first symbol has been read.
#[derive(Debug)]
#[must_use = "the frame's tokens are still in it"]
pub struct Begun {
    /// Inward messages that inner has taken in before this frame: apply them, then [`Decoder::finish`].
    pub taken_in: u32,
    coder: coder::Decoder,
    framing_bits: f64,
    bytes: usize,
}

/// What a frame said.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Decoded {
    /// One entry for each slot that was live, ascending.
    pub answers: Vec<Answer>,
    /// What it cost.
    pub stats: FrameStats,
    /// Digest of the state after this frame, equal to the encoder's.
    pub digest: u64,
}

/// The next part of one slot's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The slot.
    pub slot: u8,
    /// Its tokens, end token included.
    pub tokens: Vec<Token>,
    /// How many tokens inner had: more than there are if the frame was cut, and perhaps if the answer is over.
    pub cap: usize,
    /// Why the answer is over, if it is; the slot is free then.
    pub end: Option<End>,
}

/// One slot's part of a frame being read.
#[derive(Debug)]
struct Part {
    slot: u8,
    cap: usize,
    tokens: Vec<Token>,
    end: Option<End>,
    stats: SlotStats,
}

impl<P: Predict> Decoder<P> {
    /// A batch without live slots; everything as given to the encoder.
    pub fn new(model: P, vocabulary: Vocabulary, settings: Settings) -> Self {
        let batch = Batch::new(model, vocabulary, settings);
        Self {
            batch,
            parts: Vec::new(),
            rows: Vec::new(),
            of_row: Vec::new(),
        }
    }

    /// Makes `slot` live; see [`crate::Encoder::open`].
    ///
    /// # Errors
    /// An unusable query or slot, or a full model; the batch is as before.
    pub fn open(&mut self, slot: u8, query: &Query) -> Result<(), Error> {
        self.batch.open(slot, query)
    }

    /// Applies a cancel: `slot` is free. Nothing happens if it is already.
    pub fn close(&mut self, slot: u8) {
        self.batch.close(slot);
    }

    /// Reads the first symbol of a frame. The queries and cancels that it has taken in are to be applied between this and
    /// [`Decoder::finish`].
    ///
    /// # Errors
    /// [`Error::Broken`] after an earlier one.
    pub fn begin(&mut self, code: &[u8]) -> Result<Begun, Error> {
        self.batch.breach()?;
        let mut coder = coder::Decoder::new(code);
        let mut framing_bits = 0.0;
        let taken_in = self
            .batch
            .framing
            .taken_in(&mut Port::Read(&mut coder), 0, &mut framing_bits);
        self.batch.mend();
        Ok(Begun {
            taken_in,
            coder,
            framing_bits,
            bytes: code.len(),
        })
    }

    /// Reads the rest of a frame.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] if the code is not what an encoder writes; a model's error. Both leave the batch broken.
    pub fn finish(&mut self, begun: Begun) -> Result<Decoded, Error> {
        self.batch.breach()?;
        let Begun {
            taken_in: _,
            mut coder,
            framing_bits,
            bytes,
        } = begun;
        let stats = FrameStats {
            framing_bits,
            bytes,
            ..FrameStats::default()
        };
        let mut decoded = Decoded {
            stats,
            ..Decoded::default()
        };
        self.head(&mut coder, &mut decoded.stats);
        self.rounds(&mut coder, &mut decoded.stats)?;
        self.settle(&mut decoded)?;
        if !coder.is_canonical() {
            return Err(Error::NotCanonical);
        }
        decoded.digest = self.batch.seal(coder.interval());
        self.batch.mend();
        Ok(decoded)
    }

    /// Slots that are live, ascending.
    pub fn live(&self) -> impl Iterator<Item = u8> {
        self.batch.live().map(|(slot, _)| slot)
    }

    /// The weak model.
    pub fn model(&self) -> &P {
        &self.batch.model
    }

    /// Reads the counts of all live slots. SPEC 4.8.
    fn head(&mut self, coder: &mut coder::Decoder, stats: &mut FrameStats) {
        let Batch { slots, framing, .. } = &mut self.batch;
        self.parts.clear();
        let mut short = false;
        for (slot, live) in (0u8..).zip(slots) {
            let Some(live) = live else { continue };
            let mut port = Port::Read(coder);
            let count = framing.count(
                &mut port,
                live.before,
                short,
                Count::Cap(0),
                &mut stats.framing_bits,
            );
            short = count != Count::Cap(framing.full());
            live.before = if short { Before::Short } else { Before::Full };
            let (cap, end) = match count {
                Count::Cap(cap) => (cap, None),
                Count::Refused => (0, Some(End::Refused)),
                Count::Failed => (0, Some(End::Failed)),
            };
            let stats = SlotStats {
                slot,
                ..SlotStats::default()
            };
            self.parts.push(Part {
                slot,
                cap,
                tokens: Vec::with_capacity(cap),
                end,
                stats,
            });
        }
    }

    /// Reads the tokens, a round at a time: one step of the model each. SPEC 4.8.
    fn rounds(&mut self, coder: &mut coder::Decoder, stats: &mut FrameStats) -> Result<(), Error> {
        for round in 0.. {
            self.rows.clear();
            self.of_row.clear();
            for (index, part) in self.parts.iter().enumerate() {
                if let Some(live) = &self.batch.slots[usize::from(part.slot)]
                    && part.end.is_none()
                    && part.cap > round
                {
                    self.rows.push((live.handle, live.pending));
                    self.of_row.push(index);
                }
            }
            let has_more = !self.rows.is_empty();
            if !has_more
                || (round > 0 && Framing::cut(&mut Port::Read(coder), false, &mut stats.framing_bits))
            {
                return Ok(());
            }
            self.round(coder)?;
        }
        Ok(())
    }

    fn round(&mut self, coder: &mut coder::Decoder) -> Result<(), Error> {
        let Self {
            batch,
            parts,
            rows,
            of_row,
        } = self;
        let Batch {
            model,
            vocabulary,
            slots,
            predictor,
            ..
        } = batch;
        let mut failed = None;
        model.step(rows, &mut |row, logits| {
            let part = &mut parts[of_row[row]];
            let Some(live) = &mut slots[usize::from(part.slot)] else {
                return;
            };
            if failed.is_some() {
                return;
            }
            let drawn = live.drawn();
            let drawn = drawn.as_ref().map(|(sampling, noise)| (*sampling, noise));
            if let Err(error) = predictor.prepare(logits, drawn, &live.own) {
                failed = Some(error);
                return;
            }
            let (token, bits) = Port::Read(coder).token(predictor, 0);
            part.stats.add(bits, predictor.plain_bits(token));
            predictor.learn(token, &mut live.own);
            part.end = live.accept(token, vocabulary);
            part.tokens.push(token);
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Frees the slots that ended, and reports.
    fn settle(&mut self, decoded: &mut Decoded) -> Result<(), Error> {
        let full = self.batch.framing.full();
        for part in self.parts.drain(..) {
            let Part {
                slot,
                cap,
                tokens,
                end,
                stats,
            } = part;
            if end.is_some() {
                // SPEC 4.8: only one count is right for an answer that ends, or the count could say something else.
                let has_cap = !matches!(end, Some(End::Refused | End::Failed));
                if has_cap && cap != full.max(tokens.len()) {
                    return Err(Error::NotCanonical);
                }
                self.batch.close(slot);
            }
            decoded.stats.push(stats);
            decoded.answers.push(Answer {
                slot,
                tokens,
                cap,
                end,
            });
        }
        Ok(())
    }
}
