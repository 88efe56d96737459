//! Between the session and the engine: messages go one way, frames the other, at most one frame ahead.
//!
//! Sans-IO. The engine is asked for a batch's next frame when the one before has left; a frame that the send window
//! does not let out yet is held here, and no further one is asked for.

use crate::engine::Frame;
use crate::worker::{Order, Said, What};
use core::time::Duration;
use std::collections::VecDeque;
use weir_codec::FrameStats;
use weir_wire::{
    Budget, Dropped, Held, InnerEvent, InnerSession, Instant, Message, Misuse, Purpose, Transmit,
};

/// A session with what waits at its door.
pub struct Pump {
    session: InnerSession,
    /// The session that the engine was last told of and has not confirmed. Nothing more is handed to it before, so that
    /// openings cannot pile up work behind a turn that takes long.
    unconfirmed: Option<u64>,
    /// Prompt tokens that may wait for the engine in a batch.
    room: usize,
    lanes: Vec<Lane>,
    orders: VecDeque<Order>,
    news: VecDeque<News>,
    totals: Totals,
}

/// What an operator should hear of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// From the session.
    Session(InnerEvent),
    /// The engine gave this session up; it has logged why.
    Abandoned(u64),
    /// This session was closed, as nothing can leave.
    Held(u64, Held),
    /// The engine's frame does not fit the session: a mistake in this program.
    Misfit(Misuse),
}

/// What was coded and submitted, in all sessions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Totals {
    /// Frames.
    pub frames: u64,
    /// Tokens in them.
    pub tokens: u64,
    /// Bits of the tokens under the winner prediction.
    pub coded_bits: f64,
    /// Bits of the tokens under the weak model alone.
    pub plain_bits: f64,
    /// Bits of the codes, whole.
    pub code_bits: u64,
}

/// One batch.
#[derive(Clone, Default)]
struct Lane {
    stage: Stage,
    /// A submitted frame waits for its tick.
    waits: bool,
    /// Prompt tokens of each message that was handed on and is in no frame's count yet, and their sum.
    inbox: VecDeque<usize>,
    inbox_tokens: usize,
    /// The engine needed more than half a tick for its last frame, so it must not wait for the one before to leave.
    slow: bool,
}

#[derive(Clone, Default)]
enum Stage {
    #[default]
    Idle,
    /// The engine may say the next frame.
    Asked,
    /// It has, and the window does not let it out.
    Held(Frame),
}

