//! What both decoders do: symbols to the tokens of all live slots (SPEC 4.8).

use weir_exact::{Kernel, Predict, Slot, Token};

use super::state::{Batch, End};
use crate::Error;
use crate::coder;
use crate::counts::{Before, Count, Framing};
use crate::query::{Settings, Vocabulary};
use crate::stats::{FrameStats, SlotStats};
use crate::symbol::Port;

/// What a frame said.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Decoded {
    /// One entry for each slot that was live, ascending.
    pub answers: Vec<Answer>,
    /// What it cost.
    pub stats: FrameStats,
    /// Digest of the state after this frame, or after the segment that ends with these tokens, equal to the encoder's; 0 if a
    /// segment goes on.
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
    /// Tokens read.
    read: usize,
    /// Those that were not told yet, and what they cost.
    tokens: Vec<Token>,
    stats: SlotStats,
    end: Option<End>,
    /// The end was told.
    told: bool,
}

/// A batch, and the frame or segment that is being read.
#[derive(Debug)]
pub(crate) struct Reader<P> {
    pub(crate) batch: Batch<P>,
    parts: Vec<Part>,
    rows: Vec<(Slot, Token)>,
    /// Of each row: index into `parts`.
    of_row: Vec<usize>,
}

impl<P: Predict> Reader<P> {
    pub(crate) fn new(model: P, vocabulary: Vocabulary, settings: Settings, kernel: Kernel) -> Self {
        Self {
            batch: Batch::new(model, vocabulary, settings, kernel),
            parts: Vec::new(),
            rows: Vec::new(),
            of_row: Vec::new(),
        }
    }

    /// Forgets what is left of an earlier frame.
    pub(crate) fn start(&mut self) {
        self.parts.clear();
    }

    /// Reads the counts of the live slots that have none yet; false if the code ran dry. SPEC 4.8.
    pub(crate) fn head(&mut self, coder: &mut coder::Decoder, bits: &mut f64) -> Result<bool, Error> {
        let Batch { slots, framing, .. } = &mut self.batch;
        let read = self.parts.len();
        let live = (0u8..)
            .zip(slots)
            .filter_map(|(slot, live)| Some((slot, live.as_mut()?)));
        for (slot, live) in live.skip(read) {
            let full = Count::Cap(framing.full());
            let short = self.parts.last().is_some_and(|last| last.count() != full);
            let count = whole(coder, framing, bits, |framing, port, bits| {
                framing.count(port, live.before, short, Count::Cap(0), bits)
            })?;
            let Some(count) = count else { return Ok(false) };
            live.before = if count == full {
                Before::Full
            } else {
                Before::Short
            };
            self.parts.push(Part::new(slot, count));
        }
        Ok(true)
    }

    /// Reads the tokens, a round at a time: one step of the model each; false if the code ran dry. Where a frame may be cut,
    /// `cuts` takes the bits of saying so. SPEC 4.8.
    pub(crate) fn rounds(
        &mut self,
        coder: &mut coder::Decoder,
        mut cuts: Option<&mut f64>,
    ) -> Result<bool, Error> {
        loop {
            // A round that ran dry goes on with the slots that it had not come to.
            let lacks = |part: &&Part| part.end.is_none() && part.read < part.cap;
            let Some(round) = self.parts.iter().filter(lacks).map(|part| part.read).min() else {
                return Ok(true);
            };
            self.rows.clear();
            self.of_row.clear();
            for (index, part) in self.parts.iter().enumerate() {
                if let Some(live) = &self.batch.slots[usize::from(part.slot)]
                    && lacks(&part)
                    && part.read == round
                {
                    self.rows.push((live.handle, live.pending));
                    self.of_row.push(index);
                }
            }
            if let Some(bits) = &mut cuts
                && round > 0
                && Framing::cut(&mut Port::Read(coder), false, bits)
            {
                return Ok(true);
            }
            if !self.round(coder)? {
                return Ok(false);
            }
        }
    }

