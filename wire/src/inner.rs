//! Inner's half of a session. SPEC 6.
//!
//! Sans-IO: datagrams come in through [`InnerSession::recv`], frames go out through
//! [`InnerSession::poll_transmit`], and [`InnerSession::poll_at`] says when to call again. In between, the application
//! takes in messages and submits codes. Inner speaks only on ticks, in ascending order of ids, at most one frame per
//! batch and tick and one control frame per tick; it repeats only what it is asked for. In the constant shape it speaks on
//! every tick, once.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::control::{Control, Kind};
use crate::error::{Closed, Counters, Dropped, Misbehaviour, Misuse, ParameterError, Refusal};
use crate::held::{Budget, Held};
use crate::inward::{Body, Data, Hello, Inward};
use crate::message::Message;
use crate::parameters::{Format, Parameters};
use crate::settings::{self, Difference};
use crate::shape::Shape;
use crate::time::Instant;
use batch::Batch;
use beat::Beat;
pub use config::{InnerConfig, InnerEvent, Purpose, Transmit};

mod batch;
mod beat;
mod config;

/// Inner's half of a session, and of all sessions that follow it.
#[derive(Debug)]
pub struct InnerSession {
    config: InnerConfig,
    awake: Instant,
    busy: bool,
    /// Nothing can leave, until this time or for good.
    held: Option<(Budget, Option<Instant>)>,
    open: Option<Open>,
    /// Sessions that were open once; their openings are old.
    past: VecDeque<u64>,
    /// The last session that ended by an error, and the error.
    closed: Option<(u64, Closed)>,
    reported: Option<(u64, Refusal)>,
    control: Option<Pending>,
    /// The first tick on which a control frame may leave.
    control_tick: u64,
    beat: Beat,
    cadence: Cadence,
    /// In the constant shape, the batch whose turn is next, so that none starves.
    turn: u16,
    events: VecDeque<InnerEvent>,
    counters: Counters,
}

#[derive(Debug)]
struct Open {
    id: u64,
    batches: Vec<Batch>,
}

#[derive(Debug)]
struct Pending {
    control: Control,
    format: Format,
    /// The first tick on which it may leave.
    tick: u64,
    /// Whether no answer to another session may take its place: it is said to the session that is open, or was until now.
    is_kept: bool,
}

/// Where in the current tick inner stands: ids below `next_id` have had their turn.
#[derive(Clone, Copy, Debug, Default)]
struct Cadence {
    tick: u64,
    next_id: u32,
}

impl InnerSession {
    /// A session object without a session; outer opens it.
    pub fn new(now: Instant, config: InnerConfig) -> Result<Self, ParameterError> {
        config.parameters.validate()?;
        Ok(Self {
            config,
            awake: now + config.quarantine,
            busy: false,
            held: None,
            open: None,
            past: VecDeque::new(),
            closed: None,
            reported: None,
            control: None,
            control_tick: 0,
            beat: Beat::new(config.parameters.tick),
            cadence: Cadence::default(),
            turn: 0,
            events: VecDeque::new(),
            counters: Counters::default(),
        })
    }

    /// While busy, openings of new sessions are put off.
    pub const fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// Ends the open session, if any, because what it has to send can never leave. Outer is told when it speaks next, and
    /// opens another (SPEC 6.7).
    pub fn give_up(&mut self, now: Instant) {
        self.forget(now);
    }

    /// Nothing that has to be sent can leave before `until`, or ever, for want of `budget`. Ends the open session, if any, and
    /// says why; no other is opened meanwhile (SPEC 7.2).
    pub fn hold(&mut self, now: Instant, budget: Budget, until: Option<Instant>) {
        self.held = Some((budget, until));
        let session = self.session();
        self.forget(now);
        if let (Some(session), Some(held)) = (session, self.held(now)) {
            self.say(
                now,
                session,
                self.config.parameters.format,
                Kind::Held(held),
                true,
            );
        }
    }

    /// What holds everything back, if anything does.
    pub fn held(&self, now: Instant) -> Option<Held> {
        let (budget, until) = self.held?;
        let wait = until.map_or(Duration::ZERO, |until| until.since(now));
        (until.is_none() || !wait.is_zero()).then(|| Held::new(budget, wait))
    }

    /// Does an answer wait for its tick?
    pub const fn has_answer(&self) -> bool {
        self.control.is_some()
    }

