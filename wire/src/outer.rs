//! Outer's half of a session. SPEC 6.
//!
//! Sans-IO like inner's: [`OuterSession::recv`], [`OuterSession::poll_transmit`], [`OuterSession::poll_at`]. The
//! application opens the session, submits messages, takes frames in order with [`OuterSession::poll_frame`], decodes
//! each and reports with [`OuterSession::accept`]. When the session is lost it drops what was in the slots and calls
//! [`OuterSession::open`] again with a fresh id.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::control::{Control, Kind};
use crate::error::{Counters, Dropped, Misuse, ParameterError, Refusal};
use crate::frame::Frame;
use crate::inward::{Body, DATA_HEADER_LEN, Data, Hello, Inward};
use crate::message::Message;
use crate::parameters::Parameters;
use crate::settings::{self, Value};
use crate::shape::Shape;
use crate::time::{Backoff, Instant};
use batch::Batch;
pub use config::{Lost, OuterConfig, OuterEvent, Received, State};

mod batch;
mod config;

/// Outer's half of a session, and of all sessions that follow it.
#[derive(Debug)]
pub struct OuterSession {
    config: OuterConfig,
    state: State,
    session: u64,
    /// The session before: what inner says of it may still be under way.
    before: u64,
    batches: Vec<Batch>,
    /// Next opening (while connecting) or ping (while open).
    knock: Backoff,
    /// Last sign of life, or when an answer began to be owed.
    heard: Instant,
    pace: Pace,
    /// Batch whose turn is next, so that none starves.
    turn: usize,
    events: VecDeque<OuterEvent>,
    counters: Counters,
}

/// Datagrams left in the running interval.
#[derive(Clone, Copy, Debug)]
struct Pace {
    until: Instant,
    left: u32,
}

impl OuterSession {
    /// A session object without a session.
    pub fn new(config: OuterConfig) -> Result<Self, ParameterError> {
        config.validate()?;
        Ok(Self {
            config,
            state: State::Idle,
            session: 0,
            before: 0,
            batches: Vec::new(),
            knock: Backoff::new(config.retry, config.retry_cap),
            heard: Instant::ZERO,
            pace: Pace {
                until: Instant::ZERO,
                left: 0,
            },
            turn: 0,
            events: VecDeque::new(),
            counters: Counters::default(),
        })
    }

    /// Begins a new session under a fresh random id, from any state. Nothing of an earlier session is left.
    pub fn open(&mut self, now: Instant, session: u64) {
        let config = &self.config;
        self.batches = (0..config.parameters.batches)
            .map(|_| Batch::new(config))
            .collect();
        self.state = State::Connecting;
        (self.before, self.session) = (self.session, session);
        self.turn = 0;
        self.knock.restart(now, Duration::ZERO);
    }

    /// Gives the session up, because a frame did not decode; `open` starts a new one.
    pub fn abandon(&mut self) {
        self.lose(Lost::Undecodable);
    }

