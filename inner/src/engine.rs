//! From live queries to codes: the strong engine says tokens, the encoder of each batch writes them.
//!
//! Sans-IO: messages in, frames out. Threads, ticks and sockets are elsewhere, and a test drives it by hand.

mod answer;
mod answers;
mod batch;
mod lent;

use crate::record::{self, Record};
use crate::retokenize::Retokenizer;
use crate::strong::{Handle, Refused, Strong};
pub use answer::End;
pub use answers::Answers;
use batch::Batch;
use core::ops::RangeInclusive;
use lent::Lent;
use weir_codec::{FrameStats, Offer, Query, Sampling, Sealed, Settings, Vocabulary};
use weir_model::{Kernel, Predict};
use weir_setup::coding::BatchEncoder;
use weir_wire::{Message, Source};

/// One frame's code.
#[derive(Clone, PartialEq, Debug)]
pub struct Frame {
    /// Its batch.
    pub batch: u16,
    /// Messages that took effect with what was coded for it, since the frame before.
    pub taken_in: u32,
    /// The code that the session frames.
    pub code: Vec<u8>,
    /// State of the coder after it, for the check of a later frame.
    pub digest: u64,
    /// What it cost, for reports.
    pub stats: FrameStats,
}

/// Why the engine cannot go on: the batch is out of step with outer's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The codec refused, or the weak model under it.
    #[error("batch {batch}: {source}")]
    Codec {
        /// Whose encoder.
        batch: u16,
        /// What it said.
        source: weir_codec::Error,
    },
    /// The record of answers could not be written: an answer without a record must not leave.
    #[error("record of answers: {0}")]
    Record(#[from] std::io::Error),
}

/// The strong engine and one encoder per batch.
pub struct Engine<P: Predict> {
    answers: Answers,
    weak: Lent<P>,
    kernel: Kernel,
    vocabulary: Vocabulary,
    batches: Vec<Batch<P>>,
    limits: Limits,
    record: Option<Record>,
}

/// Numbers and sizes of batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Batches.
    pub batches: u16,
    /// Live queries of a batch.
    pub slots: usize,
    /// Bytes of a frame's code: at most so many, or just so many where the code is continuous.
    pub code: usize,
    /// Frames are pieces of one code (SPEC 4.15), not each sealed by itself.
    pub continuous: bool,
    /// What the codec must have as outer has it.
    pub settings: Settings,
}

impl<P: Predict> Engine<P> {
    /// An engine without queries. All batches share `weak` and its pool, and code with `kernel`. `retokenizer` is there if and only if
    /// `limits.settings` says so.
    pub fn new(
        strong: Box<dyn Strong>,
        weak: P,
        kernel: Kernel,
        vocabulary: Vocabulary,
        limits: Limits,
        retokenizer: Option<Retokenizer>,
        record: Option<Record>,
    ) -> Self {
        debug_assert_eq!(limits.settings.retokenized, retokenizer.is_some());
        let weak = Lent::new(weak);
        let fresh = || Batch::new(weak.clone(), vocabulary.clone(), &limits, kernel);
        let batches = (0..limits.batches).map(|_| fresh()).collect();
        Self {
            answers: Answers::new(strong, vocabulary.clone(), retokenizer),
            weak,
            kernel,
            vocabulary,
            batches,
            limits,
            record,
        }
    }

    /// One turn: applies each batch's messages, lets the strong engine say what is missing for a full frame of every
    /// batch that is named, and codes those frames. A batch with nothing to say gives none; one that has coded a piece already
    /// says nothing new.
    ///
    /// # Errors
    /// See [`Error`]; the engine is of no use afterwards.
    pub fn turn(&mut self, inbox: Vec<(u16, Vec<Message>)>, frames: &mut Vec<Frame>) -> Result<(), Error> {
        let batches: Vec<u16> = inbox.iter().map(|(batch, _)| *batch).collect();
        for (batch, messages) in inbox {
            for message in messages {
                self.apply(batch, message)?;
            }
        }
        let has_piece = |batch: u16| self.batches[usize::from(batch)].encoder.has_piece();
        let hungry: Vec<u16> = batches
            .iter()
            .copied()
            .filter(|&batch| !has_piece(batch))
            .collect();
        // One call for all batches, so that the strong engine can run all their queries side by side.
        let full = usize::from(self.limits.settings.full);
        self.answers
            .speak(full, |handle| hungry.contains(&place(handle).0));
        for batch in batches {
            frames.extend(self.frame(batch)?);
        }
        Ok(())
    }

