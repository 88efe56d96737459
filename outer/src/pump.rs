//! Between the edge, the session and the readers: who is let in, what is submitted, where frames go. Sans-IO.

use std::sync::Arc;
use std::time::Duration;

use weir_wire::{Dropped, Held, Instant, Lost, Message, OUTSTANDING_MAX, OuterEvent, OuterSession, State};

use crate::admission::{Admission, Place};
use crate::ask::{Ask, Command, Event, Failure, Health};
use crate::metrics::Metrics;
use crate::reader::{Order, Report};

/// A session with what waits at its door.
pub(crate) struct Pump {
    session: OuterSession,
    admission: Admission,
    health: Arc<Health>,
    metrics: Metrics,
    /// How long an ask waits for a slot.
    patience: Duration,
    /// When to open a session again, after one was lost or refused.
    reopen: Option<Instant>,
    /// Wait before the next opening; doubles until a session proves good.
    backoff: Duration,
    /// What holds inner's answers back, as far as it has said, and until when.
    held: Option<(Held, Option<Instant>)>,
    stopping: bool,
}

/// Orders for the readers, each with its batch.
pub(crate) type Orders = Vec<(u16, Order)>;

impl Pump {
    /// A pump around a session that is not open. `patience`: how long an ask waits for a slot.
    pub(crate) fn new(
        session: OuterSession,
        admission: Admission,
        patience: Duration,
        health: Arc<Health>,
        metrics: Metrics,
    ) -> Self {
        Self {
            session,
            admission,
            health,
            metrics,
            patience,
            reopen: Some(Instant::ZERO),
            backoff: BACKOFF_MIN,
            held: None,
            stopping: false,
        }
    }

    /// Takes a command of the edge.
    pub(crate) fn command(&mut self, now: Instant, command: Command, orders: &mut Orders) {
        match command {
            Command::Ask(ask) => self.ask(now, ask),
            Command::Cancel(id) => self.cancel(now, id, orders),
            Command::Stop => self.stop(now, orders),
        }
        self.drive(now, orders);
    }

    /// Takes a datagram from the link; an error means that it had no effect, and is counted.
    pub(crate) fn recv(&mut self, now: Instant, datagram: &[u8], orders: &mut Orders) -> Result<(), Dropped> {
        let result = self.session.recv(now, datagram);
        if result.is_err() {
            self.metrics.dropped.inc();
        }
        self.drive(now, orders);
        result
    }

    /// Takes what a reader found in a frame; a report on an older session is thrown away.
    pub(crate) fn report(&mut self, now: Instant, report: Report, orders: &mut Orders) {
        let Report { batch, session, read } = report;
        if session != self.session.session() || self.session.state() != State::Open {
            return;
        }
        match read {
            Ok(read) => {
                for (slot, id) in read.ended {
                    self.admission.release(Place { batch, slot }, id);
                }
                let accepted = self
                    .session
                    .accept(now, batch, read.taken_in, read.digest, read.live);
                match accepted {
                    Ok(()) => self.backoff = BACKOFF_MIN,
                    // The session has said so in an event, too.
                    Err(misuse) => tracing::error!(batch, %misuse, "a frame was not accepted"),
                }
            }
            Err(reason) => {
                tracing::error!(batch, reason, "a frame cannot be read");
                self.session.abandon();
            }
        }
        self.drive(now, orders);
    }

    /// Does what is due: to be called when [`Pump::poll_at`] says. `fresh` draws ids of sessions.
    pub(crate) fn tick(&mut self, now: Instant, fresh: impl FnOnce() -> u64, orders: &mut Orders) {
        if self.reopen.is_some_and(|at| at <= now) && !self.stopping {
            self.reopen = None;
            self.session.open(now, fresh());
            if self.held.is_some() {
                // Should it not answer, this is what is known.
                self.health.set(Err(self.why_held(now)));
            }
        }
        let wait = self.patience;
        while let Some(late) = self.admission.expire(|since| now.since(since) >= wait) {
            late.tell(Event::Failed(Failure::Waited {
                seconds: wait.as_secs(),
            }));
            self.metrics.failed.inc();
        }
        self.drive(now, orders);
    }

