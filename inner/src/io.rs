//! The thread that owns the link: datagrams in, ticks, frames out, each against a permit of the governor.

use crate::clock::Clock;
use crate::engine_thread::{Ended, EngineThread};
use crate::pump::{News, Pump};
use crate::status::Status;
use anyhow::Context;
use core::time::Duration;
use mio::{Events, Poll, Token};
use signal_hook_mio::v1_0::Signals;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::field::display;
use weir_ledger::{Governor, LedgerError, Refused, Release};
use weir_link::{Link, Metered, Sent, governed_purpose};
use weir_meter::Wait;
use weir_wire::{Budget, InnerEvent, Instant, Purpose};

/// Everything the loop turns around.
pub(crate) struct Io<L> {
    pub(crate) poll: Poll,
    pub(crate) link: Metered<L>,
    pub(crate) governor: Governor,
    /// The ledger's file, if there is one.
    pub(crate) ledger: PathBuf,
    /// When this program ends, once the ledger has failed.
    pub(crate) ends_at: Option<Instant>,
    pub(crate) pump: Pump,
    pub(crate) engine: EngineThread,
    pub(crate) clock: Clock,
    pub(crate) status: Status,
    /// Set to end the loop; the engine's waker makes it look.
    pub(crate) stop: Arc<AtomicBool>,
}

pub(crate) const WAKER: Token = Token(0);
const LINK: Token = Token(1);
const SIGNALS: Token = Token(2);

/// The longest sleep: a lost wake-up costs no more.
const NAP: Duration = Duration::from_secs(1);

impl<L: Link> Io<L> {
    /// Runs until told to stop, by the flag or by one of `signals`; then says what was done.
    ///
    /// # Errors
    /// The link or the engine failed.
    pub(crate) fn run(mut self, mut signals: Option<Signals>) -> anyhow::Result<()> {
        let result = self.turn_until_stopped(&mut signals);
        self.status.log(self.clock.now(), &self.pump, &self.governor);
        let closed = self.governor.close(self.clock.since_boot(self.clock.now()));
        // Why the engine ended is worth more than that it did.
        self.engine.join()?;
        result?;
        closed.context("the ledger was not closed; what it had reserved counts as spent")
    }

