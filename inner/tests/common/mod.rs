//! A pair of ends over a faulty link with a virtual clock: inner is this crate's, outer is made by hand.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;
use weir_codec::testing::{Markov, letters};
use weir_codec::{Decoded, End, Query, Sampling, Settings, Slots};
use weir_exact::Kernel;
use weir_inner::engine::{Engine, Limits};
use weir_inner::pump::Pump;
use weir_inner::record::{Answer, Record};
use weir_inner::strong::adviser::Adviser;
use weir_inner::strong::exact::Exact;
use weir_inner::worker::{Order, Said, What, Worker};
use weir_setup::coding::{BatchDecoder, Heard};
use weir_wire::{
    Agreement, InnerConfig, InnerSession, Instant, Message, OuterConfig, OuterEvent, OuterSession,
    Parameters, Source, State,
};

pub(crate) const VOCAB: usize = 200;
pub(crate) const END: u32 = 0;
/// Prompt tokens that may wait for the engine.
pub(crate) const ROOM: usize = 1200;

/// A question and what has come of it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) query: Query,
    /// The asker leaves after so many tokens.
    pub(crate) patience: Option<usize>,
    pub(crate) tokens: Vec<u32>,
    pub(crate) end: Option<&'static str>,
}

/// How bad the link is, in percent, both ways; delays are up to 40 ms.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Outward: a gate got nothing, and sends zeros.
    pub(crate) absent: u64,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) pump: Pump,
    pub(crate) worker: Worker<Markov>,
    /// How long a turn of the engine takes.
    pub(crate) took: Duration,
    pub(crate) outer: Outer,
    pub(crate) faults: Faults,
    random: u64,
    inward: Vec<(Instant, Vec<u8>)>,
    outward: Vec<(Instant, Vec<u8>)>,
    said: VecDeque<(Instant, Said)>,
    /// Virtual times at which each batch's frames left.
    pub(crate) left: Vec<(Instant, u16)>,
    /// Prompt tokens of what was handed to the engine of batch 0 and is in no frame's count, and their most so far.
    handed: VecDeque<usize>,
    pub(crate) handed_most: usize,
}

pub(crate) struct Outer {
    pub(crate) session: OuterSession,
    readers: Vec<Reader>,
    pub(crate) asks: Vec<Ask>,
    next: usize,
    ids: u64,
    slots: u8,
}

struct Reader {
    decoder: BatchDecoder<Markov>,
    book: Book,
}

/// What is asked of a batch, and what was heard of it.
#[derive(Default)]
struct Book {
    orders: VecDeque<(Message, Option<usize>)>,
    taken_in: u32,
    live: BTreeMap<u8, usize>,
    /// Slots that hold a query or will.
    used: BTreeMap<u8, usize>,
}

pub(crate) fn parameters(batches: u16) -> Parameters {
    Parameters {
        batches,
        ..Parameters::default()
    }
}

fn agreement() -> Agreement {
    Agreement {
        model: [1; 32],
        tokenizer: [2; 32],
        codec: [3; 32],
        service: [0; 32],
    }
}

fn weak() -> Markov {
    Markov::new(VOCAB).with_limits(512, 600)
}

pub(crate) fn strong() -> Markov {
    Markov::new(VOCAB).with_limits(512, 600).relative(9)
}

/// The strong engine, with the weak model beside it.
pub(crate) fn engine() -> Exact<Markov> {
    let adviser = Adviser::new(Box::new(weak()), 1 << 20, 0.05);
    Exact::new(strong(), VOCAB, 1 << 20, Kernel::detect()).with_adviser(Some(adviser))
}

pub(crate) fn inner(now: Instant, parameters: Parameters, record: &Path) -> (Pump, Worker<Markov>) {
    let limits = Limits {
        batches: parameters.batches,
        slots: 128,
        code: parameters.code_limit(),
        continuous: parameters.piece_len().is_some(),
        settings: Settings::default(),
    };
    let strong = engine();
    let record = Record::open(record).unwrap();
    let engine = Engine::new(
        Box::new(strong),
        weak(),
        Kernel::detect(),
        letters(VOCAB, END),
        limits,
        None,
        Some(record),
    );
    let session = InnerSession::new(now, InnerConfig::new(parameters, agreement())).unwrap();
    (Pump::new(session, ROOM), Worker::new(engine))
}