    fn round(&mut self, coder: &mut coder::Decoder) -> Result<bool, Error> {
        let Self {
            batch,
            parts,
            rows,
            of_row,
            ..
        } = self;
        let Batch {
            model,
            vocabulary,
            slots,
            predictor,
            ..
        } = batch;
        let mut failed = None;
        let mut read = 0;
        model.step(rows, &mut |row, logits| {
            let part = &mut parts[of_row[row]];
            let Some(live) = &mut slots[usize::from(part.slot)] else {
                return;
            };
            if failed.is_some() || read < row {
                return;
            }
            let drawn = live.drawn();
            let drawn = drawn.as_ref().map(|(sampling, noise)| (*sampling, noise));
            if let Err(error) = predictor.prepare(logits, drawn, &live.own) {
                failed = Some(error);
                return;
            }
            let place = coder.place();
            let prediction = predictor.prediction();
            let (token, bits) = Port::Read(coder).token(prediction, 0);
            if coder.is_dry() {
                coder.restore(&place);
                return;
            }
            read += 1;
            part.read += 1;
            part.stats.add(bits, prediction.plain_bits(token));
            predictor.learn(token, &mut live.own);
            part.end = live.accept(token, vocabulary);
            part.tokens.push(token);
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        // What was fed in vain is fed again when more of the code is there.
        for &(handle, _) in &rows[read..] {
            model.truncate(handle, model.len(handle) - 1);
        }
        if coder.is_lost() {
            return Err(Error::NotCanonical);
        }
        Ok(read == rows.len())
    }

    /// Tells what is new of each slot.
    pub(crate) fn report(&mut self, decoded: &mut Decoded) -> Result<(), Error> {
        let full = self.batch.framing.full();
        for part in self.parts.iter_mut().filter(|part| !part.told) {
            if part.end.is_some() {
                // SPEC 4.8: only one count is right for an answer that ends, or the count could say something else.
                let has_cap = !matches!(part.end, Some(End::Refused | End::Failed));
                if has_cap && part.cap != full.max(part.read) {
                    return Err(Error::NotCanonical);
                }
                part.told = true;
            }
            let slot = part.slot;
            let fresh = SlotStats {
                slot,
                ..SlotStats::default()
            };
            decoded.stats.push(core::mem::replace(&mut part.stats, fresh));
            decoded.answers.push(Answer {
                slot,
                tokens: core::mem::take(&mut part.tokens),
                cap: part.cap,
                end: part.end,
            });
        }
        Ok(())
    }

    /// Frees the slots that ended.
    pub(crate) fn settle(&mut self) {
        for part in self.parts.drain(..) {
            if part.end.is_some() {
                self.batch.close(part.slot);
            }
        }
    }
}

impl Part {
    fn new(slot: u8, count: Count) -> Self {
        let (cap, end) = match count {
            Count::Cap(cap) => (cap, None),
            Count::Refused => (0, Some(End::Refused)),
            Count::Failed => (0, Some(End::Failed)),
        };
        Self {
            slot,
            cap,
            read: 0,
            tokens: Vec::with_capacity(cap),
            stats: SlotStats {
                slot,
                ..SlotStats::default()
            },
            end,
            told: false,
        }
    }

    /// What was read of it before its tokens.
    fn count(&self) -> Count {
        match self.end {
            Some(End::Refused) => Count::Refused,
            Some(End::Failed) => Count::Failed,
            _ => Count::Cap(self.cap),
        }
    }
}

/// Reads something of several symbols as a whole: if the code runs dry in the middle, nothing has happened.
pub(crate) fn whole<T>(
    coder: &mut coder::Decoder,
    framing: &mut Framing,
    bits: &mut f64,
    read: impl FnOnce(&mut Framing, &mut Port<'_>, &mut f64) -> T,
) -> Result<Option<T>, Error> {
    let (place, before) = (coder.place(), framing.clone());
    let mut cost = 0.0;
    let value = read(framing, &mut Port::Read(coder), &mut cost);
    if coder.is_dry() {
        coder.restore(&place);
        *framing = before;
        return if coder.is_lost() {
            Err(Error::NotCanonical)
        } else {
            Ok(None)
        };
    }
    *bits += cost;
    Ok(Some(value))
}
