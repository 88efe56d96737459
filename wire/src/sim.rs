//! A pair of sessions over a faulty link with a virtual clock (feature `testing`).
//!
//! [`Sim`] holds both halves, two [`Pipe`]s and a fake application on either end whose "codec" is plain bytes: a
//! frame is the count of messages taken in and one byte per token, and every byte that arrives is compared with what
//! the query's seed says it must be. Whatever the pipes do, an answer is right or the test stops.

use alloc::vec::Vec;
use core::time::Duration;

use crate::held::Budget;
use crate::inner::{InnerConfig, InnerEvent, InnerSession, Purpose};
use crate::message::Message;
use crate::outer::{Lost, OuterConfig, OuterEvent, OuterSession};
use crate::parameters::{Agreement, Parameters};
use crate::time::Instant;
use app::{InnerApp, OuterApp};
pub use pipe::{Fault, Faults, Pipe, Plan, XorShift};

mod app;
mod pipe;

/// A job for the fake applications: a query, and after how many tokens outer cancels it.
#[derive(Clone, PartialEq, Debug)]
pub struct Job {
    /// Batch it runs in.
    pub batch: u16,
    /// The message; its slot is chosen anew each time.
    pub query: crate::message::Query,
    /// Cancel when at least this many tokens are there.
    pub cancel_after: Option<u32>,
}

impl Job {
    /// A query whose answer has `tokens` tokens, after a prompt of `prompt` tokens.
    pub fn new(batch: u16, seed: u8, prompt: usize, tokens: u32) -> Self {
        let query = crate::message::Query {
            slot: 0,
            seed: [seed; 16],
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            tau: 1.0,
            max_tokens: tokens,
            stop: Vec::new(),
            prompt: (0..prompt as u32)
                .map(|i| i.wrapping_mul(7919) % 50_000)
                .collect(),
            source: crate::message::Source::Tokens,
        };
        Self {
            batch,
            query,
            cancel_after: None,
        }
    }
}

/// What a run did, for assertions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Sessions that outer saw open.
    pub opened: u32,
    /// Sessions that outer saw lost, with the reason.
    pub lost: Vec<Lost>,
    /// Refusals that outer saw.
    pub refused: Vec<crate::error::Refusal>,
    /// Refusals and errors that inner reported.
    pub inner_events: Vec<InnerEvent>,
    /// Datagrams that left inner, with their purpose, tick and id.
    pub egress: Vec<(Purpose, u64, u16)>,
    /// Bytes that left inner.
    pub egress_bytes: u64,
}

/// Two sessions, two pipes, two fake applications and a clock.
#[derive(Debug)]
pub struct Sim {
    /// The virtual clock.
    pub now: Instant,
    /// Inner's half.
    pub inner: InnerSession,
    /// Outer's half.
    pub outer: OuterSession,
    /// From outer to inner.
    pub inward: Pipe,
    /// From inner to outer.
    pub egress: Pipe,
    /// What happened so far.
    pub report: Report,
    inner_app: InnerApp,
    outer_app: OuterApp,
    ids: XorShift,
    /// Percent of new frames that the budget defers, by up to five ticks.
    defer: (u64, XorShift),
    spins: u32,
}

impl Sim {
    /// Both ends with equal settings; outer opens at once. `jobs` are run to their ends.
    pub fn new(parameters: Parameters, jobs: Vec<Job>) -> Self {
        let agreement = agreement();
        let mut inner = InnerConfig::new(parameters, agreement);
        inner.quarantine = Duration::ZERO;
        Self::with(inner, OuterConfig::new(parameters, agreement), jobs)
    }

    /// Both ends with these settings.
    pub fn with(inner: InnerConfig, outer: OuterConfig, jobs: Vec<Job>) -> Self {
        let mut sim = Self {
            now: Instant::ZERO,
            inner: InnerSession::new(Instant::ZERO, inner).expect("good parameters"),
            outer: OuterSession::new(outer).expect("good parameters"),
            inward: Pipe::clean(LATENCY),
            egress: Pipe::clean(LATENCY),
            report: Report::default(),
            inner_app: InnerApp::new(inner.parameters),
            outer_app: OuterApp::new(outer.parameters, jobs),
            ids: XorShift::new(0x1d5),
            defer: (0, XorShift::new(0)),
            spins: 0,
        };
        sim.reopen();
        sim
    }

    /// Kills inner and starts it again at once, with `quarantine`. Datagrams in flight stay in flight.
    pub fn restart_inner(&mut self, quarantine: Duration) {
        let config = InnerConfig {
            quarantine,
            ..*self.inner.config()
        };
        self.inner = InnerSession::new(self.now, config).expect("good parameters");
        self.inner_app = InnerApp::new(config.parameters);
    }

    /// Kills outer and starts it again at once: it opens a new session and its open jobs start over.
    pub fn restart_outer(&mut self) {
        self.outer = OuterSession::new(*self.outer.config()).expect("good parameters");
        self.outer_app.lose();
        self.reopen();
    }