impl Pump {
    /// A pump around a session that nothing has happened to. At most about `room` prompt tokens of a batch wait for the
    /// engine; the session keeps the others.
    pub fn new(session: InnerSession, room: usize) -> Self {
        let lanes = vec![Lane::default(); usize::from(session.config().parameters.batches)];
        Self {
            session,
            unconfirmed: None,
            room,
            lanes,
            orders: VecDeque::new(),
            news: VecDeque::new(),
            totals: Totals::default(),
        }
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// It had no effect, and why; it is counted.
    pub fn recv(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Dropped> {
        let result = self.session.recv(now, datagram);
        while let Some(event) = self.session.poll_event() {
            match event {
                InnerEvent::Opened { .. } | InnerEvent::Closed { .. } => self.restart(),
                InnerEvent::Refused { .. } => {}
            }
            self.news.push_back(News::Session(event));
        }
        self.drive(now);
        result
    }

    /// Takes what the engine says after it has computed for `took`.
    pub fn said(&mut self, now: Instant, said: Said, took: Duration) {
        if matches!(said.what, What::Ready) && self.unconfirmed == Some(said.session) {
            self.unconfirmed = None;
            if self.session.session() != Some(said.session) {
                // Others have come and gone in between.
                self.announce();
            }
            self.drive(now);
            return;
        }
        if self.session.session() != Some(said.session) || self.unconfirmed.is_some() {
            return;
        }
        let frame = match said.what {
            What::Ready => return,
            What::Frame(frame) => frame,
            What::Lost => {
                self.abandon(now, said.session);
                return;
            }
        };
        let half_tick = self.session.config().parameters.tick() / 2;
        let lane = &mut self.lanes[usize::from(frame.batch)];
        lane.slow = took > half_tick;
        // What the engine left for its next turns still fills the room.
        let taken = lane.inbox.len().min(frame.taken_in as usize);
        lane.inbox_tokens -= lane.inbox.drain(..taken).sum::<usize>();
        lane.stage = Stage::Held(frame);
        self.drive(now);
    }

    /// The next datagram that may leave now; see [`InnerSession::poll_transmit`]. What became of it is to be said
    /// before anything else: [`Pump::left`] or [`Pump::put_back`].
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        self.session.poll_transmit(now, out)
    }

    /// The datagram has left, or is lost.
    pub fn left(&mut self, now: Instant, transmit: Transmit) {
        if transmit.purpose == Purpose::Frame {
            self.lanes[usize::from(transmit.batch)].waits = false;
            self.drive(now);
        }
    }

    /// The budget does not allow the datagram before `at`; see [`InnerSession::put_back`].
    pub fn put_back(&mut self, transmit: Transmit, at: Instant) {
        self.session.put_back(transmit, at);
    }

    /// The next order for the engine, oldest first.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// The next piece of news, oldest first.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// When `poll_transmit` will next have something, if nothing happens before.
    pub fn poll_at(&self) -> Option<Instant> {
        self.session.poll_at()
    }

    /// The session.
    pub fn session(&self) -> &InnerSession {
        &self.session
    }

    /// What was submitted so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Hands messages on, submits what is held where the window lets it, and asks the engine for the next frames.
    fn drive(&mut self, now: Instant) {
        if self.session.session().is_none() || self.unconfirmed.is_some() {
            return;
        }
        for (batch, lane) in (0..).zip(&mut self.lanes) {
            // The session holds back the rest, and its own caps make outer wait.
            while lane.inbox.len() < INBOX_MAX
                && lane.inbox_tokens < self.room
                && let Some(message) = self.session.take_in(batch)
            {
                let tokens = match &message {
                    Message::Query(query) => query.weight(),
                    Message::Cancel { .. } => 0,
                };
                lane.inbox.push_back(tokens);
                lane.inbox_tokens += tokens;
                self.orders.push_back(Order::Message(batch, message));
            }
            if let Stage::Held(frame) = &lane.stage
                && self.session.can_send(batch)
            {
                match self.session.submit(now, batch, &frame.code, frame.digest) {
                    Ok(_) => {
                        lane.waits = true;
                        self.totals.add(&frame.stats, frame.code.len());
                    }
                    Err(misuse) => self.news.push_back(News::Misfit(misuse)),
                }
                lane.stage = Stage::Idle;
            }
            // A late start takes in late messages; but a slow engine must not rest.
            if matches!(lane.stage, Stage::Idle) && (!lane.waits || lane.slow) {
                lane.stage = Stage::Asked;
                self.orders.push_back(Order::Go(batch));
            }
        }
    }

    /// Gives the session up, because what it has to send can never leave; another may do better.
    pub fn give_up(&mut self, now: Instant) {
        if let Some(session) = self.session.session() {
            self.abandon(now, session);
            self.restart();
        }
    }

    /// Nothing that has to be sent can leave before `until`, or ever: outer is told why, at once if a session is open, else
    /// when it opens one. See [`InnerSession::hold`].
    pub fn hold(&mut self, now: Instant, budget: Budget, until: Option<Instant>) {
        let session = self.session.session();
        self.session.hold(now, budget, until);
        if let (Some(session), Some(held)) = (session, self.session.held(now)) {
            self.news.push_back(News::Held(session, held));
            self.restart();
        }
    }

    /// Ends the session: outer hears of it when it speaks next, and opens another.
    fn abandon(&mut self, now: Instant, session: u64) {
        self.session.give_up(now);
        self.lanes.fill(Lane::default());
        self.news.push_back(News::Abandoned(session));
    }

    fn restart(&mut self) {
        self.lanes.fill(Lane::default());
        if self.unconfirmed.is_none() {
            self.announce();
        }
    }

    /// Tells the engine which session is open.
    fn announce(&mut self) {
        self.unconfirmed = self.session.session();
        self.orders.push_back(Order::Session(self.unconfirmed));
    }
}

impl Totals {
    fn add(&mut self, stats: &FrameStats, bytes: usize) {
        self.frames += 1;
        self.tokens += u64::from(stats.tokens);
        self.coded_bits += stats.coded_bits;
        self.plain_bits += stats.plain_bits;
        self.code_bits += 8 * bytes as u64;
    }
}

/// Messages of a batch that may wait for the engine: each slot opened and cancelled, twice over.
const INBOX_MAX: usize = 512;
