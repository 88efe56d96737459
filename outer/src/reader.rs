//! Reading a batch's frames: decoder, live answers, text. Sans-IO; `threads` gives each batch a thread of its own.

use std::collections::{BTreeMap, VecDeque};

use weir_codec::{Decoded, End, Settings, Slots, Vocabulary};
use weir_model::{Kernel, Predict, Token};
use weir_setup::coding::{BatchDecoder, Heard};
use weir_wire::Parameters;

use crate::ask::{Ask, Event, Failure, Finish, Usage};
use crate::metrics::Metrics;
use crate::text::Text;

/// What the session side asks of a reader. Everything of one batch comes in one order, and is done in it.
#[derive(Debug)]
pub(crate) enum Order {
    /// A session has begun or ended: whatever was live fails for the reason.
    Session(u64, Failure),
    /// The next message has been submitted: a query for a slot.
    Open(u8, Ask),
    /// The next message has been submitted: a cancel of a slot.
    Cancel(u8),
    /// The next frame's code.
    Frame(Vec<u8>),
    /// Tells all users that there will be no answer; the frames still have to be read.
    Fail(Failure),
}

/// What a frame said, for the session.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Report {
    pub(crate) batch: u16,
    /// The session that the frame was of.
    pub(crate) session: u64,
    /// Or why it cannot be read: both ends are out of step.
    pub(crate) read: Result<Read, String>,
}

/// A frame that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Read {
    /// Messages that inner has taken in since the session began.
    pub(crate) taken_in: u32,
    /// State of the coder after it.
    pub(crate) digest: u64,
    /// Whether any slot is still owed tokens.
    pub(crate) live: bool,
    /// Slots that have ended, and whose they were.
    pub(crate) ended: Vec<(u8, u64)>,
}

/// Makes an instance of the weak model.
pub(crate) type Fresh<P> = Box<dyn Fn() -> Result<P, weir_model::Error> + Send>;

/// A batch's decoder and the answers that it is in the middle of.
pub(crate) struct Reader<P: Predict> {
    batch: u16,
    /// Makes a weak model without slots: each session begins with a fresh one.
    fresh: Fresh<P>,
    kernel: Kernel,
    settings: Settings,
    decoder: Result<BatchDecoder<P>, weir_model::Error>,
    vocabulary: Vocabulary,
    parameters: Parameters,
    session: u64,
    /// Messages that no frame has taken in yet, oldest first.
    pending: VecDeque<Pending>,
    live: BTreeMap<u8, Live>,
    taken_in: u32,
    /// Whether the decoder has seen a frame, good or bad, since it was made.
    touched: bool,
    metrics: Metrics,
}

#[derive(Debug)]
enum Pending {
    Open(u8, Ask),
    Cancel(u8),
}

/// An answer on its way.
#[derive(Debug)]
struct Live {
    ask: Ask,
    text: Text,
    usage: Usage,
}

/// What happened in a frame, in order.
enum Happened {
    Opened(u8, Live),
    Cancelled(u8),
    Said(Decoded),
}

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Codec(#[from] weir_codec::Error),
    #[error("the weak model could not be made anew: {0}")]
    NoModel(String),
    #[error("a frame takes in {taken_in} messages, of {pending} that wait")]
    TakenIn { taken_in: u32, pending: usize },
}

impl<P: Predict> Reader<P> {
    /// A reader of a batch in which nothing is live.
    pub(crate) fn new(
        batch: u16,
        fresh: Fresh<P>,
        kernel: Kernel,
        vocabulary: Vocabulary,
        settings: Settings,
        parameters: Parameters,
        metrics: Metrics,
    ) -> Self {
        let decoder = fresh().map(|model| {
            BatchDecoder::new(
                model,
                vocabulary.clone(),
                settings,
                kernel,
                parameters.piece_len(),
            )
        });
        let (pending, live) = (VecDeque::new(), BTreeMap::new());
        Self {
            batch,
            fresh,
            kernel,
            settings,
            decoder,
            vocabulary,
            parameters,
            session: 0,
            pending,
            live,
            taken_in: 0,
            touched: false,
            metrics,
        }
    }