    /// From now on a budget defers this part of inner's new frames, in percent.
    pub fn defer(&mut self, percent: u8, seed: u64) {
        self.defer = (u64::from(percent), XorShift::new(seed));
    }

    /// Nothing leaves inner any more, before `until` or ever; it says so.
    pub fn hold(&mut self, budget: Budget, until: Option<Instant>) {
        self.inner.hold(self.now, budget, until);
        self.inner_app.reset();
    }

    /// From this frame on, inner's coder state in the batch is not what its codes say.
    pub fn diverge(&mut self, batch: u16, number: u64) {
        self.inner_app.diverge = Some((batch, number));
    }

    /// Edits the datagram that was sent last and is still in flight, inward or egress.
    pub fn edit(&mut self, inward: bool, edit: impl FnOnce(&mut Vec<u8>)) {
        let pipe = if inward {
            &mut self.inward
        } else {
            &mut self.egress
        };
        if let Some(datagram) = pipe.last_mut() {
            edit(datagram);
        }
    }

    /// All jobs ended, their answers complete and right.
    pub fn is_done(&self) -> bool {
        self.outer_app.is_done()
    }

    /// Everything that can happen now happens; then the clock goes to the next event. False if there is none.
    pub fn advance(&mut self) -> bool {
        while self.deliver() | self.work() | self.transmit() {}
        let next = [
            self.inward.next_at(),
            self.egress.next_at(),
            self.inner.poll_at(),
            self.outer.poll_at(),
        ];
        let Some(next) = next.into_iter().flatten().min() else {
            return false;
        };
        self.spins = if next > self.now { 0 } else { self.spins + 1 };
        assert!(self.spins < 100, "the clock stands still at {:?}", self.now);
        self.now = self.now.max(next);
        true
    }

    /// Advances until `done`, at most until the clock shows `limit`. Was it done?
    pub fn run_until(&mut self, limit: Instant, mut done: impl FnMut(&Self) -> bool) -> bool {
        while !done(self) {
            if self.now > limit || !self.advance() {
                return done(self);
            }
        }
        true
    }

    fn reopen(&mut self) {
        let id = self.ids.draw();
        self.outer.open(self.now, id);
    }

    fn deliver(&mut self) -> bool {
        let mut any = false;
        while let Some(datagram) = self.inward.pop(self.now) {
            let _counted = self.inner.recv(self.now, &datagram);
            while let Some(event) = self.inner.poll_event() {
                if let InnerEvent::Opened { .. } | InnerEvent::Closed { .. } = event {
                    self.inner_app.reset();
                }
                self.report.inner_events.push(event);
            }
            any = true;
        }
        while let Some(datagram) = self.egress.pop(self.now) {
            let _counted = self.outer.recv(self.now, &datagram);
            any = true;
        }
        any
    }

    fn work(&mut self) -> bool {
        let mut any = self.inner_app.work(self.now, &mut self.inner);
        while let Some(event) = self.outer.poll_event() {
            any = true;
            match event {
                OuterEvent::Opened => self.report.opened += 1,
                OuterEvent::Refused(refusal) => self.report.refused.push(refusal),
                OuterEvent::Lost(why) => {
                    self.report.lost.push(why);
                    self.outer_app.lose();
                    self.reopen();
                }
            }
        }
        any | self.outer_app.work(self.now, &mut self.outer)
    }

    fn transmit(&mut self) -> bool {
        let mut out = Vec::new();
        let mut any = false;
        while self.outer.poll_transmit(self.now, &mut out) {
            self.inward.push(self.now, &out);
            any = true;
        }
        while let Some(transmit) = self.inner.poll_transmit(self.now, &mut out) {
            let tick_micros = u64::from(self.inner.config().parameters.tick);
            let (percent, rng) = &mut self.defer;
            if transmit.purpose == Purpose::Frame && rng.draw() % 100 < *percent {
                let wait = Duration::from_micros(rng.draw() % (5 * tick_micros));
                self.inner.put_back(transmit, self.now + wait);
                continue;
            }
            let tick = self.now.micros() / tick_micros;
            self.report.egress.push((transmit.purpose, tick, transmit.batch));
            self.report.egress_bytes += out.len() as u64;
            self.egress.push(self.now, &out);
            any = true;
        }
        any
    }
}

/// Hashes that both ends of a simulation share.
pub const fn agreement() -> Agreement {
    Agreement {
        model: [1; 32],
        tokenizer: [2; 32],
        codec: [3; 32],
        service: [4; 32],
    }
}

/// The messages a fake coder has seen, in order; shared by both fake applications.
type Messages = Vec<Message>;

/// One way, shorter than a tick.
const LATENCY: Duration = Duration::from_millis(3);

#[cfg(test)]
mod tests;