    fn turn_until_stopped(&mut self, signals: &mut Option<Signals>) -> anyhow::Result<()> {
        self.link
            .register(self.poll.registry(), LINK)
            .context("the link cannot be polled")?;
        if let Some(signals) = signals {
            self.poll
                .registry()
                .register(signals, SIGNALS, mio::Interest::READABLE)
                .context("signals")?;
        }
        let mut events = Events::with_capacity(16);
        let mut datagram = vec![0; self.link.mtu().max(LARGEST)];
        let mut out = Vec::new();
        // Whatever came before the registration makes no event.
        let mut has_link = true;
        loop {
            if has_link {
                has_link = self.receive(&mut datagram)?;
            }
            loop {
                match self.engine.poll() {
                    Ok(Some((said, took))) => self.pump.said(self.clock.now(), said, took),
                    Ok(None) => break,
                    Err(Ended) => anyhow::bail!("the engine has ended"),
                }
            }
            self.transmit(&mut out)?;
            let failed = self.ledger_has_failed();
            self.hand_over();
            if let Some(why) = failed {
                let path = self.ledger.clone();
                return Err(weir_ledger::Error::Ledger { path, error: why }.into());
            }
            self.status.poll(self.clock.now(), &self.pump, &mut self.governor);

            let now = self.clock.now();
            let next = [self.pump.poll_at(), self.ends_at].into_iter().flatten().min();
            let mut wait = next.map_or(NAP, |at| at.since(now).min(NAP));
            if has_link {
                wait = Duration::ZERO;
            }
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(error).context("poll");
                }
                _ => {}
            }
            has_link |= events.iter().any(|event| event.token() == LINK);
            if let Some(signal) = signals.as_mut().and_then(|signals| signals.pending().next()) {
                tracing::info!(signal, "shutting down");
                return Ok(());
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    /// Takes what has come, but not so much that ticks are missed; tells whether there may be more.
    fn receive(&mut self, datagram: &mut [u8]) -> anyhow::Result<bool> {
        for _ in 0..AT_ONCE {
            let Some(len) = self.link.recv(datagram)? else {
                return Ok(false);
            };
            let now = self.clock.now();
            self.governor.received(self.clock.since_boot(now), len);
            if let Err(why) = self.pump.recv(now, &datagram[..len]) {
                tracing::debug!(%why, len, "a datagram had no effect");
            }
        }
        Ok(true)
    }

    /// Lets out what is due and what the budget allows.
    fn transmit(&mut self, out: &mut Vec<u8>) -> anyhow::Result<()> {
        loop {
            // Anew for each: a ledger that had to reserve takes its time, and what is late for a gate must wait.
            let now = self.clock.now();
            let Some(transmit) = self.pump.poll_transmit(now, out) else {
                // The disk has until the next tick.
                self.governor.prepare(self.clock.since_boot(now));
                return Ok(());
            };
            let purpose = governed_purpose(transmit.purpose);
            match self
                .governor
                .release(self.clock.since_boot(now), out.len(), purpose)
            {
                Release::Go(permit) => match self.link.send(permit, out)? {
                    Sent::Whole => {}
                    Sent::Lost => tracing::debug!("the link's queue is full"),
                    Sent::Refused(error) => self.status.lost(error),
                    Sent::TooLong => {
                        self.status.too_long(out.len());
                        // As long as it is, it would be lost again whenever outer asks for it.
                        if transmit.purpose != Purpose::Control {
                            self.pump.give_up(now);
                            return Ok(());
                        }
                    }
                },
                Release::At(at) => {
                    let at = self.clock.since_start(at);
                    if !self.hold(now) {
                        self.pump.put_back(transmit, at);
                    }
                    continue;
                }
                Release::Refuse(why) => {
                    self.status.refused(why, transmit.purpose);
                    // SPEC 7.2: what can never leave would leave outer waiting for ever.
                    if transmit.purpose != Purpose::Control && (why.is_final() || self.hold(now)) {
                        match why {
                            Refused::TotalSpent => self.pump.hold(now, Budget::Total, None),
                            _ if why.is_end() => self.pump.hold(now, Budget::Ledger, None),
                            _ if why.is_final() => self.pump.give_up(now),
                            _ => {}
                        }
                        return Ok(());
                    }
                }
            }
            // What was refused for now is lost to the session: outer asks again.
            self.pump.left(now, transmit);
        }
    }

    /// Closes the session, and says why, if the governor would make the last datagram wait so long that outer would take us for
    /// dead. SPEC 7.2.
    fn hold(&mut self, now: Instant) -> bool {
        let Some(Wait { until, window }) = self.governor.wait() else {
            return false;
        };
        let until = self.clock.since_start(until);
        let is_long = until.since(now) > PATIENCE;
        if is_long {
            let budget = window.map_or(Budget::Rate, |_| Budget::Window);
            self.pump.hold(now, budget, Some(until));
        }
        is_long
    }

    /// Why the ledger lets nothing out any more, once outer has been told, if it can be: a supervisor may have a disk again by the
    /// time that it starts this program anew.
    fn ledger_has_failed(&mut self) -> Option<LedgerError> {
        let why = self.governor.ledger()?.broken()?;
        let now = self.clock.now();
        let tick = self.pump.session().config().parameters.tick();
        let until = *self.ends_at.get_or_insert_with(|| {
            tracing::error!(%why, "the ledger has failed: this program ends");
            self.pump.hold(now, Budget::Ledger, None);
            now + (3 * tick).max(LAST_WORDS)
        });
        (until <= now || !self.pump.session().has_answer()).then_some(why)
    }

    fn hand_over(&mut self) {
        while let Some(order) = self.pump.poll_order() {
            self.engine.order(order);
        }
        while let Some(news) = self.pump.poll_news() {
            match news {
                News::Session(InnerEvent::Opened { session }) => {
                    tracing::info!(session = format_args!("{session:016x}"), "session open");
                }
                News::Session(InnerEvent::Closed { session, reason }) => {
                    tracing::error!(session = format_args!("{session:016x}"), %reason, "session closed");
                }
                News::Session(InnerEvent::Refused {
                    session,
                    refusal,
                    difference,
                }) => {
                    let values = difference.map(|both| (display(both.inner), display(both.outer)));
                    let (here, outer) = values.unzip();
                    tracing::warn!(session = format_args!("{session:016x}"), %refusal, here, outer, "session refused");
                }
                News::Held(session, held) => {
                    tracing::error!(session = format_args!("{session:016x}"), why = %held, "session closed");
                }
                News::Abandoned(session) => {
                    tracing::error!(session = format_args!("{session:016x}"), "session given up");
                }
                News::Misfit(misuse) => tracing::error!(%misuse, "a frame was not submitted"),
            }
        }
    }
}

/// A frame that must wait longer ends the session: outer would take inner for dead not much later.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a program whose ledger has failed waits for its last control frame to leave, at least.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Datagrams that are taken in one go.
const AT_ONCE: usize = 256;
/// Room for the longest UDP datagram: inward ones may be longer than those outward.
const LARGEST: usize = 65_536;