    /// Does what an order asks; a frame gives a report.
    pub(crate) fn order(&mut self, order: Order) -> Option<Report> {
        match order {
            Order::Session(session, why) => {
                self.fail(&why);
                // An untouched decoder is as good as a new one; one that has failed is not, whatever it had taken in.
                if self.touched || self.decoder.is_err() {
                    self.touched = false;
                    let model = (self.fresh)();
                    self.decoder = model.map(|model| {
                        let piece = self.parameters.piece_len();
                        BatchDecoder::new(model, self.vocabulary.clone(), self.settings, self.kernel, piece)
                    });
                }
                self.pending.clear();
                self.live.clear();
                self.taken_in = 0;
                self.session = session;
                None
            }
            Order::Open(slot, ask) => {
                self.pending.push_back(Pending::Open(slot, ask));
                None
            }
            Order::Cancel(slot) => {
                self.pending.push_back(Pending::Cancel(slot));
                None
            }
            Order::Fail(why) => {
                self.fail(&why);
                None
            }
            Order::Frame(code) => {
                self.touched = true;
                let read = self.frame(&code).map_err(|error| error.to_string());
                Some(Report {
                    batch: self.batch,
                    session: self.session,
                    read,
                })
            }
        }
    }

    /// Reads a frame and tells the users what it says.
    fn frame(&mut self, code: &[u8]) -> Result<Read, Error> {
        let mut happened = Vec::new();
        let digest = match self.decode(code, &mut happened) {
            Ok(digest) => digest,
            Err(error) => {
                // Who was taken in by it is told with all others.
                let opened = happened.into_iter().filter_map(|event| match event {
                    Happened::Opened(slot, live) => Some(Pending::Open(slot, live.ask)),
                    _ => None,
                });
                self.pending.extend(opened);
                return Err(error);
            }
        };
        let (mut tokens, mut coded_bits, mut plain_bits) = (0, 0.0, 0.0);
        for event in &happened {
            if let Happened::Said(Decoded { stats, .. }) = event {
                tokens += stats.tokens;
                coded_bits += stats.coded_bits;
                plain_bits += stats.plain_bits;
            }
        }
        let len = self.parameters.piece_len().unwrap_or(code.len());
        let frame_bits = (self.parameters.format.header_len() + len) as f64 * 8.0;
        self.metrics.frames.inc();
        self.metrics.frame_bits.inc_by(frame_bits as u64);
        self.metrics.tokens.inc_by(u64::from(tokens));
        self.metrics.coded_bits.inc_by(coded_bits);
        self.metrics.plain_bits.inc_by(plain_bits);
        // What belongs to no token is shared among them equally.
        let shared = (frame_bits - coded_bits) / f64::from(tokens.max(1));
        let mut ended = Vec::new();
        for event in happened {
            match event {
                Happened::Opened(slot, live) => drop(self.live.insert(slot, live)),
                Happened::Cancelled(slot) => drop(self.live.remove(&slot)),
                Happened::Said(decoded) => self.said(decoded, shared, &mut ended),
            }
        }
        Ok(Read {
            taken_in: self.taken_in,
            digest,
            live: !self.live.is_empty(),
            ended,
        })
    }

    /// Lets the decoder read a frame; gives the digest after it.
    fn decode(&mut self, code: &[u8], happened: &mut Vec<Happened>) -> Result<u64, Error> {
        let Self {
            decoder,
            pending,
            taken_in,
            ..
        } = self;
        let decoder = decoder
            .as_mut()
            .map_err(|error| Error::NoModel(error.to_string()))?;
        decoder.read(code, |said| match said {
            Heard::TakenIn(slots, count) => {
                *taken_in += count;
                take_in(slots, pending, count, happened)
            }
            Heard::Tokens(decoded) => {
                happened.push(Happened::Said(decoded));
                Ok(())
            }
        })
    }