    /// Takes a datagram from the link. An error means that it had no effect, or that it ended the session
    /// (`Misbehaved`, `Diverged`: see the event); it is counted, and the caller need not act.
    pub fn recv(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Dropped> {
        self.counters.received += 1;
        let result = self.process(now, datagram);
        if let Err(why) = result {
            self.counters.dropped(why);
        }
        result
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<OuterEvent> {
        self.events.pop_front()
    }

    /// Submits a message to a batch; returns its number. It is repeated until a frame has taken it in.
    pub fn submit(&mut self, now: Instant, batch: u16, message: &Message) -> Result<u32, Misuse> {
        if self.state != State::Open {
            return Err(Misuse::NotOpen);
        }
        message.check(self.config.caps).map_err(Misuse::Message)?;
        let was_owed = self.is_owed();
        let state = self
            .batches
            .get_mut(usize::from(batch))
            .ok_or(Misuse::NoSuchBatch)?;
        if state.is_exhausted() {
            self.lose(Lost::Exhausted);
            return Err(Misuse::NotOpen);
        }
        let number = state.submit(now, message)?;
        if !was_owed {
            // Silence counts from when something is owed.
            self.heard = now;
            self.knock.restart(now, self.config.ping_after);
        }
        Ok(number)
    }

    /// The next frame to decode. Frames of a batch come in order; several may be out before the first is accepted.
    pub fn poll_frame(&mut self) -> Option<Received> {
        if self.state != State::Open {
            return None;
        }
        (0..).zip(&mut self.batches).find_map(|(batch, state)| {
            let (number, code) = state.deliver()?;
            Some(Received { batch, number, code })
        })
    }

    /// Reports the oldest delivered frame of the batch as decoded: how many messages it says inner has taken in,
    /// the digest of the coder's state after it, and whether any slot of the batch is still owed tokens.
    pub fn accept(
        &mut self,
        now: Instant,
        batch: u16,
        taken_in: u32,
        digest: u64,
        live: bool,
    ) -> Result<(), Misuse> {
        if self.state != State::Open {
            return Err(Misuse::NotOpen);
        }
        let state = self
            .batches
            .get_mut(usize::from(batch))
            .ok_or(Misuse::NoSuchBatch)?;
        let result = state.accept(now, taken_in, digest, live);
        if let Err(Misuse::Misbehaved(how)) = result {
            self.lose(Lost::Misbehaved(how));
        }
        result
    }

    /// The next datagram to send; its bytes replace those in `out`. False if there is none now.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        self.check_silence(now);
        if now >= self.pace.until {
            self.pace = Pace {
                until: now + self.config.pace_interval,
                left: self.config.pace,
            };
        }
        let sent = self.pace.left > 0 && self.transmit(now, out);
        self.pace.left -= u32::from(sent);
        self.counters.sent += u64::from(sent);
        sent
    }

    /// When to call `poll_transmit` again, if nothing is received, submitted or accepted before.
    /// [`Instant::ZERO`] means at once; so it does while events wait, for `poll_transmit` too can lose a session.
    pub fn poll_at(&self) -> Option<Instant> {
        if !self.events.is_empty() {
            return Some(Instant::ZERO);
        }
        let (talk, lost) = match self.state {
            State::Connecting => (self.knock.at(), None),
            State::Open => {
                let owed = self.is_owed();
                let batches = self.batches.iter().filter_map(Batch::poll_at);
                let talk = batches.chain(self.knock.at().filter(|_| owed)).min();
                (talk, owed.then(|| self.heard + self.config.lost_after))
            }
            State::Idle | State::Refused(_) | State::Lost(_) => (None, None),
        };
        let talk = talk.map(|at| {
            if self.pace.left == 0 {
                at.max(self.pace.until)
            } else {
                at
            }
        });
        talk.into_iter().chain(lost).min()
    }

    /// Where outer stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The current session's id.
    pub const fn session(&self) -> u64 {
        self.session
    }

    /// This end's value of the setting that a refusal names, if it names one.
    pub fn setting(&self, refusal: Refusal) -> Option<Value> {
        settings::value(refusal, &self.config.parameters, &self.config.agreement)
    }

    /// Messages of the batch that inner has not taken in yet.
    pub fn outstanding(&self, batch: u16) -> usize {
        self.batches.get(usize::from(batch)).map_or(0, Batch::outstanding)
    }

    /// The settings.
    pub const fn config(&self) -> &OuterConfig {
        &self.config
    }

    /// Datagrams by fate.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn process(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Dropped> {
        let Parameters { format, .. } = self.config.parameters;
        let frame = Frame::new_checked(format, datagram)?;
        if self.config.parameters.shape == Shape::CONSTANT && datagram.iter().all(|&byte| byte == 0) {
            return Err(Dropped::Absent); // SPEC 5.5
        }
        if frame.batch() == format.id.control() {
            let control = Control::parse(format, &frame).map_err(|_| Dropped::Damaged)?;
            return self.control(now, control);
        }
        if self.state != State::Open {
            return Err(Dropped::Foreign);
        }
        let state = self
            .batches
            .get_mut(usize::from(frame.batch()))
            .ok_or(Dropped::Foreign)?;
        let result = state.recv(now, self.session, &self.config, frame.batch(), &frame);
        match result {
            Ok(()) => self.hear(now),
            Err(Dropped::Diverged) => self.lose(Lost::Diverged { batch: frame.batch() }),
            Err(Dropped::Misbehaved(how)) => self.lose(Lost::Misbehaved(how)),
            Err(_) => {}
        }
        result
    }

