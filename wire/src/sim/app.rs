//! The fake applications: a codec that writes plain bytes, and checks each one.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Job, Messages};
use crate::inner::InnerSession;
use crate::message::{Message, SLOT_MAX};
use crate::outer::{OuterSession, State};
use crate::parameters::Parameters;
use crate::time::Instant;

/// The state that both ends derive from messages and codes.
#[derive(Clone, Debug, Default)]
struct Coder {
    live: BTreeMap<u8, Live>,
    digest: u64,
    frames: u64,
}

#[derive(Clone, Debug)]
struct Live {
    seed: u8,
    position: u32,
    left: u32,
}

impl Coder {
    fn apply(&mut self, message: &Message) {
        match message {
            Message::Query(query) => {
                let live = Live {
                    seed: query.seed[0],
                    position: 0,
                    left: query.max_tokens,
                };
                self.live.insert(query.slot, live);
            }
            Message::Cancel { slot } => {
                self.live.remove(slot);
            }
        }
    }

    /// Runs every live slot for a tick; yields its tokens and ends it when it has none left.
    fn tick(&mut self, per_tick: u16) -> Vec<(u8, Vec<u8>)> {
        let mut answers = Vec::new();
        for (&slot, live) in &mut self.live {
            let count = live.left.min(u32::from(per_tick));
            let tokens = (live.position..live.position + count).map(|position| token(live.seed, position));
            answers.push((slot, tokens.collect()));
            live.position += count;
            live.left -= count;
        }
        self.live.retain(|_, live| live.left > 0);
        answers
    }

    /// Hashes the code of a frame into the state. FNV-1a, enough to tell states apart.
    fn seal(&mut self, code: &[u8]) {
        let code = crate::cursor::strip_zeros(code);
        for &byte in code.iter().chain(&self.frames.to_be_bytes()) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.frames += 1;
    }
}

/// The strong model: about one token in four is a zero byte, so that codes end in zeros now and then.
const fn token(seed: u8, position: u32) -> u8 {
    let hash = (seed as u32 + 1)
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add(position.wrapping_mul(0x85eb_ca77));
    let hash = hash ^ hash >> 15;
    if hash & 0x300 == 0 { 0 } else { hash as u8 }
}

#[derive(Debug)]
pub(super) struct InnerApp {
    parameters: Parameters,
    coders: Vec<Coder>,
    pub(super) diverge: Option<(u16, u64)>,
    /// Produces nothing, like a strong model that is slow.
    pub(super) stalled: bool,
}

impl InnerApp {
    pub(super) fn new(parameters: Parameters) -> Self {
        let coders = (0..parameters.batches).map(|_| Coder::default()).collect();
        Self {
            parameters,
            coders,
            diverge: None,
            stalled: false,
        }
    }

    /// A new session: the slots are empty. A set divergence happens once, in the first session.
    pub(super) fn reset(&mut self) {
        let had_frames = self.coders.iter().any(|coder| coder.frames > 0);
        let diverge = self.diverge.filter(|_| !had_frames);
        *self = Self {
            diverge,
            stalled: self.stalled,
            ..Self::new(self.parameters)
        };
    }

    /// A frame for every batch that has something to say and may say it.
    pub(super) fn work(&mut self, now: Instant, session: &mut InnerSession) -> bool {
        let mut any = false;
        if self.stalled {
            return false;
        }
        for (batch, coder) in (0..).zip(&mut self.coders) {
            if !session.can_send(batch) || (coder.live.is_empty() && !session.has_message(batch)) {
                continue;
            }
            while let Some(message) = session.take_in(batch) {
                coder.apply(&message);
            }
            let mut code = session.taken_in(batch).to_be_bytes().to_vec();
            for (_, tokens) in coder.tick(self.parameters.tokens_per_tick) {
                code.extend_from_slice(&tokens);
            }
            coder.seal(&code);
            if self.diverge == Some((batch, coder.frames - 1)) {
                coder.digest ^= 1;
            }
            session.submit(now, batch, &code, coder.digest).expect("can_send");
            any = true;
        }
        any
    }
}

#[derive(Debug)]
pub(super) struct OuterApp {
    parameters: Parameters,
    batches: Vec<OuterBatch>,
    jobs: Vec<(Job, Progress)>,
}

#[derive(Debug, Default)]
struct OuterBatch {
    coder: Coder,
    /// All messages submitted, from number 0.
    messages: Messages,
    taken_in: usize,
    /// Which job has which slot, until it ends.
    slots: BTreeMap<u8, usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Waiting,
    Running { tokens: u32, cancelling: bool },
    Done,
}

