//! What encoder and decoder of a batch keep alike: live slots, what was learned, the digest.

use weir_exact::{Kernel, Predict, Slot, Token};

use crate::Error;
use crate::coder::Interval;
use crate::counts::{Before, Framing};
use crate::limits::{MAX_COUNT, MAX_SLOTS};
use crate::noise::Noise;
use crate::predict::{Predictor, SlotState};
use crate::query::{Query, Sampling, Seed, Settings, Vocabulary};
use crate::stop::{Found, Matcher, State};

/// Why a slot's answer is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// An end token of the model; it is the last of the tokens.
    Token,
    /// A stop string: which one, and where in the bytes of the last token it ends.
    Stop(Found),
    /// As many tokens as were asked for.
    MaxTokens,
    /// Inner does not take the query.
    Refused,
    /// Inner could not go on.
    Failed,
}

/// A live slot.
#[derive(Debug)]
pub(crate) struct LiveSlot {
    pub(crate) handle: Slot,
    seed: Seed,
    /// How its tokens are drawn; none if the seed says nothing of them.
    sampling: Option<Sampling>,
    max_tokens: u32,
    matcher: Matcher,
    /// The last token, which the weak model has not been fed yet.
    pub(crate) pending: Token,
    /// Tokens sent.
    pub(crate) position: u32,
    pub(crate) before: Before,
    /// What this answer has taught.
    pub(crate) own: SlotState,
}

// All that a live slot holds beside the model's keys and values, but for its stop strings: nothing of the vocabulary's size.
const _: () = assert!(size_of::<LiveSlot>() <= 4096);

/// What of a slot changes with every token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pending: Token,
    position: u32,
    stop: State,
    own: SlotState,
}

impl LiveSlot {
    /// What the next token is drawn with.
    pub(crate) fn drawn(&self) -> Option<(&Sampling, Noise)> {
        let noise = Noise::new(&self.seed, self.position);
        self.sampling.as_ref().map(|sampling| (sampling, noise))
    }

    /// Takes the next token of the answer; tells whether the answer is over (SPEC 4.9).
    pub(crate) fn accept(&mut self, token: Token, vocabulary: &Vocabulary) -> Option<End> {
        self.pending = token;
        self.position += 1;
        if vocabulary.end.contains(&token) {
            return Some(End::Token);
        }
        if let Some(found) = self.matcher.push(vocabulary.token_bytes(token)) {
            return Some(End::Stop(found));
        }
        (self.position == self.max_tokens).then_some(End::MaxTokens)
    }

    /// How many of `tokens` belong to the answer, and whether it ends with them. The slot is as before.
    pub(crate) fn measure(&mut self, tokens: &[Token], vocabulary: &Vocabulary) -> (usize, bool) {
        let point = self.point();
        let ends = |&token: &Token| self.accept(token, vocabulary).is_some();
        let last = tokens.iter().position(ends);
        self.restore(point);
        last.map_or((tokens.len(), false), |last| (last + 1, true))
    }

    pub(crate) fn point(&self) -> Point {
        Point {
            pending: self.pending,
            position: self.position,
            stop: self.matcher.state(),
            own: self.own,
        }
    }

    pub(crate) fn restore(&mut self, point: Point) {
        let Point {
            pending,
            position,
            stop,
            own,
        } = point;
        (self.pending, self.position, self.own) = (pending, position, own);
        self.matcher.restore(stop);
    }
}

/// A batch as one end sees it.
#[derive(Debug)]
pub(crate) struct Batch<P> {
    pub(crate) model: P,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) slots: Box<[Option<LiveSlot>]>,
    pub(crate) predictor: Predictor,
    pub(crate) framing: Framing,
    retokenized: bool,
    digest: u64,
    broken: bool,
}

impl<P: Predict> Batch<P> {
    pub(crate) fn new(model: P, vocabulary: Vocabulary, settings: Settings, kernel: Kernel) -> Self {
        Self {
            model,
            vocabulary,
            slots: (0..MAX_SLOTS).map(|_| None).collect(),
            predictor: Predictor::new(kernel),
            framing: Framing::new(settings.full.clamp(1, MAX_COUNT as u8)),
            retokenized: settings.retokenized,
            digest: 0,
            broken: false,
        }
    }

    pub(crate) fn open(&mut self, slot: u8, query: &Query) -> Result<(), Error> {
        self.check()?;
        match self.slots.get(usize::from(slot)) {
            Some(None) => {}
            Some(Some(_)) => {
                return Err(Error::Slot {
                    slot,
                    problem: "live already",
                });
            }
            None => {
                return Err(Error::Slot {
                    slot,
                    problem: "out of range",
                });
            }
        }
        query.check(self.model.vocab(), self.model.max_context())?;
        let Some((&pending, before)) = query.prompt.split_last() else {
            return Err(Error::Prompt);
        };
        let handle = self.model.open()?;
        if let Err(error) = self.model.prefill(handle, before) {
            self.model.close(handle);
            return Err(error.into());
        }
        // SPEC 4.6: what was drawn were other tokens; only that the best ones were taken is true of these as well.
        let sampling = Some(query.sampling)
            .filter(|sampling| !self.retokenized || !(sampling.is_seeded() || sampling.is_lossy()));
        self.slots[usize::from(slot)] = Some(LiveSlot {
            handle,
            seed: query.seed,
            sampling,
            max_tokens: query.max_tokens,
            matcher: Matcher::new(&query.stop),
            pending,
            position: 0,
            before: Before::Fresh,
            own: self.predictor.begin(sampling.as_ref()),
        });
        Ok(())
    }

    /// Frees a slot; one that is not live is let be.
    pub(crate) fn close(&mut self, slot: u8) {
        if let Some(live) = self.slots.get_mut(usize::from(slot)).and_then(Option::take) {
            self.model.close(live.handle);
        }
    }

    /// Mixes the state after a frame into the digest (SPEC 4.10).
    pub(crate) fn seal(&mut self, interval: Interval) -> u64 {
        let mut hasher = blake3::Hasher::new();
        let mut sink = |bytes: &[u8]| {
            hasher.update(bytes);
        };
        sink(&self.digest.to_le_bytes());
        sink(&interval.low.to_le_bytes());
        sink(&interval.range.to_le_bytes());
        self.predictor.learned().bytes(&mut sink);
        self.framing.bytes(&mut sink);
        for (slot, live) in self.live() {
            sink(&[slot]);
            sink(&live.position.to_le_bytes());
            sink(&live.pending.to_le_bytes());
        }
        let hash = hasher.finalize();
        let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        self.digest = u64::from_le_bytes(*first);
        self.digest
    }

    /// Refuses where an earlier error left the batch out of step; else notes that a frame has begun: if it does not come to
    /// [`Batch::mend`], the batch is out of step for good.
    pub(crate) fn breach(&mut self) -> Result<(), Error> {
        self.check()?;
        self.broken = true;
        Ok(())
    }

    pub(crate) fn mend(&mut self) {
        self.broken = false;
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = (u8, &LiveSlot)> {
        let slots = (0u8..).zip(&*self.slots);
        slots.filter_map(|(slot, live)| live.as_ref().map(|live| (slot, live)))
    }

    /// Out of step for good.
    pub(crate) fn break_off(&mut self) {
        self.broken = true;
    }

    fn check(&self) -> Result<(), Error> {
        if self.broken { Err(Error::Broken) } else { Ok(()) }
    }
}