impl World {
    pub(crate) fn new(parameters: Parameters, slots: u8, asks: Vec<Ask>, record: &Path) -> Self {
        let (pump, worker) = inner(Instant::ZERO, parameters, record);
        Self {
            now: Instant::ZERO,
            pump,
            worker,
            took: Duration::from_millis(20),
            outer: Outer::new(parameters, slots, asks),
            faults: Faults::default(),
            random: 88_172_645_463_325_252,
            inward: Vec::new(),
            outward: Vec::new(),
            said: VecDeque::new(),
            left: Vec::new(),
            handed: VecDeque::new(),
            handed_most: 0,
        }
    }

    /// Runs until `done` or the time is up; tells whether it was done.
    pub(crate) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while self.now < end {
            self.settle();
            if done(self) {
                return true;
            }
            let links = self.inward.iter().chain(&self.outward).map(|(at, _)| *at);
            let said = self.said.front().map(|(at, _)| *at);
            let next = links
                .chain(said)
                .chain(self.pump.poll_at())
                .chain(self.outer.session.poll_at())
                .min();
            // Virtual time goes on by a microsecond at least, so that "at once" cannot stall.
            self.now = next.unwrap_or(end).max(self.now + Duration::from_micros(1));
        }
        false
    }

    pub(crate) fn all_over(&self) -> bool {
        self.outer.asks.iter().all(|ask| ask.end.is_some())
    }

    /// Everything that can happen now.
    fn settle(&mut self) {
        let now = self.now;
        for datagram in arrived(&mut self.inward, now) {
            let _ = self.pump.recv(now, &datagram);
        }
        while let Some((_, said)) = self.said.pop_front_if(|(at, _)| *at <= now) {
            if let What::Frame(frame) = &said.what
                && frame.batch == 0
                && self.pump.session().session() == Some(said.session)
            {
                self.handed.drain(..frame.taken_in as usize);
            }
            self.pump.said(now, said, self.took);
        }
        for datagram in arrived(&mut self.outward, now) {
            let _ = self.outer.session.recv(now, &datagram);
        }
        self.outer.drive(now);
        let mut out = Vec::new();
        while let Some(transmit) = self.pump.poll_transmit(now, &mut out) {
            self.left.push((now, transmit.batch));
            self.pump.left(now, transmit);
            self.send(&out, false);
        }
        while self.outer.session.poll_transmit(now, &mut out) {
            self.send(&out, true);
        }
        while let Some(order) = self.pump.poll_order() {
            match &order {
                Order::Session(_) => self.handed.clear(),
                Order::Message(0, Message::Query(query)) => self.handed.push_back(query.prompt.len()),
                Order::Message(0, Message::Cancel { .. }) => self.handed.push_back(0),
                Order::Message(..) | Order::Go(_) => {}
            }
            self.handed_most = self.handed_most.max(self.handed.iter().sum());
            if let Some(ready) = self.worker.order(order).unwrap() {
                self.said.push_back((now, ready));
            }
        }
        if self.said.is_empty() && self.worker.is_ready() {
            let (at, said) = (now + self.took, &mut self.said);
            self.worker.turn(|frame| said.push_back((at, frame))).unwrap();
        }
    }

    fn send(&mut self, bytes: &[u8], is_inward: bool) {
        let Faults {
            lost,
            doubled,
            absent,
        } = self.faults;
        let is_absent = !is_inward && absent > 0 && self.draw() % 100 < absent;
        let bytes = if is_absent {
            vec![0; bytes.len()]
        } else {
            bytes.to_vec()
        };
        let mut copies = 1;
        if self.draw() % 100 < lost {
            copies = 0;
        } else if self.draw() % 100 < doubled {
            copies = 2;
        }
        for _ in 0..copies {
            let at = self.now + Duration::from_micros(100 + self.draw() % 40_000);
            let queue = if is_inward {
                &mut self.inward
            } else {
                &mut self.outward
            };
            queue.push((at, bytes.clone()));
        }
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 16
    }
}