    /// The next datagram to send; its bytes replace those in `out`. False if there is none now.
    pub(crate) fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>, orders: &mut Orders) -> bool {
        let sent = self.session.poll_transmit(now, out);
        if !sent {
            // Silence is found out here.
            self.drive(now, orders);
        }
        sent
    }

    /// When to call [`Pump::tick`] and [`Pump::poll_transmit`] again, if nothing happens before.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        let reopen = self.reopen.filter(|_| !self.stopping);
        let late = self.admission.oldest().map(|since| since + self.patience);
        [self.session.poll_at(), reopen, late].into_iter().flatten().min()
    }

    /// Whether nothing of a stopped pump waits to be taken in any more.
    pub(crate) fn is_finished(&self) -> bool {
        let batches = self.session.config().parameters.batches;
        let open = self.session.state() == State::Open;
        self.stopping && !(open && (0..batches).any(|batch| self.session.outstanding(batch) > 0))
    }

    fn ask(&mut self, now: Instant, ask: Ask) {
        self.metrics.requests.inc();
        let refusal = match self.health.get() {
            _ if self.stopping => Failure::Stopping,
            // It was up when the edge looked.
            Err(failure) => failure,
            Ok(()) => match self.admission.enqueue(ask, now) {
                Ok(()) => return,
                Err((ask, limit)) => return self.refuse(&ask, Failure::Busy { limit }),
            },
        };
        self.refuse(&ask, refusal);
    }

    fn refuse(&self, ask: &Ask, why: Failure) {
        ask.tell(Event::Failed(why));
        self.metrics.failed.inc();
    }

    /// Frees the place at once: a query that takes it is numbered after the cancel, and both ends apply them in order.
    fn cancel(&mut self, now: Instant, id: u64, orders: &mut Orders) {
        self.metrics.cancelled.inc();
        if self.admission.withdraw(id).is_some() {
            return;
        }
        let Some(place) = self.admission.place_of(id) else {
            return;
        };
        self.admission.release(place, id);
        let Place { batch, slot } = place;
        match self.session.submit(now, batch, &Message::Cancel { slot }) {
            Ok(_) => orders.push((batch, Order::Cancel(slot))),
            // The slot went with the session.
            Err(misuse) => tracing::debug!(batch, slot, %misuse, "cancel not submitted"),
        }
    }

    fn stop(&mut self, now: Instant, orders: &mut Orders) {
        self.stopping = true;
        self.health.set(Err(Failure::Stopping));
        for batch in self.batches() {
            orders.push((batch, Order::Fail(Failure::Stopping)));
        }
        for id in self.admission.holders() {
            self.cancel(now, id, orders);
        }
        for ask in self.admission.clear() {
            self.refuse(&ask, Failure::Stopping);
        }
    }

    /// News of the session, then queries in, then frames out.
    fn drive(&mut self, now: Instant, orders: &mut Orders) {
        while let Some(event) = self.session.poll_event() {
            self.event(now, event, orders);
        }
        if self.session.state() == State::Open && !self.stopping {
            self.admit(now, orders);
        }
        while let Some(frame) = self.session.poll_frame() {
            orders.push((frame.batch, Order::Frame(frame.code)));
        }
        self.metrics.queued.set(self.admission.queued() as i64);
        self.metrics.live.set(self.admission.live() as i64);
        let held = self.held.map_or(0, |(held, _)| held.budget() as i64 + 1);
        self.metrics.held.set(held);
    }

    fn event(&mut self, now: Instant, event: OuterEvent, orders: &mut Orders) {
        match event {
            OuterEvent::Opened => {
                tracing::info!("session with inner is open");
                self.metrics.sessions.inc();
                self.metrics.up.set(1);
                self.held = None;
                if !self.stopping {
                    self.health.set(Ok(()));
                }
                // Nothing is live: the end of the one before was told at once.
                self.restart(&Failure::Lost(String::new()), orders);
            }
            OuterEvent::Refused(why) => {
                let here = self.session.setting(why);
                let here = here.map_or(String::new(), |value| format!("; it is {value} here"));
                let reason = format!("it refused the session: {why}{here}");
                self.away(now, Failure::Away(reason.clone()), Failure::Lost(reason), orders);
            }
            OuterEvent::Lost(Lost::Held(held)) => {
                self.held = Some((held, held.wait().map(|wait| now + wait)));
                let why = self.why_held(now);
                self.away(now, why.clone(), why, orders);
                // Each opening takes from the little that is left for answers. But operators may have mended it meanwhile.
                self.reopen = Some(now + held.wait().map_or(BACKOFF_MAX, |wait| wait.min(BACKOFF_HELD)));
            }
            OuterEvent::Lost(why) => {
                let reason = match why {
                    Lost::Silent => SILENT.to_owned(),
                    why => format!("the session was lost: {why}"),
                };
                self.away(now, Failure::Away(reason.clone()), Failure::Lost(reason), orders);
            }
        }
    }

    /// What inner has said holds its answers back, and how long that still lasts.
    fn why_held(&self, now: Instant) -> Failure {
        let left = |until: Instant| Some(until.since(now).as_secs()).filter(|&left| left > 0);
        match self.held {
            Some((held, until)) if until.is_none_or(|until| left(until).is_some()) => Failure::Held {
                why: held.to_string(),
                seconds: until.and_then(left),
            },
            _ => Failure::Away("it has not answered yet since its upload budget was used up".to_owned()),
        }
    }

    /// No session for now: fails all that waits, and all that is live, and sets the time to try again.
    fn away(&mut self, now: Instant, waiting: Failure, live: Failure, orders: &mut Orders) {
        tracing::warn!(reason = %waiting, retry_s = self.backoff.as_secs_f64(), "inner is away");
        self.metrics.up.set(0);
        if !self.stopping {
            self.health.set(Err(waiting.clone()));
        }
        self.reopen = Some(now + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        for ask in self.admission.clear() {
            self.refuse(&ask, waiting.clone());
        }
        self.restart(&live, orders);
    }

    fn restart(&self, why: &Failure, orders: &mut Orders) {
        let session = self.session.session();
        orders.extend(
            self.batches()
                .map(|batch| (batch, Order::Session(session, why.clone()))),
        );
    }

    /// Submits the queries that there is room for.
    fn admit(&mut self, now: Instant, orders: &mut Orders) {
        // Every query that is let in may have to be cancelled, and the cancel must find room.
        let room = OUTSTANDING_MAX / 2 - 1;
        while let Some((place, mut ask)) = self
            .admission
            .admit(|batch| self.session.outstanding(batch) < room)
        {
            let Place { batch, slot } = place;
            let source = core::mem::take(&mut ask.source);
            let query = &ask.query;
            let message = Message::Query(weir_wire::Query {
                slot,
                seed: query.seed,
                temperature: query.sampling.temperature,
                top_p: query.sampling.top_p,
                top_k: query.sampling.top_k,
                tau: query.sampling.tau,
                max_tokens: query.max_tokens,
                stop: query.stop.clone(),
                prompt: query.prompt.clone(),
                source,
            });
            match self.session.submit(now, batch, &message) {
                Ok(_) => {
                    ask.tell(Event::Admitted);
                    orders.push((batch, Order::Open(slot, ask)));
                }
                Err(misuse) => {
                    // The edge has checked every limit that the session knows.
                    tracing::error!(batch, slot, %misuse, "a query was not submitted");
                    self.admission.release(place, ask.id);
                    self.refuse(&ask, Failure::Engine);
                }
            }
        }
    }

    fn batches(&self) -> std::ops::Range<u16> {
        0..self.session.config().parameters.batches
    }
}

/// Each opening makes inner answer, and answers leave: a refusing or failing peer is not asked often.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Longest wait before an opening while inner's budget holds its answers back.
const BACKOFF_HELD: Duration = Duration::from_secs(300);
/// What a gate does, neither end can know.
const SILENT: &str = "it is silent: it has stopped, takes too long, or the link between is down; or a gate on the way lets nothing \
                      out, as it was cut or its own budget is used up";

#[cfg(test)]
mod tests;