impl OuterApp {
    pub(super) fn new(parameters: Parameters, jobs: Vec<Job>) -> Self {
        let batches = (0..parameters.batches).map(|_| OuterBatch::default()).collect();
        let jobs = jobs.into_iter().map(|job| (job, Progress::Waiting)).collect();
        Self {
            parameters,
            batches,
            jobs,
        }
    }

    /// The session is lost: jobs that were running start over.
    pub(super) fn lose(&mut self) {
        self.batches = (0..self.parameters.batches)
            .map(|_| OuterBatch::default())
            .collect();
        for (_, progress) in &mut self.jobs {
            if matches!(progress, Progress::Running { .. }) {
                *progress = Progress::Waiting;
            }
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.jobs.iter().all(|(_, progress)| *progress == Progress::Done)
    }

    pub(super) fn work(&mut self, now: Instant, session: &mut OuterSession) -> bool {
        let mut any = false;
        while let Some(frame) = session.poll_frame() {
            self.decode(now, session, frame.batch, frame.code);
            any = true;
        }
        if session.state() == State::Open {
            for index in 0..self.jobs.len() {
                any |= self.start_or_cancel(now, session, index);
            }
        }
        any
    }

    fn decode(&mut self, now: Instant, session: &mut OuterSession, id: u16, mut code: Vec<u8>) {
        let batch = &mut self.batches[usize::from(id)];
        if code.len() < 4 {
            code.resize(4, 0);
        }
        let taken_in = u32::from_be_bytes([code[0], code[1], code[2], code[3]]);
        for message in batch
            .messages
            .get(batch.taken_in..taken_in as usize)
            .unwrap_or_default()
        {
            batch.coder.apply(message);
            if let Message::Cancel { slot } = message
                && let Some(job) = batch.slots.remove(slot)
            {
                self.jobs[job].1 = Progress::Done;
            }
        }
        batch.taken_in = taken_in as usize;
        let mut rest = code.iter().skip(4);
        for (slot, expected) in batch.coder.tick(self.parameters.tokens_per_tick) {
            let tokens: Vec<u8> = expected
                .iter()
                .map(|_| rest.next().copied().unwrap_or(0))
                .collect();
            assert_eq!(
                tokens, expected,
                "batch {id} slot {slot}: a wrong token was delivered"
            );
            let job = batch.slots[&slot];
            let ended = !batch.coder.live.contains_key(&slot);
            if let Progress::Running { tokens, .. } = &mut self.jobs[job].1 {
                *tokens += expected.len() as u32;
            }
            if ended {
                batch.slots.remove(&slot);
                self.jobs[job].1 = Progress::Done;
            }
        }
        assert!(
            rest.next().is_none(),
            "batch {id}: the code is longer than its tokens"
        );
        batch.coder.seal(&code);
        let live = !batch.coder.live.is_empty();
        // An error here is one that the session reports as an event.
        let _reported = session.accept(now, id, taken_in, batch.coder.digest, live);
    }

    fn start_or_cancel(&mut self, now: Instant, session: &mut OuterSession, index: usize) -> bool {
        let (job, progress) = &mut self.jobs[index];
        let batch = &mut self.batches[usize::from(job.batch)];
        let message = match *progress {
            Progress::Waiting => {
                let Some(slot) = (0..=SLOT_MAX).find(|slot| !batch.slots.contains_key(slot)) else {
                    return false;
                };
                batch.slots.insert(slot, index);
                *progress = Progress::Running {
                    tokens: 0,
                    cancelling: false,
                };
                Message::Query(crate::message::Query {
                    slot,
                    ..job.query.clone()
                })
            }
            Progress::Running {
                tokens,
                cancelling: false,
            } if job.cancel_after.is_some_and(|at| tokens >= at) => {
                let slot = batch
                    .slots
                    .iter()
                    .find(|&(_, &job)| job == index)
                    .map(|(&slot, _)| slot);
                *progress = Progress::Running {
                    tokens,
                    cancelling: true,
                };
                Message::Cancel {
                    slot: slot.expect("a running job has a slot"),
                }
            }
            Progress::Running { .. } | Progress::Done => return false,
        };
        session
            .submit(now, job.batch, &message)
            .expect("fewer messages than may wait");
        batch.messages.push(message);
        true
    }
}