fn arrived(queue: &mut Vec<(Instant, Vec<u8>)>, now: Instant) -> Vec<Vec<u8>> {
    let mut due: Vec<_> = queue.extract_if(.., |(at, _)| *at <= now).collect();
    due.sort_by_key(|(at, _)| *at);
    due.into_iter().map(|(_, bytes)| bytes).collect()
}

impl Outer {
    fn new(parameters: Parameters, slots: u8, asks: Vec<Ask>) -> Self {
        let session = OuterSession::new(OuterConfig::new(parameters, agreement())).unwrap();
        Self {
            session,
            readers: Vec::new(),
            asks,
            next: 0,
            ids: 0x5eed,
            slots,
        }
    }

    /// A new session; what was under way is asked again, under a fresh seed.
    pub(crate) fn reopen(&mut self, now: Instant) {
        for reader in core::mem::take(&mut self.readers) {
            for ask in reader.book.used.into_values() {
                let mut again = self.asks[ask].clone();
                again.query.seed[15] ^= 0x80;
                again.tokens.clear();
                self.asks[ask].end = Some("lost");
                self.asks.push(again);
            }
        }
        self.ids += 1;
        self.session.open(now, self.ids);
        let piece = self.session.config().parameters.piece_len();
        let fresh = || Reader {
            decoder: BatchDecoder::new(
                weak(),
                letters(VOCAB, END),
                Settings::default(),
                Kernel::detect(),
                piece,
            ),
            book: Book::default(),
        };
        self.readers = (0..self.session.config().parameters.batches)
            .map(|_| fresh())
            .collect();
    }

    fn drive(&mut self, now: Instant) {
        if self.session.state() == State::Idle {
            self.reopen(now);
        }
        while let Some(event) = self.session.poll_event() {
            if let OuterEvent::Lost(_) = event {
                self.reopen(now);
            }
        }
        while let Some(frame) = self.session.poll_frame() {
            self.read(now, frame.batch, &frame.code);
        }
        if self.session.state() == State::Open {
            self.submit(now);
        }
    }

    fn read(&mut self, now: Instant, batch: u16, code: &[u8]) {
        let reader = &mut self.readers[usize::from(batch)];
        let asks = &mut self.asks;
        let read = reader.decoder.read(code, |said| {
            match said {
                Heard::TakenIn(slots, count) => reader.book.take_in(slots, count, asks),
                Heard::Tokens(decoded) => reader.book.hear(decoded, asks),
            }
            Ok::<(), weir_codec::Error>(())
        });
        let (digest, reader) = (read.unwrap(), &mut reader.book);
        let live = !reader.live.is_empty();
        self.session
            .accept(now, batch, reader.taken_in, digest, live)
            .unwrap();
        // Slots whose cancel found nothing are free once it is taken in.
        let waits = |slot: u8| reader.orders.iter().any(|(order, _)| order.slot() == slot);
        reader
            .used
            .retain(|slot, _| reader.live.contains_key(slot) || waits(*slot));
        let impatient: Vec<(u8, usize)> = reader
            .live
            .iter()
            .map(|(&slot, &ask)| (slot, ask))
            .filter(|(_, ask)| {
                self.asks[*ask]
                    .patience
                    .is_some_and(|most| self.asks[*ask].tokens.len() >= most)
            })
            .collect();
        for (slot, ask) in impatient {
            self.asks[ask].patience = None;
            let cancel = Message::Cancel { slot };
            self.session.submit(now, batch, &cancel).unwrap();
            reader.orders.push_back((cancel, Some(ask)));
        }
    }