    /// Drops all queries; the batches begin anew.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn reset(&mut self) -> Result<(), Error> {
        for batch in 0..self.limits.batches {
            let live: Vec<Handle> = self.answers.among(all(batch)).map(|(handle, _)| handle).collect();
            for handle in live {
                self.over(handle, Some(End::Lost))?;
            }
            let state = &mut self.batches[usize::from(batch)];
            state.close();
            let vocabulary = self.vocabulary.clone();
            *state = Batch::new(self.weak.clone(), vocabulary, &self.limits, self.kernel);
        }
        Ok(())
    }

    /// Number of batches.
    pub fn batches(&self) -> usize {
        usize::from(self.limits.batches)
    }

    /// Whether a batch has live queries or code that has not left, and so something to say without being asked.
    pub fn is_live(&self, batch: u16) -> bool {
        self.answers.among(all(batch)).next().is_some()
            || self.batches[usize::from(batch)].encoder.is_behind()
    }

    /// Live queries of all batches.
    pub fn live(&self) -> usize {
        self.answers.len()
    }

    fn apply(&mut self, batch: u16, message: Message) -> Result<(), Error> {
        let at = &mut self.batches[usize::from(batch)];
        at.taken_in += 1;
        match message {
            Message::Query(asked) => {
                let (slot, query, source) = query(asked);
                at.encoder
                    .slots()
                    .open(slot, &query)
                    .map_err(|source| Error::Codec { batch, source })?;
                let handle = handle(batch, slot);
                let begun = match self.answers.among(all(batch)).count() < self.limits.slots {
                    true => self.answers.begin(handle, &query, &source),
                    false => Err(Refused::Full),
                };
                if let Err(reason) = begun {
                    tracing::warn!(batch, slot, %reason, "query refused");
                    self.answers.refuse(handle, &query);
                }
            }
            Message::Cancel { slot } => {
                // SPEC 6.5: a cancel that crossed the answer's end finds nothing.
                let handle = handle(batch, slot);
                if self.answers.is_live(handle) {
                    at.encoder.slots().close(slot);
                    self.over(handle, Some(End::Cancelled))?;
                }
            }
        }
        Ok(())
    }

    fn frame(&mut self, batch: u16) -> Result<Option<Frame>, Error> {
        let (mut code, mut coded) = (Vec::new(), None);
        if !self.batches[usize::from(batch)].encoder.has_piece() {
            coded = self.code(batch, &mut code)?;
        }
        let digest = match &mut self.batches[usize::from(batch)].encoder {
            BatchEncoder::Frames(_) => coded.as_ref().map(|(_, sealed)| sealed.digest),
            BatchEncoder::Pieces(encoder) => {
                if !encoder.has_piece() {
                    // Nothing more is there to fill it with.
                    encoder.pad();
                }
                encoder.piece(&mut code)
            }
        };
        let (taken_in, stats) =
            coded.map_or_else(Default::default, |(taken_in, sealed)| (taken_in, sealed.stats));
        Ok(digest.map(|digest| Frame {
            batch,
            taken_in,
            code,
            digest,
            stats,
        }))
    }

    /// Writes what the answers of a batch have, unless that is nothing: a frame to `out`, or a segment that pieces will bring.
    /// Gives the messages taken in, too.
    fn code(&mut self, batch: u16, out: &mut Vec<u8>) -> Result<Option<(u32, Sealed)>, Error> {
        let Batch { encoder, taken_in } = &mut self.batches[usize::from(batch)];
        let full = usize::from(self.limits.settings.full);
        let offers: Vec<(u8, Offer<'_>)> = self
            .answers
            .among(all(batch))
            .map(|(handle, answer)| (place(handle).1, answer.offer(full)))
            .collect();
        if offers.is_empty() && *taken_in == 0 {
            return Ok(None);
        }
        let sealed = encoder.code(*taken_in, &offers, self.limits.code, out);
        let sealed = sealed.map_err(|source| Error::Codec { batch, source })?;
        let taken_in = core::mem::take(taken_in);
        for &(slot, count) in &sealed.coded {
            self.answers.coded(handle(batch, slot), count);
        }
        for &slot in &sealed.ended {
            self.over(handle(batch, slot), None)?;
        }
        Ok(Some((taken_in, sealed)))
    }

    /// Frees a slot and records its answer; `end` overrules what the answer says of itself.
    fn over(&mut self, handle: Handle, end: Option<End>) -> Result<(), Error> {
        let Some(answer) = self.answers.end(handle) else {
            return Ok(());
        };
        if let Some(record) = &mut self.record {
            let end = end.or_else(|| answer.end()).map_or("unknown", End::name);
            let seed = answer.seed;
            let (tokens, strong) = answer.into_said();
            record.push(&record::Answer::new(&seed, tokens, strong, end))?;
        }
        Ok(())
    }
}

/// The strong engine's name for a slot.
fn handle(batch: u16, slot: u8) -> Handle {
    Handle(u32::from(batch) << 8 | u32::from(slot))
}

/// All names of a batch.
fn all(batch: u16) -> RangeInclusive<Handle> {
    handle(batch, 0)..=handle(batch, u8::MAX)
}

fn place(handle: Handle) -> (u16, u8) {
    ((handle.0 >> 8) as u16, handle.0 as u8)
}

/// The codec's form of a query, the slot it is for, and what its prompt was made from.
fn query(asked: weir_wire::Query) -> (u8, Query, Source) {
    let weir_wire::Query {
        slot,
        seed,
        temperature,
        top_p,
        top_k,
        tau,
        max_tokens,
        stop,
        prompt,
        source,
    } = asked;
    (
        slot,
        Query {
            seed,
            sampling: Sampling {
                temperature,
                top_p,
                top_k,
                tau,
            },
            max_tokens,
            stop,
            prompt,
        },
        source,
    )
}