    /// Takes a datagram from the link. An error means that it had no effect, or that it closed the session
    /// (`Misbehaved`, `Diverged`); it is counted, and the caller need not act.
    pub fn recv(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Dropped> {
        self.counters.received += 1;
        let result = self.process(now, datagram);
        if let Err(why) = result {
            self.counters.dropped(why);
        }
        result
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<InnerEvent> {
        self.events.pop_front()
    }

    /// Hands out the next message of the batch, in order, if it is complete. The application applies it before it
    /// codes the next frame, and says `taken_in` in that frame.
    pub fn take_in(&mut self, batch: u16) -> Option<Message> {
        self.batch_mut(batch)?.messages.take()
    }

    /// Submits the code of the batch's next frame, and the digest of the coder's state after it; returns the frame's
    /// number. The frame leaves on the next tick.
    pub fn submit(&mut self, now: Instant, batch: u16, code: &[u8], digest: u64) -> Result<u64, Misuse> {
        let Self {
            config, open, beat, ..
        } = self;
        let open = open.as_mut().ok_or(Misuse::NotOpen)?;
        let tick = beat.at(now) + 1;
        let state = open
            .batches
            .get_mut(usize::from(batch))
            .ok_or(Misuse::NoSuchBatch)?;
        state.submit(&config.parameters, open.id, batch, tick, code, digest)
    }

    /// The next datagram that may leave now; its bytes replace those in `out`. Once handed out it counts as sent. If
    /// the budget refuses it, that is a loss like any other, and outer will ask again; if a frame only has to wait,
    /// give it back with [`InnerSession::put_back`].
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        let tick = self.beat.at(now);
        if tick < self.cadence.tick {
            return None; // held back by `put_back`
        }
        if tick > self.cadence.tick {
            self.cadence = Cadence { tick, next_id: 0 };
        }
        if self.beat.is_late(now) && self.poll_at().is_some_and(|at| at <= now) {
            // What has not had its turn has it on the next tick, and first.
            self.cadence.tick += 1;
            return None;
        }
        let transmit = if self.is_constant() {
            self.transmit_piece(now, out)?
        } else {
            self.transmit_batch(now, out)
                .or_else(|| self.transmit_control(now, out))?
        };
        // Every id has one turn per tick, in ascending order; the control id is above all others.
        self.cadence.next_id = if self.is_constant() {
            u32::MAX
        } else {
            u32::from(transmit.batch) + 1
        };
        self.counters.sent += 1;
        Some(transmit)
    }

    /// Takes back the frame that `poll_transmit` has just handed out, because the budget does not allow it before `at`.
    /// It leaves on the first tick from then on, and nothing else leaves before it, so that no batch starves. Repeats
    /// and control frames are not taken back: they are lost, and asked for again if they still matter.
    pub fn put_back(&mut self, transmit: Transmit, at: Instant) {
        let Transmit {
            purpose: Purpose::Frame,
            batch,
        } = transmit
        else {
            return;
        };
        let tick = self.beat.from(at).max(self.cadence.tick + 1);
        let Some(state) = self.batch_mut(batch) else {
            return;
        };
        state.put_back(tick);
        self.cadence = Cadence {
            tick,
            next_id: u32::from(batch),
        };
        self.counters.sent -= 1;
    }

    /// When `poll_transmit` will next have something, if nothing is received or submitted before.
    pub fn poll_at(&self) -> Option<Instant> {
        let turn = |id: u16, ready: u64| {
            let earliest = self.cadence.tick + u64::from(u32::from(id) < self.cadence.next_id);
            self.beat.begins(ready.max(earliest))
        };
        if self.is_constant() {
            // Every tick has its piece, whatever there is to say.
            let spoke = u64::from(self.cadence.next_id == u32::MAX);
            return Some(self.beat.begins(self.cadence.tick + spoke));
        }
        let batches = self.open.iter().flat_map(|open| (0..).zip(&open.batches));
        let frames = batches.filter_map(|(id, batch)| Some(turn(id, batch.ready()?)));
        let control = self
            .control
            .iter()
            .map(|pending| turn(pending.format.id.control(), pending.tick.max(self.control_tick)));
        frames.chain(control).min()
    }

    /// May a frame of this batch be submitted now? No while one waits for its tick, and no for frame n until n - W is
    /// acknowledged.
    pub fn can_send(&self, batch: u16) -> bool {
        self.batch(batch)
            .is_some_and(|state| state.can_send(self.config.parameters.window))
    }

    /// Is the next message of this batch complete?
    pub fn has_message(&self, batch: u16) -> bool {
        self.batch(batch).is_some_and(|state| state.messages.has_next())
    }

    /// Messages that `take_in` has handed out in this batch: what the next frame must say.
    pub fn taken_in(&self, batch: u16) -> u32 {
        self.batch(batch).map_or(0, |state| state.messages.taken())
    }

    /// Frames of the batch that outer has accepted.
    pub fn acked(&self, batch: u16) -> u64 {
        self.batch(batch).map_or(0, Batch::acked)
    }

    /// The open session's id. Work begun under another id must not be submitted.
    pub fn session(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.id)
    }