    fn submit(&mut self, now: Instant) {
        let batches = self.session.config().parameters.batches;
        while self.next < self.asks.len() {
            let free = (0..batches)
                .flat_map(|batch| (0..self.slots).map(move |slot| (batch, slot)))
                .find(|(batch, slot)| !self.readers[usize::from(*batch)].book.used.contains_key(slot));
            let Some((batch, slot)) = free else { return };
            if self.session.outstanding(batch) >= 16 {
                return;
            }
            let ask = self.next;
            let Query {
                seed,
                sampling,
                max_tokens,
                stop,
                prompt,
            } = self.asks[ask].query.clone();
            let Sampling {
                temperature,
                top_p,
                top_k,
                tau,
            } = sampling;
            let message = Message::Query(weir_wire::Query {
                slot,
                seed,
                temperature,
                top_p,
                top_k,
                tau,
                max_tokens,
                stop,
                prompt,
                source: Source::Tokens,
            });
            self.session.submit(now, batch, &message).unwrap();
            let reader = &mut self.readers[usize::from(batch)].book;
            reader.orders.push_back((message, Some(ask)));
            reader.used.insert(slot, ask);
            self.next += 1;
        }
    }
}

impl Book {
    fn take_in(&mut self, mut slots: Slots<'_, Markov>, count: u32, asks: &mut [Ask]) {
        for _ in 0..count {
            match self
                .orders
                .pop_front()
                .expect("no more is taken in than was submitted")
            {
                (Message::Query(query), Some(ask)) => {
                    slots.open(query.slot, &asks[ask].query).unwrap();
                    self.live.insert(query.slot, ask);
                }
                (Message::Cancel { slot }, ask) => {
                    slots.close(slot);
                    // The slot may have ended by itself, and may even be another's by now.
                    if self.live.get(&slot) == ask.as_ref()
                        && let Some(ask) = self.live.remove(&slot)
                    {
                        asks[ask].end = Some("cancel");
                        self.used.remove(&slot);
                    }
                }
                _ => unreachable!("a query has an ask"),
            }
        }
        self.taken_in += count;
    }

    fn hear(&mut self, decoded: Decoded, asks: &mut [Ask]) {
        for answer in decoded.answers {
            let ask = self.live[&answer.slot];
            asks[ask].tokens.extend(&answer.tokens);
            if let Some(end) = answer.end {
                asks[ask].end = Some(match end {
                    End::Token => "end",
                    End::Stop(_) => "stop",
                    End::MaxTokens => "length",
                    End::Refused => "refused",
                    End::Failed => "failed",
                });
                self.live.remove(&answer.slot);
                if !self
                    .orders
                    .iter()
                    .any(|(order, _)| *order == Message::Cancel { slot: answer.slot })
                {
                    self.used.remove(&answer.slot);
                }
            }
        }
    }
}

/// Asks of many kinds: temperatures, stops, lengths, prompts, impatient askers.
pub(crate) fn asks(count: usize) -> Vec<Ask> {
    let ask = |index: usize| {
        let mut seed = [index as u8; 16];
        seed[0] = (index >> 8) as u8;
        let temperature = [0.0, 0.7, 1.0, 1.3][index % 4];
        let sampling = Sampling {
            temperature,
            top_p: [1.0, 0.9][index / 4 % 2],
            top_k: [0, 0, 40][index % 3],
            tau: [1.0, 1.0, 0.3, 0.05][index / 2 % 4],
        };
        let stop = if index.is_multiple_of(5) {
            vec![b"ab".to_vec(), b"q".to_vec()]
        } else {
            Vec::new()
        };
        let max_tokens = [1, 7, 10, 33, 90, 240][index % 6];
        let prompt = (0..1 + index * 7 % 50)
            .map(|i| (i * 31 + index) as u32 % VOCAB as u32)
            .collect();
        let query = Query {
            seed,
            sampling,
            max_tokens,
            stop,
            prompt,
        };
        let patience = (index % 7 == 3).then_some(15);
        Ask {
            query,
            patience,
            tokens: Vec::new(),
            end: None,
        }
    };
    (0..count).map(ask).collect()
}

/// The record by seed.
pub(crate) fn recorded(path: &Path) -> BTreeMap<String, Answer> {
    let text = std::fs::read_to_string(path).unwrap();
    let answers = text
        .lines()
        .map(|line| serde_json::from_str::<Answer>(line).unwrap());
    answers.map(|answer| (answer.seed.clone(), answer)).collect()
}

pub(crate) fn hex(seed: &[u8]) -> String {
    seed.iter().map(|byte| format!("{byte:02x}")).collect()
}