    /// Tells the users what a frame says, or a part of it; notes who is done.
    fn said(&mut self, decoded: Decoded, shared: f64, ended: &mut Vec<(u8, u64)>) {
        for slot in &decoded.stats.slots {
            if let Some(live) = self.live.get_mut(&slot.slot) {
                live.usage.completion_tokens += slot.tokens;
                live.usage.coded_bits += slot.coded_bits;
                live.usage.plain_bits += slot.plain_bits;
                live.usage.frame_bits += slot.coded_bits + shared * f64::from(slot.tokens);
            }
        }
        for answer in decoded.answers {
            let Some(live) = self.live.get_mut(&answer.slot) else {
                continue;
            };
            let tokens = answer.tokens.iter();
            let bytes: Vec<u8> = tokens
                .flat_map(|&token| self.vocabulary.token_bytes(token))
                .copied()
                .collect();
            let text = live.text.push(&bytes);
            live.say(text, answer.tokens);
            if let Some(end) = answer.end {
                live.end(end, &self.metrics);
                ended.push((answer.slot, live.ask.id));
                self.live.remove(&answer.slot);
            }
        }
    }

    fn fail(&self, why: &Failure) {
        let pending = self.pending.iter().filter_map(|message| match message {
            Pending::Open(_, ask) => Some(ask),
            Pending::Cancel(_) => None,
        });
        for ask in pending.chain(self.live.values().map(|live| &live.ask)) {
            if ask.tell(Event::Failed(why.clone())) {
                self.metrics.failed.inc();
            }
        }
    }
}

/// Applies the next messages: only here do both ends change the set of live slots. SPEC 6.5.
fn take_in<P: Predict>(
    mut slots: Slots<'_, P>,
    pending: &mut VecDeque<Pending>,
    taken_in: u32,
    happened: &mut Vec<Happened>,
) -> Result<(), Error> {
    if taken_in as usize > pending.len() {
        return Err(Error::TakenIn {
            taken_in,
            pending: pending.len(),
        });
    }
    for message in pending.drain(..taken_in as usize) {
        match message {
            Pending::Open(slot, ask) => {
                slots.open(slot, &ask.query)?;
                let prompt_tokens = u32::try_from(ask.query.prompt.len()).unwrap_or(u32::MAX);
                let live = Live {
                    text: Text::new(&ask.query.stop),
                    usage: Usage {
                        prompt_tokens,
                        ..Usage::default()
                    },
                    ask,
                };
                happened.push(Happened::Opened(slot, live));
            }
            // A cancel that crossed the answer's end finds nothing.
            Pending::Cancel(slot) => {
                slots.close(slot);
                happened.push(Happened::Cancelled(slot));
            }
        }
    }
    Ok(())
}

impl Live {
    fn say(&self, text: String, tokens: Vec<Token>) {
        if !text.is_empty() || !tokens.is_empty() {
            self.ask.tell(Event::Piece { text, tokens });
        }
    }

    fn end(&mut self, end: End, metrics: &Metrics) {
        let finish = match end {
            End::Token | End::Stop(_) => Ok(Finish::Stop),
            End::MaxTokens => Ok(Finish::Length),
            // SPEC 4.14: the strong model had said as many tokens of its own as were asked for.
            End::Refused if self.usage.completion_tokens > 0 => Ok(Finish::Length),
            End::Refused => Err(Failure::Refused),
            End::Failed => Err(Failure::Engine),
        };
        match finish {
            Ok(finish) => {
                let rest = self.text.finish();
                self.say(rest, Vec::new());
                self.ask.tell(Event::Done {
                    finish,
                    usage: self.usage,
                });
                metrics.answered.inc();
            }
            Err(failure) => {
                self.ask.tell(Event::Failed(failure));
                metrics.failed.inc();
            }
        }
    }
}

#[cfg(test)]
mod tests;