    /// The settings.
    pub const fn config(&self) -> &InnerConfig {
        &self.config
    }

    /// Datagrams by fate.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn batch(&self, batch: u16) -> Option<&Batch> {
        self.open.as_ref()?.batches.get(usize::from(batch))
    }

    fn batch_mut(&mut self, batch: u16) -> Option<&mut Batch> {
        self.open.as_mut()?.batches.get_mut(usize::from(batch))
    }

    fn process(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Dropped> {
        if now < self.awake {
            return Err(Dropped::Stale);
        }
        let inward = Inward::parse(datagram)?;
        let Inward {
            format,
            session,
            body,
        } = inward;
        match body {
            Body::Hello(hello) => self.hello(now, session, format, &hello),
            Body::HelloOfOtherVersion(_) => {
                self.refuse(now, session, format, Refusal::Version, None);
                Ok(())
            }
            Body::Ping if self.session() == Some(session) => {
                self.answer(now, session, format, Kind::Reply(Ok(())));
                Ok(())
            }
            Body::Data(_) if self.session() == Some(session) && format != self.config.parameters.format => {
                Err(Dropped::Malformed)
            }
            Body::Data(data) if self.session() == Some(session) => self.data(now, session, &data),
            Body::Tick(_) => {
                self.beat.tell(now);
                Ok(())
            }
            Body::Receipt(_) => Err(Dropped::Foreign),
            Body::Ping | Body::Data(_) => {
                self.close(now, session, format);
                Err(Dropped::Foreign)
            }
        }
    }

    /// SPEC 6.2.
    fn hello(&mut self, now: Instant, session: u64, format: Format, hello: &Hello) -> Result<(), Dropped> {
        if self.session() == Some(session) {
            self.answer(now, session, format, Kind::Reply(Ok(())));
            return Err(Dropped::Duplicate);
        }
        if self.past.contains(&session) {
            // An old opening, or one whose session an older opening, come late, has replaced: then outer still knocks
            // with this id and must be told to take another.
            self.close(now, session, format);
            return Err(Dropped::Stale);
        }
        let ours = (&self.config.parameters, &self.config.agreement);
        if let Err(differs) = settings::compare(ours, (&hello.parameters, &hello.agreement)) {
            self.refuse(now, session, format, differs.refusal, Some(differs));
            return Ok(());
        }
        if let Some(held) = self.held(now) {
            self.answer(now, session, format, Kind::Held(held));
            return Err(Dropped::Stale);
        }
        if self.busy {
            self.refuse(now, session, format, Refusal::Busy, None);
            return Ok(());
        }
        self.forget(now);
        let batches = (0..self.config.parameters.batches)
            .map(|_| Batch::default())
            .collect();
        self.open = Some(Open { id: session, batches });
        self.events.push_back(InnerEvent::Opened { session });
        self.answer(now, session, format, Kind::Reply(Ok(())));
        Ok(())
    }

    fn data(&mut self, now: Instant, session: u64, data: &Data<'_>) -> Result<(), Dropped> {
        let tick = self.beat.at(now) + 1;
        let (caps, guard) = (self.config.caps, self.config.repeat_guard);
        let result = match self.batch_mut(data.batch) {
            Some(batch) => batch.data(now, tick, data, caps, guard),
            None => Err(Dropped::Misbehaved(Misbehaviour::NoSuchBatch)),
        };
        // SPEC 6.7: the first error of this kind ends the session; outer is told when it speaks next.
        let closed = match result {
            Err(Dropped::Misbehaved(_)) => Closed::Misbehaved,
            Err(Dropped::Diverged) => Closed::Diverged,
            _ => return result,
        };
        self.forget(now);
        self.closed = Some((session, closed));
        if let Err(reason) = result {
            self.events.push_back(InnerEvent::Closed { session, reason });
        }
        // The session is not open any more, but its outer must hear why (SPEC 6.3).
        self.say(
            now,
            session,
            self.config.parameters.format,
            Kind::Closed(closed),
            true,
        );
        result
    }

    /// Drops the open session, if any, and remembers its id.
    fn forget(&mut self, now: Instant) {
        if let Some(open) = self.open.take() {
            // A frame that had to wait holds nobody up any more; this tick is over for all.
            let tick = self.beat.at(now);
            if self.cadence.tick > tick {
                self.cadence = Cadence {
                    tick,
                    next_id: u32::MAX,
                };
            }
            if self.past.len() == PAST_MAX {
                self.past.pop_front();
            }
            self.past.push_back(open.id);
        }
    }

    fn refuse(
        &mut self,
        now: Instant,
        session: u64,
        format: Format,
        refusal: Refusal,
        difference: Option<Difference>,
    ) {
        // Nobody may grow the queue by asking.
        if self.reported != Some((session, refusal)) && self.events.len() < EVENTS_MAX {
            self.reported = Some((session, refusal));
            self.events.push_back(InnerEvent::Refused {
                session,
                refusal,
                difference,
            });
        }
        self.answer(now, session, format, Kind::Reply(Err(refusal)));
    }

    /// Says that this session is not open, and why.
    fn close(&mut self, now: Instant, session: u64, format: Format) {
        let reason = self
            .closed
            .filter(|(id, _)| *id == session)
            .map_or(Closed::Unknown, |(_, why)| why);
        let kind = self.held(now).map_or(Kind::Closed(reason), Kind::Held);
        self.answer(now, session, format, kind);
    }

    fn answer(&mut self, now: Instant, session: u64, format: Format, kind: Kind) {
        // SPEC 6.3: the open session's answer is kept, or, while none is open, that of the one that was closed last.
        let is_closed = |(id, _)| id == session;
        let is_kept = match &self.open {
            Some(open) => open.id == session,
            None => self.closed.is_some_and(is_closed),
        };
        self.say(now, session, format, kind, is_kept);
    }

    /// Queues a control frame. There is one at most: a later answer replaces an earlier one, but nothing about some
    /// other session pushes out what is kept.
    fn say(&mut self, now: Instant, session: u64, format: Format, kind: Kind, is_kept: bool) {
        let waiting = self.control.as_ref();
        if waiting.is_some_and(|waiting| waiting.is_kept && waiting.control.session != session) && !is_kept {
            return;
        }
        let next = self.beat.at(now) + 1;
        let tick = self.control.as_ref().map_or(next, |pending| pending.tick);
        self.control = Some(Pending {
            control: Control { kind, session },
            format,
            tick,
            is_kept,
        });
    }

    fn is_constant(&self) -> bool {
        self.config.parameters.shape == Shape::CONSTANT
    }

    /// The tick's only frame (SPEC 5.5): the next batch's that has one, then what is to be answered, then nothing, at length.
    fn transmit_piece(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        if self.cadence.next_id == u32::MAX {
            return None;
        }
        self.cadence.next_id = u32::from(self.turn);
        let batch = self.transmit_batch(now, out).or_else(|| {
            self.cadence.next_id = 0;
            self.transmit_batch(now, out)
        });
        if let Some(transmit) = &batch {
            self.turn = transmit.batch + 1;
        }
        batch.or_else(|| self.transmit_control(now, out)).or_else(|| {
            let idle = Control {
                kind: Kind::Idle,
                session: self.session().unwrap_or(0),
            };
            let format = self.config.parameters.format;
            out.clear();
            idle.emit(format, out);
            pad(&self.config.parameters, out);
            Some(Transmit {
                purpose: Purpose::Idle,
                batch: format.id.control(),
            })
        })
    }

    fn transmit_batch(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        let Cadence { tick, next_id } = self.cadence;
        let open = self.open.as_mut()?;
        for (id, batch) in (0_u16..).zip(&mut open.batches).skip(next_id as usize) {
            if let Some((purpose, frame)) = batch.due(now, tick) {
                out.clear();
                out.extend_from_slice(frame);
                self.counters.repeats += u64::from(purpose == Purpose::Repeat);
                return Some(Transmit { purpose, batch: id });
            }
        }
        None
    }

    fn transmit_control(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        let Cadence { tick, next_id } = self.cadence;
        let pending = self.control.take_if(|pending| {
            pending.tick.max(self.control_tick) <= tick && next_id <= u32::from(pending.format.id.control())
        })?;
        let tick_micros = u128::from(self.config.parameters.tick);
        // What is left for answers while nothing else can leave is little.
        let interval = match self.held(now) {
            Some(_) => self.config.control_interval.max(HELD_INTERVAL),
            None => self.config.control_interval,
        };
        let wait = interval.as_micros().div_ceil(tick_micros);
        self.control_tick = tick.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX));
        out.clear();
        pending.control.emit(pending.format, out);
        pad(&self.config.parameters, out);
        Some(Transmit {
            purpose: Purpose::Control,
            batch: pending.format.id.control(),
        })
    }
}

/// Zeros that the shape puts behind a frame; the receiver does not see them. SPEC 5.5.
fn pad(parameters: &Parameters, frame: &mut Vec<u8>) {
    frame.resize(parameters.shape.padded(parameters, frame.len()), 0);
}

/// Ids of past sessions that are remembered. SPEC 6.2.
const PAST_MAX: usize = 16;
const EVENTS_MAX: usize = 64;
/// Between control frames, while all frames are held back. SPEC 6.3.
const HELD_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