    /// SPEC 5.3, 6.2.
    fn control(&mut self, now: Instant, control: Control) -> Result<(), Dropped> {
        if control.kind == Kind::Idle {
            // It says nothing, and so must have nothing to say it with: no shape but the constant one has such frames, and their
            // echo is a session's that inner may have open, or none.
            let is_expected = [0, self.session, self.before].contains(&control.session)
                && self.config.parameters.shape == Shape::CONSTANT;
            return is_expected.then_some(()).ok_or(Dropped::Foreign);
        }
        if control.session != self.session {
            return Err(Dropped::Foreign);
        }
        match (self.state, control.kind) {
            (State::Connecting, Kind::Reply(Ok(()))) => {
                self.state = State::Open;
                self.knock.clear();
                self.heard = now;
                self.events.push_back(OuterEvent::Opened);
            }
            (State::Connecting, Kind::Reply(Err(Refusal::Busy))) => {} // the opening is repeated anyway
            (State::Connecting, Kind::Reply(Err(refusal))) => {
                self.state = State::Refused(refusal);
                self.batches.clear();
                self.events.push_back(OuterEvent::Refused(refusal));
            }
            (State::Open, Kind::Reply(Ok(()))) => self.hear(now),
            (State::Connecting | State::Open, Kind::Closed(why)) => self.lose(Lost::Closed(why)),
            (State::Connecting | State::Open, Kind::Held(held)) => self.lose(Lost::Held(held)),
            _ => return Err(Dropped::Stale),
        }
        Ok(())
    }

    /// A sign of life.
    fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.knock.restart(now, self.config.ping_after);
    }

    fn lose(&mut self, why: Lost) {
        if matches!(self.state, State::Connecting | State::Open) {
            self.state = State::Lost(why);
            self.batches.clear();
            self.events.push_back(OuterEvent::Lost(why));
        }
    }

    fn is_owed(&self) -> bool {
        self.batches.iter().any(Batch::is_owed)
    }

    /// SPEC 6.7. While connecting there is no such limit: the opening is repeated for ever.
    fn check_silence(&mut self, now: Instant) {
        if self.state == State::Open && self.is_owed() && now >= self.heard + self.config.lost_after {
            self.lose(Lost::Silent);
        }
    }

    fn transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let OuterConfig {
            parameters,
            agreement,
            ..
        } = self.config;
        let inward = |body| Inward {
            format: parameters.format,
            session: self.session,
            body,
        };
        let knocks = match self.state {
            State::Connecting => Some(Body::Hello(Hello {
                parameters,
                agreement,
            })),
            State::Open if self.is_owed() => Some(Body::Ping),
            State::Open => None,
            State::Idle | State::Refused(_) | State::Lost(_) => return false,
        };
        if let Some(body) = knocks.filter(|_| self.knock.is_due(now)) {
            out.clear();
            inward(body).emit(out);
            self.knock.fired(now);
            return true;
        }
        if self.state != State::Open {
            return false;
        }
        let room = usize::from(self.config.inward_mtu) - DATA_HEADER_LEN;
        for step in 0..self.batches.len() {
            let index = (self.turn + step) % self.batches.len();
            let batch = &mut self.batches[index];
            if let Some(told) = batch.tell(now, room) {
                let data = Data::new(index as u16, told.ack, told.digest, told.missing, &told.pieces);
                out.clear();
                inward(Body::Data(data)).emit(out);
                self.turn = index + 1;
                self.counters.repeats += u64::from(told.missing.count_ones());
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
