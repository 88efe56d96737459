//! From live queries to codes: the strong engine says tokens, the encoder of each batch writes them.
//!
//! Sans-IO: messages in, frames out. Threads, ticks and sockets are elsewhere, and a test drives it by hand.

mod answer;
mod lent;

use crate::record::{self, Record};
use crate::retokenize::{Retokenizer, Rewriting};
use crate::strong::{Handle, Refused, Strong};
use answer::{Answer, End};
use core::ops::ControlFlow;
use lent::Lent;
use std::collections::BTreeMap;
use weir_codec::{Encoder, FrameStats, Offer, Query, Sampling, Sealed, Settings, Vocabulary};
use weir_model::{Kernel, Predict};
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
    strong: Box<dyn Strong>,
    weak: Lent<P>,
    kernel: Kernel,
    vocabulary: Vocabulary,
    batches: Vec<Batch<P>>,
    limits: Limits,
    /// Where the strong model's tokens are not the weak one's.
    retokenizer: Option<Retokenizer>,
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

struct Batch<P> {
    encoder: Encoder<Lent<P>>,
    answers: BTreeMap<u8, Answer>,
    /// Messages applied since the last frame.
    taken_in: u32,
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
        let fresh = || Batch::new(weak.clone(), vocabulary.clone(), limits.settings, kernel);
        let batches = (0..limits.batches).map(|_| fresh()).collect();
        Self {
            strong,
            weak,
            kernel,
            vocabulary,
            batches,
            limits,
            retokenizer,
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
        let len = self.limits.code;
        let has_piece = |batch: u16| self.batches[usize::from(batch)].encoder.has_piece(len);
        let hungry: Vec<u16> = batches
            .iter()
            .copied()
            .filter(|&batch| !has_piece(batch))
            .collect();
        self.generate(&hungry);
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
            let live: Vec<u8> = self.batches[usize::from(batch)].answers.keys().copied().collect();
            for slot in live {
                self.over(batch, slot, Some(End::Lost))?;
            }
            let state = &mut self.batches[usize::from(batch)];
            let slots: Vec<u8> = state.encoder.live().collect();
            slots.into_iter().for_each(|slot| state.encoder.close(slot));
            let vocabulary = self.vocabulary.clone();
            *state = Batch::new(self.weak.clone(), vocabulary, self.limits.settings, self.kernel);
        }
        Ok(())
    }

    /// Number of batches.
    pub fn batches(&self) -> usize {
        usize::from(self.limits.batches)
    }

    /// Whether a batch has live queries or code that has not left, and so something to say without being asked.
    pub fn is_live(&self, batch: u16) -> bool {
        let Batch { encoder, answers, .. } = &self.batches[usize::from(batch)];
        !answers.is_empty() || encoder.is_behind()
    }

    /// Live queries of all batches.
    pub fn live(&self) -> usize {
        self.batches.iter().map(|batch| batch.answers.len()).sum()
    }

    fn apply(&mut self, batch: u16, message: Message) -> Result<(), Error> {
        let at = &mut self.batches[usize::from(batch)];
        at.taken_in += 1;
        match message {
            Message::Query(asked) => {
                let (slot, query, source) = query(asked);
                at.encoder
                    .open(slot, &query)
                    .map_err(|source| Error::Codec { batch, source })?;
                let room = at.answers.len() < self.limits.slots;
                let handle = handle(batch, slot);
                let admitted = match (room, &self.retokenizer) {
                    (false, _) => Err(Refused::Full),
                    (true, None) => self.strong.admit(handle, &query),
                    // The weak model's logits are of other tokens than the strong one's (SPEC 4.14).
                    (true, Some(_)) if query.sampling.is_lossy() => Err(Refused::Deviation),
                    (true, Some(both)) => both.prompt(&source).and_then(|prompt| {
                        let query = query.clone();
                        self.strong.admit(handle, &Query { prompt, ..query })
                    }),
                };
                let end = admitted.err().map(|reason| {
                    tracing::warn!(batch, slot, %reason, "query refused");
                    End::Refused
                });
                let rewriting = self.retokenizer.as_ref().map(|_| Rewriting::new(&query));
                at.answers.insert(slot, Answer::new(&query, rewriting, end));
            }
            Message::Cancel { slot } => {
                // SPEC 6.5: a cancel that crossed the answer's end finds nothing.
                if at.answers.contains_key(&slot) {
                    at.encoder.close(slot);
                    self.over(batch, slot, Some(End::Cancelled))?;
                }
            }
        }
        Ok(())
    }

    /// Lets the strong engine speak: one call for all batches, so that it can run all their queries side by side.
    fn generate(&mut self, batches: &[u16]) {
        let mut wants = Vec::new();
        for &batch in batches {
            for (&slot, answer) in &self.batches[usize::from(batch)].answers {
                let count = answer.wants(usize::from(self.limits.settings.full));
                if count > 0 {
                    wants.push((handle(batch, slot), count));
                }
            }
        }
        let (all, vocabulary, both) = (&mut self.batches, &self.vocabulary, self.retokenizer.as_ref());
        self.strong.advance(&wants, &mut |query, token| {
            let (batch, slot) = place(query);
            match all[usize::from(batch)].answers.get_mut(&slot) {
                Some(answer) => answer.push(token, vocabulary, both),
                None => ControlFlow::Break(()),
            }
        });
        for (query, _) in wants {
            let (batch, slot) = place(query);
            if self.batches[usize::from(batch)].answers[&slot].end().is_some() {
                // What it held is free for others before its last tokens are coded.
                self.strong.dismiss(query);
            }
        }
    }

    fn frame(&mut self, batch: u16) -> Result<Option<Frame>, Error> {
        let len = self.limits.code;
        let mut code = Vec::new();
        if !self.limits.continuous {
            let coded = self.code(batch, |encoder, taken_in, offers| {
                encoder.frame(taken_in, offers, len, &mut code)
            })?;
            return Ok(coded.map(|(taken_in, sealed)| Frame {
                batch,
                taken_in,
                code,
                digest: sealed.digest,
                stats: sealed.stats,
            }));
        }
        let mut coded = None;
        if !self.batches[usize::from(batch)].encoder.has_piece(len) {
            coded = self.code(batch, Encoder::segment)?;
        }
        let encoder = &mut self.batches[usize::from(batch)].encoder;
        if !encoder.has_piece(len) {
            // Nothing more is there to fill it with.
            encoder.pad(len);
        }
        let digest = encoder.piece(len, &mut code);
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

    /// Lets `code` write what the answers of a batch have, unless that is nothing; gives the messages taken in, too.
    fn code(
        &mut self,
        batch: u16,
        code: impl FnOnce(&mut Encoder<Lent<P>>, u32, &[(u8, Offer<'_>)]) -> Result<Sealed, weir_codec::Error>,
    ) -> Result<Option<(u32, Sealed)>, Error> {
        let Batch {
            encoder,
            answers,
            taken_in,
        } = &mut self.batches[usize::from(batch)];
        if answers.is_empty() && *taken_in == 0 {
            return Ok(None);
        }
        let offers: Vec<(u8, Offer<'_>)> = answers
            .iter()
            .map(|(&slot, answer)| (slot, answer.offer(usize::from(self.limits.settings.full))))
            .collect();
        let sealed = code(encoder, *taken_in, &offers).map_err(|source| Error::Codec { batch, source })?;
        let taken_in = core::mem::take(taken_in);
        for &(slot, count) in &sealed.coded {
            if let Some(answer) = answers.get_mut(&slot) {
                answer.coded(count);
            }
        }
        for &slot in &sealed.ended {
            self.over(batch, slot, None)?;
        }
        Ok(Some((taken_in, sealed)))
    }

    /// Frees a slot and records its answer; `end` overrules what the answer says of itself.
    fn over(&mut self, batch: u16, slot: u8, end: Option<End>) -> Result<(), Error> {
        self.strong.dismiss(handle(batch, slot));
        let Some(answer) = self.batches[usize::from(batch)].answers.remove(&slot) else {
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

impl<P: Predict> Batch<P> {
    fn new(weak: Lent<P>, vocabulary: Vocabulary, settings: Settings, kernel: Kernel) -> Self {
        Self {
            encoder: Encoder::new(weak, vocabulary, settings, kernel),
            answers: BTreeMap::new(),
            taken_in: 0,
        }
    }
}

/// The strong engine's name for a slot.
fn handle(batch: u16, slot: u8) -> Handle {
    Handle(u32::from(batch) << 8 | u32::from(slot))
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
